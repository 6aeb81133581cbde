"""Decode photo files to upright RGB, and make thumbnails. Imports Pillow only, for the decoding processes."""

import contextlib
import io
import stat
import warnings
from pathlib import Path, PurePath
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from core.common.errors import PhotoError, brief
from core.common.messages import Message, message
from core.data.raw_preview import SUFFIXES as RAW_SUFFIXES
from core.data.raw_preview import raw_preview

MAX_PIXELS = 64_000_000
MAX_BYTES = 64 * 1024 * 1024
LARGE = 4_000_000  # pixels; larger photos are reduced first
DRAFT_SIDE = 352  # minimum short side of a reduced photo: enough for CLIP at 336, an eighth of a phone's 4000 x 3000
THUMBNAIL_SIDE = 320

# Formats of cameras, phones and photo programs, with file extensions. Pillow reads 40 more formats. Some of these are unsafe
# (EPS starts Ghostscript), some take minutes for a megabyte (PPM), and none is used for photos.
FORMATS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
}
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands of ISO 23008-12
# Why a photo is rejected. A decoding process may send the last ones.
GONE, UNREADABLE = "the file is not there.", "the file cannot be read ({error})."
EMPTY, LARGE_FILE, NO_PREVIEW, NO_IMAGE, TOO_LARGE, MEMORY, DAMAGED, PIXELS, NOT_DECODED = REASONS = (
    "the file is empty.",
    "the file is larger than {mb} MB.",
    "this raw file holds no JPEG preview that can be read; export the photo as JPEG.",
    "this is not a readable image (JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP, TIFF, or the previews in DNG, CR2, NEF, ARW).",
    "the image is far too large; make it smaller first.",
    "decoding the image takes too much memory; save it again with another program.",
    "the image is damaged or cut off ({error}).",
    "{width} x {height} pixels is more than {most} megapixels; make it smaller first.",
    "the image cannot be decoded ({error}).",
)
_ORIENTATION, _CHANGED, _EXIF_IFD, _TAKEN = 0x0112, 0x0132, 0x8769, 0x9003  # tags of EXIF

# Large and damaged files get our own error messages. Set once: catch_warnings() is not thread-safe.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def photo_error(name: str, reason: str | Message, /, **fields: object) -> PhotoError:
    """The error of a photo file. ``reason``: a message, or the template of one with these fields."""
    return PhotoError("{name}: {reason}", name=name, reason=message(reason, **fields) if isinstance(reason, str) else reason)


def reason_of(error: PhotoError) -> Message:
    """The reason of a ``photo_error``."""
    return error.message.fields["reason"]  # type: ignore[union-attr, return-value]


def as_json(reason: Message) -> list[Any]:
    """A reason for another process, as its template and fields."""
    return [reason.template, reason.fields]


def from_json(answer: Any) -> Message:
    """Read a reason of ``as_json`` from a process that is not trusted. Raises LookupError, ValueError, TypeError or
    AttributeError: when it has another form."""
    template, fields = answer
    reason = message(REASONS[REASONS.index(template)], **{name: brief(value) for name, value in fields.items()})
    template.format(**reason.fields)  # raises KeyError for a missing field
    return reason


