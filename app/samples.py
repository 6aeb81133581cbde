"""The sample photos: a gallery that all visitors search and nobody changes. The page opens on it."""

from __future__ import annotations

import threading

from app import texts
from app.files import Files
from core.data.sample_photos import Example, examples, sample_photos
from core.retrieval.gallery import Gallery, Progress
from core.sglora.engine import SGLora


class Samples:
    """The samples with our captions, indexed once for each backbone."""

    def __init__(self) -> None:
        self.files = Files()
        self._galleries: dict[str, Gallery] = {}  # by ``Backbone.prefix_key``
        self._indexing = threading.Lock()

    def gallery(self, engine: SGLora, progress: Progress | None = None) -> Gallery:
        """The photos and captions, indexed for the first caller. Raises GalleryError: when they are missing."""
        with self._indexing:
            gallery = self._galleries.get(engine.backbone.prefix_key)
            if gallery is None:
                samples = sample_photos()
                gallery, files = Gallery(engine.backbone), [sample.path for sample in samples]
                report = gallery.add(files, progress)
                captions = {sample.name: sample.captions for sample in samples}
                gallery.set_captions({photo.name: captions[photo.name] for photo in gallery.photos if photo.name in captions})
                self.files.keep(files, report.ids, {photo.id for photo in gallery.photos})
                self._galleries[engine.backbone.prefix_key] = gallery
            return gallery


def sample_questions() -> list[Example]:
    """Questions about the samples in the visitor's language. The page opens on the first: its photo rises in this language."""
    questions = [Example(*map(texts.of_sample, example)) for example in examples().shown]
    questions.insert(0, questions.pop(min(int(texts.OPENS_ON), len(questions)) - 1))
    return questions
