"""Sample photos to try the studio. They are files of installed packages, so nothing is downloaded or shipped."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from core.common.errors import GalleryError
from core.common.paths import ASSETS


@dataclass(frozen=True)
class SamplePhoto:
    """A sample photo: its path, file name, our captions, and a sentence for photos of its kind. The last caption is a question
    by someone who does not know what the photo shows."""

    path: Path
    name: str
    captions: tuple[str, ...]
    subject: str


class Example(NamedTuple):
    """A description to adapt to, and a search query."""

    description: str
    query: str


def sample_photos() -> tuple[SamplePhoto, ...]:
    """The sample photos of installed packages. Packages are located, not imported.

    Raises GalleryError: when the packages hold no photos.
    """
    listed = json.loads((ASSETS / "samples.json").read_text(encoding="utf-8"))
    packages = sorted({row["package"] for row in listed})
    specs = {package: importlib.util.find_spec(package) for package in packages}
    folders = {package: Path(spec.origin).parent for package, spec in specs.items() if spec is not None and spec.origin}
    photos = tuple(
        SamplePhoto(folders[row["package"]] / row["file"], Path(row["file"]).name, tuple(row["captions"]), row["subject"])
        for row in listed
        if row["package"] in folders and (folders[row["package"]] / row["file"]).is_file()
    )
    if not photos:
        raise GalleryError("CORE_SAMPLES", packages=", ".join(packages))
    return photos


class Examples(NamedTuple):
    """Example questions, the number they were chosen from, and for how many of these the photo rose or fell."""

    shown: tuple[Example, ...]
    questions: int
    rose: int
    fell: int


@cache
def examples() -> Examples:
    """The questions that the page offers: the three largest rises of different photos (first those whose sentence an expert
    fits), the median and the largest fall, by the reciprocal rank of the right photo."""
    written = json.loads((ASSETS / "examples.json").read_text(encoding="utf-8"))
    return Examples(**{**written, "shown": tuple(Example(**example) for example in written["shown"])})
