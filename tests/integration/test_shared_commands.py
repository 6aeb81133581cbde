"""A backbone with a shared part: commands, adapter files, plain peft, and imported adapters."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Answer
from made_up_photos import blurred
from recalls import mixed
from tiny_models import random_lora

from app.actions import answering
from app.answers.question import Asked
from app.visitors.tab import Tab
from app.visitors.visitor import Visitor
from core.backbones.lora import Factors, Lora, LoraLayout, LoraModule
from core.backbones.lora_algebra import merge
from core.backbones.peft_format import WEIGHTS_FILE, load_peft, save_peft
from core.common.errors import AdapterError
from core.data.image_io import open_photo
from core.experts.adapter_files import weight_of
from core.experts.files import RepositoryIndex, load_repository, save_repository
from core.experts.own import OwnExperts, import_adapter
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SENTENCE = "photos of people surfing"
PHOTOS, WEIGHT = 12, 0.3


def test_a_repository_with_a_shared_part_of_its_own_keeps_it(engine: SGLora, tmp_path: Path) -> None:
    backbone = engine.backbone
    shared = random_lora(LoraLayout(engine.repository.layout.modules, 3), 5, 0.1)
    save_repository(replace(engine.repository, fingerprint=backbone.fingerprint, shared=shared), tmp_path)
    read = load_repository(tmp_path, backbone.layout, backbone.fingerprint, backbone.shared)
    assert RepositoryIndex.read(tmp_path).shared_rank == 3 and read.shared is not None
    torch.testing.assert_close(read.shared.vector(), shared.vector(), atol=1e-3, rtol=1e-3)  # the file holds float16
    assert not replace(engine, repository=read).adapt(AdapterRequest(SENTENCE)).lora.moves_photos


def test_library_captions_lose_their_popularity(engine: SGLora, answer: Answer, tmp_path: Path) -> None:
    photos, library, adapter = (tmp_path / name for name in ("photos", "library", "adapter"))
    paths = blurred(photos, [f"{i:02}.jpg" for i in range(PHOTOS)], 1)
    lines = [json.dumps({"image": path.name, "captions": [f"photo number {i}", "a photo"]}) for i, path in enumerate(paths)]
    (photos / "captions.jsonl").write_text("\n".join(lines))
    answer("index", photos, "--library", library)
    answer("adapt", SENTENCE, "--strength", WEIGHT, "--out", adapter)
    found = answer("search", paths[0], "--library", library, "--adapter", adapter, "--top", 100)["rankings"]["adapter"]
    backbone, texts = engine.backbone, [hit["caption"] for hit in found]
    lora, _ = load_peft(adapter, backbone.linears.values(), backbone.fingerprint)
    prefixes = torch.cat([backbone.prefix(backbone.pixels(open_photo(path))[None]) for path in paths])
    scores = mixed(backbone, prefixes, texts, lora, WEIGHT).numpy()
    less = scores[0] - np.log(np.exp(20 * scores).sum(0)) / 20
    assert len(texts) == PHOTOS + 1
    np.testing.assert_allclose(less, np.sort(less)[::-1], atol=5e-3)
    np.testing.assert_allclose([hit["score"] for hit in found], less, atol=5e-3)


def test_a_factor_of_the_last_backbone_is_full_strength_here(engine: SGLora) -> None:
    tab, asked = Tab(Visitor()), Asked(request=AdapterRequest(SENTENCE, strength=1.5))
    answering.answer_again(engine, tab, asked)
    assert tab.adaptation is not None and tab.adaptation.strength == 1


# Imported adapters


def delta(lora: Lora) -> torch.Tensor:
    return torch.cat([lora.factors[name].delta.reshape(-1) for name in sorted(lora.factors)])


def test_an_imported_adapter_becomes_an_own_part_on_the_shared_part(engine: SGLora, tmp_path: Path) -> None:
    repository, layout = engine.repository, engine.repository.layout
    own = random_lora(layout, 3, 0.1)
    whole = merge([engine.backbone.shared, own], [1.0, 1.0])
    save_peft(whole, tmp_path / "whole", engine.backbone.fingerprint, "embedded", {})
    save_peft(whole.only(layout.modules), tmp_path / "texts", engine.backbone.fingerprint, "embedded", {})
    for name in ("whole", "texts"):
        files = {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        (entry,) = import_adapter(engine, files, SENTENCE, OwnExperts(engine.repository)).entries
        assert entry.expert.lost < 1e-4 and entry.rest is None
        got = repository.with_shared(Lora.from_vector(layout, entry.mean))
        torch.testing.assert_close(delta(got), delta(whole), atol=1e-4, rtol=1e-3)


def test_imported_adapters_that_do_not_fit_are_refused(engine: SGLora, tmp_path: Path) -> None:
    shared, name = engine.backbone.shared, "vision.blocks.1.mlp.0"
    bent = Lora(shared.modules, dict(shared.factors) | {name: Factors(shared.factors[name].a, -shared.factors[name].b)})
    half = shared.only([m for m in shared.modules if m.name != "text.mlp.1"])
    block = LoraModule("vision.blocks.9.mlp.0", 256, 1024)  # the head has three blocks
    unknown = LoraLayout((engine.backbone.linears["text.mlp.1"], engine.backbone.linears["text.mlp.3"], block), 2)
    for lora, reason in (
        (bent, "changes photos in another way"),
        (half, "does not adapt text.mlp.1"),
        (random_lora(unknown, 1), "does not fit this backbone"),
    ):
        save_peft(lora, tmp_path, engine.backbone.fingerprint, "embedded", {})
        with pytest.raises(AdapterError, match=reason):
            files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
            import_adapter(engine, files, SENTENCE, OwnExperts(engine.repository))
        (tmp_path / WEIGHTS_FILE).unlink()


@pytest.mark.parametrize("weight", ["0.5", -0.1, 2, float("nan"), None, [0.5]])
def test_an_invalid_weight_counts_as_one(weight: object) -> None:
    assert weight_of({"weight": weight}) == 1 == weight_of({})
