"""One contract for all backbones, and tests for each of the two kinds."""

import copy
import json
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import open_clip
import pytest
import torch
from make_images import picture
from PIL import Image
from repositories import make_model
from safetensors.torch import save_file
from timm_lite0 import timm_map
from tiny_models import CONTEXT, noise, random_lora, tiny_backbone, tiny_clip, tiny_clip_config
from torch import Tensor

from app.server.errors import without_paths
from core.backbones import load_backbone
from core.backbones.attention import PROJECTIONS
from core.backbones.base import Backbone, TwoTowers
from core.backbones.embedded import load_embedded, save_heads
from core.backbones.heads import HeadsConfig, TextHead, VisionHead
from core.backbones.lora import Lora, LoraLayout
from core.backbones.open_clip import OpenClipBackbone
from core.backbones.vit import AdaptedTower, PlainViT
from core.common.errors import AdapterError, BackboneError
from core.common.paths import heads_path

# Variants that change the arithmetic between the patches and the embedding. ``test_families.py`` has more.
TOWERS = {
    "tok": {},
    "avg": {"pool_type": "avg", "adapt_blocks": 2},
    "layer-scale-quick": {"ls_init_value": 0.5, "quick_gelu": True},
    "not square": {"image_size": (32, 64)},
    "texts": {"adapt": "texts"},
}

KINDS = ["embedded", "tok", "texts"]  # those with a text tower of their own
TEXTS = ["a dog in the snow", "two boats", "a market at night", "people on a beach"]
PHOTOS = [picture(number, (90 + 10 * number, 70)) for number in range(4)]


@dataclass(frozen=True)
class Case:
    """A backbone, photos for it, and a function that computes zero-shot embeddings without prefix and suffix."""

    backbone: Backbone
    pixels: Tensor
    direct: Callable[[Tensor], Tensor]


@pytest.fixture(scope="module", params=["embedded", "embedded, photos", *TOWERS])
def case(request) -> Case:
    if request.param.startswith("embedded"):
        backbone = load_embedded(heads_path(), torch.float32, "photos" if request.param.endswith("photos") else "texts")

        def direct(pixels: Tensor) -> Tensor:
            return backbone.adapted.vision(timm_map(pixels).flatten(2).transpose(1, 2))

    else:
        options = dict(TOWERS[request.param])
        adapt_blocks = options.pop("adapt_blocks", None)
        backbone = tiny_backbone(adapt_blocks=adapt_blocks, **options)
        options.pop("adapt", None)
        original = tiny_clip(**options)

        def direct(pixels: Tensor) -> Tensor:
            return original.encode_image(pixels, normalize=True)

    pixels = torch.stack([backbone.pixels(image) for image in PHOTOS])
    with torch.no_grad():
        return Case(backbone, pixels, torch.no_grad()(direct))


@pytest.mark.parametrize("case", KINDS, indirect=True)
def test_texts(case):
    texts = ["a dog in the snow", "two boats", "a dog in the snow"]
    for encode, width in (
        (case.backbone.encode_text, case.backbone.dim),
        (case.backbone.encode_sentence, case.backbone.sentence_dim),
    ):
        out = encode(texts)
        assert out.shape == (3, width) and out.dtype == torch.float32
        torch.testing.assert_close(out.norm(dim=-1), torch.ones(3))
        torch.testing.assert_close(out[0], out[2], atol=1e-5, rtol=0)
        assert (out[0] - out[1]).abs().max() > 1e-3
        torch.testing.assert_close(encode(texts[1:2])[0], out[1], atol=1e-5, rtol=0, msg="a text's batch changes nothing")
        assert encode([]).shape == (0, width)
        assert torch.isfinite(encode(["word " * 500, "", "日本 🐕"])).all(), (
            "long, empty and non-English texts are encoded, too"
        )


def test_photos(case):
    backbone = case.backbone
    assert case.pixels.dtype == torch.float32 and case.pixels.shape[:2] == (4, 3)
    prefix = backbone.prefix(case.pixels)
    assert prefix.shape == (4, *backbone.prefix_shape) and prefix.dtype == torch.float16
    out = backbone.suffix(prefix)
    assert out.shape == (4, backbone.dim) and out.dtype == torch.float32 and not out.requires_grad
    torch.testing.assert_close(out.norm(dim=-1), torch.ones(4))
    assert (out[0] - out[1]).abs().max() > 1e-3
    assert backbone.suffix(prefix[:0]).shape == (0, backbone.dim)
    torch.testing.assert_close(backbone.suffix(prefix[1:2]), out[1:2], atol=1e-5, rtol=0)
    many = backbone.suffix(torch.cat([prefix] * 40))
    torch.testing.assert_close(many, out.repeat(40, 1), atol=1e-5, rtol=0)
    for size in ((1, 1), (1, 3000), (3000, 2)):
        assert backbone.pixels(Image.new("RGB", size, "red")).shape == case.pixels.shape[1:]


