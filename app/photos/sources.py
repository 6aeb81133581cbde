"""What there is to search beside a visitor's own photos."""

from dataclasses import dataclass, field

from app.photos.libraries import PhotoLibraries
from app.photos.samples import Samples


@dataclass(frozen=True)
class Sources:
    libraries: PhotoLibraries = field(default_factory=PhotoLibraries)
    samples: Samples | None = None  # None: the app shows none
