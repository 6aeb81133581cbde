"""Features of the frozen towers, computed once and cached on disk, so that trainings start in seconds."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.backbones.base import Towers
from core.backbones.embedded import EmbeddedBackbone
from core.backbones.frozen_towers import EmbeddedTowers
from core.common.device import batch_size, current
from core.common.digest import digest
from core.common.errors import PhotoError
from core.common.files import whole
from core.common.progress import Bar, Log
from core.data import Sample
from core.data.image_io import open_photo
from core.data.read_ahead import read_ahead

BATCH = 64
TEXTS = 4096  # embedded in one call, so that texts of one length share batches


def _key(*parts: str) -> str:
    return digest("\n".join(parts))[:16]


def _augmented(image: Image.Image, seed: int) -> Image.Image:
    """A view > 0 of a photo: a seeded random crop (60 to 100 % of the area), resized to the photo's size, maybe mirrored."""
    rng = np.random.default_rng(seed)
    width, height = image.size
    scale = np.sqrt(rng.uniform(0.6, 1.0))
    aspect = np.exp(rng.uniform(-0.15, 0.15))
    w = min(width, max(1, round(width * scale * aspect)))
    h = min(height, max(1, round(height * scale / aspect)))
    left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    image = image.resize(image.size, Image.Resampling.BICUBIC, box=(left, top, left + w, top + h))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def image_features(samples: Sequence[Sample], cache: Path, view: int, log: Log, towers: Towers) -> np.ndarray:
    """Prefix activations [n, *prefix_shape] float16 of the samples, memory-mapped from the cache.

    View 0 is the photo itself, views 1, 2, … are seeded augmentations. An interrupted run resumes at its last batch.
    Unreadable photos get zeros and a line in the log.
    """
    if isinstance(towers, EmbeddedBackbone) and towers.shared is not None:
        return _columns(samples, cache, view, log, towers)
    file = _file(samples, cache, view, towers)
    progress = file.with_suffix(".json")
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(samples), *towers.prefix_shape)
    done = json.loads(progress.read_text())["done"] if progress.is_file() and file.is_file() else 0
    if done >= len(samples):
        return np.load(file, mmap_mode="r")
    maps = np.load(file, mmap_mode="r+") if done else np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)

    def pixels(index: int) -> Tensor | None:
        try:
            image = open_photo(samples[index].path)
        except PhotoError as error:
            log(f"skipped: {error}")
            return None
        return towers.pixels(_augmented(towers.framing(image), 1_000_003 * view + index) if view else image)

    with Bar(f"image features, view {view}", len(samples), log, first=done) as bar:
        for batch in read_ahead(range(done, len(samples)), pixels, batch_size(current(), BATCH)):
            good = {index: value for index, value in batch if value is not None}
            if good:  # unreadable photos stay zeros
                maps[list(good)] = towers.prefix(torch.stack(list(good.values()))).numpy()
            done += len(batch)
            if done == len(samples) or done // BATCH % 16 == 0:
                maps.flush()
                with whole(progress) as partial:
                    partial.write_text(json.dumps({"done": done}))
            bar.to(done)
    return np.load(file, mmap_mode="r")


def _file(samples: Sequence[Sample], cache: Path, view: int, towers: Towers) -> Path:
    photos = [f"{s.path} {s.path.stat().st_size if s.path.is_file() else -1}" for s in samples]
    return cache / "maps" / f"{_key(towers.prefix_key, f'view {view}', *photos)}.npy"


def _columns(samples: Sequence[Sample], cache: Path, view: int, log: Log, backbone: EmbeddedBackbone) -> np.ndarray:
    """Prefix activations of a backbone with a shared LoRA, from the image tower's maps, which all such backbones share."""
    maps = image_features(samples, cache, view, log, EmbeddedTowers())
    file = _file(samples, cache, view, backbone)
    if not file.is_file():
        columns = np.zeros((len(maps), *backbone.prefix_shape), dtype=np.float16)
        with Bar(f"photos under the shared LoRA, view {view}", len(maps), log) as bar:
            for start in range(0, len(maps), BATCH):
                part = torch.from_numpy(np.array(maps[start : start + BATCH]))
                columns[start : start + len(part)] = backbone.columns(part).numpy()
                bar.to(start + len(part))
        columns[~maps[:, 0].any(1)] = 0  # unreadable
        with whole(file) as partial, partial.open("wb") as opened:
            np.save(opened, columns)
    return np.load(file, mmap_mode="r")


def text_features(texts: Sequence[str], cache: Path, log: Log, towers: Towers) -> Tensor:
    """Sentence embeddings [n, sentence_dim] float32 of the texts, cached."""
    file = cache / "texts" / f"{_key(towers.sentence_key, *texts)}.npy"
    if not file.is_file():
        values = torch.empty(len(texts), towers.sentence_dim)
        with Bar("text features", len(texts), log, "texts") as bar:
            for start in range(0, len(texts), TEXTS):
                part = texts[start : start + TEXTS]
                values[start : start + len(part)] = towers.encode_sentence(part)
                bar.to(start + len(part))
        with whole(file) as partial, partial.open("wb") as opened:
            np.save(opened, values.numpy())
    return torch.from_numpy(np.load(file))


class Features:
    """Rows of several feature files as one array [n, *prefix_shape] on disk, since COCO's do not fit into memory. ``parts``:
    each file's array, and the rows of it to use, in order."""

    def __init__(self, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        self._arrays = [array for array, _ in parts]
        self._file = np.concatenate([np.full(len(rows), i) for i, (_, rows) in enumerate(parts)])
        self._row = np.concatenate([rows for _, rows in parts])

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Read the features [k, *prefix_shape] float16 of these rows [k]."""
        files, at = self._file[rows.numpy()], self._row[rows.numpy()]
        out = np.empty((len(rows), *self._arrays[0].shape[1:]), dtype=np.float16)
        for i, array in enumerate(self._arrays):
            out[files == i] = array[at[files == i]]
        return torch.from_numpy(out)
