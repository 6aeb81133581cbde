"""Each open_clip model family that docs/reproduce.md lists as working, as a small model with random weights."""

import json

import open_clip
import pytest
import torch
from made_up_photos import shapes
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from small_families import FAMILIES, SmallModel, small_model
from tiny_models import noise, random_lora
from torch import nn

from core.backbones import load_backbone
from core.backbones.lora import Lora
from core.backbones.open_clip import load_open_clip
from core.backbones.open_clip_export import weight_of
from core.common.errors import BackboneError


@pytest.fixture(scope="module", params=FAMILIES)
def small(request, tmp_path_factory) -> SmallModel:
    return small_model(FAMILIES[request.param], tmp_path_factory.mktemp("family"))


def merged(model: nn.Module, lora: Lora) -> None:
    for name, factors in lora.factors.items():
        weight_of(model, name).add_(factors.delta)


@torch.no_grad()
def test_split_towers_equal_merged_open_clip_weights(small: SmallModel) -> None:
    backbone = load_backbone(small.name, str(small.weights))
    pixels = noise(2, 3, 48, 48, seed=1)
    original = small.original
    zero_shot = original.encode_image(pixels, normalize=True)
    torch.testing.assert_close(backbone.suffix(backbone.prefix(pixels, torch.float32)), zero_shot, atol=2e-5, rtol=0)
    assert backbone.prefix_shape == tuple(backbone.prefix(pixels).shape[1:])
    lora = random_lora(backbone.layout, 5, 0.1)
    before = {name: value.clone() for name, value in original.state_dict().items()}
    merged(original, lora)
    expected = original.encode_image(pixels, normalize=True)
    original.load_state_dict(before)
    assert (expected - zero_shot).abs().max() > 1e-3
    tokens = backbone.prefix(pixels, torch.float32)
    torch.testing.assert_close(backbone.suffix(tokens, lora), expected, atol=2e-5, rtol=0)
    # Tokens include their positions, so patches may come in any order. Special tokens keep their places.
    turned = torch.arange(backbone.adapted.patches).flip(0)
    torch.testing.assert_close(backbone.adapted.vision(tokens, lora, turned), expected, atol=2e-5, rtol=0)


@torch.no_grad()
def test_a_lora_of_texts_equals_one_merged_into_the_librarys(small: SmallModel) -> None:
    backbone = load_backbone(small.name, str(small.weights), adapt="texts")
    texts = ["a dog in the snow", "two boats", "", "people who walk along a very long beach at night " * 3]
    tokens = open_clip.get_tokenizer(small.name)(texts)
    original = small.original
    zero_shot = original.encode_text(tokens, normalize=True)
    read = backbone.text_prefix(texts)
    torch.testing.assert_close(backbone.text_suffix(read), zero_shot, atol=1e-5, rtol=0)
    torch.testing.assert_close(backbone.encode_sentence(texts), zero_shot, atol=1e-5, rtol=0)
    assert {name.split(".")[2] for name in backbone.layout.names if "blocks" in name} == {"1", "2"}, "the last two of three"
    lora = random_lora(backbone.layout, 5, 0.1)
    assert len(lora.modules) == 2 * 6 + (getattr(original, "text", original).text_projection is not None)
    before = {name: value.clone() for name, value in original.state_dict().items()}
    merged(original, lora)
    expected = original.encode_text(tokens, normalize=True)
    original.load_state_dict(before)
    assert (expected - zero_shot).abs().max() > 1e-2
    torch.testing.assert_close(backbone.text_suffix(read, lora), expected, atol=2e-5, rtol=0)
    with torch.enable_grad():  # with gradients, as in training, attention uses other code
        vector = lora.vector().requires_grad_()
        trained = backbone.adapted.text(read, Lora.from_vector(backbone.layout, vector))
        torch.testing.assert_close(trained, expected, atol=2e-5, rtol=0)
        trained.sum().backward()
    assert all(f.a.abs().sum() > 0 for f in Lora.from_vector(backbone.layout, vector.grad).factors.values())


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-32-SigLIP2-256", "MobileCLIP2-B"])
def test_checkpoint_files_preprocess_like_published_weights(name, tmp_path, monkeypatch) -> None:
    """A weights file does not say how to prepare photos. The published tags of its model do."""
    small = small_model(name, tmp_path)
    tags = open_clip.list_pretrained_tags_by_model(name)
    usual = open_clip.get_pretrained_cfg(name, tags[0])
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, small.name, dict.fromkeys(tags, usual))
    backbone = load_open_clip(small.name, str(small.weights))
    keys = ("mean", "std", "interpolation", "resize_mode")
    prepare = image_transform_v2(PreprocessCfg(size=48, **{key: usual[key] for key in keys}), is_train=False)
    photo = Image.open(tmp_path / "photos" / shapes(tmp_path / "photos", 1)[0].file).convert("RGB").resize((90, 60))
    assert torch.equal(backbone.pixels(photo), prepare(photo))


def test_a_tokenizer_that_cannot_be_had(tmp_path, monkeypatch) -> None:
    """SigLIP's tokenizer comes from the hub, wherever the weights come from."""
    from huggingface_hub import constants

    small = small_model("ViT-B-32-SigLIP2-256", tmp_path)
    config = json.loads((tmp_path / f"{small.name}.json").read_text())
    config["text_cfg"]["hf_tokenizer_name"] = "timm/ViT-B-32-SigLIP2-256"
    (tmp_path / "with-tokenizer.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "with-tokenizer.json")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BackboneError, match=r"The tokenizer of with-tokenizer .*local-dir:FOLDER"):
        load_backbone("with-tokenizer", str(small.weights))
