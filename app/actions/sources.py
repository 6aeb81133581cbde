"""What visitors search: their own photos, the samples, and the libraries of this machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.answers.question import Question, Scope
from app.photos.files import Files
from app.photos.libraries import PhotoLibraries
from app.photos.samples import Samples
from app.visitors.visitor import Visitor
from core.retrieval.gallery import Gallery
from core.retrieval.scoped import ScopedSearch
from core.sglora.engine import SGLora


@dataclass(frozen=True)
class Sources:
    """What there is to search beside a visitor's own photos."""

    libraries: PhotoLibraries = field(default_factory=PhotoLibraries)
    samples: Samples | None = None  # None: the app shows none

    def gallery(self, engine: SGLora, visitor: Visitor, scope: Scope) -> Gallery:
        """The samples or the visitor's photos. Raises GalleryError: as ``Visitor.gallery`` and ``Samples.gallery``."""
        return (
            self.samples.gallery(engine, scope.samples)
            if scope.samples and self.samples is not None
            else visitor.gallery(engine)
        )

    def files(self, visitor: Visitor, scope: Scope) -> Files:
        """The files of the photos of ``gallery``."""
        return self.samples.files if scope.samples and self.samples is not None else visitor.files

    def search(self, engine: SGLora, visitor: Visitor, asked: Question) -> ScopedSearch:
        """The search that answers a question. Raises LibraryError: when there is no such library."""
        scope, library = asked.scope, None
        gallery = self.gallery(engine, visitor, scope) if scope.own or scope.samples else None
        if scope.library:
            library = self.libraries.photos(scope.library, engine.backbone)
            gallery = gallery if gallery is not None and gallery.photos else None
        filters = scope.folder, scope.since, scope.until
        return ScopedSearch(asked.kind, asked.what, asked.file, gallery, library, visitor.names(engine), *filters)
