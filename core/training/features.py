"""Features of the frozen towers, computed once and cached on disk, so that every training starts in seconds."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.backbones.towers import IMAGE_TOWER_SHA256, MAP_CHANNELS, MAP_TOKENS, TEXT_TOWER_SHA256, ImageTower, TextTower
from core.data import Sample
from core.errors import PhotoError
from core.photos import SIDE, open_photo, square, to_pixels

BATCH = 64
Log = Callable[[str], None]


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/sg-lora-studio`` (or ``~/.cache/...``)."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sg-lora-studio"


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _augmented(image: Image.Image, seed: int) -> Image.Image:
    """A seeded random crop (60 to 100 % of the area), maybe mirrored: view > 0 of a photo."""
    rng = np.random.default_rng(seed)
    width, height = image.size
    scale = np.sqrt(rng.uniform(0.6, 1.0))
    aspect = np.exp(rng.uniform(-0.15, 0.15))
    w = min(width, max(1, round(width * scale * aspect)))
    h = min(height, max(1, round(height * scale / aspect)))
    left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + w, top + h))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def image_features(
    samples: Sequence[Sample], cache: Path, view: int = 0, log: Log = print, tower: ImageTower | None = None
) -> np.ndarray:
    """Convolutional maps of the samples, [n, 49, 320] float16, memory-mapped from the cache.

    View 0 is the photo itself, views 1, 2, … are seeded augmentations. An interrupted run resumes at the batch where
    it stopped. Unreadable photos get zeros and are listed in the log.
    """
    stats = [(str(s.path), s.path.stat().st_size if s.path.is_file() else -1) for s in samples]
    key = _key(IMAGE_TOWER_SHA256, f"view {view}", *(f"{p} {n}" for p, n in stats))
    folder = cache / "maps"
    folder.mkdir(parents=True, exist_ok=True)
    file, progress = folder / f"{key}.npy", folder / f"{key}.json"
    shape = (len(samples), MAP_TOKENS, MAP_CHANNELS)
    done = json.loads(progress.read_text())["done"] if progress.is_file() and file.is_file() else 0
    if done >= len(samples):
        return np.load(file, mmap_mode="r")
    maps = np.load(file, mmap_mode="r+") if done else np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
    tower = tower or ImageTower()

    def pixels(index: int) -> Tensor | None:
        try:
            image = square(open_photo(samples[index].path))
        except PhotoError as error:
            log(f"skipped: {error}")
            return None
        return to_pixels(_augmented(image, 1_000_003 * view + index) if view else image)

    started, first = time.monotonic(), done
    with ThreadPoolExecutor(2) as pool:
        ahead = list(pool.map(pixels, range(done, min(done + BATCH, len(samples)))))
        while done < len(samples):
            batch, stop = ahead, min(done + BATCH, len(samples))
            future = [pool.submit(pixels, i) for i in range(stop, min(stop + BATCH, len(samples)))]
            ready = torch.stack([p if p is not None else torch.zeros(3, SIDE, SIDE) for p in batch])
            values = tower(ready)
            values[[i for i, p in enumerate(batch) if p is None]] = 0
            maps[done:stop] = values.numpy()
            ahead, done = [f.result() for f in future], stop
            if done == len(samples) or done // BATCH % 16 == 0:
                maps.flush()
                progress.write_text(json.dumps({"done": done}))
                rate = (done - first) / (time.monotonic() - started)
                log(f"image features, view {view}: {done}/{len(samples)} photos, {rate:.0f}/s")
    return np.load(file, mmap_mode="r")


def text_features(texts: Sequence[str], cache: Path, log: Log = print, tower: TextTower | None = None) -> Tensor:
    """Sentence embeddings of the texts, [n, 384] float32, cached."""
    folder = cache / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_key(TEXT_TOWER_SHA256, *texts)}.npy"
    if not file.is_file():
        log(f"text features: {len(texts)} texts")
        values = (tower or TextTower()).encode(texts)
        partial = file.with_suffix(".tmp.npy")
        np.save(partial, values.numpy())
        partial.replace(file)
    return torch.from_numpy(np.load(file))
