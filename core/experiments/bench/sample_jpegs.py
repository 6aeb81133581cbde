"""Photos to measure with: the sample photos that come with installed packages, so no data folder is needed."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import ImageOps

from core.data.image_io import open_photo
from core.data.sample_photos import sample_photos

QUALITY = 88  # about what cameras and web pages use
PHOTO = (640, 480)


def jpegs(count: int, size: tuple[int, int] = PHOTO) -> list[tuple[str, bytes]]:
    """``count`` JPEG files as (name, content) of one ``size`` (width, height), no two with the same content; the same ones each
    time."""
    pictures = _pictures(size)
    # What follows the end of a JPEG's picture is ignored by decoders, but makes another file of it.
    return [(f"{n}.jpg", pictures[n % len(pictures)] + f"#{n}".encode()) for n in range(count)]


def captioned(count: int) -> tuple[list[tuple[str, bytes]], dict[str, tuple[str, ...]]]:
    """The same with captions, {name: captions}: those of the sample photo that is seen."""
    files, samples = jpegs(count), sample_photos()
    return files, {name: samples[n % len(samples)].captions for n, (name, _) in enumerate(files)}


@lru_cache(maxsize=4)
def _pictures(size: tuple[int, int]) -> tuple[bytes, ...]:
    """The sample photos, cropped to the shape of ``size``."""
    found = []
    for sample in sample_photos():
        out = io.BytesIO()
        ImageOps.fit(open_photo(sample.path), size).save(out, "JPEG", quality=QUALITY)
        found.append(out.getvalue())
    return tuple(found)
