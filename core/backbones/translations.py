"""Move sentences in other languages toward their English translations.

The text tower places a sentence near its translation, but not as near as captions of one photo are to each other. The heads are
trained mostly on English. A linear map W per language (``core.training.translations``) closes some of the gap: s becomes s W,
normalised. English sentences do not move. All other training uses the text tower's embeddings without maps.

The text tower splits a word into other pieces with a capital than without, and errs differently. So s joins three embeddings:
of the sentence as typed, in lower case, and with all words capitalised. One map then also reads German without capitals.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.common.languages import language
from core.common.tensor_files import write_tensors

Maps = Mapping[str, Tensor]  # [FORMS * s, s] each, [s, s] in a CASELESS language, by the English name of the language
FORMS = 3  # of a sentence, see ``in_forms``
CASELESS = ("Chinese",)  # languages without capitals: a sentence has one form
Encode = Callable[[Sequence[str]], Tensor]  # sentence embeddings [n, s] of texts


def in_forms(texts: Sequence[str], sentences: Tensor, encode: Encode) -> Tensor:
    """Sentence embeddings [n, FORMS * s] of texts as typed, in lower case, and with all words capitalised. ``sentences``
    [n, s]: those as typed."""
    others = encode([form for text in texts for form in (text.lower(), text.title())])
    return torch.cat([sentences, others.reshape(len(texts), -1)], -1)


def toward_english(maps: Maps, texts: Sequence[str], encode: Encode) -> Tensor:
    """Sentence embeddings [n, s] of texts, moved if their language has a map."""
    sentences = encode(texts)
    if not maps:
        return sentences
    names = [language(text) for text in texts]
    for name in maps.keys() & set(names):
        rows = [row for row, other in enumerate(names) if other == name]
        forms = sentences[rows]
        if name not in CASELESS:
            forms = in_forms([texts[row] for row in rows], forms, encode)
        sentences[rows] = F.normalize(forms @ maps[name], dim=-1)
    return sentences


def save_maps(maps: Maps, text_tower: str, path: Path) -> None:
    """Write maps as float16 safetensors. ``text_tower``: the checksum of the tower that they belong to."""
    write_tensors(path, {name: map.half() for name, map in maps.items()}, {"text_tower": text_tower})
