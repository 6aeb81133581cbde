"""``search --link``: a folder of links to what was found."""

from pathlib import Path

import pytest
from command_line import Answer, Run
from made_up_photos import blurred

from core.common.errors import DataError
from core.data.album import make_album


def names(folder: Path) -> list[str]:
    """What a photo program shows."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_where_links_are_impossible_photos_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    photos, album = blurred(tmp_path / "photos", [f"{i}.jpg" for i in range(3)], 1), tmp_path / "album"
    monkeypatch.setattr(Path, "symlink_to", without_links)
    content = photos[0].read_bytes()
    photos[1].unlink()
    ((file, error),) = make_album(album, photos)
    assert file == photos[1] and "its photo is gone" in str(error) and names(album) == ["001 0.jpg", "003 2.jpg"]
    assert (album / "001 0.jpg").read_bytes() == content and not (album / "001 0.jpg").is_symlink()
    assert make_album(album, photos[2:]) == [] and names(album) == ["001 2.jpg"]  # in place of the copies
    (album / "001 2.jpg").write_bytes(content + b"mine")
    with pytest.raises(DataError, match=r"001 2\.jpg, which is no link or copy"):
        make_album(album, photos[:1])
    assert names(album) == ["001 2.jpg"]


def test_search_makes_an_album_in_the_order_of_its_results(answer: Answer, run: Run, tmp_path: Path) -> None:
    blurred(tmp_path / "photos", [f"{i}.jpg" for i in range(5)], 1)
    album, library = tmp_path / "album", tmp_path / "library"
    run("index", tmp_path / "photos", "--library", library)
    for query, *place in (("red", "--gallery", tmp_path / "photos"), ("blue", "--library", library)):
        found = answer("search", query, *place, "--top", 3, "--link", album)
        hits = [Path(hit["photo"]).name for hit in found["rankings"]["shared"]]
        assert names(album) == [f"00{rank} {name}" for rank, name in enumerate(hits, 1)]
        assert [(album / name).resolve() for name in names(album)] == [tmp_path / "photos" / name for name in hits]
    assert found["album"] == {"folder": str(album), "failed": []}
    again = ("search", "red", "--library", library, "--top", 2, "--link", album)
    code, out, _ = run(*again)
    assert code == 0 and f"links in {album}" in out and len(names(album)) == 2
    for mine in ("mine.txt", "003 9.jpg"):  # what is no link of an album, and files in its place
        (album / mine).write_text("mine")
        code, _, err = run(*again)
        assert code == 1 and f"holds {mine}, which is no link" in err and len(names(album)) == 3
        (album / mine).unlink()
