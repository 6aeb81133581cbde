"""``adapt --format transformers``: plain peft loads the adapter into transformers' CLIPModel, which then embeds as we do. The
CLIPModel is small and random."""

import json
import re
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from command_line import Run
from peft import PeftModel
from repositories import make_repository
from safetensors.torch import save_file
from small_families import FAMILIES
from tiny_models import CONTEXT, noise, random_lora, shaken, tiny_clip_config
from torch import Tensor, nn

from core.backbones import load_backbone
from core.backbones.lora import Lora, LoraLayout
from core.backbones.transformers_names import clip_model
from core.common.errors import AdapterError
from core.common.paths import ROOT
from core.experts.adapter_files import adapter_files

transformers = pytest.importorskip("transformers")
SIDE, WIDTH, DIM = 48, 64, 32  # the sizes of tiny_clip
TEXTS = ["two boats", "a dog in the snow"]


def blocks_of(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The weights of a tower's blocks under open_clip's names, where q, k and v are one matrix."""
    ours = {}
    pairs = {"attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    pairs |= {"ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    for i in range(layers):
        layer, block = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
        for x in ("weight", "bias"):
            ours[f"{block}.attn.in_proj_{x}"] = torch.cat([theirs[f"{layer}.self_attn.{p}_proj.{x}"] for p in "qkv"])
            ours |= {f"{block}.{own}.{x}": theirs[f"{layer}.{other}.{x}"] for own, other in pairs.items()}
    return ours


def same_weights(clip: nn.Module) -> dict[str, Tensor]:
    """The weights of transformers' model as open_clip names them."""
    theirs = clip.state_dict()
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
    return words | {f"visual.{k}": v for k, v in images.items()} | {"logit_scale": theirs["logit_scale"]}


@pytest.fixture(scope="module")
def clip() -> nn.Module:
    """A small CLIPModel with random weights."""
    vision = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision |= {"image_size": SIDE, "patch_size": 16, "hidden_act": "gelu", "projection_dim": DIM}
    text = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"vocab_size": 49408, "max_position_embeddings": CONTEXT, "hidden_act": "gelu", "projection_dim": DIM}
    text |= {"bos_token_id": 49406, "eos_token_id": 49407}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIM)
    return shaken(lambda: transformers.CLIPModel(config))


