"""Keywords that photos have: in sidecars, and as names of folders."""

import zipfile
from pathlib import Path, PurePath

import pytest
from make_images import picture
from sidecar_samples import DIGIKAM, LIGHTROOM

from core.data.keywords import folder_keywords, grouped, keywords_of
from core.data.uploads import MAX_SIDECAR_BYTES, sort_uploads
from core.data.xmp import EMPTY, with_keyword


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("dog", ["dog"]),
        ("pets/black_dog/2024", ["pets", "black dog"]),
        ("DCIM/100CANON", []),
        ("2024-05-31 Hiking in Norway", ["Hiking in Norway"]),
        ("2024/05/31", []),
        ("Export/New folder (2)/IMG", []),
        ("Train/steel 304", ["steel 304"]),
        ("写真/富士山", ["富士山"]),
        ("1960s cars/20240531", ["1960s cars"]),
        (".", []),
    ],
)
def test_folders_that_say_what_photos_show(folder: str, words: list[str]) -> None:
    assert folder_keywords(PurePath(folder)) == words


def test_keywords_of_both_sidecars_and_every_level(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    picture(1).save(photo, xmp=with_keyword(with_keyword(EMPTY, "Norway"), "animals|dog"))
    photo.with_name("a.jpg.xmp").write_bytes(DIGIKAM)
    photo.with_suffix(".xmp").write_bytes(LIGHTROOM)
    found, failed = keywords_of(photo)
    assert {"Norway", "animals", "dog", "Hund", "Müllers & Söhne"} <= set(found) and not failed
    assert len(found) == len(set(found)) and not any(sign in word for word in found for sign in "|/")
    photo.with_suffix(".xmp").write_bytes(LIGHTROOM[:300])
    found, failed = keywords_of(photo)
    assert {"animals", "Hund"} <= set(found)
    assert [(file.name, "is damaged" in str(reason)) for file, reason in failed] == [("a.xmp", True)]
    assert keywords_of(tmp_path / "gone.jpg") == ([], [])


def test_spellings_that_differ_by_case_are_one_keyword() -> None:
    photos = [["Dog", "DOG"], ["dog", "beach"], ["dog"], [], ["Beach"]]
    assert grouped(photos) == {"dog": [0, 1, 2], "beach": [1, 4]}
    assert grouped([["a"]] * 100_000 + [[f"word {i}"] for i in range(100_000)])["a"] == list(range(100_000))


def test_sidecars_of_an_upload_belong_to_the_photos_of_their_folder(tmp_path: Path) -> None:
    """Both styles, whatever their case; damaged and large ones cost their own keywords only."""
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).write_bytes(b"photo")
    (tmp_path / "ONE.JPG.XMP").write_bytes(with_keyword(EMPTY, "animals|dog"))
    sidecars = {
        "a/one.jpg.xmp": with_keyword(EMPTY, "cat"),
        "a/One.xmp": with_keyword(EMPTY, "snow"),
        "b/one.xmp": with_keyword(EMPTY, "boat"),
        "b/two.xmp": b"<x",
        "b/three.xmp": with_keyword(EMPTY, "x") + b" " * MAX_SIDECAR_BYTES,
        "__MACOSX/a/._one.xmp": b"Mac OS X",
    }
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("a/one.jpg", "a/two.jpg", "b/one.jpg", "b/two.jpg", "b/three.jpg"):
            archive.writestr(name, b"photo")
        for name, content in sidecars.items():
            archive.writestr(name, content)
    clutter = (".DS_Store", "._one.jpg", "Thumbs.db", "desktop.ini", "ONE.AAE")  # skipped without a message
    paths = [tmp_path / name for name in ("ONE.JPG.XMP", *clutter, "one.jpg", "two.jpg", "photos.zip")]
    uploads = sort_uploads(paths, tmp_path / "unpacked")
    names = [source.name if isinstance(source, Path) else str(source[0]) for source in uploads.photos]
    found = {name: uploads.keywords[place] for place, name in enumerate(names)}
    assert found.pop("one.jpg") == ["animals", "dog"] and not uploads.failed
    assert found.pop("photos/a/one.jpg") == ["cat", "snow"] and found.pop("photos/b/one.jpg") == ["boat"]
    assert set(found) == {"two.jpg", "photos/a/two.jpg", "photos/b/two.jpg", "photos/b/three.jpg"} and not any(found.values())
