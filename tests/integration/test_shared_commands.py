"""A backbone with a shared part, loaded from files: commands, adapter files, plain peft, and imported adapters."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_photos import blurred
from peft import PeftModel
from PIL import Image
from shared_parts import random_shared, with_shared_part, write_engine
from tiny_models import random_lora

from app import actions
from app.question import Asked
from app.tab import Tab
from app.visitor import Visitor
from core.backbones.lora import Factors, Lora, LoraLayout
from core.backbones.lora_algebra import merge
from core.backbones.peft_format import WEIGHTS_FILE, load_peft, save_peft
from core.cli.main import main
from core.common.errors import AdapterError, DescriptionError, RepositoryError
from core.data.image_io import open_photo
from core.experts.adapter_files import README_FILE, adapter_files, provenance, weight_of, write_files
from core.experts.files import RepositoryIndex, load_repository, save_repository
from core.experts.load import load_engine
from core.experts.own import import_adapter
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import AdapterRequest

SENTENCE, QUERY = "photos of people surfing", "a man on a wave"
PHOTOS, WEIGHT = 12, 0.3


@pytest.fixture(scope="module")
def made(engine: SGLora) -> SGLora:
    return with_shared_part(engine)


@pytest.fixture(scope="module")
def options(made: SGLora, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of the command line that load ``made`` from its files."""
    return write_engine(made, tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    blurred(folder, [f"{i:02}.jpg" for i in range(PHOTOS)], 1)
    lines = [json.dumps({"image": f"{i:02}.jpg", "captions": [f"photo number {i}", "a photo"]}) for i in range(PHOTOS)]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def adapter(made: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    adaptation = made.adapt(AdapterRequest(SENTENCE, strength=WEIGHT))
    write_files(folder, adapter_files(made.backbone, adaptation.lora, provenance(made, adaptation)))
    return folder


@pytest.fixture
def answer(capsys, options: list[str]):
    """Run a command with these models; return its JSON."""

    def call(*argv: object) -> dict:
        capsys.readouterr()
        code = main([*map(str, argv), *(options[:2] if argv[0] in ("vector", "index") else options), "--json"])
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)

    return call


def by_hand(made: SGLora, paths: list[Path], lora: Lora, weight: float) -> np.ndarray:
    backbone = made.backbone
    prefixes = torch.cat([backbone.prefix(backbone.pixels(open_photo(path))[None]) for path in paths])
    scores = torch.zeros(len(paths))
    for share, one in ((1 - weight, None), (weight, lora)):
        scores += share * backbone.suffix(prefixes, one) @ backbone.encode_text([QUERY], one)[0]
    return scores.numpy()


def test_files_load_as_they_were(made: SGLora, options: list[str]) -> None:
    folder = Path(options[3])
    index = RepositoryIndex.read(folder)
    assert index.shared_rank == 0 and index.fingerprint == made.backbone.fingerprint
    loaded = load_engine(made.backbone, folder)
    assert loaded.repository.shared is made.backbone.shared
    assert loaded.repository.subset([0, 2]).shared is made.backbone.shared
    first, again = (engine.adapt(AdapterRequest(SENTENCE, seed=3)).full for engine in (made, loaded))
    for name, factors in first.factors.items():
        torch.testing.assert_close(again.factors[name].delta, factors.delta, atol=2e-3, rtol=1e-2)
    heads = made.backbone.with_shared(None)
    with pytest.raises(RepositoryError, match="another backbone"):
        load_repository(folder, heads.layout, heads.fingerprint, heads.shared)


def test_a_repository_with_a_shared_part_of_its_own_keeps_it(engine: SGLora, made: SGLora, tmp_path: Path) -> None:
    backbone = made.backbone
    shared = random_lora(replace(engine.repository.layout, rank=3), 5, 0.1)
    save_repository(replace(engine.repository, fingerprint=backbone.fingerprint, shared=shared), tmp_path)
    read = load_repository(tmp_path, backbone.layout, backbone.fingerprint, backbone.shared)
    assert RepositoryIndex.read(tmp_path).shared_rank == 3 and read.shared is not None
    torch.testing.assert_close(read.shared.vector(), shared.vector(), atol=1e-3, rtol=1e-3)  # the file holds float16
    assert not replace(made, repository=read).adapt(AdapterRequest(SENTENCE)).lora.moves_photos


@pytest.mark.slow
def test_search_and_library_and_vector_agree(made: SGLora, answer, adapter: Path, photos: Path, tmp_path: Path) -> None:
    library, paths = tmp_path / "library", sorted(photos.glob("*.jpg"))
    assert answer("index", photos, "--library", library)["photos"] == PHOTOS
    lora, origin = load_peft(adapter, made.backbone.linears.values(), made.backbone.fingerprint, partly=True)
    assert weight_of(origin) == origin["weight"] == origin["strength"] == WEIGHT
    expected = dict(zip([path.name for path in paths], by_hand(made, paths, lora, WEIGHT), strict=True))
    for where in (("--library", library), ("--gallery", photos)):
        found = answer("search", QUERY, *where, "--adapter", adapter, "--top", PHOTOS)["rankings"]["adapter"]
        assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
        for hit in found:
            assert hit["score"] == pytest.approx(expected[Path(hit["photo"]).name], abs=5e-3)
    by_task = answer("search", QUERY, "--library", library, "--task", SENTENCE, "--strength", WEIGHT, "--top", PHOTOS)
    assert [Path(hit["photo"]).name for hit in by_task["rankings"]["sg-lora"]] == [
        Path(hit["photo"]).name
        for hit in answer("search", QUERY, "--library", library, "--adapter", adapter, "--top", PHOTOS)["rankings"]["adapter"]
    ]

    # The vectors that a database would hold, and the vector of the query.
    opened = LibraryPhotos(PhotoLibrary.open(library, made.backbone), made.backbone)
    rows, names = opened.index.take(np.arange(PHOTOS)).numpy(), [path.name for path in opened.paths(range(PHOTOS))]
    asked = answer("vector", QUERY, "--adapter", adapter)["vector"]
    np.testing.assert_allclose(rows @ np.array(asked), [expected[name] for name in names], atol=5e-3)
    one = answer("vector", photos / names[4])["vector"]
    np.testing.assert_allclose(one, rows[4], atol=5e-3)


def test_captions_of_a_library_are_ranked_less_their_popularity(
    made: SGLora, answer, adapter: Path, photos: Path, tmp_path: Path
) -> None:
    library, paths = tmp_path / "library", sorted(photos.glob("*.jpg"))
    answer("index", photos, "--library", library)
    found = answer("search", paths[0], "--library", library, "--adapter", adapter, "--top", 100)["rankings"]["adapter"]
    backbone, texts = made.backbone, [hit["caption"] for hit in found]
    lora, _ = load_peft(adapter, backbone.linears.values(), backbone.fingerprint, partly=True)
    prefixes = torch.cat([backbone.prefix(backbone.pixels(open_photo(path))[None]) for path in paths])
    scores = np.zeros((PHOTOS, len(texts)))
    for share, one in ((1 - WEIGHT, None), (WEIGHT, lora)):
        scores += share * (backbone.suffix(prefixes, one) @ backbone.encode_text(texts, one).T).numpy()
    less = scores[0] - np.log(np.exp(20 * scores).sum(0)) / 20
    assert len(texts) == PHOTOS + 1
    np.testing.assert_allclose(less, np.sort(less)[::-1], atol=5e-3)
    np.testing.assert_allclose([hit["score"] for hit in found], less, atol=5e-3)


def test_recall_of_commands_is_that_of_the_mixture(made: SGLora, answer, adapter: Path, photos: Path) -> None:
    by_file = answer("evaluate", "--data", photos, "--adapter", adapter)["methods"]["adapter"]
    by_task = answer("evaluate", "--data", photos, "--task", SENTENCE, "--strength", WEIGHT)["methods"]["sg-lora"]
    assert by_file == by_task
    zero = answer("evaluate", "--data", photos, "--task", SENTENCE, "--strength", 0)["methods"]
    assert zero["sg-lora"] == zero["zero-shot"] == zero["merge"]


@torch.no_grad()
def test_the_readmes_lines_do_what_search_does(made: SGLora, options, adapter: Path, tmp_path, monkeypatch, capsys) -> None:
    """The lines use plain peft on both towers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("core.common.paths.heads_path", lambda: Path(options[1]))
    (tmp_path / "adapter").symlink_to(adapter)
    Image.effect_noise((90, 60), 80).convert("RGB").save("photo.jpg")
    exec("\n".join(re.findall(r"```python\n(.*?)```", (adapter / README_FILE).read_text(), re.DOTALL)), found := {})
    said = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())}
    assert isinstance(found["model"], PeftModel) and found["backbone"].fingerprint == made.backbone.fingerprint
    backbone, words = made.backbone, found["words"]
    lora = made.adapt(AdapterRequest(SENTENCE)).full
    zero = float(backbone.suffix(found["photo"]) @ backbone.encode_text(words).T)
    adapted = float(backbone.suffix(found["photo"], lora) @ backbone.encode_text(words, lora).T)
    expected = {"zero-shot": zero, "adapted": adapted, "with peft": adapted, "mixed": 0.7 * zero + 0.3 * adapted}
    assert said == pytest.approx(expected, abs=5e-3) and abs(zero - adapted) > 0.01


def test_commands_reject_adapters_that_change_photos(made: SGLora, options, photos, tmp_path, capsys) -> None:
    save_peft(random_shared(made.backbone, 9), tmp_path, made.backbone.fingerprint, "embedded", {})
    for command in (["search", QUERY, "--gallery", photos, *options], ["vector", QUERY, *options[:2]]):
        assert main([*map(str, command), "--adapter", str(tmp_path)]) == 1
        assert "in another way than this backbone's shared LoRA" in capsys.readouterr().err


# The page


def test_columns_of_a_comparison_have_the_strength_as_their_weight(made: SGLora) -> None:
    tab = Tab(Visitor())

    def adapted(strength: float) -> tuple[Adaptation, list[Adapter]]:
        asked = Asked(request=AdapterRequest(SENTENCE, strength=strength), merge=True)
        actions.answer(made, tab, asked)
        assert tab.adaptation is not None
        return tab.adaptation, [adapter for *_, adapter in actions.columns(made, tab, asked, tab.adaptation)]

    adaptation, (zero_shot, merged, generated) = adapted(0.4)
    assert zero_shot is ZERO_SHOT and merged.weight == generated.weight == 0.4
    assert (
        generated.lora is adaptation.full
        and merged.lora.factors["vision.proj_out"] is generated.lora.factors["vision.proj_out"]
    )
    full, _ = adapted(1)
    assert full.routing is adaptation.routing and full.full is adaptation.full, "a new strength must reuse the generated LoRA"
    assert full.weight == 1
    assert {adapter.key for adapter in adapted(0)[1]} == {ZERO_SHOT.key}


def test_a_factor_of_the_last_backbone_is_full_strength_here(made: SGLora) -> None:
    tab, asked = Tab(Visitor()), Asked(request=AdapterRequest(SENTENCE, strength=1.5))
    actions.answer_again(made, tab, asked)
    assert tab.adaptation is not None and tab.adaptation.strength == 1
    with pytest.raises(DescriptionError, match="this backbone takes 0 to 1"):
        actions.answer(made, tab, asked)


# Imported adapters


def delta(lora: Lora) -> torch.Tensor:
    return torch.cat([lora.factors[name].delta.reshape(-1) for name in sorted(lora.factors)])


def test_an_imported_adapter_becomes_an_own_part_on_the_shared_part(made: SGLora, tmp_path: Path) -> None:
    repository, layout = made.repository, made.repository.layout
    own = random_lora(replace(layout, rank=2), 3, 0.1)
    whole = merge([made.backbone.shared, own], [1.0, 1.0])
    save_peft(whole, tmp_path / "whole", made.backbone.fingerprint, "embedded", {})
    save_peft(whole.only(layout.modules), tmp_path / "texts", made.backbone.fingerprint, "embedded", {})
    for name in ("whole", "texts"):
        (entry,) = import_adapter(made, tmp_path / name, SENTENCE).entries
        assert entry.lost < 1e-6
        got = repository.with_shared([Lora.from_vector(layout, entry.mean)], [1.0])
        torch.testing.assert_close(delta(got), delta(whole), atol=1e-4, rtol=1e-3)
        assert got.factors["vision.proj_out"] is made.backbone.shared.factors["vision.proj_out"]


def test_imported_adapters_that_do_not_fit_are_refused(made: SGLora, tmp_path: Path) -> None:
    shared, name = made.backbone.shared, "vision.blocks.1.mlp.0"
    bent = Lora(shared.modules, dict(shared.factors) | {name: Factors(shared.factors[name].a, -shared.factors[name].b)})
    half = shared.only([m for m in shared.modules if m.name != "text.mlp.1"])
    unknown = LoraLayout.of(made.backbone.linears, ["text.mlp.1", "text.mlp.3", "vision.proj_in"], 2)
    for lora, reason in (
        (bent, "changes photos in another way"),
        (half, "does not adapt text.mlp.1"),
        (random_lora(unknown, 1), "does not fit this backbone"),
    ):
        save_peft(lora, tmp_path, made.backbone.fingerprint, "embedded", {})
        with pytest.raises(AdapterError, match=reason):
            import_adapter(made, tmp_path, SENTENCE)
        (tmp_path / WEIGHTS_FILE).unlink()


@pytest.mark.parametrize("weight", ["0.5", -0.1, 2, float("nan"), None, [0.5]])
def test_an_invalid_weight_counts_as_one(weight: object) -> None:
    assert weight_of({"weight": weight}) == 1 == weight_of({})
