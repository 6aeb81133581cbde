"""Sentences in other languages, moved to where their English translations are.

The text tower places a sentence near its translation, but not as near as a photo's captions are to each other, and the heads
were trained on English most. A linear map W for each language (``core.training.translations``) closes some of the gap: s
becomes s W, of unit length. English stays as it is, and so does the training of all else, which reads all languages as the
text tower gives them. German has a second map: its nouns have capitals, which few people type into a search box, and without
them the text tower reads it as another language.
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
LOWER_CASE = "{} in lower case"


def toward_english(maps: Maps, texts: Sequence[str], sentences: Tensor) -> Tensor:
    """The sentence embeddings [n, s] of texts, those in a language with a map moved."""
    if not maps:
        return sentences
    moved = sentences.clone()
    for row, text in enumerate(texts):
        name = language(text)
        lower = LOWER_CASE.format(name)
        map = maps[lower] if lower in maps and text[1:].islower() else maps.get(name)
        if map is not None:
            moved[row] = F.normalize(sentences[row] @ map, dim=-1)
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
