"""``export open-clip``: open_clip loads the model, and embeds as the backbone does with the adapter."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from command_line import Run
from small_families import FAMILIES, small_model
from tiny_models import noise, random_lora

from core.backbones import load_backbone
from core.backbones.lora import LoraLayout
from core.backbones.peft_format import save_peft

TEXTS = ["two boats", "a dog in the snow"]


@torch.no_grad()
@pytest.mark.parametrize(("family", "adapt"), [(family, "photos") for family in FAMILIES] + [(f, "texts") for f in FAMILIES])
def test_open_clip_embeds_as_the_backbone(family: str, adapt: str, tmp_path: Path, run: Run) -> None:
    small = small_model(FAMILIES[family], tmp_path)
    backbone = load_backbone(small.name, str(small.weights), adapt=adapt)
    layout = LoraLayout.of(backbone.linears, list(backbone.linears), 2)  # all linears, not only the usual ones
    lora = random_lora(layout, 1, 0.1)
    save_peft(lora, tmp_path / "adapter", backbone.fingerprint, small.name, {})
    options = ["--backbone", small.name, "--pretrained", small.weights, "--adapt", adapt]
    code, out, err = run("export", "open-clip", "--adapter", tmp_path / "adapter", "--out", tmp_path / "out", *options)
    assert code == 0 and "open_clip_model.safetensors" in out, err

    model, name = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval(), f"local-dir:{tmp_path / 'out'}"
    pixels, tokens = noise(2, 3, 48, 48), open_clip.get_tokenizer(name)(TEXTS)
    photos = F.normalize(model.encode_image(pixels), dim=-1)
    texts = F.normalize(model.encode_text(tokens), dim=-1)
    ours_photos = backbone.suffix(backbone.prefix(pixels, torch.float32), lora if adapt == "photos" else None)
    ours_texts = backbone.encode_text(TEXTS, lora if adapt == "texts" else None)
    torch.testing.assert_close(photos, ours_photos, atol=5e-5, rtol=0)
    torch.testing.assert_close(texts, ours_texts, atol=5e-5, rtol=0)
    changed, plain = (
        (photos, backbone.suffix(backbone.prefix(pixels))) if adapt == "photos" else (texts, backbone.encode_text(TEXTS))
    )
    assert (changed - plain).abs().max() > 1e-2
    again = load_backbone(name, adapt=adapt)
    assert again.framing == backbone.framing and torch.equal(torch.as_tensor(again.mean), torch.as_tensor(backbone.mean))


def test_what_cannot_be_exported(run: Run, tmp_path: Path) -> None:
    export = ("export", "open-clip", "--adapter", tmp_path / "dogs", "--out")
    run("adapt", "photos of dogs", "--out", tmp_path / "dogs")
    code, _, err = run(*export, tmp_path / "out")
    assert code == 1 and "The embedded backbone is no open_clip model" in err and not (tmp_path / "out").exists()
    code, _, err = run(*export, tmp_path / "dogs")
    assert code == 1 and "holds other files and no open_clip model" in err
