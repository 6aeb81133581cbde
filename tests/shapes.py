"""Made-up photos of coloured shapes with captions: tasks that a small model can learn something of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("dog", "boat", "horse")
COLOURS = ("red", "green", "blue", "yellow", "white")


def draw(path: Path, shape: int, colour: int, seed: int) -> None:
    """A coloured ellipse, square or line on noise."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 60, (64, 64, 3), dtype=np.uint8))
    pen, corner = ImageDraw.Draw(image), int(rng.integers(4, 24))
    box = (corner, corner, corner + 32, corner + 32)
    (pen.ellipse, pen.rectangle, pen.line)[shape](box, fill=COLOURS[colour], **({"width": 9} if shape == 2 else {}))
    image.save(path)


def blurred(folder: Path, names: list[str], seed: int) -> list[Path]:
    """Photos that differ: blurred colour noise."""
    rng, paths = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        small.resize((160, 120), Image.Resampling.BICUBIC).save(folder / name)
        paths.append(folder / name)
    return paths


def captioned(folder: Path, photos: int = 240) -> None:
    """A data folder with a task for each shape, a quarter of it to measure on."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for i in range(photos):
        shape, colour = i % 3, i // 3 % 5
        draw(folder / f"images/{i}.png", shape, colour, i)
        texts = [f"a {COLOURS[colour]} {SHAPES[shape]}", f"the {SHAPES[shape]} is {COLOURS[colour]}"]
        lines.append({"image": f"images/{i}.png", "split": "val" if i % 4 == 0 else "train", "captions": texts})
    (folder / "captions.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
