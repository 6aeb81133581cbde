"""What visitors search: their own photos, the samples, and the libraries of this machine."""

from dataclasses import dataclass, field
from pathlib import Path

from app.answers.question import Question, Scope
from app.photos.files import Files
from app.photos.libraries import PhotoLibraries
from app.photos.samples import Samples
from app.visitors.visitor import Visitor
from core.retrieval.gallery import Gallery
from core.retrieval.photo_set import Where, background
from core.retrieval.search import Search
from core.sglora.engine import SGLora


@dataclass(frozen=True)
class Sources:
    """What there is to search beside a visitor's own photos."""

    libraries: PhotoLibraries = field(default_factory=PhotoLibraries)
    samples: Samples | None = None  # None: the app shows none

    def gallery(self, engine: SGLora, visitor: Visitor, scope: Scope) -> Gallery:
        """The samples or the visitor's photos. Raises GalleryError: as ``Visitor.gallery`` and ``Samples.gallery``."""
        if scope.samples and self.samples is not None:
            return self.samples.gallery(engine, scope.samples)
        return visitor.gallery(engine)

    def files(self, visitor: Visitor, scope: Scope) -> Files:
        """The files of the photos of ``gallery``."""
        return self.samples.files if scope.samples and self.samples is not None else visitor.files

    def search(self, engine: SGLora, visitor: Visitor, asked: Question) -> Search:
        """The search that answers a question. Raises LibraryError: when there is no such library."""
        scope = asked.scope
        own = self.gallery(engine, visitor, scope).contents if scope.own or scope.samples else None
        library = self.libraries.photos(scope.library, engine.backbone) if scope.library else None
        where = Where(Path(scope.folder) if scope.folder else None, scope.since, scope.until)
        names = visitor.names(engine).among(background([own, library]))
        return Search(asked.kind, asked.what, own, library, names, where, asked.file)
