"""Questions of several words and photos, and of what the photos should not show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from PIL import Image
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.common.errors import DescriptionError
from core.common.runtime import one_core
from core.common.text import clean_text
from core.retrieval.adapter import ZERO_SHOT, Adapter, finite
from core.retrieval.columns import asked

WITHOUT = 0.5  # how much "but not" counts
MOST_PARTS = 16
# How much a taught name's n photos count in a longer text, times n / (n + 1); on watched photos 0.5 to 0.7 find as much.
NAME_IN_SENTENCE = 0.6
_MINUS = re.compile(r'(?:^|(?<=\s))-(?:"([^"]+)"|([^\s"-][^\s"]*))')


@dataclass(frozen=True)
class EncodedQuery:
    """A query up to where adapters begin: each adapter makes its own embedding of it."""

    texts: Tensor  # [n, …] prefixes
    text_weights: Tensor  # [n], negative for "but not"
    prefixes: Tensor | None = None  # [m, *prefix_shape] of photos
    photo_weights: Tensor = field(default_factory=lambda: torch.empty(0))  # [m]

    def with_names(self, photos: Sequence[Tensor]) -> EncodedQuery:
        """For adapters with names: the photos [n, *prefix_shape] of each name in the text count, too, where the text says more
        than the name: an adapter knows a name in a short wording, and in a sentence a name says little.
        """
        if not photos:
            return self
        weights = [torch.full((len(own),), NAME_IN_SENTENCE / (len(own) + 1)) for own in photos]
        asked = [] if self.prefixes is None else [self.prefixes]
        return replace(self, prefixes=torch.cat([*asked, *photos]), photo_weights=torch.cat([self.photo_weights, *weights]))

    def row(self, backbone: Backbone, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """What an index is asked, [w]: its inner product with a row of ``columns.photo_rows`` is the photo's score. Raises
        AdapterError: NaN or infinite numbers come of it, or the adapter moves photos as the backbone's shared part does not."""
        return asked(backbone, adapter, lambda lora: self.embedding(backbone, lora))

    def embedding(self, backbone: Backbone, lora: Lora | None = None) -> Tensor:
        """The query in the shared space, [d], of unit length; raises as ``row``."""
        query = torch.zeros(backbone.dim)
        if len(self.texts):
            query = query + self.text_weights @ finite(backbone.text_suffix(self.texts, lora))
        if self.prefixes is not None:
            query = query + self.photo_weights @ finite(backbone.suffix(self.prefixes, lora))
        return torch.nn.functional.normalize(query, dim=-1)


@dataclass(frozen=True)
class Query:
    """What photos should show, all of it counting the same, and what they should not show."""

    texts: tuple[str, ...] = ()
    photos: tuple[Image.Image, ...] = ()
    without: tuple[str, ...] = ()

    @staticmethod
    def parse(texts: Sequence[str], photos: Sequence[Image.Image] = (), without: Sequence[str] = ()) -> Query:
        """From what was typed: ``dog -water`` and ``dog -"deep water"`` say what not to look for. Raises DescriptionError:
        nothing is left to look for, too many parts, or one that cannot be used."""
        wanted, unwanted = [], list(without)
        for text in texts:
            rest, excluded = split_minus(text)
            unwanted += excluded
            if rest or not excluded:
                wanted.append(clean_text(rest, "query"))
        if not wanted and not photos:
            raise DescriptionError("The query only says what photos should not show: add what they should, as in “dog -water”.")
        if len(wanted) + len(photos) + len(unwanted) > MOST_PARTS:
            raise DescriptionError(f"The query has more than {MOST_PARTS} parts: ask for less at once.")
        return Query(tuple(wanted), tuple(photos), tuple(clean_text(text, "query") for text in unwanted))

    def question(self, backbone: Backbone) -> EncodedQuery:
        """Encode it up to where adapters begin."""
        texts, prefixes = (*self.texts, *self.without), torch.empty(0)
        share = 1.0 / (len(self.texts) + len(self.photos))
        weights = torch.tensor([share] * len(self.texts) + [-WITHOUT / max(1, len(self.without))] * len(self.without))
        if texts:
            with one_core():
                prefixes = backbone.text_prefix(texts)
        if not self.photos:
            return EncodedQuery(prefixes, weights)
        pixels = torch.stack([backbone.pixels(photo) for photo in self.photos])
        return EncodedQuery(prefixes, weights, backbone.prefix(pixels), torch.full((len(self.photos),), share))


def split_minus(text: str) -> tuple[str, tuple[str, ...]]:
    """A query without its excluded words, and these: "dog -water" is ("dog", ("water",))."""
    excluded = tuple(match[1] or match[2] for match in _MINUS.finditer(text))
    return " ".join(_MINUS.sub(" ", text).split()), excluded
