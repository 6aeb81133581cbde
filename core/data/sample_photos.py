"""Sample photos to try the studio: everyday photos, which are files of installed packages, and shipped sets of one kind."""

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from core.common.errors import GalleryError
from core.common.paths import ASSETS
from core.data.jsonl import LABELS_FILE, read_file

EVERYDAY = "samples"  # the set of everyday photos; the others are folders below ``assets/opening``


@dataclass(frozen=True)
class SamplePhoto:
    """A sample photo: its path, file name, captions, and a sentence for photos of its kind. An everyday photo has our captions;
    the last one is a question by someone who does not know what the photo shows. Another photo has its name."""

    path: Path
    name: str
    captions: tuple[str, ...]
    subject: str


class Example(NamedTuple):
    """A description to adapt to, and a search query."""

    description: str
    query: str


@dataclass(frozen=True)
class SampleSet:
    """Sample photos of one kind, and what is asked of them. The first example shows best what a sentence does."""

    title: str
    examples: tuple[Example, ...]
    credits: str  # who made the photos, and their licence; "" for the everyday ones, whose packages say it


@cache
def sample_sets() -> dict[str, SampleSet]:
    """All sets by name, the one that the page opens on first."""
    sets = dict[str, SampleSet]()
    for name, written in json.loads((ASSETS / "sample-sets.json").read_text(encoding="utf-8")).items():
        asked = tuple(Example(sentence, query) for sentence, queries in written["asks"].items() for query in queries)
        file = ASSETS / "opening" / name / "CREDITS.txt"
        sets[name] = SampleSet(written["title"], asked, "" if name == EVERYDAY else file.read_text(encoding="utf-8").strip())
    return sets


def sample_photos(name: str = EVERYDAY) -> tuple[SamplePhoto, ...]:
    """The photos of a set. Packages with everyday photos are located, not imported.

    Raises GalleryError: when the packages hold no photos. DataError: when files of another set are missing.
    """
    if name != EVERYDAY:
        sentence, labelled = sample_sets()[name].examples[0].description, read_file(ASSETS / "opening" / name / LABELS_FILE)
        return tuple(SamplePhoto(photo.path, photo.path.name, (photo.label,), sentence) for photo in labelled)
    listed = json.loads((ASSETS / "samples.json").read_text(encoding="utf-8"))
    specs = {package: importlib.util.find_spec(package) for package in sorted({row["package"] for row in listed})}
    folders = {package: Path(spec.origin).parent for package, spec in specs.items() if spec is not None and spec.origin}
    photos = tuple(
        SamplePhoto(folders[row["package"]] / row["file"], Path(row["file"]).name, tuple(row["captions"]), row["subject"])
        for row in listed
        if row["package"] in folders and (folders[row["package"]] / row["file"]).is_file()
    )
    if not photos:
        missing = "The sample photos of {packages} are missing: `pip install -r requirements.txt`, or add photos of your own."
        raise GalleryError(missing, packages=", ".join(specs))
    return photos
