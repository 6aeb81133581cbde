"""``tag``: keywords in sidecars for what a library finds."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Answer, Run
from made_up_photos import blurred, drawn
from PIL import Image
from sidecar_samples import DARKTABLE, DIGIKAM

from core.backbones.embedded import EmbeddedBackbone
from core.cli.main import main
from core.common.paths import ROOT
from core.data.sidecars import STYLES, change, change_all
from core.data.xmp import EMPTY, HIERARCHY, SUBJECT, keywords, with_keyword, without_keyword
from core.names.file import read_names
from core.names.teach import TaughtNames
from core.retrieval.adapter import Adapter
from core.retrieval.columns import photo_rows
from core.retrieval.name_scores import scores_left_out
from core.retrieval.questions import Query


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Options of a library of ten drawings of a kind and other photos in two folders, and of a name that three taught."""
    root = tmp_path_factory.mktemp("tag")
    drawings = [drawn(root / "photos" / ("a" if number < 6 else "b"), "wug", number) for number in range(10)]
    blurred(root / "photos" / "a", [f"{i}.jpg" for i in range(12)], 1)
    made, names = str(root / "library"), str(root / "names")
    assert main(["index", str(root / "photos"), "--library", made]) == 0
    assert main(["teach", "--name", "wug", *map(str, drawings[:3]), "--out", names]) == 0
    return ["--library", made, "--names", names]


@pytest.fixture
def photos(library: list[object]) -> Path:
    """The photos of the library, without sidecars."""
    photos = Path(str(library[1])).with_name("photos")
    for file in photos.rglob("*.xmp"):
        file.rmdir() if file.is_dir() else file.unlink()  # a test puts a folder in a sidecar's place
    return photos


def sidecars(photos: Path) -> dict[str, bytes]:
    return {file.relative_to(photos).as_posix(): file.read_bytes() for file in sorted(photos.rglob("*.xmp"))}


def contents(photos: Path) -> dict[Path, str]:
    files = [file for file in photos.rglob("*") if file.is_file() and file.suffix != ".xmp"]
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_a_name_is_tagged_once_and_removed(photos: Path, library: list[object], answer: Answer) -> None:
    before = contents(photos)
    darktable = photos / "a" / "wug 4.png.xmp"
    darktable.write_bytes(DARKTABLE)
    tag = ("tag", *library, "--first", 10)
    (asked,) = answer(*tag, "--dry-run")["tags"]
    assert (asked["photos"], len(asked["changed"]), asked["same"]) == (10, 10, 0)
    assert sidecars(photos) == {"a/wug 4.png.xmp": DARKTABLE}

    answer(*tag)
    written = sidecars(photos)
    assert len(written) == 10 and all("wug" in name for name in written)
    assert all(keywords(content)[SUBJECT] == ["wug"] for content in written.values())
    assert darktable.read_bytes() == with_keyword(DARKTABLE, "wug")
    (asked,) = answer(*tag)["tags"]
    assert (asked["changed"], asked["same"]) == ([], 10) and sidecars(photos) == written

    answer("tag", *library[:2], "--remove", "--keyword", "wug")
    assert sidecars(photos) == {"a/wug 4.png.xmp": DARKTABLE} and contents(photos) == before


def test_without_cut_it_proposes_one_and_writes_nothing(photos: Path, library: list[object], answer: Answer, run: Run) -> None:
    (asked,) = answer("tag", *library)["tags"]
    assert asked["photos"] == 0 and sidecars(photos) == {}
    assert asked["proposed"] == pytest.approx((sum(asked["own"]) / 3 + min(asked["own"])) / 2, abs=1e-5)
    assert len(asked["own"]) == 3
    (cut,) = answer("tag", *library, "--at-least", asked["proposed"], "--keyword", "my wug")["tags"]
    assert cut["photos"] == asked["proposed_photos"] == len(sidecars(photos)) > 0
    assert all(keywords(content)[SUBJECT] == ["my wug"] for content in sidecars(photos).values())
    _, out, _ = run("tag", *library, "--first", 2, "--dry-run")
    assert "would be added to 2 sidecars" in out
    (first,) = answer("tag", *library, "--first", 2, "--dry-run")["tags"]
    kept = sum(score >= first["score"] for score in first["own"])
    assert f". Of the 3 photos that taught it, {kept} score that much when left out\n" in out
    taught = answer("tag", *library, "--adapter", library[3], "--first", 10)["tags"][0]
    assert taught["photos"] == len([name for name in sidecars(photos) if "wug" in name]) == 10


