"""Teach a name: a LoRA from a word and a few photos, in closed form.

Rank-one model editing (ROME, arXiv 2202.05262, section 3.1; several edits at once as in MEMIT, arXiv 2210.07229, section 4.2)
moves a name's text to its photos. For n names:

    K [n, in]   inputs of the last linear of the text side
    U [n, d]    the texts before they are normalised
    V [n, d]    unit-length targets: how each name's photos differ from everyday ones (``core.names.everyday``)
    C [in, in]  second moment of the input over ordinary texts (``core.names.ordinary_texts``)

    R = |U| V - U,    A = (K C^-1 K^T + lambda I)^-1 K C^-1,    B = R^T

B A is a LoRA of rank n on that linear. It adds R to the names' texts. Of all such changes, it moves ordinary texts least. K and
U are computed under the current adapter, to which B A is added exactly. C is computed under the shared LoRA only, and inverted
once. C does not affect where the names' texts land.

It moves other texts a little, too. So search adds it only to texts that contain the names (``TaughtNames.embed``). An adapter
that leaves for other programs holds all names (``TaughtNames.on``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.base import Backbone, last_linear, last_text_linear
from core.backbones.lora import Factors, Lora
from core.backbones.lora_algebra import merge
from core.common.errors import DescriptionError, brief
from core.common.lazy import lazy
from core.common.messages import Message, message
from core.common.runtime import one_core
from core.common.text import one_line
from core.names.everyday import EverydayPhotos, everyday_photos
from core.names.ordinary_texts import COMMON, TEMPLATES, inverse_moment

MAX_NAMES = 64
MAX_LETTERS, MAX_QUESTION = 60, 300  # characters of a name, and of a question whose results were marked
MAX_PHOTOS = 32  # per name; later ones are left out
LAMBDA = 1e-3  # lambda, as a share of the mean diagonal of K C^-1 K^T, which is singular if two names have equal texts
# Weights of crossed photos and of the question's text (Rocchio 1971), chosen with a simulated user on validation photos.
GAMMA, OWN_TEXT = 0.3, 2.0
# Letters of languages that put no space between words.
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


@dataclass(frozen=True, eq=False)
class TaughtName:
    """One name and its photos; or a question whose results were marked, and its ticked photos."""

    name: str
    texts: Tensor  # text prefixes [t, …] of the name in TEMPLATES; K and U are means over them
    photos: Tensor  # prefix activations [n, *prefix_shape] float16, at most MAX_PHOTOS
    without: Tensor | None = None  # those of crossed photos; None: it is a name, not a question

    @property
    def memory(self) -> int:
        return self.photos.nbytes + self.texts.nbytes + (0 if self.without is None else self.without.nbytes)

    def target(self, backbone: Backbone, lora: Lora | None, text: Tensor, background: EverydayPhotos | None = None) -> Tensor:
        """The unit-length target [d] of the name's text.

        For names: how the photos differ from everyday ones, or else from ``background``. Without both, the photos'
        mean. For marks: Rocchio's formula (1971), from ticked photos, crossed photos and the question's text [d].
        """
        mean = F.normalize(backbone.suffix(self.photos, lora).mean(0), dim=-1)
        if self.without is None:
            everyday = everyday_photos(backbone, lora) or background
            return mean if everyday is None else everyday.apart(mean)
        target = mean + OWN_TEXT * F.normalize(text, dim=-1)
        if len(self.without):
            target = target - GAMMA * F.normalize(backbone.suffix(self.without, lora).mean(0), dim=-1)
        return F.normalize(target, dim=-1)


@dataclass(frozen=True)
class TaughtNames:
    """Names taught to a backbone, in order. Immutable: each change returns a new object."""

    backbone: Backbone
    entries: tuple[TaughtName, ...] = ()
    background: EverydayPhotos | None = None  # the searched photos, for a backbone without everyday photos

    def add(self, name: str, photos: Tensor, without: Tensor | None = None) -> TaughtNames:
        """Add a name from prefix activations of photos; if the name exists, it gets these photos too. ``without``: as in
        ``TaughtName``. Raises DescriptionError: when there is no photo, the name is invalid, or there are too many names."""
        name = clean_taught_name(name, MAX_LETTERS if without is None else MAX_QUESTION)
        if not len(photos):
            raise DescriptionError("“{name}” has no photo: choose at least one that shows it; three are better.", name=name)
        existing = self.find(name)
        if existing is None and len(self.entries) >= MAX_NAMES:
            raise DescriptionError("“{name}” would be more than {most} names: remove one first.", name=name, most=MAX_NAMES)
        entry = existing or TaughtName(name, self._texts(name), photos[:0].half())
        crossed = entry.without if without is None else _joined(entry.without, without)
        joined = replace(entry, photos=_joined(entry.photos, photos), without=crossed)
        return replace(self, entries=(*self.entries, joined)) if existing is None else self._replaced(existing, joined)

    def rename(self, old: str, new: str) -> TaughtNames:
        """Rename a name; if ``new`` exists, it gets the photos too. Raises as ``add`` and ``remove``."""
        entry, new = self._entry(old), clean_taught_name(new)
        other = self.find(new)
        if other is not None and other is not entry:
            return self.remove(old).add(new, entry.photos, entry.without)
        return self._replaced(entry, replace(entry, name=new, texts=self._texts(new)))

    def remove(self, name: str) -> TaughtNames:
        """Remove a name. Raises DescriptionError: when it is not taught."""
        entry = self._entry(name)
        return replace(self, entries=tuple(e for e in self.entries if e is not entry))

    def find(self, name: str) -> TaughtName | None:
        """The entry of a name, ignoring case and white space."""
        wanted = _trimmed(name).casefold()
        return next((e for e in self.entries if e.name.casefold() == wanted), None)

    def within(self, text: str) -> tuple[TaughtName, ...]:
        """The names that a text contains as whole words, also in plural; in languages without spaces, anywhere."""
        if not self.entries or not self._any.search(text):
            return ()
        return tuple(entry for entry in self.entries if _pattern(entry.name).search(text))

    @lazy
    def _any(self) -> re.Pattern[str]:
        return re.compile("|".join(_pattern(entry.name).pattern for entry in self.entries), re.IGNORECASE)

    def in_sentence(self, text: str) -> tuple[str, list[Tensor]]:
        """The rest of a text without its names, and the photos [n, *prefix_shape] of each name. The rest is "" without a
        letter or digit, and keeps marked questions. ("", []) for a text without names, or a name alone in one of TEMPLATES."""
        plain, rest = " ".join(text.split()).strip(".!? ").casefold(), text
        if any(plain == template.format(entry.name).casefold() for template in TEMPLATES for entry in self.entries):
            return "", []
        entries = self.within(text)
        for name in sorted((entry.name for entry in entries if entry.without is None), key=len, reverse=True):
            rest = _pattern(name).sub(" ", rest)
        left = rest != text and any(letter.isalnum() for letter in rest)
        return one_line(rest) if left else "", [entry.photos for entry in entries]

    def embed(self, texts: Sequence[str], prefixes: Tensor, lora: Lora | None) -> Tensor:
        """Texts [m, d] under an adapter (None: the frozen model), from their prefixes [m, …]. Those that contain names have the
        edit of these names; all others are as without names. Raises as ``on``."""
        rows, places = self.backbone.text_suffix(prefixes, lora), defaultdict[tuple[TaughtName, ...], list[int]](list)
        for i, text in zip(range(len(prefixes)), texts, strict=True):
            places[self.within(text)].append(i)
        for entries, at in places.items():
            if entries:
                edited = self.backbone.text_suffix(prefixes[at], replace(self, entries=entries).on(lora))
                rows = rows.index_copy(0, torch.tensor(at), edited)
        return rows

    @one_core()
    def on(self, lora: Lora | None) -> Lora | None:
        """Add all names to an adapter (None: the frozen model). Raises as ``last_text_linear``."""
        if not self.entries:
            return lora
        added = names_lora(self.backbone, self.entries, lora, self.background)
        return added if lora is None else merge([lora, added], [1.0, 1.0])

    def _texts(self, name: str) -> Tensor:
        return self.backbone.text_prefix([template.format(name) for template in TEMPLATES])

    def _entry(self, name: str) -> TaughtName:
        entry = self.find(name)
        if entry is None:
            raise DescriptionError("“{name}” is not a taught name: teach it first.", name=brief(name))
        return entry

    def _replaced(self, old: TaughtName, new: TaughtName) -> TaughtNames:
        return replace(self, entries=tuple(new if e is old else e for e in self.entries))


def _pattern(name: str) -> re.Pattern[str]:
    letter = rf"[^\W{_UNSPACED}]"
    return re.compile(rf"(?<!{letter}){re.escape(name)}(?:['’]?e?s)?(?!{letter})", re.IGNORECASE)


def _joined(photos: Tensor | None, more: Tensor) -> Tensor:
    """Both sets of photos without duplicates, at most MAX_PHOTOS, in float16."""
    kept = [] if photos is None else list(photos)
    for photo in more.half():
        if len(kept) < MAX_PHOTOS and not any(torch.equal(photo, other) for other in kept):
            kept.append(photo.clone())
    return torch.stack(kept) if kept else more[:0].half()


def clean_taught_name(name: str, most: int = MAX_LETTERS) -> str:
    """Trim a name. Raises DescriptionError: when it has no letter or digit, or more than ``most`` characters."""
    cleaned = _trimmed(name)
    if len(cleaned) > most:
        raise DescriptionError("The name has {n} characters; {most} is the most. One word is best.", n=len(cleaned), most=most)
    if not any(c.isalnum() for c in cleaned):
        raise DescriptionError("A name needs a letter or a digit: type a word for what the photos show, such as “Shrek”.")
    return cleaned


def left_out(name: str, photos: int) -> list[Message]:
    """A warning if there are more photos than a name can have."""
    more = photos - MAX_PHOTOS
    return [message("“{name}” takes {most} photos; {n} were left out.", name=name, most=MAX_PHOTOS, n=more)] if more > 0 else []


def _trimmed(name: str) -> str:
    return one_line(name).strip("\"“”'.,!?;: ") if isinstance(name, str) else ""


class NamesCost(NamedTuple):
    """What an adapter with names costs other texts: cosines of common words to the same without the names."""

    words: int
    mean: float
    least: float
    worst: str  # the word with the least cosine


def names_cost(names: TaughtNames, lora: Lora | None, named: Lora | None) -> NamesCost:
    """What ``named``, the adapter with all names, costs COMMON words that are no names. ``lora``: the adapter without them."""
    words = [word for word in COMMON if not names.within(word)]
    read = names.backbone.text_prefix([TEMPLATES[-1].format(word) for word in words])
    before, after = (names.backbone.text_suffix(read, each) for each in (lora, named))
    kept = (before * after).sum(-1)
    worst = int(kept.argmin())
    return NamesCost(len(words), round(float(kept.mean()), 4), round(float(kept[worst]), 4), words[worst])


def names_lora(
    backbone: Backbone, names: Sequence[TaughtName], lora: Lora | None = None, background: EverydayPhotos | None = None
) -> Lora:
    """The LoRA of rank n that teaches n names when it is added to an adapter (None: the frozen model)."""
    texts = torch.cat([entry.texts for entry in names])
    keys, outputs = (x.unflatten(0, (len(names), -1)).mean(1) for x in last_linear(backbone, texts, lora))  # [n, in], [n, d]
    targets = [entry.target(backbone, lora, text, background) for entry, text in zip(names, outputs, strict=True)]
    residuals = outputs.norm(dim=-1, keepdim=True) * torch.stack(targets) - outputs  # [n, d]
    module = last_text_linear(backbone)
    return Lora((module,), {module.name: closed_form(keys, residuals, inverse_moment(backbone))})


def closed_form(keys: Tensor, residuals: Tensor, inverse: Tensor) -> Factors:
    """The factors that add residuals [n, d] to the outputs for keys [n, in]. ``inverse``: C^-1 [in, in] in float64."""
    k = keys.double()
    whitened = k @ inverse  # [n, in]
    gram = whitened @ k.T
    gram = gram + LAMBDA * gram.diagonal().mean() * torch.eye(len(k), dtype=k.dtype)
    return Factors(torch.linalg.solve(gram, whitened).float(), residuals.T.contiguous())
