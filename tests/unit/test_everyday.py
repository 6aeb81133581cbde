"""The direction that separates photos from everyday ones."""

from pathlib import Path

import pytest
import torch

from core.backbones.embedded import load_embedded
from core.common.errors import BackboneError
from core.common.paths import EVERYDAY_FILE, asset_path, heads_path
from core.names.everyday import EverydayPhotos, everyday_photos, load_everyday, save_everyday


def background(seed: int = 0) -> EverydayPhotos:
    """Everyday photos that vary most along the first axis."""
    noise = torch.randn(4_000, 8, generator=torch.Generator().manual_seed(seed))
    return EverydayPhotos.of(noise * torch.tensor([20.0, *[1.0] * 7]) + 3.0)


def test_a_file_is_for_one_backbone_and_says_when_it_is_damaged(tmp_path: Path) -> None:
    path, columns = tmp_path / "everyday.safetensors", (background(0), background(1))
    assert load_everyday(path, "0123") == ()
    save_everyday(columns, "4567", path)
    assert load_everyday(path, "89ab") == ()
    read = load_everyday(path, "4567")
    for before, after in zip(columns, read, strict=True):
        assert torch.allclose(before.mean, after.mean, rtol=2e-3)
        assert torch.allclose(before.covariance, after.covariance, rtol=2e-3, atol=1e-6)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BackboneError, match="damaged"):
        load_everyday(path, "cdef")


def test_the_shipped_file_is_for_the_shipped_backbone_and_its_shared_part_alone() -> None:
    shipped = load_embedded(heads_path())
    assert shipped.shared is not None
    zero_shot, shared = everyday_photos(shipped, None), everyday_photos(shipped, shipped.shared)
    assert zero_shot is not None and shared is not None
    assert zero_shot is everyday_photos(shipped, shipped.shared.only(m for m in shipped.shared.modules if "text" in m.name))
    assert not torch.equal(zero_shot.mean, shared.mean)
    assert zero_shot.mean.shape == (shipped.dim,) and asset_path(EVERYDAY_FILE).stat().st_size < 1_000_000
