"""Search queries: texts and photos to look for, and texts to exclude."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.common.errors import DescriptionError
from core.common.recent import Recent
from core.common.runtime import one_core
from core.common.text import clean_text
from core.names.teach import TaughtNames
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import asked, text_embeddings

WITHOUT = 0.5  # weight of all excluded texts together; the wanted parts have weight 1 together
MOST_PARTS = 16
# A rest of so many bytes weighs as much as the text with its name (``with_names``). Chosen from 8, 16 and 32 on validation
# photos: it keeps what "my wug" finds, and nearly all of what captions gain.
NAMED = 16
_MINUS = re.compile(r'(?:^|(?<=\s))-(?:"([^"]+)"|([^\s"-][^\s"]*))')


@dataclass(frozen=True)
class EncodedQuery:
    """A query after the frozen part of the backbone. Each adapter computes its own embedding from it."""

    words: tuple[str, ...]  # n texts
    texts: Tensor  # [n, …] their prefixes
    text_weights: Tensor  # [n], negative for excluded texts
    prefixes: Tensor  # of photos, [m, *prefix_shape]
    photo_weights: Tensor  # [m]
    named: Recent[EncodedQuery] = field(default_factory=lambda: Recent(1))  # ``with_names``

    def with_names(self, names: TaughtNames) -> EncodedQuery:
        """The query, extended for the taught names in its wanted texts; itself without such a name.

        A name is taught in a short wording. In a longer text, it hides the rest. So the text without its names is added, with a
        weight that grows with its length. The n photos of each name are added with a weight of n / (n + 2) together.
        """
        weights, rests, shares, photos = self.text_weights.clone(), list[str](), list[Tensor](), list[Tensor]()
        for i, text in enumerate(self.words):
            if weights[i] < 0:
                continue
            rest, own = names.in_sentence(text)
            photos += own
            if rest:
                share = len(rest.encode()) / (len(rest.encode()) + NAMED)
                rests.append(rest)
                shares.append(share * weights[i])
                weights[i] *= 1 - share
        if not photos:
            return self
        with one_core():
            texts = torch.cat([self.texts, names.backbone.text_prefix(rests)]) if rests else self.texts
        each = [torch.full((len(own),), 1 / (len(own) + 2)) for own in photos]
        prefixes = torch.cat([self.prefixes, *photos])
        text_weights = torch.cat([weights, torch.tensor(shares)])
        return EncodedQuery((*self.words, *rests), texts, text_weights, prefixes, torch.cat([self.photo_weights, *each]))

    def row(self, backbone: Backbone, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """The query row [w] for an index. Its inner product with a row of ``columns.photo_rows`` is the photo's score. Raises
        as ``columns.asked``."""
        names = adapter.names
        query = self if names is None else self.named.get(names, lambda: self.with_names(names))
        return asked(backbone, adapter, lambda lora: query.embedding(backbone, lora, adapter))

    def embedding(self, backbone: Backbone, lora: Lora | None = None, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """The query in the shared space, [d], unit length. ``adapter``: has the names."""
        query = torch.zeros(backbone.dim)
        if len(self.texts):
            query = query + self.text_weights @ text_embeddings(backbone, self.texts, lora, adapter, self.words)
        if len(self.prefixes):
            query = query + self.photo_weights @ backbone.suffix(self.prefixes, lora)
        return torch.nn.functional.normalize(query, dim=-1)


@dataclass(frozen=True)
class Query:
    """The texts and photos to look for, all with equal weight, and the texts to exclude."""

    texts: tuple[str, ...] = ()
    photos: tuple[Image.Image, ...] = ()
    without: tuple[str, ...] = ()

    @staticmethod
    def parse(texts: Sequence[str], photos: Sequence[Image.Image] = ()) -> Query:
        """Parse typed texts: ``dog -water`` and ``dog -"deep water"`` exclude a word or a phrase. Raises DescriptionError: when
        nothing is left to look for, there are too many parts, or a part is invalid."""
        wanted, unwanted = list[str](), list[str]()
        for text in texts:
            rest, excluded = split_minus(text)
            unwanted += excluded
            if rest or not excluded:
                wanted.append(clean_text(rest, "query"))
        if not wanted and not photos:
            raise DescriptionError("The query only excludes words: add a word to look for, as in “dog -water”.")
        if len(wanted) + len(photos) + len(unwanted) > MOST_PARTS:
            raise DescriptionError("The query has more than {n} parts: use fewer.", n=MOST_PARTS)
        return Query(tuple(wanted), tuple(photos), tuple(clean_text(text, "query") for text in unwanted))

    def question(self, backbone: Backbone) -> EncodedQuery:
        texts, read = (*self.texts, *self.without), torch.empty(0)
        prefixes = torch.empty(0, *backbone.prefix_shape, dtype=torch.float16)
        share = 1.0 / (len(self.texts) + len(self.photos))
        weights = torch.tensor([share] * len(self.texts) + [-WITHOUT / max(1, len(self.without))] * len(self.without))
        if texts:
            with one_core():
                read = backbone.text_prefix(texts)
        if self.photos:
            prefixes = backbone.prefix(torch.stack([backbone.pixels(photo) for photo in self.photos]))
        return EncodedQuery(texts, read, weights, prefixes, torch.full((len(self.photos),), share))


def split_minus(text: str) -> tuple[str, tuple[str, ...]]:
    """Split excluded words from a query: "dog -water" is ("dog", ("water",))."""
    excluded = tuple(match[1] or match[2] for match in _MINUS.finditer(text))
    return " ".join(_MINUS.sub(" ", text).split()), excluded
