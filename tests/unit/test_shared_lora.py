"""A backbone's shared part: both embeddings of a photo, rejected adapters, and its file."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from shared_parts import random_shared
from tiny_models import noise, random_lora

from core.backbones.embedded import EmbeddedBackbone, load_embedded, save_shared
from core.backbones.lora import Factors, Lora
from core.backbones.lora_algebra import merge
from core.common.errors import AdapterError, BackboneError
from core.common.paths import heads_path

PIXELS = torch.nn.functional.interpolate(noise(5, 3, 6, 6, seed=3), (224, 224), mode="bilinear")


@pytest.fixture(scope="module")
def heads() -> EmbeddedBackbone:
    return load_embedded(heads_path(), torch.float32).with_shared(None)


@pytest.fixture(scope="module")
def shared(heads: EmbeddedBackbone) -> EmbeddedBackbone:
    return heads.with_shared(random_shared(heads))


@pytest.fixture(scope="module")
def own(shared: EmbeddedBackbone) -> Lora:
    return random_lora(shared.layout, 7, 0.1)


@torch.no_grad()
def test_a_photo_is_embedded_without_and_with_the_shared_part(heads, shared, own) -> None:
    prefix, maps = shared.prefix(PIXELS), heads.adapting("photos").prefix(PIXELS)
    assert shared.prefix_shape == (2, shared.dim) == prefix.shape[1:] and prefix.dtype == torch.float16
    assert shared.shared is not None and heads.shared is None
    torch.testing.assert_close(shared.columns(maps), prefix)
    zero, adapted = heads.embedded(maps), heads.adapted.vision(maps, shared.shared)
    assert (zero - adapted).abs().max() > 0.02
    generated = merge([shared.shared, own], [1.0, 0.5])
    for lora, expected in ((None, zero), (own, zero), (shared.shared, adapted), (generated, adapted)):
        torch.testing.assert_close(shared.suffix(prefix, lora), expected, atol=1e-3, rtol=0)
    assert shared.suffix(prefix[:0], generated).shape == (0, shared.dim)


def test_adapters_that_change_photos_otherwise_are_refused(shared, own) -> None:
    prefix, lora = shared.prefix(PIXELS), merge([shared.shared, own], [1.0, 1.0])
    name = "vision.blocks.1.attn.q_proj"
    bent = dict(lora.factors) | {name: Factors(lora.factors[name].a, lora.factors[name].b * 1.01)}
    broken = dict(lora.factors) | {name: Factors(lora.factors[name].a * torch.nan, lora.factors[name].b)}
    foreign = (
        lora.scaled(0.9),
        lora.scaled(0.0),
        Lora(lora.modules, bent),
        Lora(lora.modules, broken),
        lora.only([m for m in lora.modules if m.name != name]),
        random_lora(shared.adapting("photos").layout, 1),
    )
    for other in foreign:
        with pytest.raises(AdapterError, match="changes photos in another way"):
            shared.suffix(prefix, other)


def test_the_fingerprint_is_of_all_weights_and_the_same_in_both_forms(heads, shared) -> None:
    other, photos = heads.with_shared(random_shared(heads, 2)), shared.adapting("photos")
    assert heads.with_shared(random_shared(heads)).fingerprint == shared.fingerprint == photos.fingerprint
    assert len({heads.fingerprint, shared.fingerprint, other.fingerprint}) == 3
    assert shared.prefix_key == shared.fingerprint and photos.prefix_key == heads.adapting("photos").prefix_key
    assert photos.shared is None and photos.adapting("texts").shared.digest == shared.shared.digest
    assert shared.with_shared(None).fingerprint == heads.fingerprint and shared.with_shared(None).shared is None
    prefix = photos.prefix(PIXELS)
    torch.testing.assert_close(
        photos.suffix(prefix, shared.shared), shared.suffix(shared.prefix(PIXELS), shared.shared), atol=1e-3, rtol=0
    )


def test_the_file_beside_the_heads_is_the_shared_part(heads, tmp_path: Path) -> None:
    shutil.copy(heads_path(), tmp_path / "heads.safetensors")
    given = random_shared(heads)
    save_shared(given, tmp_path / "shared.safetensors", {"steps": 3})
    stored = load_file(tmp_path / "shared.safetensors")
    assert stored["vision.blocks.0.attn.q_proj.a"].dtype == torch.float16
    assert stored["text.mlp.3.b"].shape == (heads.dim, 6)
    for adapt in ("texts", "photos"):
        loaded = load_embedded(tmp_path / "heads.safetensors", torch.float32, adapt)
        assert loaded.fingerprint == heads.with_shared(given).fingerprint
    loaded = load_embedded(tmp_path / "heads.safetensors", torch.float32)
    for name, factors in loaded.shared.factors.items():
        assert torch.equal(factors.a, given.factors[name].a.half().float())
        assert torch.equal(factors.b, given.factors[name].b.half().float())


Q = "vision.blocks.0.attn.q_proj"
DAMAGED = {
    "name": lambda stored: stored | {Q.replace("0", "9") + ".a": stored[f"{Q}.a"].clone()},
    "shape": lambda stored: stored | {f"{Q}.b": stored[f"{Q}.b"].T.contiguous()},
    "half of a pair": lambda stored: {key: value for key, value in stored.items() if key != f"{Q}.a"},
    "nan": lambda stored: stored | {f"{Q}.b": stored[f"{Q}.b"] * torch.nan},
}


@pytest.mark.parametrize("what", ["cut", *DAMAGED])
def test_a_damaged_file_is_refused(heads, tmp_path: Path, what: str) -> None:
    shutil.copy(heads_path(), tmp_path / "heads.safetensors")
    path = tmp_path / "shared.safetensors"
    save_shared(random_shared(heads), path, {})
    if what == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        save_file(DAMAGED[what](load_file(path)), path)
    with pytest.raises(BackboneError, match=r"shared\.safetensors is damaged .*heads that it belongs to"):
        load_embedded(tmp_path / "heads.safetensors")
