"""The sample photos: read-only sets that all visitors search. The page opens on the first one."""

import threading
from typing import Any

from app import languages
from app.languages import texts
from app.photos.files import Files
from core.data.sample_photos import EVERYDAY, Example, sample_photos, sample_sets
from core.retrieval.gallery import Gallery, Progress
from core.sglora.engine import SGLora

OPENING = next(iter(sample_sets()))


class Samples:
    """The sets with their captions, each indexed once for each backbone."""

    def __init__(self) -> None:
        self.files = Files()
        self._galleries: dict[tuple[str, ...], Gallery] = {}  # by ``Backbone.prefix_key``, set, and language of the names
        self._indexing = {name: threading.Lock() for name in sample_sets()}

    def gallery(self, engine: SGLora, name: str = EVERYDAY, progress: Progress | None = None) -> Gallery:
        """The photos of a set with their captions; names of photos are in the visitor's language. Indexed for the first caller.
        Raises GalleryError, DataError: when they are missing."""
        indexed = engine.backbone.prefix_key, name
        translated = *indexed, languages.language()
        with self._indexing[name]:
            if indexed not in self._galleries:
                gallery, files = Gallery(engine.backbone), [sample.path for sample in sample_photos(name)]
                self.files.keep(files, gallery.add(files, progress).ids, {photo.id for photo in gallery.photos})
                self._galleries[indexed] = gallery
            if translated not in self._galleries:
                captions = {sample.name: tuple(map(texts.of_sample, sample.captions)) for sample in sample_photos(name)}
                self._galleries[translated] = self._galleries[indexed].captioned_as(captions)
            return self._galleries[translated]


def sample_questions(name: str = OPENING) -> list[Example]:
    """What the page asks of a set, in the visitor's language; nothing if there is no such set."""
    examples = sample_sets()[name].examples if name in sample_sets() else ()
    return [Example(*map(texts.of_sample, example)) for example in examples]


def elsewhere(where: str, description: str, query: str) -> dict[str, Any]:
    """The controls to change when other photos are searched: the page's own sentence and question give way to those of the new
    set, or to none. What the visitor typed stays. Samples are compared with a random sentence."""
    new = next(iter(sample_questions(where)), Example("", ""))
    own = [example for name in sample_sets() for example in sample_questions(name)]
    changes: dict[str, Any] = {"query": new.query} if query in [example.query for example in own] else {}
    changes |= {"description": new.description} if description in [example.description for example in own] else {}
    return changes | {"random": where in sample_sets()}
