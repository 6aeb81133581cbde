"""Adapters load with plain peft, and what peft writes for transformers' CLIPModel is read."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.utils.hotswap import hotswap_adapter
from PIL import Image
from random_engines import random_engine
from repositories import make_model
from safetensors.torch import load_file
from tiny_models import random_lora

from core.backbones import load_backbone
from core.backbones.lora import LoraLayout
from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE
from core.common.errors import AdapterError
from core.experts.adapter_files import PARTS, README_FILE, adapter_files, adapter_part, provenance, write_files
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest


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
def test_parts_of_adapters_add_up_and_swap_hot(kind: str, request, tmp_path: Path, monkeypatch) -> None:
    """The README's lines load an expert's part on the shared LoRA. peft swaps it for that of another sentence, k and seed."""
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "model", 1)
    embedded, words = kind == "embedded", ["a dog in the snow", "two boats"]
    backbone = request.getfixturevalue("backbone") if embedded else load_backbone("local-dir:model", adapt="texts")
    shared, engine = backbone.shared or random_lora(backbone.layout, 5, 0.1), random_engine(backbone)
    engine = replace(engine, repository=replace(engine.repository, shared=shared))
    asked = {"adapter": ("a photo of a dog", 1, 0.1, 0, 0.7), "other": ("a photo of the sea", 6, 0.1, 9, 0.7)}
    made = {name: engine.adapt(AdapterRequest(*request)) for name, request in asked.items()}
    for name, part in [("adapter", "shared"), *((name, part) for name in made for part in ("whole", "expert"))]:
        folder = tmp_path / {"expert": name, "shared": "shared", "whole": f"{name}-whole"}[part]
        write_files(folder, adapter_files(backbone, *adapter_part(engine, made[name], part)))
    for one, other in (("adapter", "other"), ("adapter-whole", "other-whole")):
        assert (tmp_path / one / CONFIG_FILE).read_text() == (tmp_path / other / CONFIG_FILE).read_text()
        files = [load_file(tmp_path / folder / WEIGHTS_FILE) for folder in (one, other)]
        assert len({str({key: tensor.shape for key, tensor in file.items()}) for file in files}) == 1
    exec("\n".join(re.findall(r"```python\n(.*?)```", Path("adapter", README_FILE).read_text(), re.DOTALL)), found := {})
    model, read = found["model"], backbone.text_prefix(words)
    for name, adaptation in made.items():
        hotswap_adapter(model, name, "default")
        expected = backbone.text_suffix(read, adaptation.lora)
        assert adaptation.fit.fits and (expected - backbone.text_suffix(read, shared)).abs().max() > 0.02
        torch.testing.assert_close(model.text(read), expected, atol=1e-3, rtol=0)


def test_parts_say_what_all_sentences_share(backbone) -> None:
    engine, shared = random_engine(backbone), backbone.shared
    asked = [AdapterRequest("photos of puppies in the snow"), AdapterRequest("quarterly tax returns", k=1, seed=3)]
    one, unfit = map(engine.adapt, asked)
    one = replace(one, own=random_lora(LoraLayout(backbone.layout.modules, 16), 1))
    parts = {part: adapter_part(engine, one, part) for part in PARTS}
    for part, (_, origin) in parts.items():
        facts = {"shared": {"rank": shared.ranks["text.mlp.1"], "sha256": shared.digest}, "expert": {"rank": 16}}
        assert (origin["part"], origin["parts"], "description" in origin) == (part, facts, part != "shared")
    for name, factors in parts["whole"][0].factors.items():
        rank = shared.ranks[name]
        assert torch.equal(factors.a[:rank], shared.factors[name].a)
        assert torch.equal(factors.b[:, :rank], shared.factors[name].b)
    assert len(adapter_files(backbone, *parts["expert"])[WEIGHTS_FILE]) < 120_000
    assert not unfit.fit.fits and not any(f.b.any() for f in adapter_part(engine, unfit, "expert")[0].factors.values())
    alone = replace(engine, repository=replace(engine.repository, shared=None))
    for made_by, part, reason in ((alone, "expert", "no shared LoRA"), (engine, "half", "one of whole, expert, shared")):
        with pytest.raises(AdapterError, match=reason):
            adapter_part(made_by, one, part)
