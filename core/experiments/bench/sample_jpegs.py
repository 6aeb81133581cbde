"""Photos to measure with: views of the sample photos that come with installed packages, so no data folder is needed."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image

from core.data.image_io import open_photo
from core.data.sample_photos import sample_photos

QUALITY = 88  # about what cameras and web pages use
VIEWS = 192  # different pictures; more photos than that repeat them, each in a file of its own
PHOTO = (640, 480)


def jpegs(count: int, size: tuple[int, int] = PHOTO) -> list[tuple[str, bytes]]:
    """``count`` JPEG files as (name, content) of one ``size`` (width, height), no two with the same content; the same ones each
    time."""
    # What follows the end of a JPEG's picture is ignored by decoders, but makes another file of it.
    return [(f"{n}.jpg", _view(n % VIEWS, size) + f"#{n}".encode()) for n in range(count)]


def captioned(count: int) -> tuple[list[tuple[str, bytes]], dict[str, tuple[str, ...]]]:
    """The same with captions, {name: captions}: those of the sample photo that is seen."""
    files, samples = jpegs(count), sample_photos()
    return files, {name: samples[n % VIEWS % len(samples)].captions for n, (name, _) in enumerate(files)}


@lru_cache(maxsize=4 * VIEWS)
def _view(number: int, size: tuple[int, int]) -> bytes:
    """A sample photo, cropped somewhere to the shape of ``size``, maybe mirrored, brighter or darker."""
    samples = _samples()
    image, random = samples[number % len(samples)], np.random.default_rng(number)
    shape = size[0] / size[1]
    height = min(image.height, image.width / shape) * random.uniform(0.7, 1.0)
    width = height * shape
    left, top = random.uniform(0, image.width - width), random.uniform(0, image.height - height)
    image = image.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    gain = random.uniform(0.8, 1.2)
    out = io.BytesIO()
    image.point([min(255, round(value * gain)) for value in range(256)] * 3).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


@lru_cache(maxsize=1)
def _samples() -> tuple[Image.Image, ...]:
    return tuple(open_photo(sample.path) for sample in sample_photos())
