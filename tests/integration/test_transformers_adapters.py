"""Adapters are written for transformers' CLIPModel and plain peft, and read back. The CLIPModel is small and random."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.hotswap import hotswap_adapter
from PIL import Image
from random_engines import random_engine
from repositories import make_model
from safetensors.torch import load_file
from tiny_models import CONTEXT, noise, random_lora, shaken, tiny_clip_config
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from core.backbones import load_backbone
from core.backbones.lora import Lora, LoraLayout
from core.backbones.open_clip import OpenClipBackbone
from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE, load_peft, save_peft
from core.backbones.transformers_names import CLASS, hub_model, transformers_name
from core.common.errors import AdapterError
from core.experts.adapter_files import PARTS, README_FILE, adapter_files, adapter_part, provenance, write_files
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest

SIDE, WIDTH, DIM = 48, 64, 32  # the sizes of tiny_clip


def blocks_of(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The weights of a tower's blocks under open_clip's names."""
    ours = {}
    pairs = {"attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    pairs |= {"ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    for i in range(layers):
        layer, block = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
        for x in ("weight", "bias"):
            ours[f"{block}.attn.in_proj_{x}"] = torch.cat([theirs[f"{layer}.self_attn.{p}_proj.{x}"] for p in "qkv"])
            ours |= {f"{block}.{own}.{x}": theirs[f"{layer}.{other}.{x}"] for own, other in pairs.items()}
    return ours


def same_weights(clip: CLIPModel) -> nn.Module:
    """An open_clip model with the weights of transformers' model."""
    config = tiny_clip_config()
    config["text_cfg"]["layers"] = 2
    model, theirs = open_clip.CLIP(**config), clip.state_dict()
    vision, text = (
        {k.removeprefix(tower): v for k, v in theirs.items() if k.startswith(tower)}
        for tower in ("vision_model.", "text_model.")
    )
    images = blocks_of(vision, 3)
    images["conv1.weight"] = vision["embeddings.patch_embedding.weight"]
    images["class_embedding"] = vision["embeddings.class_embedding"]
    images["positional_embedding"] = vision["embeddings.position_embedding.weight"]
    images["proj"] = theirs["visual_projection.weight"].T
    for norm, name in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")):
        images |= {f"{norm}.{x}": vision[f"{name}.{x}"] for x in ("weight", "bias")}
    words = blocks_of(text, 2) | {f"ln_final.{x}": text[f"final_layer_norm.{x}"] for x in ("weight", "bias")}
    words["token_embedding.weight"] = text["embeddings.token_embedding.weight"]
    words["positional_embedding"] = text["embeddings.position_embedding.weight"]
    words["text_projection"] = theirs["text_projection.weight"].T
    model.load_state_dict(words | {f"visual.{k}": v for k, v in images.items()} | {"logit_scale": theirs["logit_scale"]})
    return model


def transformers_clip() -> CLIPModel:
    """A small CLIPModel with random weights."""
    vision = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision |= {"image_size": SIDE, "patch_size": 16, "hidden_act": "gelu", "projection_dim": DIM}
    text = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"vocab_size": 49408, "max_position_embeddings": CONTEXT, "hidden_act": "gelu", "projection_dim": DIM}
    text |= {"bos_token_id": 49406, "eos_token_id": 49407}
    return shaken(lambda: CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIM)))


Pair = tuple[CLIPModel, OpenClipBackbone]


@pytest.fixture(scope="module", params=["photos", "texts"])
def either(request) -> Pair:
    """The same model in transformers and open_clip. Its LoRAs adapt photos, then texts."""
    clip, tokenizer = transformers_clip(), open_clip.SimpleTokenizer(context_length=CONTEXT)
    return clip, OpenClipBackbone("tiny", same_weights(clip), tokenizer, adapt=request.param)


