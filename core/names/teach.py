"""Teach a name: a LoRA from a word and a few photos, in closed form.

Rank-one model editing (ROME, arXiv 2202.05262, section 3.1; several edits at once as in MEMIT, arXiv 2210.07229, section 4.2)
moves a name's text to its photos. For n names:

    K [n, in]   inputs of the last linear of the text side
    U [n, d]    the texts before they are normalised
    V [n, d]    unit-length targets: what tells each name's photos from other photos (``core.names.ridge``)
    C [in, in]  second moment of the input over ordinary texts (``core.names.ordinary_texts``)

    R = |U| V - U,    A = (K C^-1 K^T + lambda I)^-1 K C^-1,    B = R^T

B A is a LoRA of rank n on that linear. It adds R to the names' texts. Of all such changes, it moves ordinary texts least. K and
U are computed under the current adapter, to which B A is added exactly. C is computed under the shared LoRA only, and inverted
once. C does not affect where the names' texts land.

It moves other texts a little, too. So search adds it only to texts that contain the names (``TaughtNames.within``). An adapter
that leaves for other programs holds all names (``TaughtNames.on``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.base import Backbone, last_linear, last_text_linear, photo_column
from core.backbones.lora import Factors, Lora
from core.backbones.lora_algebra import merge
from core.common.errors import DescriptionError, brief
from core.common.lazy import lazy
from core.common.messages import Message, message
from core.common.recent import Recent
from core.common.runtime import one_core
from core.common.text import one_line, trimmed
from core.names.ordinary_texts import COMMON, TEMPLATES, inverse_moment
from core.names.ridge import Background, everyday_photos, pooled, ridge_directions

MAX_NAMES = 2_000
MAX_LETTERS, MAX_QUESTION = 60, 300  # characters of a name, and of a question whose results were marked
MAX_PHOTOS = 32  # per name; later ones are left out
MOST_PHOTOS = 20_000  # of all names together
TEXTS_AT_ONCE = 256
SMALL_WORDS = frozenset("a an the my our this photo photos picture pictures of".split())
LAMBDA = 1e-3  # lambda, as a share of the mean diagonal of K C^-1 K^T, which is singular if two names have equal texts
# A name's own text weighs OWN_NAME / n beside its n photos: it knows something, too. Chosen on validation photos.
OWN_NAME = 0.3
# How much they weigh in the background. Searched photos are like those to tell apart, but some show the name.
SEARCHED_TO_EVERYDAY = (1, 4)
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

    @property
    def count(self) -> int:
        """How many photos it has."""
        return len(self.photos) + (0 if self.without is None else len(self.without))

    @lazy
    def folded(self) -> str:
        return self.name.casefold()

    @lazy
    def pattern(self) -> re.Pattern[str]:
        letter = rf"[^\W{_UNSPACED}]"
        return re.compile(rf"(?<!{letter}){re.escape(self.name)}(?:['’]?e?s)?(?!{letter})", re.IGNORECASE)

    def holds(self, photos: Tensor) -> list[bool]:
        """Which of these photos [n, *prefix_shape] taught the name."""
        return [_contains(self.photos, photo) for photo in photos.half()]

    def is_all_of(self, text: str) -> bool:
        """Whether a text that contains the name says nothing else."""
        return set(re.findall(r"\w+", self.pattern.sub(" ", text).casefold())) <= SMALL_WORDS

    def target(self, backbone: Backbone, lora: Lora | None, text: Tensor, direction: Tensor) -> Tensor:
        """The unit-length target [d] of the name's text [d]. ``direction``: that of its photos, [d].

        For marks: Rocchio's formula (1971), from ticked photos, crossed photos and the question's text.
        """
        own = F.normalize(text, dim=-1)
        if self.without is None:
            return F.normalize(direction + OWN_NAME / len(self.photos) * own, dim=-1)
        target = F.normalize(backbone.suffix(self.photos, lora).mean(0), dim=-1) + OWN_TEXT * own
        if len(self.without):
            target = target - GAMMA * F.normalize(backbone.suffix(self.without, lora).mean(0), dim=-1)
        return F.normalize(target, dim=-1)


@dataclass(frozen=True)
class TaughtNames:
    """Names taught to a backbone, in order. Immutable: each change returns a new object."""

    backbone: Backbone
    entries: tuple[TaughtName, ...] = ()
    background: Background | None = None  # the searched photos
    _directions: Recent[Tensor] = field(default_factory=lambda: Recent(2), init=False, compare=False, repr=False)
    _placed: Recent[TaughtNames] = field(default_factory=lambda: Recent(4), init=False, compare=False, repr=False)

    def among(self, background: Background | None) -> TaughtNames:
        """The same names for a search among other photos. Kept, since their regression takes a while."""
        if background is self.background:
            return self
        return self._placed.get(background, lambda: replace(self, background=background))

    def add(self, name: str, photos: Tensor, without: Tensor | None = None) -> TaughtNames:
        """Add a name from prefix activations of photos; if the name exists, it gets these photos too. ``without``: as in
        ``TaughtName``. Raises DescriptionError: when there is no photo, the name is invalid, or there are too many."""
        return self.add_all([(name, photos, without)])

    def add_all(self, added: Iterable[tuple[str, Tensor, Tensor | None]]) -> TaughtNames:
        """``add`` for many names, whose texts are read together. Raises as ``add``, at the first name that cannot be added."""
        entries, total = {entry.folded: entry for entry in self.entries}, self.photos
        for given, photos, without in added:
            name = clean_taught_name(given, MAX_LETTERS if without is None else MAX_QUESTION)
            if not len(photos):
                raise DescriptionError("“{name}” has no photo: choose at least one that shows it; three are better.", name=name)
            if name.casefold() not in entries and len(entries) >= MAX_NAMES:
                raise DescriptionError("“{name}” would be more than {most} names: remove one first.", name=name, most=MAX_NAMES)
            entry = entries.get(name.casefold()) or TaughtName(name, torch.empty(0), photos[:0].half())
            crossed = entry.without if without is None else _joined(entry.without, without)
            joined = replace(entry, photos=_joined(entry.photos, photos), without=crossed)
            total += joined.count - entry.count
            if total > MOST_PHOTOS:
                raise DescriptionError(
                    "With “{name}”, all names have more than {most:,} photos: remove a name first.", name=name, most=MOST_PHOTOS
                )
            entries[joined.folded] = joined
        unread = [entry for entry in entries.values() if not len(entry.texts)]
        for entry, texts in zip(unread, self._texts([entry.name for entry in unread]), strict=True):
            entries[entry.folded] = replace(entry, texts=texts)
        return replace(self, entries=tuple(entries.values()))

    def rename(self, old: str, new: str) -> TaughtNames:
        """Rename a name; if ``new`` exists, it gets the photos too. Raises as ``add`` and ``remove``."""
        entry, new = self._entry(old), clean_taught_name(new)
        other = self.find(new)
        if other is not None and other is not entry:
            return self.remove(old).add(new, entry.photos, entry.without)
        renamed = replace(entry, name=new, texts=self._texts([new])[0])
        return replace(self, entries=tuple(renamed if e is entry else e for e in self.entries))

    def remove(self, name: str) -> TaughtNames:
        """Remove a name. Raises DescriptionError: when it is not taught."""
        entry = self._entry(name)
        return replace(self, entries=tuple(e for e in self.entries if e is not entry))

    def take_out(self, name: str, photos: Tensor) -> TaughtNames:
        """Take photos out of a name that they taught by mistake; others are ignored. Raises DescriptionError: when the name
        would have no photo left; and as ``remove``."""
        entry = self._entry(name)
        kept = [own for own in entry.photos if not _contains(photos.half(), own)]
        if not kept:
            raise DescriptionError("“{name}” would have no photo left: remove the name instead.", name=entry.name)
        left = replace(entry, photos=torch.stack(kept))
        return replace(self, entries=tuple(left if each is entry else each for each in self.entries))

    @lazy
    def photos(self) -> int:
        """The number of photos of all names."""
        return sum(entry.count for entry in self.entries)

    def find(self, name: str) -> TaughtName | None:
        """The entry of a name, ignoring case and white space."""
        wanted = trimmed(name).casefold()
        return next((entry for entry in self.entries if entry.folded == wanted), None)

    def within(self, text: str) -> tuple[TaughtName, ...]:
        """The names that a text contains as whole words, also in plural; in languages without spaces, anywhere. In a longer
        text, a word that trained the backbone keeps its meaning: photos that people keep under “dog” are of some dogs."""
        folded, known = text.casefold(), self.backbone.words
        there = (entry for entry in self.entries if entry.folded in folded and entry.pattern.search(text))
        return tuple(e for e in there if e.folded not in known or e.without is not None or e.is_all_of(text))

    def alone(self, text: str) -> TaughtName | None:
        """The name that a text is, alone in one of TEMPLATES."""
        plain = " ".join(text.split()).strip(".!? ").casefold()
        names = ((entry, template.format(entry.name).casefold()) for template in TEMPLATES for entry in self.entries)
        return next((entry for entry, wording in names if wording == plain), None)

    def in_sentence(self, text: str) -> tuple[str, list[Tensor]]:
        """The rest of a text without its names, and the photos [n, *prefix_shape] of each name. The rest is "" without a
        letter or digit, and keeps marked questions. ("", []) for a text without names, or a name ``alone``."""
        if self.alone(text) is not None:
            return "", []
        rest, entries = text, self.within(text)
        for name in (e.pattern for e in sorted(entries, key=lambda e: -len(e.name)) if e.without is None):
            rest = name.sub(" ", rest)
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
                edited = self.backbone.text_suffix(prefixes[at], self.on(lora, entries))
                rows = rows.index_copy(0, torch.tensor(at), edited)
        return rows

    @one_core()
    def on(self, lora: Lora | None, entries: Sequence[TaughtName] | None = None) -> Lora | None:
        """Add names to an adapter (None: the frozen model). ``entries``: some of the names; None: all. Raises as
        ``last_text_linear``."""
        entries = self.entries if entries is None else entries
        if not entries:
            return lora
        added = names_lora(self, entries, lora)
        return added if lora is None else merge([lora, added], [1.0, 1.0])

    def directions(self, lora: Lora | None) -> Mapping[TaughtName, Tensor]:
        """The direction [d] of each name in the space of photos, as the adapter sees them (``core.names.ridge``). All names and
        the background are in one regression. A photo of several names counts once, for all of them."""
        named, column = [entry for entry in self.entries if entry.without is None], photo_column(lora, self.backbone.shared)
        moved = lora is not None and lora.moves_photos and self.backbone.shared is None  # then the background is not
        key = lora.digest if lora is not None and moved else column

        def solve() -> Tensor:
            photos, owners = torch.cat([entry.photos for entry in named]), [i for i, e in enumerate(named) for _ in e.photos]
            different, places = torch.unique(photos, dim=0, return_inverse=True)
            z = torch.zeros(len(different), len(named))
            z[places, torch.tensor(owners)] = 1
            background = None if moved else self._negatives()
            embedded = torch.cat([self.backbone.suffix(part, lora) for part in different.split(1024)])
            return ridge_directions(embedded, z, None if background is None else background.moments[column])

        return dict(zip(named, self._directions.get(key, solve), strict=True)) if named else {}

    def _negatives(self) -> Background | None:
        """The photos without a name: everyday photos that ship with the backbone, and those that are searched."""
        shipped = everyday_photos(self.backbone)
        if shipped is None or self.background is None:
            return shipped or self.background
        return pooled((self.background, shipped), SEARCHED_TO_EVERYDAY)

    def _texts(self, names: Sequence[str]) -> list[Tensor]:
        """The text prefixes [t, …] of each name in TEMPLATES."""
        texts = [template.format(name) for name in names for template in TEMPLATES]
        batches = (texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE))
        return [each for batch in batches for each in self.backbone.text_prefix(batch).clone().split(len(TEMPLATES))]

    def _entry(self, name: str) -> TaughtName:
        entry = self.find(name)
        if entry is None:
            raise DescriptionError("“{name}” is not a taught name: teach it first.", name=brief(name))
        return entry


def _joined(photos: Tensor | None, more: Tensor) -> Tensor:
    """Both sets of photos without duplicates, at most MAX_PHOTOS, in float16."""
    kept = [] if photos is None else list(photos)
    for photo in more.half():
        if len(kept) < MAX_PHOTOS and not _contains(kept, photo):
            kept.append(photo.clone())
    return torch.stack(kept) if kept else more[:0].half()


def _contains(photos: Iterable[Tensor], photo: Tensor) -> bool:
    return any(torch.equal(photo, each) for each in photos)


def clean_taught_name(name: str, most: int = MAX_LETTERS) -> str:
    """Trim a name. Raises DescriptionError: when it has no letter or digit, or more than ``most`` characters."""
    cleaned = trimmed(name)
    if len(cleaned) > most:
        raise DescriptionError("The name has {n} characters; {most} is the most. One word is best.", n=len(cleaned), most=most)
    if not any(c.isalnum() for c in cleaned):
        raise DescriptionError("A name needs a letter or a digit: type a word for what the photos show, such as “Shrek”.")
    return cleaned


def left_out(name: str, photos: int) -> list[Message]:
    """A warning if there are more photos than a name can have."""
    more = photos - MAX_PHOTOS
    return [message("“{name}” takes {most} photos; {n} were left out.", name=name, most=MAX_PHOTOS, n=more)] if more > 0 else []


def names_cost(names: TaughtNames, lora: Lora | None, named: Lora | None) -> dict[str, Any]:
    """What ``named``, the adapter with all names, costs COMMON words that are no names: how many "words" these are, the "mean"
    and the "least" cosine to the same without names, and the "worst" word. ``lora``: the adapter without names."""
    words = [word for word in COMMON if not names.within(word)]
    read = names.backbone.text_prefix([TEMPLATES[-1].format(word) for word in words])
    before, after = (names.backbone.text_suffix(read, each) for each in (lora, named))
    kept = (before * after).sum(-1)
    worst = int(kept.argmin())
    mean, least = round(float(kept.mean()), 4), round(float(kept[worst]), 4)
    return {"words": len(words), "mean": mean, "least": least, "worst": words[worst]}


def names_lora(names: TaughtNames, entries: Sequence[TaughtName], lora: Lora | None = None) -> Lora:
    """The LoRA of rank n that teaches n of the names when it is added to an adapter (None: the frozen model)."""
    backbone, texts = names.backbone, torch.cat([entry.texts for entry in entries])
    keys, outputs = (x.unflatten(0, (len(entries), -1)).mean(1) for x in last_linear(backbone, texts, lora))  # [n, in], [n, d]
    directions = names.directions(lora)
    targets = [e.target(backbone, lora, text, directions.get(e, text)) for e, text in zip(entries, outputs, strict=True)]
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