def test_copies_of_a_photo_are_counted_as_files(photos: Path, library: list[object], answer: Answer, run: Run) -> None:
    for i in range(2):
        (photos / "b" / f"copy {i}.png").write_bytes((photos / "a" / "wug 4.png").read_bytes())
    answer("index", "--library", library[1])
    tag = ("tag", *library, "--first", 10, "--dry-run")
    (found,) = answer(*tag)["tags"]
    assert (found["photos"], found["files"], len(found["changed"])) == (10, 12, 12)
    assert "10 photos in 12 files score" in run(*tag)[1]
    for copy in photos.rglob("copy *.png"):
        copy.unlink()
    answer("index", "--library", library[1])


def test_a_query_in_a_folder(photos: Path, library: list[object], answer: Answer) -> None:
    """Photos rank as `search` ranks them. A photo's other files outside the folder get nothing."""
    (photos / "b" / "copy.jpg").write_bytes((photos / "a" / "1.jpg").read_bytes())
    answer("index", "--library", library[1])
    asked = ("--library", library[1], "--folder", photos / "b")
    (found,) = answer("tag", *asked, "--query", "red lines", "--first", 2, "--style", "photo.xmp")["tags"]
    ranked = answer("search", "red lines", *asked, "--top", 2)["rankings"]["shared"]
    assert found["keyword"] == "red lines" and found["own"] == [] and found["proposed"] is None
    assert found["score"] == pytest.approx(ranked[1]["score"], abs=1e-5)
    assert {Path(file).stem for file in found["changed"]} == {Path(hit["photo"]).stem for hit in ranked}
    answer("tag", *asked, "--query", "blurred", "--first", 99)
    assert "b/copy.jpg.xmp" in sidecars(photos) and not [name for name in sidecars(photos) if name.startswith("a/")]


def test_photos_left_out_and_crossed_score_as_taught_without_them(backbone: EmbeddedBackbone, library: list[object]) -> None:
    adapter = Adapter.of(backbone.shared, 0.8)
    photos = read_names(Path(str(library[3])) / "names.safetensors", backbone).entries[0].photos
    none = TaughtNames(backbone)
    for names, without, wrong in (
        (none.add("wug", photos), none.add("wug", photos[1:]), False),
        (none.add("wug", photos[1:], photos[:1]), none.add("wug", photos[2:], photos[:0]), True),
    ):
        query = Query(("wug",)).question(backbone).row(backbone, adapter.with_names(without))
        expected = photo_rows(backbone, photos[:1])[0] @ query
        assert scores_left_out(names, adapter)["wug"][wrong][0] == pytest.approx(float(expected), abs=1e-4)
    assert scores_left_out(none.add("wug", photos[:1]), adapter)["wug"] == ([], [])


def test_unchangeable_sidecars_are_named_and_left(photos: Path, library: list[object], answer: Answer, tmp_path: Path) -> None:
    names = [photos / "a" / f"wug {number}.png.xmp" for number in range(4)]
    damaged, foreign, read_only, folder = names
    damaged.write_bytes(DIGIKAM[:500])
    foreign.write_text("{}")
    read_only.write_bytes(DIGIKAM)
    read_only.chmod(0o444)
    folder.mkdir()
    aside = (photos / "a" / "wug 4.png").rename(tmp_path / "wug 4.png")
    found = answer("tag", *library, "--first", 10)
    aside.rename(photos / "a" / "wug 4.png")  # other tests use the same photos
    reasons = {Path(each["name"]): each["reason"] for each in found["failed"]}
    assert set(reasons) == {*names, photos / "a" / "wug 4.png.xmp"}
    assert "damaged" in reasons[damaged] and "read-only" in reasons[read_only] and "no XMP" in reasons[folder]
    assert damaged.read_bytes() == DIGIKAM[:500] and foreign.read_text() == "{}" and read_only.read_bytes() == DIGIKAM
    assert not list(photos.rglob("*.partial"))
    assert len(found["tags"][0]["changed"]) == 5


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    photo, kept = tmp_path / "a.jpg", tmp_path / "kept.xmp"
    Image.new("RGB", (8, 8)).save(photo)
    kept.write_bytes(DIGIKAM)
    kept.chmod(0o640)
    (tmp_path / "a.jpg.xmp").symlink_to(kept)
    report = change_all([photo], "wug")
    assert report.changed == (kept,) and (tmp_path / "a.jpg.xmp").is_symlink()
    assert keywords(kept.read_bytes())[SUBJECT][-1] == "wug" and kept.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("style", STYLES)
