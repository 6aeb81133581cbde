"""How labels become texts: each special domain has its own way to speak of its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.common.text import listed
from core.data import Sample


@dataclass(frozen=True)
class Domain:
    """How one special domain speaks: its description prefix, and caption templates (the first one is for measuring)."""

    phrase: str
    templates: tuple[str, ...]

    def of(self, names: Sequence[str]) -> str:
        """A description of some of its classes, as a person would write it: "paintings of dogs, horses and people"."""
        return f"{self.phrase} {'such as' if ' of ' in self.phrase else 'of'} {listed(names)}"


DOMAINS: Mapping[str, Domain] = {
    "aerial": Domain(
        "aerial photos", ("an aerial photo of a {}", "a photo of a {}", "a satellite image of a {}", "{} seen from above")
    ),
    "cartoon": Domain("cartoons", ("a cartoon of a {}", "a photo of a {}", "a drawing of a {}", "a comic {}")),
    "clothing": Domain("product photos of clothes", ("a photo of a {}", "a {} for sale", "a person wearing a {}", "{}")),
    "flowers": Domain("photos of flowers", ("a photo of a {}", "a {}, a type of flower", "a close-up of a {} flower")),
    "food": Domain("photos of dishes", ("a photo of {}", "a photo of a {}", "a plate of {}", "{}, a dish")),
    "grocery": Domain("photos of groceries", ("a photo of a {}", "{} in a grocery store", "a package of {}", "{}")),
    "medical": Domain("radiographs", ("a {}", "a photo of a {}", "a radiograph: {}")),
    "instruments": Domain(
        "photos of musical instruments", ("a photo of a {}", "a {}, a musical instrument", "someone playing the {}", "{}")
    ),
    "objects": Domain("photos", ("a photo of a {}", "a close-up of a {}", "a picture of a {}", "{}")),
    "painting": Domain("paintings", ("a painting of a {}", "a photo of a {}", "an oil painting with a {}", "art of a {}")),
    "plants": Domain("photos of seedlings", ("a photo of {}", "a seedling of {}", "a close-up of a young {} plant", "{}")),
    "rooms": Domain("photos of rooms", ("a photo of a {}", "the {} of a house", "a {} for rent")),
    "scene": Domain("photos of places", ("a photo of a {}", "a black and white photo of a {}", "a view of a {}", "{}")),
    "sketch": Domain("pencil sketches", ("a sketch of a {}", "a photo of a {}", "a drawing of a {}", "a doodle of a {}")),
    "sports": Domain("photos of sports", ("a photo of {}", "a photo of a {}", "people doing {}", "a {} match")),
    "texture": Domain("close-ups of textures", ("a {} texture", "a photo of a {}", "a {} surface", "a {} pattern")),
    "weather": Domain("photos of the weather", ("a photo of {} weather", "a {} sky", "a {} day", "{}")),
}


def style_of(domain: str) -> Domain:
    """How a domain speaks; one that DOMAINS does not know speaks plainly."""
    plain = ("a photo of a {}", "a close-up of a {}", "a picture of a {}", "{}")
    return DOMAINS.get(domain) or Domain(f"photos of {domain}" if domain else "photos", plain)


def label_texts(sample: Sample) -> tuple[str, ...]:
    """Caption texts of a labelled photo; the first one is for measuring."""
    return tuple(t.format(sample.label) for t in style_of(sample.domain).templates)
