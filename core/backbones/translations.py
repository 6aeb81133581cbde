"""Sentences in other languages, moved to where their English translations are.

The text tower places a sentence near its translation, but not as near as a photo's captions are to each other, and the heads
were trained on English most. A linear map W for each language (``core.training.translations``) closes some of the gap: s
becomes s W, of unit length. English stays as it is, and so does the training of all else, which reads all languages as the
text tower gives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.common.errors import BackboneError
from core.common.languages import language
from core.common.tensor_files import DAMAGED, read_tensors, write_tensors

Maps = Mapping[str, Tensor]  # by the English name of a language, [s, s]


def toward_english(maps: Maps, texts: Sequence[str], sentences: Tensor) -> Tensor:
    """The sentence embeddings [n, s] of texts, those in a language with a map moved."""
    spoken = [language(text) for text in texts] if maps else []
    if not any(name in maps for name in spoken):
        return sentences
    moved = sentences.clone()
    for row, name in enumerate(spoken):
        if name in maps:
            moved[row] = F.normalize(sentences[row] @ maps[name], dim=-1)
    return moved


def save_maps(maps: Maps, text_tower: str, path: Path) -> None:
    """Write maps as float16 safetensors. ``text_tower``: the checksum of the tower whose sentences they are for."""
    write_tensors(path, {name: map.half() for name, map in maps.items()}, {"text_tower": text_tower})


def load_maps(path: Path, text_tower: str, dim: int) -> Maps:
    """What ``save_maps`` wrote; nothing where there is no file, or for another tower. Raises BackboneError: it is damaged."""
    if not path.is_file():
        return {}
    try:
        tensors, metadata = read_tensors(path)
        if metadata.get("text_tower") != text_tower:
            return {}
        maps = {name: map.float() for name, map in tensors.items()}
        if any(map.shape != (dim, dim) or not bool(torch.isfinite(map).all()) for map in maps.values()):
            raise ValueError("no maps of these sentences")
    except DAMAGED as error:
        raise BackboneError(f"{path.name} is damaged ({type(error).__name__}): restore the file.") from None
    return maps