@pytest.fixture(scope="module")
def folder(clip: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model for open_clip, and the CLIPModel beside it."""
    folder, config = tmp_path_factory.mktemp("models"), tiny_clip_config()
    config["text_cfg"]["layers"] = 2
    (folder / "tiny").mkdir()
    (folder / "tiny" / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    weights = {name: tensor.contiguous() for name, tensor in same_weights(clip).items()}
    save_file(weights, folder / "tiny" / "open_clip_model.safetensors")
    clip.save_pretrained(folder / "local-dir:tiny")
    return folder


def unit(features: object) -> Tensor:
    return F.normalize(features if isinstance(features, Tensor) else features.pooler_output, dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("adapt", ["photos", "texts"])
def test_peft_loads_it_into_clip_model_which_embeds_as_we_do(
    adapt: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All linears of one side: q, k, v and the output of attention, both of the MLP, and the projection. By the README."""
    monkeypatch.chdir(folder)
    backbone = load_backbone("local-dir:tiny", adapt=adapt)
    pixels, tokens = noise(3, 3, SIDE, SIDE, seed=5), open_clip.SimpleTokenizer(context_length=CONTEXT)(TEXTS)
    photos, texts = backbone.prefix(pixels, torch.float32), backbone.text_prefix(TEXTS)

    def ours(lora: Lora | None = None) -> Tensor:
        on = {adapt: lora}
        return torch.cat([backbone.suffix(photos, on.get("photos")), backbone.text_suffix(texts, on.get("texts"))])

    def theirs(model: nn.Module) -> Tensor:
        words = model.get_text_features(input_ids=tokens, attention_mask=torch.ones_like(tokens))
        return torch.cat([unit(model.get_image_features(pixel_values=pixels)), unit(words)])

    lora = random_lora(LoraLayout.of(backbone.linears, list(backbone.linears), 2), 1, 0.1)
    assert len(lora.modules) == (18 if adapt == "photos" else 13)
    origin = {"backbone": "local-dir:tiny", "backbone_fingerprint": backbone.fingerprint}
    files = adapter_files(backbone, lora, origin, for_transformers=True)
    (tmp_path / "adapter").mkdir()
    for name, content in files.items():
        (tmp_path / "adapter" / name).write_bytes(content)
    Path("adapter").unlink(missing_ok=True)
    Path("adapter").symlink_to(tmp_path / "adapter")
    (lines,) = re.findall(r"```python\n(.*?)```", files["README.md"].decode(), re.DOTALL)
    exec(lines, found := {})
    assert isinstance(found["model"], PeftModel) and (ours(lora) - ours()).abs().max() > 0.01
    torch.testing.assert_close(theirs(found["model"].get_base_model()), ours(lora), atol=6e-5, rtol=0)
    config = json.loads(files["adapter_config.json"])
    assert config["base_model_name_or_path"] == "local-dir:tiny"
    assert config["auto_mapping"] == {"base_model_class": "CLIPModel", "parent_library": "transformers"}
    assert not any("text" in name for name in config["target_modules"]) or adapt == "texts"


def test_the_command_writes_it(run: Run, tmp_path: Path) -> None:
    out, experts = tmp_path / "out", make_repository(tmp_path, 1)
    code, _, err = run("adapt", "photos of boats", "--experts", experts, "--format", "transformers", "--out", out)
    assert code == 0, err
    names = json.loads((out / "adapter_config.json").read_text())["target_modules"]
    assert names[0] == "vision_model.encoder.layers.1.self_attn.q_proj" and len(names) == 6


def test_other_models_are_rejected_with_the_list_of_those_that_fit(run: Run, tmp_path: Path) -> None:
    listed = re.search(r"`CLIPModel`.*?:\n((?:.*`ViT-.*\n)+)", (ROOT / "docs" / "reproduce.md").read_text())
    fit = re.findall(r"`(ViT-[\w-]+)`", listed[1])
    assert {"ViT-B-32", "ViT-H-14"} <= set(fit)
    code, _, err = run("adapt", "photos of boats", "--format", "transformers", "--out", tmp_path / "out")
    named = re.search(r"embedded is no CLIPModel of transformers. These are, with any weights: (.*)\.", err)
    assert code == 1 and named is not None
    # other tests add models of their own to open_clip's list, for as long as the process lives
    shipped = {path.stem for path in (Path(open_clip.__file__).parent / "model_configs").iterdir()}
    assert [name for name in named[1].split(", ") if name in shipped] == fit
    others = [name for name in FAMILIES.values() if name not in ("ViT-B-16", "ViT-B-16-quickgelu")]
    for name in (*others, "RN50", "coca_ViT-B-32", "EVA02-B-16", "ViT-M-16-alt", "xlm-roberta-base-ViT-B-32"):
        with pytest.raises(AdapterError, match=f"{name} is no CLIPModel"):
            clip_model({"spec": name, "pretrained": None})


def test_the_repository_of_the_weights_is_named() -> None:
    assert clip_model({"spec": "ViT-B-16-quickgelu", "pretrained": "openai"}) == "openai/clip-vit-base-patch16"
    assert clip_model({"spec": "ViT-L-14-336", "pretrained": "openai"}) == "openai/clip-vit-large-patch14-336"
    assert clip_model({"spec": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}) == "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    for pretrained in ("mine.pt", "metaclip_400m", None):
        assert clip_model({"spec": "ViT-B-32", "pretrained": pretrained}) == "ViT-B-32"