def test_cached_prefix_is_close_to_the_direct_path(case):
    direct = case.direct(case.pixels)
    cached = case.backbone.suffix(case.backbone.prefix(case.pixels))
    assert (cached - direct).norm(dim=-1).max() < 2e-3
    if isinstance(case.backbone, OpenClipBackbone):
        exact = case.backbone.suffix(case.backbone.prefix(case.pixels, torch.float32))
        torch.testing.assert_close(exact, direct, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("case", ["embedded, photos", *TOWERS], indirect=True)
def test_every_linear_that_is_named_can_be_adapted(case):
    backbone = case.backbone
    lora = random_lora(LoraLayout(tuple(backbone.linears.values()), 2), 7, 0.1)
    merged = copy.deepcopy(backbone.adapted)
    for name, factors in lora.factors.items():
        merged.get_submodule(name).weight += factors.b @ factors.a
    prefix, read = backbone.prefix(case.pixels[:2]), backbone.text_prefix(TEXTS)
    if lora.moves_photos:
        torch.testing.assert_close(backbone.suffix(prefix, lora), merged.vision(prefix.float()), atol=2e-5, rtol=0)
    if lora.moves_texts:
        torch.testing.assert_close(backbone.encode_text(TEXTS, lora), merged.text(read), atol=2e-5, rtol=0)
    for name in lora.factors:  # each factor alone must change the output
        alone = Lora((backbone.linears[name],), {name: lora.factors[name]})
        photos = name.startswith("vision.")
        suffix, given = (backbone.suffix, prefix) if photos else (backbone.text_suffix, read)
        assert (suffix(given, alone) - suffix(given)).abs().max() > 1e-5, name


@pytest.mark.parametrize("case", [*KINDS, "embedded, photos"], indirect=True)
def test_threads_with_different_loras_do_not_meet(case):
    backbone = case.backbone
    given, suffix = backbone.prefix(case.pixels), backbone.suffix
    if backbone.layout.moves_texts:
        given, suffix = backbone.text_prefix(TEXTS), backbone.text_suffix
    loras = [None, *(random_lora(backbone.layout, seed) for seed in range(1, 6))]
    alone = [suffix(given, lora) for lora in loras]
    assert all((a - alone[0]).abs().max() > 1e-3 for a in alone[1:])
    jobs = [i % len(loras) for i in range(10 * len(loras))]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: suffix(given, loras[i]), jobs))
    for i, out in zip(jobs, together, strict=True):
        torch.testing.assert_close(out, alone[i], atol=1e-5, rtol=0)


# embedded


@torch.no_grad()
def test_fast_arithmetic_is_close_to_float32():
    """The head is in bfloat16, also on a CPU without native bfloat16."""
    rounded = load_embedded(heads_path(), torch.bfloat16)
    pixels = torch.stack([rounded.pixels(image) for image in PHOTOS])
    maps = timm_map(pixels).flatten(2).transpose(1, 2)
    exact = rounded.adapted.vision(maps)
    assert (rounded.suffix(rounded.prefix(pixels)) * exact).sum(-1).min() > 0.9999
    assert (rounded.embedded(maps) * exact).sum(-1).min() > 0.9999
    assert (rounded.embedded(maps) - exact).abs().max() > 1e-6, "the head is in bfloat16"
    paper = rounded.adapting("photos")
    lora = random_lora(paper.layout, 1, 0.1)
    changed = rounded.adapted.vision(maps, lora) - exact
    assert changed.norm(dim=-1).min() > 0.1
    torch.testing.assert_close(paper.suffix(maps, lora) - paper.suffix(maps), changed, atol=0.02, rtol=0)


