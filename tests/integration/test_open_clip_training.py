"""The offline and online phases on an open_clip model, with a GPU user's commands."""

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from command_line import Answer, Run
from made_up_photos import SHAPES, captioned
from safetensors.torch import load_file, save_file
from tiny_models import tiny_clip, tiny_clip_config

from core.backbones import load_backbone
from core.backbones.peft_format import load_peft
from core.cli.main import main
from core.common.paths import GENERATOR_FILE
from core.data.image_io import open_photo
from core.experts.card import CARD_FILE
from core.training import generator, shared_lora
from core.training.experts import ExpertTraining

pytestmark = pytest.mark.slow

RECIPE = (
    *("batch=24", "everyday=0", "shared_steps=30", "shared_lr=0.01", "shared_rank=3", "steps=20", "snapshots=8", "lr=0.005"),
    *("scale=20", "keyword=20", "fine=40", "least=20"),
)
SEED = 7


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    captioned(root / "shapes")
    return root


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a tiny model that open_clip knows by name, with its weights in a local file."""
    folder = tmp_path_factory.mktemp("model")
    config = folder / "tiny-vit-to-train.json"
    config.write_text(json.dumps(tiny_clip_config()), encoding="utf-8")
    open_clip.add_model_config(config)
    save_file(tiny_clip(SEED).state_dict(), folder / "weights.safetensors")
    return ["--backbone", config.stem, "--pretrained", str(folder / "weights.safetensors"), "--adapt-blocks", "2"]


@pytest.fixture(scope="module", autouse=True)
def one_thread_and_few_sentences() -> Iterator[None]:
    """Experts train with one thread. Other numbers change rounding, and Adam turns the rounding of nearly zero gradients
    into whole steps. A small generator needs few sentences between experts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "BETWEEN", 64)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def experts(data: Path, backbone: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository and its generator, trained by two commands."""
    return trained_in(tmp_path_factory.mktemp("trained"), data, backbone)


@pytest.fixture(scope="module")
def text_experts(data: Path, backbone: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, adapting texts."""
    return trained_in(tmp_path_factory.mktemp("trained"), data, [*backbone[:4], "--adapt", "texts"])


def trained_in(folder: Path, data: Path, options: list[str]) -> Path:
    out, common = folder / "experts", ["--data", str(data), "--cache", str(folder / "cache"), *options]
    assert main(["train", "experts", "--out", str(out), *common, *settings(*RECIPE)]) == 0
    assert main(["train", "generator", "--experts", str(out), *common, *settings("steps=4")]) == 0
    return out


def settings(*fields: str) -> list[str]:
    return [part for field in fields for part in ("--set", field)]


def test_index_says_what_was_trained_and_which_backbone_loads_it(experts: Path, backbone: list[str]) -> None:
    index = json.loads((experts / "index.json").read_text())
    assert {word for e in index["experts"] for word in e["name"].split()} & set(SHAPES) and len(index["experts"]) >= 4
    assert index["parameters"] == 2 * 3 * 4 * 64, "B of q, k and v of two blocks, rank 4"
    assert index["shared_rank"] == 3
    loaded = load_backbone(**index["backbone"])
    assert loaded.fingerprint == index["backbone_fingerprint"]
    assert loaded.slug == "tiny-vit-to-train-weights-last-2"
    assert index["notes"]["recipe"]["steps"] == 20
    card = (experts / CARD_FILE).read_text()
    assert index["backbone_fingerprint"] in card and index["tensors_sha256"] in card and "--adapt-blocks 2" in card
    assert hashlib.sha256((experts / GENERATOR_FILE).read_bytes()).hexdigest() in card, "the card must name the later generator"


def test_text_experts_find_photos(
    data: Path, backbone: list[str], text_experts: Path, answer: Answer, run: Run, tmp_path: Path
) -> None:
    """Photos are indexed without the adapters. Page and command line search this library."""
    model, library, engine = backbone[:4], ("--library", tmp_path / "library"), ("--experts", text_experts)
    answer("index", data / "shapes", *library, *model)
    index = json.loads((text_experts / "index.json").read_text())
    assert index["backbone"]["adapt"] == "texts" and "text.projection" in index["linears"]
    assert all(name.startswith("text.") for name in index["linears"])
    assert answer("adapt", "a photo of a dog", "--out", tmp_path / "dog", *engine)["parameters"] > 0
    asked = answer("search", "a red dog", *library, "--task", "a photo of a dog", "--top", 20, *engine)
    loaded = load_backbone(**index["backbone"])
    lora, _ = load_peft(tmp_path / "dog", loaded.layout.modules, loaded.fingerprint)
    photos = {Path(hit["photo"]).name: hit["score"] for hit in asked["rankings"]["sg-lora"]}
    paths = [next((data / "shapes").rglob(name)) for name in photos]
    prefix = loaded.prefix(torch.stack([loaded.pixels(open_photo(path)) for path in paths]))
    scores = (loaded.suffix(prefix) @ loaded.encode_text(["a red dog"], lora)[0]).tolist()
    assert list(photos.values()) == pytest.approx(scores, abs=2e-3)
    assert run("route", "a dog", *model, *engine)[0] == 0, "the experts say what they adapt"


def test_wrong_usage_is_named(data: Path, experts: Path, backbone: list[str], run: Run) -> None:
    train = ["train", "experts", "--data", data, *backbone, "--set"]
    for command, reason in (
        (["route", "a dog", *backbone[:4], "--experts", experts], "were trained on another backbone"),  # cut elsewhere
        ([*train, "stepz=3"], "the recipe has no 'stepz'; it has rank, steps"),
        ([*train, "steps=few"], "a number such as 400"),
    ):
        code, _, err = run(*command)
        assert code == 1 and reason in err


def interrupting(run: Callable[..., Any], at: int) -> Callable[..., Any]:
    """A function that raises KeyboardInterrupt at the call with this number."""
    calls = itertools.count(1)

    def call(*arguments: Any, **named: Any) -> Any:
        if next(calls) == at:
            raise KeyboardInterrupt
        return run(*arguments, **named)

    return call


def test_one_command_trains_all_and_goes_on_where_it_stopped(
    data: Path, backbone: list[str], text_experts: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, cache = tmp_path / "all", tmp_path / "cache"
    command = ["train", "all", "--data", data, "--cache", cache, "--out", out, *backbone[:4]]
    command += settings(*RECIPE, "generator.steps=4")
    for module, step in ((shared_lora, "descend"), (ExpertTraining, "snapshots")):
        monkeypatch.setattr(module, step, interrupting(getattr(module, step), 3))
        assert run(*command)[0] == 130
        assert not out.exists()
    kept = trained(cache)
    assert len(kept) == 2
    code, told, err = run(*command)
    assert code == 0 and f"out: {out}" in told and "shared LoRA" not in err
    assert kept.items() <= trained(cache).items(), "an expert was trained twice"

    for name in ("experts.safetensors", GENERATOR_FILE):
        one, two = load_file(text_experts / name), load_file(out / name)
        assert one.keys() == two.keys()
        for key in one:
            torch.testing.assert_close(two[key], one[key], atol=1e-3, rtol=1e-3)
    assert hashlib.sha256((out / GENERATOR_FILE).read_bytes()).hexdigest() in (out / CARD_FILE).read_text()


def test_experts_of_another_process_are_not_trained_again(
    data: Path, backbone: list[str], experts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run with the same cache trains all experts but one while this one trains its first."""
    cache, calls, snapshots = tmp_path / "cache", itertools.count(1), ExpertTraining.snapshots

    def train(self: ExpertTraining, rows: np.ndarray, seed: int) -> torch.Tensor:
        if next(calls) == 1:
            for file in list((experts.parent / "cache").glob("experts/*/*.safetensors"))[1:]:
                shutil.copy(file, next(cache.glob("experts/*")) / file.name)
        return snapshots(self, rows, seed)

    monkeypatch.setattr(ExpertTraining, "snapshots", train)
    out = trained_in(tmp_path, data, backbone)
    assert next(calls) in (2, 3), "the first expert, and the one that the other run did not train"
    one, two = (load_file(folder / "experts.safetensors") for folder in (experts, out))
    for key in one:
        torch.testing.assert_close(two[key], one[key], atol=1e-3, rtol=1e-3)


def trained(cache: Path) -> dict[str, int]:
    """The time when each finished own part was written."""
    return {f.stem: f.stat().st_mtime_ns for f in cache.glob("experts/*/*.safetensors") if f.stem not in ("shared", "frozen-a")}
