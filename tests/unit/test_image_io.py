"""Decoding of photos that people upload, and of files that can break a decoder."""

import contextlib
import io
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from make_images import encode, picture
from PIL import Image

from core.backbones.frozen_towers import MEAN, STD, EmbeddedTowers
from core.common.errors import PhotoError
from core.common.messages import Message, message
from core.common.text import safe_name
from core.data.image_io import (
    MAX_BYTES,
    MEMORY,
    NO_IMAGE,
    PIXELS,
    as_json,
    from_json,
    open_photo,
    photo_bytes,
    photo_error,
    reason_of,
    thumbnail,
)


def smooth(height: int, width: int) -> np.ndarray:
    """Red grows to the right, green grows downwards, and a blue square is at the top left. Any flip changes the picture."""
    array = np.zeros((height, width, 3), dtype=np.uint8)
    array[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    array[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    array[: height // 3, : width // 3, 2] = 255
    return array


# How a camera stores an upright picture, by EXIF orientation.
STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_rotation_is_undone(orientation: int) -> None:
    upright = np.asarray(picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    for fmt in ("PNG", "TIFF"):
        assert np.array_equal(np.asarray(open_photo(encode(stored, fmt, exif=exif))), upright), fmt


def test_large_rotated_jpeg_is_upright_and_keeps_its_colours() -> None:
    upright = smooth(1600, 2400)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = open_photo(encode(Image.fromarray(np.ascontiguousarray(np.rot90(upright))), "JPEG", quality=95, exif=exif))
    assert photo.width > photo.height >= 352, "decoded at reduced size, but not smaller than needed"
    expected = np.asarray(Image.fromarray(upright).resize((224, 224), Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(np.asarray(EmbeddedTowers.framing(photo), dtype=float) - expected).mean() < 3
    small = Image.open(io.BytesIO(thumbnail(photo)))
    assert small.format == "JPEG" and small.size == (320, 213)


def test_every_mode_becomes_the_same_picture() -> None:
    grey = np.tile(np.linspace(0, 255, 256).astype(np.uint8), (20, 1))
    rgb = np.repeat(grey[..., None], 3, 2).astype(float)
    images = {
        "L": encode(Image.fromarray(grey), "PNG"),
        "16-bit PNG": encode(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "16-bit TIFF": encode(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF"),
        "32-bit integer TIFF": encode(Image.fromarray(grey.astype(np.int32) * 257), "TIFF"),
        "float TIFF": encode(Image.fromarray(grey.astype(np.float32)), "TIFF"),
        "palette PNG": encode(Image.fromarray(grey).convert("P"), "PNG"),
        "palette GIF": encode(Image.fromarray(grey), "GIF"),
        "LA": encode(Image.fromarray(grey).convert("LA"), "PNG"),
        "RGBA": encode(Image.fromarray(grey).convert("RGBA"), "PNG"),
        "CMYK JPEG": encode(Image.fromarray(grey).convert("RGB").convert("CMYK"), "JPEG", quality=98),
        "grey JPEG": encode(Image.fromarray(grey), "JPEG", quality=98),
        "WebP": encode(Image.fromarray(grey).convert("RGB"), "WEBP", lossless=True),
        "BMP": encode(Image.fromarray(grey), "BMP"),
    }
    for name, data in images.items():
        photo = open_photo(data)
        assert photo.mode == "RGB", name
        assert np.abs(np.asarray(photo, dtype=float) - rgb).max() <= 4, name


def test_transparency_is_white() -> None:
    rgba = np.zeros((10, 10, 4), dtype=np.uint8)
    rgba[:5] = (200, 10, 30, 255)
    rgba[5:, 5:] = (0, 0, 0, 128)
    photo = np.asarray(open_photo(encode(Image.fromarray(rgba), "PNG")))
    assert tuple(photo[0, 0]) == (200, 10, 30)
    assert tuple(photo[9, 0]) == (255, 255, 255)
    assert all(abs(int(v) - 127) <= 1 for v in photo[9, 9])
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    photo = np.asarray(open_photo(encode(palette, "PNG", transparency=1)))
    assert photo.tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (20_000, 3), (20_000, 1), (223, 225)])
def test_odd_sizes_become_one_framing(size: tuple[int, int]) -> None:
    photo = open_photo(encode(Image.new("RGB", size, (255, 128, 0)), "PNG"))
    assert photo.size == size
    pixels = EmbeddedTowers().pixels(photo)
    assert pixels.shape == (3, 224, 224) and pixels.dtype == torch.float32
    expected = (torch.tensor([1.0, 128 / 255, 0.0]) - MEAN) / STD
    assert torch.allclose(pixels.mean((1, 2)), expected, atol=1e-4)
    small = Image.open(io.BytesIO(thumbnail(photo)))
    assert max(small.size) <= 320 and min(small.size) >= 1


def test_wide_photos_lose_their_ends_only_beyond_two_to_one() -> None:
    wide = np.zeros((100, 400, 3), dtype=np.uint8)
    wide[:, 100:300] = 255
    assert np.asarray(EmbeddedTowers.framing(Image.fromarray(wide))).min() == 255
    assert np.asarray(EmbeddedTowers.framing(Image.fromarray(np.rot90(wide).copy()))).min() == 255
    twice = np.zeros((100, 200, 3), dtype=np.uint8)
    twice[:, 5:195] = 255
    assert np.asarray(EmbeddedTowers.framing(Image.fromarray(twice)))[:, 0].max() < 50, "at 2:1, the whole photo stays visible"


def test_paths_that_are_no_files_and_large_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"gone\.jpg: the file is not there"):
        open_photo(tmp_path / "gone.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to(os.devnull)  # a link to /dev/zero would take all memory
    for path in (tmp_path, tmp_path / "pipe.jpg", tmp_path / "device.jpg"):
        with pytest.raises(PhotoError, match="cannot be read"):
            photo_bytes(path)
    with (tmp_path / "heavy.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a sparse file uses no disk space
    for source in (tmp_path / "heavy.jpg", bytes(MAX_BYTES + 1)):
        with pytest.raises(PhotoError, match=r"heavy\.jpg: .*larger than 64 MB"):
            open_photo(source, "heavy.jpg")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("dog.jpg", "dog.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat photo.PNG", "cat photo.PNG"),
        ("a\x00b\x1b[31m\n.jpg", "a b [31m .jpg"),
        ("\u202egpj.exe", "gpj.exe"),
        ("..", "photo"),
        ("", "photo"),
        (" .hidden. ", "hidden"),
        ("Zu\u0308rich.jpg", "Z\u00fcrich.jpg"),
        ("x" * 500 + ".jpeg", "x" * 75 + ".jpeg"),
        ("." + "x" * 500, "x" * 80),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_photos_of_telephones_are_read() -> None:
    import pillow_heif

    source, exif = Image.fromarray(smooth(64, 96)), Image.Exif()

    def saved(tag: int, value: object) -> bytes:
        exif[tag] = value
        heif = pillow_heif.from_pillow(source)
        heif.info["exif"] = exif.tobytes()
        heif.save(out := io.BytesIO(), quality=95)
        return out.getvalue()

    image = open_photo(saved(0x0132, "2024:05:01 12:30:00"), "a.heic")
    assert image.size == (96, 64) and image.mode == "RGB"
    assert np.abs(np.asarray(image, float) - np.asarray(source, float)).mean() < 12
    assert image.info["taken"] == "2024:05:01 12:30:00"
    turned = saved(0x0112, 6)
    assert open_photo(turned, "b.heic").size == (64, 96)
    with pytest.raises(PhotoError, match=r"damaged|not a readable image"):  # libheif versions recognise different damage
        open_photo(turned[:200], "c.heic")


# Raw files of cameras


def raw_file(order: str, preview: bytes, orientation: int) -> bytes:
    """A TIFF as cameras write it: a small picture, raw data as a lossless JPEG, and a preview."""
    number = "little" if order == "<" else "big"
    raw = b"\xff\xd8\xff\xc3" + b"\0" * 20_000 + b"\xff\xd9"
    small, taken = bytes(3 * 8 * 8), b"2024:05:01 12:30:00\0"
    data, places = bytearray(b"II*\0" if order == "<" else b"MM\0*") + bytes(4), {}
    for name, part in (("raw", raw), ("preview", preview), ("small", small), ("taken", taken)):
        places[name] = len(data)
        data += part + bytes(len(part) % 2)

    def directory(tags: list[tuple[int, int, int, int]], following: int = 0) -> int:
        start = len(data)
        data.extend(struct.pack(f"{order}H", len(tags)))
        for tag, kind, count, value in tags:
            packed = value.to_bytes(2, number) + bytes(2) if kind == 3 and count == 1 else value.to_bytes(4, number)
            data.extend(struct.pack(f"{order}HHI", tag, kind, count) + packed)
        data.extend(struct.pack(f"{order}I", following))
        return start

    below = [
        directory([(0x103, 3, 1, 7), (0x111, 4, 1, places["raw"]), (0x117, 4, 1, len(raw))]),
        directory([(0x103, 3, 1, 6), (0x201, 4, 1, places["preview"]), (0x202, 4, 1, len(preview))]),
    ]
    exif = directory([(0x9003, 2, len(taken), places["taken"])])
    listed = len(data)
    data.extend(struct.pack(f"{order}2I", *below))
    first = [(0x100, 3, 1, 8), (0x101, 3, 1, 8), (0x111, 4, 1, places["small"]), (0x112, 3, 1, orientation)]
    start = directory([*first, (0x117, 4, 1, len(small)), (0x14A, 4, 2, listed), (0x8769, 4, 1, exif)], below[1])
    data[4:8] = struct.pack(f"{order}I", start)
    return bytes(data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_raw_files_are_seen_as_their_preview(order: str) -> None:
    content = raw_file(order, encode(Image.new("RGB", (120, 80), (200, 30, 30)), "JPEG"), orientation=6)
    for name in ("a.dng", "A.CR2", "b.nef", "c.ARW"):
        image = open_photo(content, name)
        assert image.size == (80, 120), "turned as the camera's orientation says"
        assert image.info == {"taken": "2024:05:01 12:30:00", "pixels": 120 * 80}
        assert image.getpixel((40, 60)) == pytest.approx((200, 30, 30), abs=3)
    assert open_photo(content, "scan.tif").size != (80, 120), "a TIFF is not a raw file"


def test_raw_files_without_a_preview_and_damaged_ones_are_refused() -> None:
    content = raw_file("<", encode(Image.new("RGB", (120, 80)), "JPEG"), 1)
    none = raw_file("<", b"\xff\xd8\xff\xc3" + bytes(40), 1)
    for damaged in (content[:40], content[:4] + b"\xff" * 4, b"FUJIFILM" * 9, none):
        with pytest.raises(PhotoError, match=r"a\.dng: this raw file holds no JPEG preview"):
            open_photo(damaged, "a.dng")
    random = np.random.default_rng(0)
    for _ in range(300):  # the file must open as a photo or raise PhotoError
        broken = bytearray(content)
        for place in random.integers(0, len(broken), 8):
            broken[place] = random.integers(256)
        broken[len(broken) - 200 + int(random.integers(200))] ^= 0xFF
        with contextlib.suppress(PhotoError):
            open_photo(bytes(broken), "a.dng")


# The reason why a photo was left out travels between processes, of which one may be hostile.


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (message(NO_IMAGE), "this is not a readable image (JPEG,"),
        (message(PIXELS, width=9, height=8, most=64), "9 x 8 pixels is more than 64 megapixels;"),
    ],
)
def test_a_reason_is_the_same_in_another_process(reason: Message, text: str) -> None:
    error = pickle.loads(pickle.dumps(photo_error("a.jpg", reason)))
    assert str(error).startswith(f"a.jpg: {text}") and reason_of(error) == reason
    assert str(from_json(json.loads(json.dumps(as_json(reason))))).startswith(text)


def test_a_forged_reason_is_refused() -> None:
    unknown, missing, odd = ["nothing", {}], [PIXELS, {}], [PIXELS, {"width": []}]
    for forged in (None, "text", [], [MEMORY], [MEMORY, []], unknown, missing, odd):
        with pytest.raises((LookupError, ValueError, TypeError, AttributeError)):
            from_json(forged)