def test_batches_and_threads_change_scores_by_rounding_only():
    """Photos arrive singly or in batches, and the number of free cores varies. Scores differ by rounding only."""
    rounded = load_embedded(heads_path(), torch.bfloat16)
    pixels = torch.stack([rounded.pixels(image) for image in PHOTOS])
    prefix = rounded.prefix(pixels)
    out, threads = rounded.suffix(prefix), torch.get_num_threads()
    try:
        for number, size in ((1, 1), (2, 3), (2, 1)):
            torch.set_num_threads(number)
            again = torch.cat([rounded.prefix(part) for part in pixels.split(size)])
            assert (rounded.suffix(again) * out).sum(-1).min() > 0.9999
    finally:
        torch.set_num_threads(threads)


def test_embedded_refuses_missing_and_damaged_heads(tmp_path):
    with pytest.raises(BackboneError, match=r"gone\.safetensors are missing"):
        load_embedded(tmp_path / "gone.safetensors")
    path = tmp_path / "heads.safetensors"
    config = HeadsConfig(width=32, depth=1, heads=2)
    save_heads(VisionHead(config), TextHead(config), path, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BackboneError, match=r"heads\.safetensors is damaged"):
        load_embedded(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(BackboneError, match=r"heads\.safetensors is damaged"):
        load_embedded(path)


# open_clip


@pytest.mark.parametrize(
    ("name", "parameters", "dim"),
    [
        ("ViT-B-16", 110_592, 512),  # the paper's model
        ("ViT-SO400M-16-SigLIP2-384", 373_248, 1152),
        ("MobileCLIP2-B", 110_592, 512),
    ],
)
def test_lora_size_of_full_models(name, parameters, dim):
    config = open_clip.get_model_config(name)
    with torch.device("meta"):  # shapes only, no weights
        custom = config.pop("custom_text", False)
        model = open_clip.CustomTextCLIP(**config) if custom else open_clip.CLIP(**config)
        tower = AdaptedTower(PlainViT.of(model.visual))
    linears = TwoTowers(torch.nn.Identity(), tower, tower.patches).linears("vision.blocks.")
    usual = [name for name in linears if name.endswith(PROJECTIONS)]
    sizes = [LoraLayout.of(linears, usual, rank).size for rank in (2, 4)]
    assert sizes == [parameters, 2 * parameters] and tower.dim == dim and len(usual) == 3 * len(tower.blocks)


def test_adapted_blocks_keep_their_number():
    names = [m.name for m in tiny_backbone(adapt_blocks=1).layout.modules]
    assert names == ["vision.blocks.2.attn.q_proj", "vision.blocks.2.attn.k_proj", "vision.blocks.2.attn.v_proj"]
    for wrong in (0, 4, -1):
        with pytest.raises(BackboneError, match=f"adapt_blocks is {wrong}"):
            tiny_backbone(adapt_blocks=wrong)
    with pytest.raises(BackboneError, match="adapt_blocks is 2: this text tower has 1 to 1"):
        tiny_backbone(adapt_blocks=2, adapt="texts")


def test_a_model_that_adapts_texts_keeps_the_embeddings_of_photos():
    photos, texts = tiny_backbone(), tiny_backbone(adapt="texts")
    assert texts.fingerprint == photos.fingerprint and texts.prefix_key != photos.prefix_key
    assert texts.sentence_key == photos.sentence_key == photos.text_key and texts.text_key is None
    assert (texts.slug, texts.choice) == ("tiny-texts", {**photos.choice, "adapt": "texts"})
    pixels = noise(2, 3, 48, 48)
    kept = texts.prefix(pixels)
    assert kept.shape == (2, texts.dim) and kept.dtype == torch.float16
    changes_texts = random_lora(texts.layout, 1)
    torch.testing.assert_close(texts.suffix(kept, changes_texts), photos.suffix(photos.prefix(pixels)), atol=2e-3, rtol=0)
    torch.testing.assert_close(texts.encode_text(TEXTS), photos.encode_text(TEXTS), atol=1e-5, rtol=0)
    parts = ["attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj", "mlp.c_fc", "mlp.c_proj"]
    assert set(texts.layout.names) == {*(f"text.blocks.0.{part}" for part in parts), "text.projection"}
    for backbone, other, suffix in ((texts, photos, texts.suffix), (photos, texts, photos.text_suffix)):
        lora, side = random_lora(other.layout, 1), "photos" if backbone is texts else "texts"
        with pytest.raises(AdapterError, match=f"start it with --adapt {side}"):
            suffix(torch.zeros(1, 32), lora)


def test_open_clip_fingerprint():
    base = tiny_backbone().fingerprint
    assert base == tiny_backbone().fingerprint and len(base) == 16
    model = tiny_clip()
    with torch.no_grad():
        model.visual.transformer.resblocks[1].attn.in_proj_weight[0, 0] += 1e-3
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT)
    others = [
        OpenClipBackbone("tiny", model, tokenizer),
        tiny_backbone(adapt_blocks=2),  # prefixes end one block earlier or later
        tiny_backbone(quick_gelu=True),
        tiny_backbone(head_width=32),
        tiny_backbone(pool_type="avg"),
        tiny_backbone(seed=1),
    ]
    assert len({base, *(other.fingerprint for other in others)}) == 7


