"""Sample photos to try the studio with: they come with installed packages, so none has to be downloaded or shipped."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from core.common.errors import GalleryError
from core.common.paths import results_path


@dataclass(frozen=True)
class SamplePhoto:
    """One sample photo: where it lies, its file name, captions that we wrote, and a sentence for photos of its kind."""

    path: Path
    name: str
    captions: tuple[str, ...]
    subject: str


class Example(NamedTuple):
    """A description to adapt to, and a query to search with."""

    description: str
    query: str


# What a visitor could say about a collection that a sample comes from, and the samples that it is said of.
_SUBJECTS = {
    "photos of wild animals and big cats": ("cheetah.jpg", "cheetah1.jpg", "cheetah2.jpg", "lion.jpg", "horse.png"),
    "close-up photos of a pet cat": ("chelsea.png",),
    "photos of famous buildings and towers": ("china.jpg", "tower.jpg"),
    "close-up photos of flowers": ("flower.jpg",),
    "portraits of people": ("astronaut.png", "camera.png", "grace_hopper.jpg"),
    "close-ups of textures and surfaces": ("brick.png", "coins.png", "grass.png", "gravel.png"),
    "photos of space and space travel": ("hubble_deep_field.jpg", "moon.png", "rocket.jpg"),
    "medical and microscope images": ("ihc.png", "retina.jpg"),
    "photos of food and drinks": ("coffee.png",),
    "photos of motorcycles and other vehicles": ("motorcycle_left.png",),
    "pictures of printed and written text": ("page.png", "text.png"),
}

# (package, path inside it) -> captions; the last one as somebody might ask who does not know what the photo shows.
_SAMPLES: dict[tuple[str, str], tuple[str, ...]] = {
    ("sklearn", "datasets/images/china.jpg"): (
        "A colourful Chinese temple tower among trees above a lake.",
        "An octagonal pagoda with orange roofs.",
        "A famous sight of an old empire.",
    ),
    ("sklearn", "datasets/images/flower.jpg"): (
        "An orange dahlia in full bloom.",
        "A close-up of a round flower with many petals before dark leaves.",
        "Something that bees like.",
    ),
    ("gradio", "media_assets/images/cheetah.jpg"): (
        "A cheetah running at full speed.",
        "A spotted big cat sprints past a blurred brown background.",
        "An animal that runs fast.",
    ),
    ("gradio", "media_assets/images/cheetah1.jpg"): (
        "The face of a cheetah looking into the camera.",
        "A portrait of a spotted big cat with amber eyes.",
        "An animal that looks at me.",
    ),
    ("gradio", "test_data/cheetah2.jpg"): (
        "A cheetah cub cut out on a light checkered background.",
        "A fluffy young big cat with large dark eyes.",
        "A baby animal.",
    ),
    ("gradio", "media_assets/images/lion.jpg"): (
        "A male lion with a dark mane resting on a rock.",
        "A lion lies in front of a lioness.",
        "The king of the animals.",
    ),
    ("gradio", "media_assets/images/tower.jpg"): (
        "The Eiffel Tower lit up in gold at dusk.",
        "A tall iron tower seen from below, with bare branches above it.",
        "An evening in Paris.",
    ),
    ("skimage", "data/astronaut.png"): (
        "A smiling astronaut in an orange space suit, with a flag and a model of a space shuttle.",
        "A portrait of a woman with short hair holding a space helmet.",
        "Somebody who went to space.",
    ),
    ("skimage", "data/brick.png"): (
        "Rows of grey bricks with light joints.",
        "A black and white photo of a brick surface.",
        "The wall of an old house.",
    ),
    ("skimage", "data/camera.png"): (
        "A man in a dark coat looks through a camera on a tripod.",
        "A black and white photo of a photographer on a lawn.",
        "Somebody taking a picture.",
    ),
    ("skimage", "data/chelsea.png"): (
        "A close-up of the face of a tabby cat.",
        "A ginger striped cat with green eyes.",
        "A pet that likes milk.",
    ),
    ("skimage", "data/coffee.png"): (
        "A cup of espresso on a red saucer with a spoon.",
        "Coffee in a small cup on a wooden table.",
        "Something hot to drink.",
    ),
    ("skimage", "data/coins.png"): (
        "Four rows of ancient coins on a dark background.",
        "A black and white photo of a coin collection.",
        "Money from long ago.",
    ),
    ("skimage", "data/grass.png"): (
        "Short grass and small leaves seen from above.",
        "A black and white texture of a lawn.",
        "A meadow to lie on.",
    ),
    ("skimage", "data/gravel.png"): (
        "A layer of gravel.",
        "A black and white texture of many small stones.",
        "The ground of a path.",
    ),
    ("skimage", "data/horse.png"): (
        "The black silhouette of a standing horse.",
        "A drawing of a horse seen from the side on a white background.",
        "An animal to ride on.",
    ),
    ("skimage", "data/hubble_deep_field.jpg"): (
        "Hundreds of galaxies in black space.",
        "A telescope image of distant stars and galaxies.",
        "The universe far away.",
    ),
    ("skimage", "data/ihc.png"): (
        "A microscope image of tissue stained brown and blue.",
        "Cells of glands seen under a microscope.",
        "A sample from a laboratory.",
    ),
    ("skimage", "data/moon.png"): (
        "Craters on the grey surface of the moon.",
        "What shines at night.",
    ),
    ("skimage", "data/motorcycle_left.png"): (
        "A red motorcycle parked in a garage.",
        "A motorbike in front of shelves with boxes and a wooden bench.",
        "A fast ride on two wheels.",
    ),
    ("skimage", "data/page.png"): (
        "A printed page with a heading and a paragraph of text.",
        "A page of a book.",
    ),
    ("skimage", "data/retina.jpg"): (
        "The retina of an eye with its blood vessels.",
        "A medical image of the back of an eye.",
        "A picture from the eye doctor.",
    ),
    ("skimage", "data/rocket.jpg"): (
        "A white rocket on its launch pad at dusk.",
        "A rocket between steel masts and bright lights before lift-off.",
        "A journey to space begins.",
    ),
    ("skimage", "data/text.png"): (
        "Handwritten formulas on squared paper.",
        "Homework in mathematics.",
    ),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"): (
        "A portrait of an elderly woman with glasses in a navy uniform.",
        "An officer in a dark uniform and cap in front of a flag.",
        "A woman in the navy.",
    ),
}  # fmt: skip


def sample_photos() -> tuple[SamplePhoto, ...]:
    """The sample photos of the packages that are installed; packages are located, not imported.

    Raises:
        GalleryError: there is none.
    """
    packages = {package for package, _ in _SAMPLES}
    folders = {package: _folder(package) for package in packages}
    subjects = {name: subject for subject, names in _SUBJECTS.items() for name in names}
    photos = tuple(
        SamplePhoto(folder / file, Path(file).name, captions, subjects[Path(file).name])
        for (package, file), captions in _SAMPLES.items()
        if (folder := folders[package]) is not None and (folder / file).is_file()
    )
    if not photos:
        raise GalleryError(
            f"The sample photos are missing. They come with {', '.join(sorted(packages))}: "
            "reinstall with `pip install -r requirements.txt`, or add photos of your own."
        )
    return photos


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


class Examples(NamedTuple):
    """Questions to begin with; of how many they were chosen, and for how many of these the photo rises or falls."""

    shown: tuple[Example, ...]
    questions: int = 0
    rose: int = 0
    fell: int = 0


@cache
def examples() -> Examples:
    """As the experiment ``samples`` chose them; without its result, the first captions."""
    try:
        result = json.loads(results_path("samples").read_text(encoding="utf-8"))
        shown = tuple(Example(str(example["description"]), str(example["query"])) for example in result["shown"])
        return Examples(shown, len(result["questions"]), int(result["rose"]), int(result["fell"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Examples(tuple(Example(sample.subject, sample.captions[0]) for sample in sample_photos()[:5]))
