"""Photos to measure with: the sample photos of installed packages, so that no data folder is needed."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import ImageOps

from core.data.image_io import open_photo
from core.data.sample_photos import sample_photos

QUALITY = 88  # similar to cameras and web pages
PHOTO = (640, 480)


def jpegs(count: int, size: tuple[int, int] = PHOTO) -> list[tuple[str, bytes]]:
    """``count`` JPEG files (name, content) of one ``size`` (width, height) with distinct contents; the same in each call."""
    pictures = _pictures(size)
    # Decoders ignore bytes after the end of the picture; these bytes make the files differ.
    return [(f"{n}.jpg", pictures[n % len(pictures)] + f"#{n}".encode()) for n in range(count)]


def captioned(count: int) -> tuple[list[tuple[str, bytes]], dict[str, tuple[str, ...]]]:
    """``jpegs`` and their captions {name: captions}, those of the sample photo shown."""
    files, samples = jpegs(count), sample_photos()
    return files, {name: samples[n % len(samples)].captions for n, (name, _) in enumerate(files)}


@lru_cache(maxsize=4)
def _pictures(size: tuple[int, int]) -> tuple[bytes, ...]:
    """The sample photos, cropped to the shape of ``size``."""
    pictures = []
    for sample in sample_photos():
        out = io.BytesIO()
        ImageOps.fit(open_photo(sample.path), size).save(out, "JPEG", quality=QUALITY)
        pictures.append(out.getvalue())
    return tuple(pictures)