@pytest.mark.parametrize(
    ("options", "reason"), [({"pool_type": "none"}, "none pooling"), ({"qk_norm": True}, "custom attention blocks")]
)
def test_other_towers_are_refused(options, reason):
    with pytest.raises(BackboneError, match=f"Only plain ViT.*{reason}"):
        tiny_backbone(**options)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("RN50", "not ModifiedResNet"),
        ("coca_ViT-B-32", "attention pooling"),
        ("EVA02-B-16", "not timm's Eva"),
        ("MobileCLIP2-S2", "not timm's FastVit"),
        ("xlm-roberta-base-ViT-B-32", "not xlm-roberta-base"),
    ],
)
def test_other_towers_are_refused_by_name_before_weights_are_loaded(name, why):
    with pytest.raises(BackboneError, match=f"Only plain .* towers .*are supported, .*{why}"):
        load_backbone(name)


def test_weights_that_are_not_finite_are_refused():
    model = tiny_clip()
    with torch.no_grad():
        model.visual.ln_post.bias[3] = float("nan")
    with pytest.raises(BackboneError, match=r"visual\.ln_post\.bias hold NaN"):
        OpenClipBackbone("tiny", model, open_clip.SimpleTokenizer(context_length=CONTEXT))


# loading by name


@pytest.fixture(scope="module")
def tiny_name(tmp_path_factory) -> str:
    """The name of a tiny model that open_clip knows by name, like ViT-B-16."""
    path = tmp_path_factory.mktemp("configs") / "tiny-vit-for-tests.json"
    path.write_text(json.dumps(tiny_clip_config()), encoding="utf-8")
    open_clip.add_model_config(path)
    return path.stem


def test_random_weights_are_always_the_same(tiny_name):
    state = torch.get_rng_state()
    first, again = load_backbone(tiny_name), load_backbone(tiny_name)
    assert torch.equal(torch.get_rng_state(), state), "loading must not change the caller's random state"
    assert first.fingerprint == again.fingerprint and first.name == tiny_name


def test_local_checkpoint(tiny_name, tmp_path):
    original, path = tiny_clip(7), tmp_path / "weights.pt"
    torch.save(original.state_dict(), path)
    backbone, pixels = load_backbone(tiny_name, str(path), adapt_blocks=2), noise(2, 3, 48, 48)
    with torch.no_grad():
        expected = original.encode_image(pixels, normalize=True)
    torch.testing.assert_close(backbone.suffix(backbone.prefix(pixels, torch.float32)), expected, atol=1e-5, rtol=0)
    assert backbone.layout.modules[0].name == "vision.blocks.1.attn.q_proj"


@torch.no_grad()
def test_openais_own_archive(tiny_name, tmp_path):
    """TorchScript in half precision, with three sizes beside the weights."""
    original, pixels = tiny_clip(7, quick_gelu=True), noise(2, 3, 48, 48)
    archived = copy.deepcopy(original)
    archived.attn_mask = None
    for size in ("input_resolution", "context_length", "vocab_size"):
        vars(archived).pop(size, None)
        archived.register_buffer(size, torch.tensor(1))
    torch.jit.trace_module(archived, {"encode_image": pixels}).half().save(str(tmp_path / "ViT.pt"))
    backbone = load_backbone(tiny_name, str(tmp_path / "ViT.pt"))
    halved = original.half().float()  # the archive holds half precision
    torch.testing.assert_close(
        backbone.suffix(backbone.prefix(pixels, torch.float32)), halved.encode_image(pixels, normalize=True), atol=1e-5, rtol=0
    )


