"""Generated photos of coloured shapes, with captions. A small model can learn these tasks."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("dog", "boat", "horse")
COLOURS = ("red", "green", "blue", "yellow", "white")


def draw(path: Path, shape: int, colour: int, seed: int) -> None:
    """Draw a coloured ellipse, square or line on noise."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 60, (64, 64, 3), dtype=np.uint8))
    pen, corner = ImageDraw.Draw(image), int(rng.integers(4, 24))
    box = (corner, corner, corner + 32, corner + 32)
    (pen.ellipse, pen.rectangle, pen.line)[shape](box, fill=COLOURS[colour], **({"width": 9} if shape == 2 else {}))
    image.save(path)


def blurred(folder: Path, names: list[str], seed: int) -> list[Path]:
    """Save photos of blurred colour noise. Each has different content."""
    rng, paths = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        small.resize((160, 120), Image.Resampling.BICUBIC).save(folder / name)
        paths.append(folder / name)
    return paths


def dated(path: Path, day: str) -> Path:
    """Save a photo of noise that was taken on a day, such as 2024:05:31."""
    exif = Image.Exif()
    exif[0x0132] = f"{day} 12:30:00"
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, exif=exif)
    return path


@dataclass(frozen=True)
class Shape:
    """A generated photo: its file name, and the values that data folders of all formats hold about it."""

    file: str
    name: str
    split: str
    captions: tuple[str, str]


def shapes(folder: Path, photos: int = 240) -> list[Shape]:
    """Draw photos; the shapes alternate. A quarter of the photos is for validation."""
    folder.mkdir(parents=True)
    made = []
    for i in range(photos):
        shape, colour = i % 3, i // 3 % 5
        draw(folder / f"{i}.png", shape, colour, i)
        texts = (f"a {COLOURS[colour]} {SHAPES[shape]}", f"the {SHAPES[shape]} is {COLOURS[colour]}")
        made.append(Shape(f"{i}.png", SHAPES[shape], "val" if i % 4 == 0 else "train", texts))
    return made


def captioned(folder: Path, photos: int = 240) -> None:
    """Write a data folder with a task for each shape."""
    made = shapes(folder / "images", photos)
    lines = [{"image": f"images/{s.file}", "split": s.split, "captions": s.captions} for s in made]
    (folder / "captions.jsonl").write_text("\n".join(json.dumps(line) for line in lines))


def drawn(folder: Path, kind: str, number: int) -> Path:
    """Draw a photo of a made-up kind. Each ``number`` gives a slightly different photo."""
    image = Image.new("RGB", (240, 240), (200 + number, 210, 190))
    pen, shift = ImageDraw.Draw(image), 4 * number
    if kind == "wug":
        for i in range(0, 240, 40):
            pen.line((i, 0, 240 - i, 240), (150, 20, 20 + shift), 12)
    else:
        for i in range(3):
            pen.ellipse((20 + 70 * i, 60 + shift, 80 + 70 * i, 120 + shift), (20, 60, 160))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind} {number}.png"
    image.save(path)
    return path
