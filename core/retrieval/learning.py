"""Learn keywords from the photos that have them: all at once, and only those that make the search find more.

A third of the photos is left out. All keywords are taught from the others (``core.names``). A keyword is learned if its name
then has a higher average precision on the photos that were left out than without teaching. Learned ones are taught again, from
all of their photos.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.common.errors import DescriptionError
from core.common.messages import Message, message
from core.common.progress import Progress
from core.names.teach import MAX_NAMES, MAX_PHOTOS, MOST_PHOTOS, TaughtNames, clean_taught_name
from core.retrieval.adapter import Adapter
from core.retrieval.name_scores import name_scores
from core.retrieval.photo_set import PhotoSet, background
from core.retrieval.popularity import spread_rows

FEWEST = 3  # photos of a keyword
FOLD = 3  # one of so many photos is left out
OTHERS = 1_000  # most photos without a keyword that compete with those left out
SHARED = 0.1  # share of a keyword's photos that may show another name, too
SURE = 0.5  # average precision from which a keyword that gains nothing is known already
KNOWN = message("Search finds it without being taught.")
UNLIKE = message("Search sees too little that its photos have in common.")


@dataclass(frozen=True)
class Keyword:
    """A keyword. ``before``, ``after``: average precision on photos left out, 0 to 1, untaught and taught; None: not measured.
    ``reason``: why it is not learned."""

    name: str
    photos: int
    before: float | None = None
    after: float | None = None
    reason: Message | None = None


@dataclass(frozen=True)
class Learned:
    """The ``names`` of keywords that gained; all keywords; and how many of the photos of these names that were ``left_out``
    have their right name first, ``before`` and ``after``."""

    names: TaughtNames
    keywords: tuple[Keyword, ...]
    left_out: int
    before: int
    after: int


def learn(
    photos: PhotoSet, keywords: Mapping[str, Sequence[int]], adapter: Adapter, progress: Progress | None = None
) -> Learned:
    """Learn the keywords of photos; ``keywords``: the rows of each. ``adapter``: that of search, without names. ``progress``:
    called with (keywords read, all). Raises AdapterError: when no LoRA can teach this backbone names."""
    backbone, none = photos.backbone, TaughtNames(photos.backbone).among(background([photos]))
    rows, unusable = _usable(keywords, none)
    if not rows:
        return Learned(none, tuple(unusable), 0, 0, 0)
    pool = _left_out(rows.values())
    kept = {name: own[~np.isin(own, pool)] for name, own in rows.items()}
    taught = _taught(none, photos, {name: own for name, own in kept.items() if len(own)})
    others = np.setdiff1d(np.arange(len(photos)), np.concatenate([np.asarray(own) for own in keywords.values()]))
    searched = np.concatenate([pool, others[spread_rows(len(others), OTHERS)]])
    index = photos.index_for(adapter).take(searched)
    right = np.stack([np.isin(searched, np.asarray(keywords[name])) for name in rows])  # [keywords, photos]
    scores = [name_scores(backbone, list(rows), each, index, progress) for each in (adapter, adapter.with_names(taught))]
    before, after = ([average_precision(*pair) for pair in zip(each, right, strict=True)] for each in scores)
    gains = np.array(after) > np.array(before)
    measured = [
        Keyword(name, len(keywords[name]), old, new, None if gained else KNOWN if old >= SURE else UNLIKE)
        for name, old, new, gained in zip(rows, before, after, gains, strict=True)
    ]
    of_learned = np.flatnonzero(right[gains].any(0))
    first = [right[gains][each[gains][:, of_learned].argmax(0), of_learned].sum() if gains.any() else 0 for each in scores]
    names = _taught(none, photos, {name: own for (name, own), gained in zip(rows.items(), gains, strict=True) if gained})
    return Learned(names, (*measured, *unusable), len(of_learned), *map(int, first))


def with_known(names: TaughtNames, photos: PhotoSet, keywords: Mapping[str, Sequence[int]], adapter: Adapter) -> TaughtNames:
    """The names, and those keywords that search finds without being taught and that share few photos with the names: a photo of
    one is none of another, so all compete for the photos without a keyword. ``keywords``: the rows of each. ``adapter``:
    without names."""
    rows = _usable({word: own for word, own in keywords.items() if names.find(word) is None}, names)[0]
    if not rows:
        return names
    searched = np.unique(np.concatenate([spread_rows(len(photos), OTHERS), *rows.values()]))
    scores = name_scores(photos.backbone, list(rows), adapter, photos.index_for(adapter).take(searched))
    right = [np.isin(searched, np.asarray(keywords[word])) for word in rows]
    found = {word for word, *pair in zip(rows, scores, right, strict=True) if average_precision(*pair) >= SURE}
    taken = {row for word, own in keywords.items() if names.find(word) is not None for row in own}
    apart = dict[str, np.ndarray]()
    for word in sorted(found, key=lambda word: len(keywords[word])):  # “ape” before “animals”
        if len(taken.intersection(keywords[word])) <= SHARED * len(keywords[word]):
            taken.update(keywords[word])
            apart[word] = rows[word]
    return _taught(names, photos, apart)


def average_precision(scores: np.ndarray, right: np.ndarray) -> float:
    """The mean precision at the place of each right photo, 0 to 1; scores and answers [n]. At a tie, wrong photos are first."""
    places = np.flatnonzero(right[np.lexsort((right, -scores))]) + 1
    return float((np.arange(1, len(places) + 1) / places).mean()) if len(places) else 0.0


def _usable(keywords: Mapping[str, Sequence[int]], beside: TaughtNames) -> tuple[dict[str, np.ndarray], list[Keyword]]:
    """The spread rows of each keyword that can be taught ``beside`` others, under its clean name; and the others, with the
    reason. With too many keywords or photos, those with most photos come first."""
    rows, unusable, room = dict[str, np.ndarray](), list[Keyword](), MOST_PHOTOS - beside.photos
    for name, own in sorted(keywords.items(), key=lambda item: -len(item[1])):
        picked = np.asarray(own)[spread_rows(len(own), MAX_PHOTOS)]
        try:
            clean_taught_name(name)
            if len(own) < FEWEST:
                raise DescriptionError("It has {n} of the {fewest} photos that a keyword needs.", n=len(own), fewest=FEWEST)
            if len(rows) + len(beside.entries) >= MAX_NAMES or len(picked) > room:
                raise DescriptionError("Other keywords have more photos: {most:,} are the most.", most=len(rows))
        except DescriptionError as error:
            unusable.append(Keyword(name, len(own), reason=error.message))
            continue
        rows[name], room = picked, room - len(picked)
    return rows, unusable


def _left_out(rows: Iterable[np.ndarray]) -> np.ndarray:
    """Rows that teach no keyword: about one of FOLD of the rows of each. Keywords with few photos choose first."""
    out = dict[int, bool]()
    for own in sorted(rows, key=len):
        free = own[[row not in out for row in own.tolist()]]
        needed = len(own) // FOLD - sum(out.get(row, False) for row in own.tolist())
        chosen = free[spread_rows(len(free), max(0, needed))]
        out |= {row: row in chosen for row in free.tolist()}
    return np.array(sorted(row for row, is_out in out.items() if is_out), dtype=int)


def _taught(names: TaughtNames, photos: PhotoSet, rows: Mapping[str, np.ndarray]) -> TaughtNames:
    return names.add_all((name, photos.prefixes(own.tolist()), None) for name, own in rows.items())
