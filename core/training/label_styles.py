"""How labels become texts: each special domain has its own way to speak of its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.common.paths import data_of
from core.common.text import listed
from core.data import Sample


@dataclass(frozen=True)
class Domain:
    """How one special domain speaks: its description prefix, and caption templates (the first one is for measuring)."""

    phrase: str
    templates: Sequence[str]

    def of(self, names: Sequence[str]) -> str:
        """A description of some of its classes, as a person would write it: "paintings of dogs, horses and people"."""
        return f"{self.phrase} {'such as' if ' of ' in self.phrase else 'of'} {listed(names)}"


DOMAINS: Mapping[str, Domain] = {name: Domain(**written) for name, written in data_of(__file__).items()}


def style_of(domain: str) -> Domain:
    """How a domain speaks; one that DOMAINS does not know speaks plainly."""
    plain = ("a photo of a {}", "a close-up of a {}", "a picture of a {}", "{}")
    return DOMAINS.get(domain) or Domain(f"photos of {domain}" if domain else "photos", plain)


def label_texts(sample: Sample) -> tuple[str, ...]:
    """Caption texts of a labelled photo; the first one is for measuring."""
    return tuple(t.format(sample.label) for t in style_of(sample.domain).templates)
