"""Libraries from strangers: whatever they hold, the app searches, repairs, or rejects them with an error message."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_photos import blurred
from tiny_models import tiny_backbone

from core.backbones.base import Backbone
from core.common.errors import LibraryError, StudioError
from core.retrieval.indexing import index_folders
from core.retrieval.library import ABOUT, PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.photo_set import Where
from core.retrieval.questions import Query
from core.retrieval.search import search

PHOTOS = 6
FLIPPED = 80  # number of damaged libraries


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    names = [f"{i}.jpg" for i in range(PHOTOS)]
    blurred(folder, names, 1)
    return folder


@pytest.fixture(scope="module")
def good(backbone: Backbone, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = PhotoLibrary.create(tmp_path_factory.mktemp("library") / "good", backbone)
    assert index_folders(library, [photos], backbone).photos == PHOTOS
    return library.folder


def used(folder: Path, photos: Path, backbone: Backbone) -> list[str]:
    """The error messages when a library is used in all ways. Unexpected exceptions are raised."""

    def ask() -> None:
        searched = LibraryPhotos(PhotoLibrary.open(folder, backbone), backbone)
        places = [place for place, _ in search(searched, Query(("a dog",)).question(backbone), top=3)]
        searched.paths(places), searched.thumbnails(places)
        searched.among(Where(folder=photos))

    ways: tuple[Callable[[], object], ...] = (
        lambda: PhotoLibrary.open(folder, backbone).counts(),
        ask,
        lambda: index_folders(PhotoLibrary.open(folder, backbone), [photos], backbone),
    )
    said = []
    for way in ways:
        try:
            way()
        except StudioError as error:
            said.append(str(error))
            assert "\n" not in said[-1]
    return said


NESTED = "[" * 100_000 + "]" * 100_000


FIELDS = {
    "folders": ("/etc", {"/": 1}, [1], ["relative"]),
    "backbone": ({}, [], {"spec": 3}, {"spec": "\x1b[2J"}),
    "dim": (0, True, 1e300, 10**30),
    "layout": ("1e9", [2]),
    "fingerprint": (None,),
}


def test_invalid_library_json_files_are_rejected(good: Path, tmp_path: Path) -> None:
    about = json.loads((good / ABOUT).read_text())
    contents = ["", "[]", "null", "3", '"layout"', '{"layout": 1e999}', NESTED, f'{{"layout": {NESTED}}}']
    contents += [json.dumps(about | {field: value}) for field, values in FIELDS.items() for value in values]
    for content in contents:
        (tmp_path / ABOUT).write_text(content)
        with pytest.raises(LibraryError, match="damaged"):
            PhotoLibrary.open(tmp_path)


@pytest.mark.parametrize("times", [0.5, 2])
def test_vectors_of_another_width_are_refused(backbone: Backbone, good: Path, tmp_path: Path, times: float) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    about = json.loads((good / ABOUT).read_text())
    (copy / ABOUT).write_text(json.dumps(about | {"dim": int(times * about["dim"])}))
    with pytest.raises(LibraryError, match="other columns"):
        PhotoLibrary.open(copy).counts()
    with pytest.raises(LibraryError, match="The library"):
        PhotoLibrary.open(copy, backbone)


def test_values_of_any_kind_are_taken_or_refused(backbone: Backbone, photos: Path, good: Path, tmp_path: Path) -> None:
    whole = json.loads((good / ABOUT).read_text())
    odd = [None, True, -1, 2**64, 10**400, 1.5, "", "../../../etc/passwd", "x" * 5_000, [], [[]], {}, {"spec": "x"}]
    for key in whole:
        for value in odd:
            copy = tmp_path / "copy"
            shutil.copytree(good, copy)
            (copy / ABOUT).write_text(json.dumps({**whole, key: value}))
            used(copy, photos, backbone)
            shutil.rmtree(copy)


def test_flipped_bytes_are_reported(backbone: Backbone, photos: Path, good: Path, tmp_path: Path) -> None:
    draw = random.Random(27)
    names = sorted(path.relative_to(good) for path in good.rglob("*") if path.is_file() and path.suffix != ".json")
    said = 0
    for number in range(FLIPPED):
        copy = tmp_path / str(number)
        shutil.copytree(good, copy)
        path = copy / draw.choice(names)
        content = bytearray(path.read_bytes())
        for _ in range(draw.choice((1, 4, 20)) if content else 0):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.randrange(len(content) + 1)] if draw.random() < 0.1 else content)
        said += bool(used(copy, photos, backbone))
        shutil.rmtree(copy)
    assert said > FLIPPED / 4
