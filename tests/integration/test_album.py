"""``search --link``: a folder of links to what was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Answer, Run
from made_up_photos import blurred

from core.common.errors import DataError
from core.data.album import MADE, make_album


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return blurred(tmp_path / "photos", [f"{i}.jpg" for i in range(5)], 1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != MADE)


def without_links(*_: object) -> None:
    raise OSError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_a_second_run_updates_what_the_first_one_made(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(Path, "symlink_to", without_links)
    album = tmp_path / "album"
    assert make_album(album, photos[:3]).made == 3
    assert names(album) == ["001 0.jpg", "002 1.jpg", "003 2.jpg"]
    assert all((album / name).is_symlink() == links for name in names(album))
    assert (album / "002 1.jpg").read_bytes() == photos[1].read_bytes()
    (album / "mine.txt").write_text("mine")
    report = make_album(album, [photos[0], photos[4]])
    assert (report.made, report.kept, report.removed, report.failed) == (1, 1, 2, ())
    assert names(album) == ["001 0.jpg", "002 4.jpg", "mine.txt"]
    assert all(photo.is_file() for photo in photos)


@pytest.mark.parametrize("links", [True, False])
def test_files_of_others_stay(photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """Neither a file that was there nor a link or copy that was replaced since is deleted or written."""
    if not links:
        monkeypatch.setattr(Path, "symlink_to", without_links)
    album = tmp_path / "album"
    album.mkdir()
    (album / "001 0.jpg").write_text("mine")
    ((file, error),) = make_album(album, photos[:3]).failed
    assert file == album / "001 0.jpg" and "not made by this command" in str(error)
    (album / "002 1.jpg").unlink()
    (album / "002 1.jpg").write_text("edited")
    report = make_album(album, [])
    assert report.removed == 1 and names(album) == ["001 0.jpg", "002 1.jpg"]
    assert (album / "001 0.jpg").read_text() == "mine" and (album / "002 1.jpg").read_text() == "edited"


def test_a_photo_that_is_gone_is_named_and_a_damaged_list_is_rejected(photos: list[Path], tmp_path: Path) -> None:
    album = tmp_path / "album"
    photos[1].unlink()
    ((file, _),) = make_album(album, photos[:3]).failed
    assert file == photos[1] and names(album) == ["001 0.jpg", "003 2.jpg"]
    (album / MADE).write_text("[]")
    with pytest.raises(DataError, match="damaged"):
        make_album(album, [])
    assert names(album) == ["001 0.jpg", "003 2.jpg"]


def test_search_makes_an_album_in_the_order_of_its_results(
    photos: list[Path], answer: Answer, run: Run, tmp_path: Path
) -> None:
    album, library = tmp_path / "album", tmp_path / "library"
    run("index", tmp_path / "photos", "--library", library)
    for place in (["--gallery", tmp_path / "photos"], ["--library", library]):
        found = answer("search", "red", *place, "--top", 3, "--link", album)
        hits = [Path(hit["photo"]).name for hit in found["rankings"]["shared"]]
        assert names(album) == [f"00{rank} {name}" for rank, name in enumerate(hits, 1)]
        assert [(album / name).resolve() for name in names(album)] == [tmp_path / "photos" / name for name in hits]
    assert (found["album"]["made"], found["album"]["kept"], found["album"]["removed"]) == (0, 3, 0)
    code, out, _ = run("search", "red", "--library", library, "--top", 2, "--link", album)
    assert code == 0 and f"links in {album}: 0 made, 2 kept, 1 removed" in out
    code, _, err = run("search", photos[0], "--library", library, "--find", "captions", "--task", "a", "--link", album)
    assert code == 2 and "--link choose photos" in err