def embeddings(clip: nn.Module, pixels: Tensor, tokens: Tensor) -> Tensor:
    """transformers' embeddings of the photos, then of the texts."""
    texts = clip.get_text_features(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    texts = texts if isinstance(texts, Tensor) else texts.pooler_output
    return torch.cat([images_of(clip, pixels), F.normalize(texts, dim=-1)])


def images_of(clip: nn.Module, pixels: Tensor) -> Tensor:
    features = clip.get_image_features(pixel_values=pixels)
    return F.normalize(features if isinstance(features, Tensor) else features.pooler_output, dim=-1)


@torch.no_grad()
def test_an_adapter_loads_with_plain_peft_into_transformers_clip(either: Pair, tmp_path: Path) -> None:
    clip, backbone = either
    pixels, texts = noise(3, 3, SIDE, SIDE, seed=5), ["two boats", "a dog in the snow"]
    activations, read = backbone.prefix(pixels, torch.float32), backbone.text_prefix(texts)
    tokens = open_clip.SimpleTokenizer(context_length=CONTEXT)(texts)

    def ours(lora: Lora | None = None) -> Tensor:
        return torch.cat([backbone.suffix(activations, lora), backbone.text_suffix(read, lora)])

    torch.testing.assert_close(embeddings(clip, pixels, tokens), ours(), atol=6e-5, rtol=0)
    lora = random_lora(backbone.layout, seed=1)
    save_peft(lora, tmp_path, backbone.fingerprint, "owner/clip", {}, CLASS, transformers_name)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert config["base_model_name_or_path"] == "owner/clip"
    assert config["auto_mapping"] == {"base_model_class": "CLIPModel", "parent_library": "transformers"}
    expected = ours(lora)
    assert (expected - ours()).abs().max() > 0.01
    adapted = PeftModel.from_pretrained(copy.deepcopy(clip), tmp_path).eval()
    torch.testing.assert_close(embeddings(adapted.get_base_model(), pixels, tokens), expected, atol=6e-5, rtol=0)
    # The files give the same LoRA back.
    back, _ = load_peft(tmp_path, backbone.layout.modules, backbone.fingerprint)
    assert torch.equal(back.vector(), lora.vector())


@pytest.mark.parametrize("either", ["photos"], indirect=True)
@torch.no_grad()
def test_what_peft_itself_writes_for_transformers_clip_comes_back(either: Pair, tmp_path: Path) -> None:
    clip, backbone = either
    # Without the prefix vision_model, peft would adapt the text tower's linears of the same names, too.
    config = LoraConfig(r=3, lora_alpha=6, target_modules=r"vision_model\..*\.[qkv]_proj", init_lora_weights=False)
    model = get_peft_model(copy.deepcopy(clip), config).eval()
    pixels = noise(2, 3, SIDE, SIDE, seed=6)
    expected = images_of(model.get_base_model(), pixels)
    model.save_pretrained(tmp_path)
    lora, origin = load_peft(tmp_path, backbone.layout.modules, backbone.fingerprint)
    torch.testing.assert_close(backbone.suffix(backbone.prefix(pixels, torch.float32), lora), expected, atol=6e-5, rtol=0)
    assert origin == {}


def test_the_model_on_the_hub_is_named(tmp_path: Path) -> None:
    assert hub_model({"spec": f"local-dir:{make_model(tmp_path / 'mine', 0)}"}) == "local-dir:mine", "without its path"
    assert hub_model({"spec": "ViT-B-16", "pretrained": "openai"}) == "openai/clip-vit-base-patch16"
    assert hub_model({"spec": "ViT-B-16-quickgelu", "pretrained": "openai"}) == "openai/clip-vit-base-patch16"
    assert hub_model({"spec": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}) == "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert hub_model({"spec": "ViT-B-32", "pretrained": "mine.pt"}) == "ViT-B-32"
    with pytest.raises(AdapterError, match="embedded"):
        hub_model({"spec": "embedded"})
    for other in ("ViT-B-16-SigLIP2", "MobileCLIP2-L-14", "ViT-L-14-CLIPA"):
        with pytest.raises(AdapterError, match=f"{other} is no CLIPModel"):
            hub_model({"spec": other, "pretrained": "mine.pt"})
    texts = {"pretrained": "mine.pt", "adapt": "texts"}
    assert hub_model({"spec": "ViT-B-16", **texts}) == "ViT-B-16"
    with pytest.raises(AdapterError, match="ViT-L-14-worldwide is no CLIPModel"):  # pools texts differently
        hub_model({"spec": "ViT-L-14-worldwide", **texts})


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
