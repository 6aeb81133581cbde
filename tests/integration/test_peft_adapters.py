"""Adapters load with plain peft."""

import copy
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from peft.utils.hotswap import hotswap_adapter
from PIL import Image
from random_engines import random_engine
from repositories import make_model
from tiny_models import random_lora, tiny_backbone

from core.backbones import load_backbone
from core.backbones.lora import LoraLayout
from core.common.errors import AdapterError
from core.experts.adapter_files import (
    EXPERT,
    README_FILE,
    SHARED,
    adapter_files,
    adapter_part,
    provenance,
    save_adapter,
    write_files,
)
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest

WORDS = ["a dog in the snow", "two boats"]


@pytest.mark.parametrize("kind", ["embedded", "embedded, photos", "embedded, both", "open_clip", "open_clip, texts"])
@torch.no_grad()
def test_the_lines_in_the_readme_run_for_either_side(kind: str, request, tmp_path, monkeypatch, capsys) -> None:
    """The lines print the scores of a model whose weights have the file's adapter merged."""
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "model", 1)
    if kind.startswith("open_clip"):
        texts = kind.endswith("texts")
        backbone = load_backbone("local-dir:model", adapt_blocks=1 if texts else 2, adapt="texts" if texts else "photos")
    else:
        backbone = request.getfixturevalue("backbone").adapting("texts" if kind == "embedded" else "photos")
    engine = random_engine(backbone)
    layout = LoraLayout(tuple(backbone.linears.values()), 2) if kind.endswith("both") else backbone.layout
    own = random_lora(layout, 1, 0.1 if kind.endswith("both") else 0.3)
    adaptation = replace(engine.adapt(AdapterRequest("photos of people surfing")), lora=engine.repository.with_shared(own))
    write_files(Path("adapter"), adapter_files(engine.backbone, adaptation.lora, provenance(engine, adaptation)))
    assert [file.name for file in Path("adapter").iterdir() if str(tmp_path).encode() in file.read_bytes()] == []
    grey = np.random.default_rng(0).normal(128, 80, (60, 90)).clip(0, 255).astype(np.uint8)  # Pillow's noise has no seed
    Image.fromarray(grey).convert("RGB").save("photo.jpg")
    readme = (Path("adapter") / README_FILE).read_text()
    data = ModelCard(readme).data
    assert (data.library_name, data.pipeline_tag) == ("peft", "zero-shot-image-classification") and "lora" in (data.tags or ())
    embedded = kind.startswith("embedded")
    assert (data.base_model, data.license) == (("sg-lora-studio", "apache-2.0") if embedded else (None, "other"))
    exec("\n".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL)), found := {})
    said = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())}
    photo, read = found["photo"], backbone.text_prefix(found["words"])
    expected = {"zero-shot": float(backbone.suffix(photo) @ backbone.text_suffix(read).T)}
    merged = copy.deepcopy(backbone.adapted)
    for name, factors in adaptation.lora.factors.items():
        merged.get_submodule(name).weight += factors.b @ factors.a
    maps = backbone.adapting("photos").prefix(found["pixels"]) if engine.mixes else photo
    images = merged.vision(maps.float()) if adaptation.lora.moves_photos else backbone.suffix(photo)
    adapted = float(images @ (read if kind == "open_clip" else merged.text(read)).T)
    expected |= {"adapted": adapted, "with peft": adapted}
    if engine.mixes:
        expected["mixed"] = (1 - DEFAULT_WEIGHT) * expected["zero-shot"] + DEFAULT_WEIGHT * adapted
    assert said == pytest.approx(expected, abs=2e-3)
    assert abs(expected["adapted"] - expected["zero-shot"]) > 0.01, "the adapter must change the score"


@pytest.mark.parametrize("kind", ["embedded", "open_clip"])
@torch.no_grad()
def test_adapters_of_all_sentences_share_their_first_rows_and_swap_hot(kind: str, request, tmp_path, monkeypatch) -> None:
    """For any sentence, k and seed."""
    backbone = request.getfixturevalue("backbone") if kind == "embedded" else tiny_backbone(adapt="texts")
    shared, engine = backbone.shared or random_lora(backbone.layout, 5, 0.1), random_engine(backbone)
    engine = replace(engine, repository=replace(engine.repository, shared=shared))
    asked = {"one": ("a photo of a dog", 1, 0.1, 0, 0.7), "other": ("a photo of the sea", 6, 0.1, 9, 0.7)}
    made = {name: engine.adapt(AdapterRequest(*request)) for name, request in asked.items()}
    for name, adaptation in made.items():
        origin = provenance(engine, adaptation)
        write_files(tmp_path / name, adapter_files(backbone, adaptation.lora, origin))
        ranks = {part: facts["rank"] for part, facts in origin["parts"].items()}
        for linear in adaptation.own.modules:
            a = adaptation.full.factors[linear.name].a
            assert len(a) == sum(ranks.values()) and torch.equal(a[: ranks["shared"]], shared.factors[linear.name].a)
    model = PeftModel.from_pretrained(copy.deepcopy(backbone.adapted), tmp_path / "one").eval()
    read = backbone.text_prefix(WORDS)
    for name, adaptation in made.items():
        hotswap_adapter(model, tmp_path / name, "default")
        expected = backbone.text_suffix(read, adaptation.lora)
        assert adaptation.fits and (expected - backbone.text_suffix(read, shared)).abs().max() > 0.02
        torch.testing.assert_close(model.text(read), expected, atol=1e-4, rtol=0)
    if kind == "open_clip":  # the README loads a model by its name, and this one has none
        return

    # The expert's part alone, as its README says.
    monkeypatch.chdir(tmp_path)
    for name, folder, part in (("one", "adapter", EXPERT), ("one", "shared", SHARED), ("other", "another", EXPERT)):
        save_adapter(engine, made[name], Path(folder), part)
    exec("\n".join(re.findall(r"```python\n(.*?)```", Path("adapter", README_FILE).read_text(), re.DOTALL)), found := {})
    for folder, name in (("adapter", "one"), ("another", "other")):
        hotswap_adapter(found["model"], folder, "default")
        torch.testing.assert_close(found["model"].text(read), backbone.text_suffix(read, made[name].lora), atol=1e-3, rtol=0)


def test_an_expert_that_does_not_fit_has_no_part_and_parts_need_a_shared_lora(backbone) -> None:
    engine = random_engine(backbone)
    unfit = engine.adapt(AdapterRequest("quarterly tax returns", k=1, seed=3))
    assert not unfit.fits and not any(f.b.any() for f in adapter_part(engine, unfit, EXPERT)[0].factors.values())
    assert "description" not in adapter_part(engine, unfit, SHARED)[1], "the same file for all sentences"
    alone = replace(engine, repository=replace(engine.repository, shared=None))
    for made_by, part, reason in ((alone, EXPERT, "no shared LoRA"), (engine, "half", "one of whole, expert, shared")):
        with pytest.raises(AdapterError, match=reason):
            adapter_part(made_by, unfit, part)
