"""All heavy work runs on the chosen device. The tests use a device double, because most machines have no GPU.

A kernel that gets tensors of two devices raises. Results must equal those of the CPU.
"""

import pytest
import torch
from device_double import DOUBLE, device_double
from made_up_photos import shapes
from random_engines import random_engine
from small_families import FAMILIES, small_model
from tiny_models import noise, random_lora, tiny_backbone

from core.backbones.base import Backbone
from core.backbones.embedded import load_embedded
from core.backbones.open_clip import load_open_clip
from core.common import device as devices
from core.common.errors import BackboneError, UsageError
from core.common.paths import heads_path
from core.common.runtime import DTYPE_VARIABLE, compute_dtype
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery
from core.training.own_expert import OwnRecipe, train_own_expert

TEXTS = ["a dog", "two people on a beach at sunset", "a dog"]


def prefix_of_noise(backbone: Backbone) -> torch.Tensor:
    return backbone.prefix(noise(3, 3, backbone.framing.height, backbone.framing.width, seed=1))


def answers(backbone: Backbone, prefix: torch.Tensor) -> dict[str, torch.Tensor]:
    """The result of each method, by name. All results must be on the CPU."""
    lora = random_lora(backbone.layout, seed=2, size=0.1)
    return {
        "zero-shot": backbone.suffix(prefix),
        "adapted": backbone.suffix(prefix, lora),
        "texts": backbone.encode_text(TEXTS),
        "adapted texts": backbone.encode_text(TEXTS, lora),
        "sentences": backbone.encode_sentence(TEXTS),
        "shared": backbone.text_suffix(backbone.encode_sentence(TEXTS)),
        "adapted shared": backbone.text_suffix(backbone.encode_sentence(TEXTS), lora),
    }


@pytest.fixture(params=["embedded", "open_clip", "SigLIP 2"])
def backbone(request: pytest.FixtureRequest, tmp_path) -> Backbone:
    if request.param == "embedded":
        return load_embedded(heads_path(), torch.float32)
    if request.param == "SigLIP 2":
        small = small_model(FAMILIES[request.param], tmp_path)
        return load_open_clip(small.name, str(small.weights))
    return tiny_backbone(adapt_blocks=1)


def test_a_backbone_gives_the_same_answers_on_another_device(backbone: Backbone) -> None:
    prefix = prefix_of_noise(backbone)
    expected = answers(backbone, prefix)
    with device_double() as moves:
        assert backbone.to(DOUBLE).device == DOUBLE
        weights = len(moves.to_device)
        prefix_there = prefix_of_noise(backbone)
        found = answers(backbone, prefix)  # from the CPU's prefix: one float16 that rounds the other way moves a result by 1e-4
        assert len(moves.to_device) > weights > 10
        assert moves.to_host
    assert prefix_there.device.type == "cpu"
    torch.testing.assert_close(prefix_there.float(), prefix.float(), atol=1e-3, rtol=2e-3)  # within two float16 steps
    for name, value in found.items():
        assert value.device.type == "cpu", name
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=0, msg=name)


def test_what_is_cached_in_half_precision_travels_in_it() -> None:
    backbone = tiny_backbone()
    prefix = backbone.prefix(noise(4, 3, 48, 48))
    with device_double() as moves:
        backbone.to(DOUBLE)
        moves.to_device.clear(), moves.to_host.clear()
        backbone.suffix(prefix)
        assert moves.to_device == [(torch.float16, prefix.numel())]
        moves.to_host.clear()
        backbone.prefix(noise(4, 3, 48, 48))
        assert moves.to_host == [(torch.float16, prefix.numel())]


def test_an_unknown_dtype_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DTYPE_VARIABLE, "float16")
    with pytest.raises(UsageError, match=f"{DTYPE_VARIABLE} is float16: set it to float32"):
        compute_dtype(torch.device("cpu"))


@pytest.mark.slow
def test_a_visitors_expert_is_trained_on_the_device_of_the_backbone(tmp_path) -> None:
    """Search runs there, too: a gallery whose backbone is on a GPU has the same scores."""
    backbone = tiny_backbone()
    photos = shapes(tmp_path / "photos", 24)
    files = [tmp_path / "photos" / p.file for p in photos]
    engine, gallery = random_engine(backbone), Gallery(backbone)
    gallery.add(files)
    gallery.set_captions({p.file: p.captions for p in photos})
    recipe = OwnRecipe(batch=8, fixed_steps=3, snapshots=2)
    expected = train_own_expert(engine, gallery, "mine", "a photo of shapes", recipe=recipe)
    scores = gallery.contents.embeddings(ZERO_SHOT)
    with device_double() as moves:
        backbone.to(DOUBLE)
        found = train_own_expert(engine, gallery, "mine", "a photo of shapes", recipe=recipe)
        assert moves.to_device
        again = Gallery(backbone)
        again.add(files)
        torch.testing.assert_close(again.contents.embeddings(ZERO_SHOT), scores, atol=2e-3, rtol=0)
        again.contents.embeddings(Adapter.of(random_lora(backbone.layout, 3)))
    # Rounding decides the sign of a gradient that is nearly zero, and Adam turns this sign into a whole step.
    assert float((found.mean - expected.mean).abs().median()) < 5e-5
    assert float((found.mean - expected.mean).abs().mean()) < 0.05 * float((expected.mean - expected.mean.mean()).abs().mean())


def test_one_place_chooses_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_chosen", None)
    first = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert devices.current().type == first
    assert devices.use("cpu") == devices.current() == torch.device("cpu")
    for wrong in ("gpu", "cuda:99", "meta"):
        with pytest.raises(BackboneError, match=f"--device {wrong}"):
            devices.use(wrong)
    assert devices.current() == torch.device("cpu")
