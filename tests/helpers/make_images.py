"""Hostile images."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np
from hostile_cases import Case
from PIL import Image, ImageCms
from zips import zipped

SIZE = (48, 36)
NOT_AN_IMAGE, DAMAGED, TOO_LONG = "not a readable image", "damaged or cut off", "takes too long"


def picture(seed: int = 0, size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    """Blurred colour noise, different for each seed."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, fmt, **({"speed": 10} if fmt == "AVIF" else {}), **options)
    return out.getvalue()


def empty_gif(width: int, height: int) -> bytes:
    """A GIF of 34 bytes that claims to have these sides, and has no pixels."""
    sides = struct.pack("<HH", width, height)
    return b"GIF89a" + sides + bytes(3) + b"," + bytes(4) + sides + b"\x80" + bytes(3) + b"\xff\xff\xff" + b"\x02\x01\x2c\0;"


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, rows: bytes, *between: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG with any header, more chunks, and any bytes as pixel rows."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), *between, png_chunk(b"IDAT", rows), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def zeros(size: int) -> bytes:
    """``size`` zero bytes as zlib data, a thousand times smaller. Deflates one megabyte and repeats it."""
    block, rest = zlib.compressobj(9, wbits=-15), zlib.compressobj(9, wbits=-15)
    megabyte = block.compress(bytes(2**20)) + block.flush(zlib.Z_FULL_FLUSH)
    end = rest.compress(bytes(size & (2**20 - 1))) + rest.flush()
    checksum = (size % 65_521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\x9c" + megabyte * (size >> 20) + end + struct.pack(">I", checksum)


def cut_off() -> Iterator[Case]:
    for fmt in ("JPEG", "PNG", "WEBP", "AVIF"):
        data = encode(picture(1, (160, 120)), fmt)
        yield Case(f"{fmt} cut in half", f"half.{fmt.lower()}", data[: len(data) // 2], "")


def bombs() -> Iterator[Case]:
    side = 50_000
    rows = zeros(side * (side // 8 + 1))
    yield Case("PNG bomb of 50,000 x 50,000", "bomb.png", png(side, side, rows, depth=1, colour=0), "far too large")
    yield Case("PNG of 8,001 x 8,000 zeros", "wide.png", png(8_001, 8_000, zeros(8_000 * 24_004)), "megapixels")
    yield Case("PNG that claims 2^31 pixels a side", "claim.png", png(2**31 - 1, 2**31 - 1, zeros(9)), "far too large")
    yield Case("GIF whose frame outgrows its screen", "frame.gif", gif_with_frame(60_000, 60_000), "")
    yield Case("WebP with a canvas of 16,383 x 16,383", "canvas.webp", webp_canvas(16_383, 16_383), "")
    yield Case("TIFF with one tile of 40,000 x 40,000", "tile.tif", tiff_with_tile(40_000, 40_000), "")
    large = png(12_000, 12_000, zeros(12_000 * 1_501), depth=1, colour=0)
    yield Case("icon that holds a PNG of 12,000 x 12,000", "icon.ico", icon(large), "")
    palette = encode(Image.new("P", (6_000, 5_000)), "PNG", transparency=0, exif=turned(6))
    yield Case("turned palette PNG of 30 megapixels", "palette.png", palette)
    much = zeros(200 * 2**20)
    yield Case("PNG with 200 MB of text in 200 KB", "text.png", with_chunk(b"zTXt", b"Comment\0\0" + much), "")
    yield Case("PNG with a colour profile of 200 MB", "profile.png", with_chunk(b"iCCP", b"icc\0\0" + much), "")


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def with_chunk(kind: bytes, body: bytes) -> bytes:
    whole = encode(picture(2), "PNG")
    return whole[:33] + png_chunk(kind, body) + whole[33:]


def gif_with_frame(width: int, height: int) -> bytes:
    """A GIF of 16 x 16 pixels whose only frame claims any size."""
    head = b"GIF89a" + struct.pack("<HH", 16, 16) + b"\x80\0\0" + bytes(3) + b"\xff" * 3
    return head + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def webp_canvas(width: int, height: int) -> bytes:
    """An animated WebP with a canvas of any size and one frame of 16 x 16 pixels."""
    small = encode(picture(3, (16, 16)), "WEBP", lossless=True)[12:]
    box = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    frame = bytes(6) + struct.pack("<I", 15)[:3] * 2 + bytes(4) + small
    chunks = [(b"VP8X", b"\x02\0\0\0" + box), (b"ANIM", bytes(6)), (b"ANMF", frame)]
    body = b"".join(k + struct.pack("<I", len(b)) + b + bytes(len(b) % 2) for k, b in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def tiff_with_tile(width: int, height: int) -> bytes:
    """A TIFF of 16 x 16 pixels whose only tile claims any size."""
    body = zeros(16 * 2**20)
    entries = [(256, 4, 16), (257, 4, 16), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    entries += [(322, 4, width), (323, 4, height), (324, 4, 8), (325, 4, len(body))]
    ifd = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + ifd


def icon(inner: bytes) -> bytes:
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def disguises() -> Iterator[Case]:
    yield Case("PNG called .jpg", "really-png.jpg", encode(picture(6), "PNG"))
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield Case("SVG with a script", "svg.png", svg, NOT_AN_IMAGE)
    yield Case("PostScript", "draw.jpg", encode(picture(5), "EPS"), NOT_AN_IMAGE)
    archive = zipped({"../evil.sh": b"true"})
    yield Case("JPEG that is a ZIP as well", "polyglot.jpg", encode(picture(10), "JPEG") + archive)
    yield Case("ZIP before a JPEG", "front.jpg", archive + encode(picture(13), "JPEG"), NOT_AN_IMAGE)
    yield Case("no byte", "empty.jpg", b"", "empty")


def modes() -> Iterator[Case]:
    """Files in rare colour modes, and a format that cameras and phones do not write."""
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    yield Case("TIFF of mode LAB", "lab.tif", encode(ImageCms.applyTransform(picture(21), to_lab), "TIFF"))
    yield Case("JPEG 2000", "a.jp2", encode(picture(41), "JPEG2000"), NOT_AN_IMAGE)
    floats = np.full((20, 30), np.nan, np.float32)
    floats[:10] = np.inf
    floats[3, 3], floats[15:] = -np.inf, 1e38
    yield Case("TIFF of NaN and infinity", "nan.tif", encode(Image.fromarray(floats), "TIFF"))
    yield Case("TIFF of negative numbers", "minus.tif", encode(Image.fromarray(np.full((9, 9), -5, np.int32)), "TIFF"))


def tagged() -> Iterator[Case]:
    for orientation in (0, 9, 65_535):
        data = encode(picture(60 + orientation), "JPEG", exif=turned(orientation))
        yield Case(f"orientation {orientation}", f"turned-{orientation}.jpg", data)
    yield Case("EXIF of noise", "exif.jpg", encode(picture(50), "JPEG", exif=b"Exif\0\0" + bytes(range(256)) * 40))
    looped = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08"
    yield Case("EXIF that points at itself", "loop.jpg", encode(picture(51), "JPEG", exif=looped))
    text = "<img src=x onerror=alert(1)>"
    exif = Image.Exif()
    exif[0x010E], exif[0x0131], exif[0x9286] = text, text, text
    yield Case("EXIF with markup", "markup.jpg", encode(picture(52), "JPEG", exif=exif, comment=text.encode()))
    yield Case("colour profile of noise", "icc.jpg", encode(picture(53), "JPEG", icc_profile=bytes(range(256)) * 300))
    yield Case("XMP with a billion laughs", "xmp.png", encode(picture(55), "PNG", xmp=LAUGHS))


LAUGHS = (
    b'<!DOCTYPE x [<!ENTITY a "ha">'
    + b"".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 20}">'.encode() for i in range(12))
    + b"]><x>&m;</x>"
)


def animated() -> Iterator[Case]:
    frames = [picture(100 + i) for i in range(12)]
    tiny = [Image.new("P", (4, 4), i % 250) for i in range(3_000)]
    yield Case("GIF of 3,000 frames", "long.gif", encode(tiny[0], "GIF", save_all=True, append_images=tiny[1:]))
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield Case("GIF whose later frames are cut off", "later.gif", data[: len(data) // 2])


NAMES = {
    "a path": "../../../etc/cron.d/evil.png",
    "a Windows path": "C:\\Windows\\system32\\x.png",
    "markup": "<img src=x onerror=alert(1)>.png",
    "a script": "<script>alert(1)</script>.png",
    "300 wide characters": "犬" * 300 + ".png",
    "right to left": "photo\u202egnp.exe.png",
    "a NUL": "before\x00after.png",
    "control characters": "bell\x07\x1b[31mred\n.png",
    "dots alone": "..",
    "a shell command": "$(touch owned);`id`|& .png",
    "a formula": "=HYPERLINK(0).png",
    "half a surrogate": "\udcff\ud800.png",
    "no visible character": "\u200b\u2060.png",
}


def costly() -> Iterator[Case]:
    """Small files that take long to read or need much memory."""
    yield Case("GIF with a comment of 12 MB", "comments.gif", with_comment(12_000_000), TOO_LONG)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(100)
    yield Case("HEIC of zeros", "zeros.heic", heic, "")


def overlapping_tags(count: int, size: int) -> bytes:
    """A TIFF with many tags that all point to the same bytes. The file is small, but readers copy the bytes for each tag."""
    good = encode(picture(4), "TIFF")
    start = len(good)
    entries = [struct.pack("<HHII", 40_000 + number, 7, size, start) for number in range(count)]
    first = struct.unpack("<I", good[4:8])[0]
    known = struct.unpack("<H", good[first : first + 2])[0]
    own = [good[first + 2 + 12 * i : first + 14 + 12 * i] for i in range(known)]
    directory = struct.pack("<H", len(own) + count) + b"".join([*own, *entries]) + bytes(4)
    return good[:4] + struct.pack("<I", start + size) + good[8:] + bytes(size) + directory


def with_comment(size: int) -> bytes:
    """A GIF with a long comment, which readers join from small blocks."""
    whole = encode(picture(5), "GIF")
    start = 13 + 3 * 2 ** ((whole[10] & 7) + 1)
    return whole[:start] + b"\x21\xfe" + (b"\xff" + b"c" * 255) * (size // 255) + b"\0" + whole[start:]


@cache
def images() -> tuple[Case, ...]:
    makers = (cut_off, bombs, disguises, modes, tagged, animated, costly)
    return tuple(case for maker in makers for case in maker())
