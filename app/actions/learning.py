"""Learn the keywords that the searched photos have, and propose them for the others."""

from collections.abc import Sequence
from typing import NamedTuple

from app.actions.answering import without_sentence
from app.answers.question import Scope
from app.photos.samples import OPENING
from app.visitors.tab import Tab
from core.common.progress import Progress
from core.data.keywords import grouped
from core.data.sample_photos import EVERYDAY
from core.retrieval.adapter import ZERO_SHOT
from core.retrieval.gallery import Photo
from core.retrieval.gaps import proposals
from core.retrieval.learning import FEWEST, Learned, learn, with_known
from core.sglora.engine import SGLora

MOST_PROPOSED = 300  # photos


class Proposed(NamedTuple):
    """A keyword for a photo. ``right``: as for ``Proposal``."""

    photo: Photo
    word: str
    right: float


def keywords(photos: Sequence[Photo], scope: Scope) -> dict[str, list[int]]:
    """The rows of each keyword that some of the photos have, and not all. Samples of one kind have their captions; those that
    the page opens on show what a sentence does instead."""
    labelled = scope.samples not in ("", EVERYDAY, OPENING)
    found = grouped([photo.captions if labelled else photo.keywords for photo in photos])
    return {word: rows for word, rows in found.items() if FEWEST <= len(rows) < len(photos)}


def learn_keywords(engine: SGLora, tab: Tab, scope: Scope, progress: Progress | None = None) -> Learned:
    """Teach the visitor's names the keywords that find more so. Raises DescriptionError: when there are too many names;
    AdapterError: when no LoRA can teach this backbone names."""
    photos = tab.gallery(engine, scope).contents
    (adapter,) = without_sentence(engine) or [ZERO_SHOT]
    learned = learn(photos, keywords(photos.photos, scope), adapter, progress)
    added = [(entry.name, entry.photos, entry.without) for entry in learned.names.entries]
    tab.visitor.change_names(engine, lambda names: names.add_all(added))
    return learned


def proposed(engine: SGLora, tab: Tab, scope: Scope) -> list[Proposed]:
    """Taught names, and keywords that search finds untaught, for the photos that have no keyword: the surest, keyword by
    keyword, the least sure first."""
    photos, names = tab.gallery(engine, scope).contents, tab.visitor.names(engine)
    there = keywords(photos.photos, scope)
    tagged = set().union(*there.values())
    tagged |= {row for row, photo in enumerate(photos.photos) if scope.samples or any(map(names.find, photo.keywords))}
    (adapter,) = without_sentence(engine) or [ZERO_SHOT]
    surest = proposals(photos, with_known(names, photos, there, adapter), adapter, tagged)[:MOST_PROPOSED]
    least_sure_first = [Proposed(photos.photos[row], word, right) for row, word, right in reversed(surest)]
    return sorted(least_sure_first, key=lambda each: each.word.casefold())
