"""Names of the 1,000 classes of ImageNet: ordinary words for things that photos show."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """First lemma of each of the 1,000 classes, in the classifier's order, from timm's files: to import it takes seconds."""
    package = find_spec("timm")
    assert package is not None and package.origin is not None
    files = Path(package.origin).parent / "data/_info"
    lemmas = dict(line.split("\t") for line in (files / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines())
    return tuple(lemmas[synset].split(",")[0].strip() for synset in (files / "imagenet_synsets.txt").read_text().split())
