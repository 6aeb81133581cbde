"""The background of names: the second moments of photos."""

from pathlib import Path

import pytest
import torch

from core.backbones.embedded import load_embedded
from core.common.errors import BackboneError
from core.common.paths import EVERYDAY_FILE, asset_path, heads_path
from core.names.ridge import Background, everyday_photos, load_everyday, pooled, save_everyday


def photos(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed)) + 1


def test_a_background_of_parts_is_that_of_all_photos() -> None:
    first, second = photos(5, 0), photos(20, 1)
    together = pooled((Background.of([first]), Background.of([second])), (5, 20)).moments[0]
    by_hand = sum(torch.outer(photo, photo) for photo in [*first, *second]) / 25
    torch.testing.assert_close(together, by_hand)


def test_a_file_is_for_one_backbone_and_says_when_it_is_damaged(tmp_path: Path) -> None:
    path, written = tmp_path / "everyday.safetensors", Background.of([photos(9, 0), photos(9, 1)])
    assert load_everyday(path, "0123") is None
    save_everyday(written, "4567", path)
    assert load_everyday(path, "89ab") is None
    read = load_everyday(path, "4567")
    assert read is not None
    for before, after in zip(written.moments, read.moments, strict=True):
        torch.testing.assert_close(before, after, rtol=2e-3, atol=1e-3)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BackboneError, match="damaged"):
        load_everyday(path, "cdef")


def test_the_shipped_file_is_for_the_shipped_backbone() -> None:
    shipped = load_embedded(heads_path())
    known = everyday_photos(shipped)
    assert known is not None and len(known.moments) == 2 and not torch.equal(*known.moments)
    for moment in known.moments:  # of unit-length photos
        assert moment.shape == (shipped.dim, shipped.dim) and abs(float(moment.trace()) - 1) < 0.01
    assert asset_path(EVERYDAY_FILE).stat().st_size < 1_000_000