def test_a_link_to_another_folder_is_left_alone(tmp_path: Path, style: str) -> None:
    (photos := tmp_path / "photos").mkdir()
    (elsewhere := tmp_path / "precious.xmp").write_bytes(DIGIKAM)
    Image.new("RGB", (8, 8)).save(photo := photos / "photo.jpg")
    for target in (elsewhere, tmp_path / "not there.xmp"):
        (link := photos / style).unlink(missing_ok=True)
        link.symlink_to(target)
        for options in ({}, {"remove": True}, {"dry_run": True}):
            ((file, error),) = change_all([photo], "wug", style, **options).failed
            assert file == link and "link to another folder" in str(error)
        assert elsewhere.read_bytes() == DIGIKAM and not (tmp_path / "not there.xmp").exists() and link.is_symlink()


def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.jpg")
    code = """
import sys, time
from pathlib import Path
from core.data import sidecars
sidecars.shutil.copymode = lambda *_: (print("writing", flush=True), time.sleep(600))
sidecars.change_all([Path(sys.argv[1])], "wug")
"""
    (tmp_path / "a.jpg.xmp").write_bytes(DIGIKAM)
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "a.jpg"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "writing\n"
        alive = [tmp_path / f"a.jpg.xmp.{pid}.partial" for pid in (os.getpid(), run.pid)]
        alive[0].touch()
        others = [tmp_path / name for name in ("film.mp4.99999999.partial", "a.jpg.xmp.part.partial", "b.xmp.-.partial")]
        for other in others:
            other.touch()
        change_all([tmp_path / "b.jpg"], "dax", dry_run=True)
        change_all([tmp_path / "b.jpg"], "dax")
        assert set(tmp_path.glob("*.partial")) == {*alive, *others}, "the other run still writes"
        run.kill()
        run.wait()
        change_all([tmp_path / "b.jpg"], "wug")
    assert set(tmp_path.glob("*.partial")) == {alive[0], *others}


def test_a_full_or_read_only_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(photo)

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    ((file, error),) = change_all([photo], "wug").failed
    assert file == tmp_path / "a.jpg.xmp" and "No space left" in str(error) and list(tmp_path.iterdir()) == [photo]


def test_a_new_sidecar_has_the_keywords_inside_the_photo(tmp_path: Path) -> None:
    """Programs read a sidecar's keywords in the place of the photo's."""
    photo, inside = tmp_path / "a.jpg", {SUBJECT: ["Hund"], HIERARCHY: ["Tiere|Hund"]}
    Image.new("RGB", (8, 8)).save(photo, xmp=without_keyword(with_keyword(EMPTY, "x", inside), "x"))
    assert change(photo, "wug")
    made = keywords((tmp_path / "a.jpg.xmp").read_bytes())
    assert made == {SUBJECT: ["Hund", "wug"], HIERARCHY: ["Tiere|Hund", "wug"]}
    assert change(photo, "wug", remove=True) and not change(photo, "Hund")
    assert list(tmp_path.iterdir()) == [photo]


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ([], 2, "needs --names FILE, --query TEXT"),
        (["--remove"], 2, "needs --names FILE, --query TEXT"),
        (["--query", "a dog", "--first", "3", "--keyword", "pets/dogs"], 2, "levels"),
        (["--query", "a dog", "--first", "3", "--at-least", "0.2"], 2, "not allowed with"),
        (["--query", "a dog", "--adapter", "a", "--seed", "1"], 2, "--seed"),
        (["--query", "a dog", "--first", "3"], 1, "holds no library"),
    ],
)
def test_usage(run: Run, tmp_path: Path, options: list[str], code: int, reason: str) -> None:
    found, out, err = run("tag", "--library", tmp_path / "none", *options)
    assert (found, out) == (code, "") and reason in err
