"""Photos from files: decode anything Pillow can read, safely, into the pixels that the backbones want."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from core.errors import PhotoError

SIDE = 224
MEAN, STD = 0.498, 0.502  # measured for EfficientNet-Lite0: DESIGN 2
MAX_PIXELS = 64_000_000
MAX_ASPECT = 2.0  # wider or taller photos are centre-cropped to this before they are squashed to a square
MAX_BYTES = 64 * 1024 * 1024


def open_photo(source: Path | bytes, name: str | None = None) -> Image.Image:
    """Decode a photo to upright RGB: EXIF rotation applied, first frame, transparency on white.

    Raises:
        PhotoError: not an image, truncated, larger than MAX_PIXELS, or empty; the text names the file.
    """
    label = name or (Path(source).name if isinstance(source, Path) else "photo")
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size == 0:
            raise PhotoError(f"{label}: the file is empty.")
        if size > MAX_BYTES:
            raise PhotoError(f"{label}: the file is larger than {MAX_BYTES // 2**20} MB.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PhotoError(
                    f"{label}: {width} x {height} pixels is more than {MAX_PIXELS // 10**6} megapixels; make it smaller first."
                )
            if image.format == "JPEG":
                image.draft("RGB", (2 * SIDE, 2 * SIDE))  # decodes a large JPEG at a fraction of the cost
            image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except PhotoError:
        raise
    except FileNotFoundError:
        raise PhotoError(f"{label}: the file is not there.") from None
    except UnidentifiedImageError:
        raise PhotoError(f"{label}: this is not an image that can be read (JPEG, PNG, WebP, GIF, BMP and TIFF can).") from None
    except Image.DecompressionBombError:
        raise PhotoError(f"{label}: the image is far too large; make it smaller first.") from None
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, MemoryError) as error:
        raise PhotoError(f"{label}: the image is damaged or cut off ({type(error).__name__}).") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB; 16-bit greys are scaled rather than clipped, transparency is put on white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.nan_to_num(np.asarray(image, dtype=np.float32))
        high = grey.max(initial=0.0)
        top = 255.0 if high <= 255 else 65535.0 if high <= 65535 else float(high)
        return Image.fromarray((grey.clip(0, top) * (255.0 / top)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, side: int = SIDE) -> Image.Image:
    """The whole photo as a ``side`` x ``side`` RGB square; only beyond 2:1 are the ends cut off.

    Squashing keeps everything in view, which matters more for search than the aspect does, and it is what the
    training photos had been through.
    """
    width, height = image.size
    if width > MAX_ASPECT * height:
        keep = max(1, round(MAX_ASPECT * height))
        left = (width - keep) // 2
        image = image.crop((left, 0, left + keep, height))
    elif height > MAX_ASPECT * width:
        keep = max(1, round(MAX_ASPECT * width))
        top = (height - keep) // 2
        image = image.crop((0, top, width, top + keep))
    return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BICUBIC)


def to_pixels(image: Image.Image) -> Tensor:
    """Normalised pixels [3, 224, 224] float32 of an RGB photo."""
    values = torch.from_numpy(np.array(square(image), dtype=np.uint8)).permute(2, 0, 1).float()
    return values.div_(255).sub_(MEAN).div_(STD)
