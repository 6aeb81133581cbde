"""From a photo of any size to the few pixels that a backbone sees. Pillow alone: processes that decode load no torch."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

SIDE = 224
MAX_ASPECT = 2.0  # of wider or taller photos the ends are cut off before anything is scaled


@dataclass(frozen=True)
class Framing:
    """How a photo becomes the pixels that a backbone sees: with ``squash`` the whole of it is squashed into them, else it is
    scaled to cover them, and the middle is kept. ``resample`` is Pillow's number of the filter."""

    width: int = SIDE
    height: int = SIDE
    squash: bool = True
    resample: int = Image.Resampling.BICUBIC

    def __call__(self, image: Image.Image) -> Image.Image:
        """``width`` x ``height`` pixels of an RGB photo."""
        image = _without_ends(image)
        if self.squash:
            return image.resize((self.width, self.height), self.resample)
        scale = min(image.width / self.width, image.height / self.height)
        whole = int if self.width == self.height else round  # as torchvision and open_clip do
        width, height = (max(1, whole(size / scale)) for size in image.size)
        left, top = round((width - self.width) / 2), round((height - self.height) / 2)
        return image.resize((width, height), self.resample).crop((left, top, left + self.width, top + self.height))


def _without_ends(image: Image.Image) -> Image.Image:
    """The middle of a photo beyond MAX_ASPECT: scaled as a whole, a panorama of 20:1 would be a smear, or huge."""
    width, height = image.size
    keep_w, keep_h = (min(a, max(1, round(MAX_ASPECT * b))) for a, b in ((width, height), (height, width)))
    if (keep_w, keep_h) == (width, height):
        return image
    left, top = (width - keep_w) // 2, (height - keep_h) // 2
    return image.crop((left, top, left + keep_w, top + keep_h))