def photo_bytes(path: Path, name: str | None = None) -> bytes:
    """The content of a photo file. Raises PhotoError: when it is missing, unreadable, larger than MAX_BYTES (not read), or a
    device or pipe: reading one may never end."""
    label = name or path.name
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise photo_error(label, "the file cannot be read (it is not a regular file).")
        if status.st_size > MAX_BYTES:
            raise photo_error(label, LARGE_FILE, mb=MAX_BYTES // 2**20)
        return path.read_bytes()
    except FileNotFoundError:
        raise photo_error(label, GONE) from None
    except OSError as error:
        raise photo_error(label, UNREADABLE, error=error.strerror or type(error).__name__) from None


def open_photo(source: Path | bytes, name: str | None = None) -> Image.Image:
    """Decode a photo to upright RGB: EXIF rotation applied, first frame, transparency on white, no metadata but ``taken``;
    ``pixels``: how many the file has.

    Decodes in this process, so for trusted files only: use ``decode_pool`` for files from strangers. Raises PhotoError: when
    the file is no image, truncated, empty, or larger than MAX_PIXELS; the message names the file.
    """
    if isinstance(source, Path):
        name = name or source.name
        source = photo_bytes(source, name)
    label = name or "photo"
    if not source:
        raise photo_error(label, EMPTY)
    if len(source) > MAX_BYTES:
        raise photo_error(label, LARGE_FILE, mb=MAX_BYTES // 2**20)
    try:
        tags: dict[int, object] = {}
        if PurePath(label).suffix.lower() in RAW_SUFFIXES:
            if (preview := raw_preview(source)) is None:
                raise photo_error(label, NO_PREVIEW)
            source, tags = preview
        if source[4:8] == b"ftyp" and source[8:12] in HEIC:
            _register_heif()
        image = Image.open(io.BytesIO(source), formats=tuple(key for key in FORMATS if key in Image.OPEN or key != "HEIF"))
        pixels = _check_size(image, label)
        if image.format in ("JPEG", "MPO"):
            image.draft("RGB", (DRAFT_SIDE, DRAFT_SIDE))  # decode a large JPEG at reduced size: much faster
        exif = image.getexif() if tags else {}
        exif.update({tag: value for tag, value in tags.items() if value and not exif.get(tag)})
        image.load()
        _check_size(image, label)
        image = _upright_rgb(image)
        image.info["pixels"] = pixels
        return image
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise photo_error(label, NO_IMAGE) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise photo_error(label, TOO_LARGE) from None
    except MemoryError:
        raise photo_error(label, MEMORY) from None
    except Exception as error:  # decoders raise anything on damaged files
        raise photo_error(label, DAMAGED, error=type(error).__name__) from None


def _register_heif() -> None:
    """Let Pillow read HEIC photos of phones. Imports pillow-heif with the first such photo."""
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.register_heif_opener()


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Reduce, convert to RGB and apply the EXIF rotation. Keeps no metadata but ``taken``."""
    orientation, taken = 1, None
    with contextlib.suppress(Exception):  # damaged tags do not matter for the picture
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
        taken = exif.get_ifd(_EXIF_IFD).get(_TAKEN) or exif.get(_CHANGED)
    image = _to_rgb(_reduced(image))
    image.info.clear()  # else a comment in the file would go into the thumbnail
    image.getexif()[_ORIENTATION] = orientation
    ImageOps.exif_transpose(image, in_place=True)
    if isinstance(taken, str) and taken.isprintable():
        image.info["taken"] = taken[:20]
    return image


def _check_size(image: Image.Image, label: str) -> int:
    if image.width * image.height > MAX_PIXELS:
        raise photo_error(label, PIXELS, width=image.width, height=image.height, most=MAX_PIXELS // 10**6)
    return image.width * image.height


def _reduced(image: Image.Image) -> Image.Image:
    """Reduce a large picture first, since changes of mode copy it."""
    factor = min(image.size) // DRAFT_SIDE
    if factor < 2 or image.width * image.height <= LARGE:
        return image
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    elif image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    return image.reduce(factor)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to RGB: 16-bit greys are scaled, not clipped; transparency becomes white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey_levels(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _grey_levels(image: Image.Image) -> Image.Image:
    import numpy as np  # here, so that the decoding processes start without numpy

    grey = np.nan_to_num(np.asarray(image, dtype=np.float32))
    high = grey.max(initial=0.0)
    top = 255.0 if high <= 255 else 65535.0 if high <= 65535 else float(high)
    return Image.fromarray((grey.clip(0, top) * (255.0 / top)).astype(np.uint8)).convert("RGB")


def thumbnail(image: Image.Image) -> bytes:
    """A small JPEG of an RGB photo; its longest side is at most THUMBNAIL_SIDE."""
    small, out = image.copy(), io.BytesIO()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), reducing_gap=1.0)  # first reduce by a whole factor: fast
    small.save(out, "JPEG", quality=85)
    return out.getvalue()
