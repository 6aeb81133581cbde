"""How labels become texts: each special domain has its own templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.common.paths import data_of
from core.common.text import listed
from core.data import Sample


@dataclass(frozen=True)
class Domain:
    """The description prefix of a special domain, and its caption templates. Measuring uses the first one."""

    phrase: str
    templates: Sequence[str]

    def of(self, names: Sequence[str]) -> str:
        """A description of some classes, such as "paintings of dogs, horses and people"."""
        return f"{self.phrase} {'such as' if ' of ' in self.phrase else 'of'} {listed(names)}"


DOMAINS: Mapping[str, Domain] = {name: Domain(**written) for name, written in data_of(__file__).items()}


def style_of(domain: str) -> Domain:
    """The style of a domain; a plain one if DOMAINS does not have it."""
    plain = ("a photo of a {}", "a close-up of a {}", "a picture of a {}", "{}")
    return DOMAINS.get(domain) or Domain(f"photos of {domain}" if domain else "photos", plain)


def label_texts(sample: Sample) -> tuple[str, ...]:
    """Caption texts of a labelled photo. Measuring uses the first one."""
    return tuple(t.format(sample.label) for t in style_of(sample.domain).templates)
