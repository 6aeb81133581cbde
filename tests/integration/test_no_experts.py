"""A backbone without experts: an open_clip model is searched zero-shot, then with own experts, merged exactly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import Answer, Run
from made_up_photos import blurred
from recalls import ranked
from repositories import make_model
from tiny_models import noise, random_lora, tiny_backbone

from core.backbones.description import embed_descriptions
from core.backbones.lora import Lora
from core.backbones.peft_format import save_peft
from core.common.errors import RepositoryError
from core.experts.load import load_engine
from core.experts.own import OwnEntry, OwnExperts, import_adapter, load_zip, save_zip
from core.retrieval.gallery import Gallery
from core.sglora.engine import SGLora
from core.sglora.repository import Expert
from core.sglora.request import AdapterRequest

SENTENCES = ("photos of boats", "photos of red trains", "photos of a garden")


@pytest.fixture(scope="module")
def none() -> SGLora:
    return load_engine(tiny_backbone(adapt="texts"))


def with_own(none: SGLora, folder) -> tuple[OwnExperts, dict[str, Lora]]:
    """Two experts as training makes them, and an imported adapter; each expert's LoRA by its description."""
    layout, own_experts, loras = none.repository.layout, OwnExperts(none.repository), {}
    for seed, sentence in enumerate(SENTENCES[:2]):
        mean = 0.1 * noise(layout.size, seed=seed)
        embedding = embed_descriptions(none.backbone, [sentence])[0]
        expert = Expert(sentence, sentence, "own", "own photos", 30, 0, 16, {}, {})
        own_experts = own_experts.add(OwnEntry(expert, mean, torch.zeros(0), embedding))
        loras[sentence] = Lora.from_vector(layout, mean)
    loras[SENTENCES[2]] = random_lora(replace(none.backbone.layout, rank=3), 7)
    save_peft(loras[SENTENCES[2]], folder, none.backbone.fingerprint, "tiny", {})
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return import_adapter(none, files, SENTENCES[2], own_experts), loras


@pytest.mark.parametrize("k", [1, 2, 3])
def test_own_experts_are_merged_exactly(none: SGLora, tmp_path, k: int) -> None:
    own_experts, loras = with_own(none, tmp_path)
    engine = own_experts.engine(none)
    made = engine.adapt(AdapterRequest("photos of trains and boats", k=k, tau=0.05))
    cosines = embed_descriptions(none.backbone, SENTENCES) @ embed_descriptions(none.backbone, ["trains and boats"])[0]
    nearest = cosines.argsort(descending=True)[:k]
    weights = (cosines[nearest] / 0.05).exp() / (cosines[nearest] / 0.05).exp().sum()
    for m in none.backbone.layout.modules:
        deltas = [loras[SENTENCES[i]].factors[m.name].delta for i in nearest.tolist()]
        expected = sum(w * delta for w, delta in zip(weights.tolist(), deltas, strict=True))
        torch.testing.assert_close(made.lora.factors[m.name].delta, expected, atol=1e-5, rtol=1e-4)
    again = engine.adapt(AdapterRequest("photos of trains and boats", k=k, tau=0.05, seed=9))
    assert torch.equal(again.lora.vector(), made.lora.vector()), "no generator draws anything"


def test_own_experts_are_saved_and_belong_to_one_model(none: SGLora, tmp_path) -> None:
    own_experts, _ = with_own(none, tmp_path)
    saved, engine = save_zip(own_experts), own_experts.engine(none)
    again = load_zip(saved, load_engine(tiny_backbone(adapt="texts"))).engine(none)  # as after a restart
    request = AdapterRequest("photos of trains", k=3)
    torch.testing.assert_close(again.adapt(request).lora.vector(), engine.adapt(request).lora.vector())
    with pytest.raises(RepositoryError, match="belongs to other experts"):
        load_zip(saved, load_engine(tiny_backbone(seed=1, adapt="texts")))


# The command line


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return "--backbone", f"local-dir:{make_model(tmp_path_factory.mktemp('model') / 'tiny', 0)}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    files = blurred(folder, [f"{i}.png" for i in range(6)], 2)
    lines = [json.dumps({"image": file.name, "captions": [f"a picture of {i}"]}) for i, file in enumerate(files)]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def test_every_search_works_without_experts(none: SGLora, answer: Answer, model, photos: Path) -> None:
    found = answer("search", "something red", "--gallery", photos, *model)
    gallery = Gallery(none.backbone)
    gallery.add(sorted(photos.glob("*.png")))
    hits = ranked(gallery, "something red", top=None).hits
    expected = [(hit.label, pytest.approx(hit.score, abs=1e-5)) for hit in hits]
    assert (found["task"], list(found["rankings"])) == (None, ["zero-shot"])
    assert [(hit["photo"], hit["score"]) for hit in found["rankings"]["zero-shot"]] == expected
    like = answer("search", photos / "0.png", "--find", "photos", "--gallery", photos, *model)["rankings"]["zero-shot"]
    assert (like[0]["photo"], len(like)) == ("0.png", 6)
    assert list(answer("evaluate", "--data", photos, *model)["methods"]) == ["zero-shot"]
    assert len(answer("vector", "something red", *model)["vector"]) == none.backbone.dim


def test_names_are_taught_without_more_options(run: Run, answer: Answer, model, photos: Path, tmp_path: Path) -> None:
    answer("teach", "--name", "wug", photos / "0.png", photos / "1.png", "--out", tmp_path / "names", *model)
    by_adapter = answer("search", "wug", "--gallery", photos, "--adapter", tmp_path / "names", *model)["rankings"]
    ranks = {hit["photo"]: hit["rank"] for hit in by_adapter["adapter"]}
    assert {photo for photo, rank in ranks.items() if rank <= 2} == {"0.png", "1.png"}
    by_names = answer("search", "wug", "--gallery", photos, "--names", tmp_path / "names", *model)["rankings"]["names"]
    assert {hit["photo"] for hit in by_names[:2]} == {"0.png", "1.png"}


def test_a_library_opens_with_its_model(run: Run, answer: Answer, model, photos: Path, tmp_path: Path) -> None:
    library = tmp_path / "photos.library"
    answer("index", photos, "--library", library, *model)
    with_model, without = (answer("search", "something red", "--library", library, *more) for more in (model, ()))
    assert without["rankings"] == with_model["rankings"] and without["photos"] == 6
    assert answer("index", "--library", library)["photos"] == 6, "it needs no option again"
    tagged = answer("tag", "--library", library, "--query", "something red", "--first", 2, "--dry-run")
    best = {f"{hit['photo']}.xmp" for hit in without["rankings"]["zero-shot"][:2]}
    assert set(tagged["tags"][0]["changed"]) == best


@pytest.mark.parametrize("command", ["search", "adapt", "route"])
def test_a_sentence_without_experts_is_answered(run: Run, model, photos: Path, tmp_path: Path, command: str) -> None:
    arguments = {"search": ("red", "--gallery", photos, "--task", "boats"), "adapt": ("boats", "--out", tmp_path / "out")}
    code, out, err = run(command, *arguments.get(command, ("boats",)), *model)
    assert (code, out) == (1, "") and "This model has no experts yet" in err and "--experts" in err
    code, out, err = run(command, *arguments.get(command, ("boats",)), "--backbone", "ViT-B-32")
    assert (code, out) == (1, "") and "ViT-B-32 has random weights: give --pretrained" in err
