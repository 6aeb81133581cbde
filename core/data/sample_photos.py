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
    "photos of famous buildings and towers": ("tower.jpg",),
    "photos of flowers and plants": ("pexels-36179987.jpg", "pexels-36358763.jpg"),
    "portraits of people": ("astronaut.png", "camera.png"),
    "photos of children playing sports": ("pexels-2560067.jpg",),
    "close-ups of textures and surfaces": ("brick.png", "coins.png", "grass.png", "gravel.png"),
    "photos of space and space travel": ("hubble_deep_field.jpg", "moon.png", "rocket.jpg"),
    "medical and microscope images": ("ihc.png", "retina.jpg"),
    "photos of food and drinks": ("coffee.png", "pexels-5386834.jpg"),
    "photos of cafés and restaurants": ("pexels-1317558.jpg", "pexels-4543103.jpg", "pexels-7688357.jpg"),
    "photos of bedrooms": ("pexels-2416933.jpg", "pexels-36030587.jpg", "pexels-4400637.jpg", "pexels-5604956.jpg"),
    "photos of living rooms and furniture": (
        "pexels-36236147.jpg",
        "pexels-3965508.jpg",
        "pexels-5853819.jpg",
        "pexels-6373478.jpg",
        "pexels-6615808.jpg",
        "pexels-6830376.jpg",
        "pexels-7303782.jpg",
    ),
    "photos of motorcycles and other vehicles": ("motorcycle_left.png",),
    "pictures of printed and written text": ("page.png", "text.png"),
}

# (package, path inside it) -> captions; the last one as somebody might ask who does not know what the photo shows.
_SAMPLES: dict[tuple[str, str], tuple[str, ...]] = {
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
    ("interior_photos", "images/pexels-1317558.jpg"): (
        "An orange neon sign glows above the tables of an empty restaurant.",
        "A bar with green benches and a handwritten sign in lights.",
        "A place to drink champagne.",
    ),
    ("interior_photos", "images/pexels-2416933.jpg"): (
        "A bed with cushions and a purple blanket under framed pictures.",
        "A sunny bedroom with a wooden headboard and a small table.",
        "A place to sleep in the country.",
    ),
    ("interior_photos", "images/pexels-2560067.jpg"): (
        "Two boys in red shirts play football on a lawn.",
        "A boy runs with a ball, another one follows him.",
        "Kids who play a game.",
    ),
    ("interior_photos", "images/pexels-36030587.jpg"): (
        "A black and white bedroom with a television on the wall.",
        "A bed with black pillows, a round rug and a leather armchair.",
        "The room of a teenager.",
    ),
    ("interior_photos", "images/pexels-36179987.jpg"): (
        "Orange flowers in a white vase on a chair.",
        "A bunch of bright orange blossoms before a grey wall.",
        "A present for my mother.",
    ),
    ("interior_photos", "images/pexels-36236147.jpg"): (
        "A white armchair in front of a golden brown curtain.",
        "A chair and a small round table with a plant beside it.",
        "A comfortable place to sit.",
    ),
    ("interior_photos", "images/pexels-36358763.jpg"): (
        "Large green plants in white pots beside a window with red frames.",
        "A dining table with wooden chairs, plants and wire lamps.",
        "Somebody has to water them.",
    ),
    ("interior_photos", "images/pexels-3965508.jpg"): (
        "A white dining room with a table, grey stools and a chandelier.",
        "A bright, almost empty white room with a crystal lamp.",
        "A room for dinner with guests.",
    ),
    ("interior_photos", "images/pexels-4400637.jpg"): (
        "A guitar stands among green plants beside a bed with an open book.",
        "A bedroom with a green checked blanket and a hanging plant.",
        "The room of somebody who makes music.",
    ),
    ("interior_photos", "images/pexels-4543103.jpg"): (
        "A glass counter with cakes under a sign of light bulbs that says café.",
        "A dark coffee shop with shelves, lamps and a menu on the wall.",
        "A shop for breakfast.",
    ),
    ("interior_photos", "images/pexels-5386834.jpg"): (
        "A cup of coffee, a croissant and a candle on a sofa.",
        "Breakfast on a dark sofa beside a laptop and a camera.",
        "A slow Sunday morning.",
    ),
    ("interior_photos", "images/pexels-5604956.jpg"): (
        "A wicker basket on a bed under a string of lights.",
        "A cosy corner with red cushions, dried grass and fairy lights.",
        "A room that is ready for a party.",
    ),
    ("interior_photos", "images/pexels-5853819.jpg"): (
        "Sunlight falls on a sofa covered with a beige cloth.",
        "A living room with a couch, a wooden floor and an open kitchen.",
        "An afternoon at home.",
    ),
    ("interior_photos", "images/pexels-6373478.jpg"): (
        "A brown leather armchair stands beside a tiled window sill.",
        "An armchair with metal legs and an empty picture frame on the wall.",
        "A waiting room without people.",
    ),
    ("interior_photos", "images/pexels-6615808.jpg"): (
        "A white hallway with an arch and a wooden floor.",
        "An empty room seen through a round arch, with a small bench.",
        "A flat that nobody lives in.",
    ),
    ("interior_photos", "images/pexels-6830376.jpg"): (
        "A lit lamp and tall plants beside a black leather sofa.",
        "A dark room with green walls, a shelf and climbing plants.",
        "A place to read in the evening.",
    ),
    ("interior_photos", "images/pexels-7303782.jpg"): (
        "A wooden chair with a bowl on it in a kitchen.",
        "A kitchen with orange wooden cupboards and red leaves in a vase.",
        "Where somebody cooks.",
    ),
    ("interior_photos", "images/pexels-7688357.jpg"): (
        "Green ferns hang from the ceiling of a pink café.",
        "Tables and chairs in a pink restaurant with large windows.",
        "A place to meet friends for lunch.",
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