def test_a_pickle_that_looks_like_an_archive_is_not_run(tiny_name, tmp_path):
    class Harm:
        def __reduce__(self):
            return (tmp_path.joinpath("done").touch, ())

    path = tmp_path / "harm.pt"
    torch.save({"state_dict": Harm()}, path)
    for prefix in ("harm", "elsewhere"):
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{prefix}/constants.pkl", b"")
        with pytest.raises(BackboneError, match=r"harm\.pt does not load"):
            load_backbone(tiny_name, str(path))
        assert not (tmp_path / "done").exists()


def test_a_local_folder_has_its_weights(tmp_path):
    name = f"local-dir:{make_model(tmp_path / 'model', 7)}"
    with pytest.raises(BackboneError, match="brings its own weights"):
        load_backbone(name, "openai")
    (tmp_path / "model" / "open_clip_model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"must hold open_clip_config\.json and weights"):
        load_backbone(name)


@pytest.mark.parametrize(
    "text",
    [
        {"tokenizer_kwargs": {"trust_remote_code": True}, "hf_tokenizer_name": "mine"},
        {"tokenizer_kwargs": {"auto_map": {"AutoTokenizer": ["harm.Harm", None]}}, "hf_tokenizer_name": "mine"},
        {"tokenizer_kwargs": [["trust_remote_code", True]], "hf_tokenizer_name": "mine"},
        {"hf_tokenizer_name": "/somewhere/else"},
        {"hf_model_name": "../mine"},
        {"hf_tokenizer_name": "mine"},
    ],
)
def test_a_folder_runs_no_code_of_its_own(tmp_path, text):
    """The folder's tokenizer is a Python file. No configuration may run it, not even a harmless one."""
    config = tiny_clip_config()
    config["text_cfg"] = config["text_cfg"] | text
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    names = {"tokenizer_class": "Harm", "auto_map": {"AutoTokenizer": ["harm.Harm", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "harm.py").write_text(f"open({str(tmp_path / 'done')!r}, 'w').close()\nclass Harm: pass\n")
    save_file(tiny_clip(7).state_dict(), tmp_path / "open_clip_model.safetensors")
    with pytest.raises(BackboneError) as refused:
        load_backbone(f"local-dir:{tmp_path}")
    assert not (tmp_path / "done").exists()
    assert str(tmp_path.parent) not in without_paths(str(refused.value))


def test_invalid_configurations_are_rejected(tmp_path):
    for config in ([], {}, {"vision_cfg": 1, "text_cfg": 2}, {"vision_cfg": {}}):
        (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
        with pytest.raises(BackboneError):
            load_backbone(f"local-dir:{tmp_path}")


def test_damaged_and_foreign_checkpoints(tiny_name, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"visual.proj": torch.zeros(3, 3)}, path)
    with pytest.raises(BackboneError, match=r"weights\.safetensors does not load into tiny-vit-for-tests"):
        load_backbone(tiny_name, str(path))
    for damaged in (tmp_path / "cut.safetensors", tmp_path / "cut.pt"):
        damaged.write_bytes(b"\x80\x02" * 50)
        with pytest.raises(BackboneError, match=f"{damaged.name} does not load"):
            load_backbone(tiny_name, str(damaged))
    damaged.write_bytes(b"")
    with pytest.raises(BackboneError, match=r"cut\.pt does not load"):
        load_backbone(tiny_name, str(damaged))


def test_unknown_names_and_tags():
    with pytest.raises(BackboneError, match="Did you mean ViT-B-16"):
        load_backbone("ViT-B16")
    with pytest.raises(BackboneError, match="embedded` brings its own weights"):
        load_backbone("embedded", "openai")


def test_without_the_hub(monkeypatch, tmp_path, caplog):
    """The hub does not answer, as behind a firewall. Then the hub's own offline switch is on."""
    import socket

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        for offline in (False, True):
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
            with pytest.raises(BackboneError) as caught:
                load_backbone("ViT-B-16", "openai")
            text = str(caught.value)
            assert "ViT-B-16 openai does not load from huggingface.co/timm/vit_base_patch16_clip_224.openai" in text
            assert "say --backbone ViT-B-16-quickgelu --pretrained FILE" in text
            with pytest.raises(BackboneError, match=r"hf-hub:someone/something does not load .* local-dir:FOLDER"):
                load_backbone("hf-hub:someone/something")
    assert "Retrying" not in caplog.text, "retries cannot help, and make people wait"
