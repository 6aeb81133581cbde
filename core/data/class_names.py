"""Names of ImageNet's 1,000 classes: ordinary words for things in photos."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """First lemma of each class, in the classifier's order. Reads timm's files, since importing timm takes seconds."""
    package = find_spec("timm")
    assert package is not None and package.origin is not None
    files = Path(package.origin).parent / "data/_info"
    lemmas = dict(line.split("\t") for line in (files / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines())
    return tuple(lemmas[synset].split(",")[0].strip() for synset in (files / "imagenet_synsets.txt").read_text().split())
