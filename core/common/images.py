"""Scale a photo of any size to the few pixels that a backbone sees. Uses Pillow only, so that decoders need not load torch."""

from dataclasses import dataclass

from PIL import Image

SIDE = 224
MAX_ASPECT = 2.0  # wider and taller photos lose their ends before they are scaled


@dataclass(frozen=True)
class Framing:
    """How a photo becomes the pixels that a backbone sees. With ``squash``, the whole photo is squashed to the size. Otherwise
    it is scaled to cover the size, and its middle is kept. ``resample`` is Pillow's number of a filter."""

    width: int = SIDE
    height: int = SIDE
    squash: bool = True
    resample: int = Image.Resampling.BICUBIC

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return an RGB photo as ``width`` x ``height`` pixels."""
        image = _without_ends(image)
        if self.squash:
            return image.resize((self.width, self.height), self.resample)
        scale = min(image.width / self.width, image.height / self.height)
        rounded = int if self.width == self.height else round  # as torchvision and open_clip do
        width, height = (max(1, rounded(size / scale)) for size in image.size)
        left, top = round((width - self.width) / 2), round((height - self.height) / 2)
        return image.resize((width, height), self.resample).crop((left, top, left + self.width, top + self.height))


def _without_ends(image: Image.Image) -> Image.Image:
    """Cut a photo beyond MAX_ASPECT to its middle. Otherwise a panorama of 20:1 would become a smear, or huge."""
    width, height = image.size
    keep_w, keep_h = (min(a, max(1, round(MAX_ASPECT * b))) for a, b in ((width, height), (height, width)))
    if (keep_w, keep_h) == (width, height):
        return image
    left, top = (width - keep_w) // 2, (height - keep_h) // 2
    return image.crop((left, top, left + keep_w, top + keep_h))
