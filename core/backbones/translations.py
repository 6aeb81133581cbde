"""Move sentences in other languages toward their English translations.

The text tower places a sentence near its translation, but not as near as captions of one photo are to each other. The heads are
trained mostly on English. A linear map W per language (``core.training.translations``) closes some of the gap: s becomes s W,
normalised. English sentences do not move. All other training uses the text tower's embeddings without maps.

German has a second map. Its nouns are capitalised, but few people type capitals into a search box. Without them, the text tower
reads German as another language.
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

Maps = Mapping[str, Tensor]  # [s, s] each, by the English name of the language
LOWER_CASE = "{} in lower case"


def toward_english(maps: Maps, texts: Sequence[str], sentences: Tensor) -> Tensor:
    """Move the sentence embeddings [n, s] of texts whose language has a map."""
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
    """Write maps as float16 safetensors. ``text_tower``: the checksum of the tower that they belong to."""
    write_tensors(path, {name: map.half() for name, map in maps.items()}, {"text_tower": text_tower})


def load_maps(path: Path, text_tower: str, dim: int) -> Maps:
    """Read the file of ``save_maps``; {} if this tower has none. Raises BackboneError: when it is damaged."""
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
