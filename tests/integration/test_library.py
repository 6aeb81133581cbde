"""Libraries on disk: what a run reports, what survives a crash, and search compared with all photos through the adapter."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
import torch
from made_up_photos import blurred
from tiny_models import tiny_backbone

from core.backbones.base import Backbone
from core.cli.main import main
from core.common.errors import LibraryError
from core.common.paths import ROOT
from core.data.image_io import open_photo
from core.retrieval.indexing import IndexReport, index_folders, read_files
from core.retrieval.library import ABOUT, PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.verify import problems


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    blurred(folder, [f"{i:02}.jpg" for i in range(40)], 1)
    return folder


@pytest.fixture(scope="module")
def indexed(backbone: Backbone, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> PhotoLibrary:
    """A library of ``photos``. Tests must not change it."""
    library = PhotoLibrary.create(tmp_path_factory.mktemp("library"), backbone)
    assert index_folders(library, [photos], backbone).added == 40
    return PhotoLibrary.open(library.folder)


def update(library: Path, folders: list[Path], backbone: Backbone, **options: object) -> IndexReport:
    return index_folders(PhotoLibrary.create(library, backbone), folders, backbone, **options)  # type: ignore[arg-type]


def copied(photos: Path, folder: Path, *numbers: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        shutil.copy(photos / f"{number:02}.jpg", folder)


def counts(report: IndexReport) -> tuple[int, ...]:
    return report.photos, report.added, report.removed, len(report.failed)


def test_odd_names_and_dates_cost_no_other_photo(backbone: Backbone, photos: Path, tmp_path: Path) -> None:
    folder, library = tmp_path / "photos", tmp_path / "library"
    copied(photos, folder, 0, 1, 2)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    os.utime(folder / "01.jpg", (10_413_792_000, 10_413_792_000))  # the year 2300: too late for 64-bit nanoseconds
    (folder / "deeper").mkdir()
    (folder / "deeper" / "circle").symlink_to(folder)
    (folder / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    odd = [b"\xff\xfe.jpg", "ä'\"\n.jpg".encode(), b"x" * 250 + b".jpg"]
    for number, name in enumerate(odd, 3):
        shutil.copy(photos / f"{number:02}.jpg", os.path.join(os.fsencode(folder), name))  # noqa: PTH118
    assert counts(update(library, [folder], backbone)) == (6, 6, 0, 2)
    assert counts(update(library, [folder], backbone)) == (6, 0, 0, 2)
    paths = LibraryPhotos(PhotoLibrary.open(library), backbone).paths(range(6))
    assert {os.fsencode(path.name) for path in paths} == {b"00.jpg", b"01.jpg", b"02.jpg", *odd}
    assert all(path.is_file() for path in paths)


def test_only_what_is_new_or_changed_is_encoded(backbone: Backbone, photos: Path, tmp_path: Path) -> None:
    folder, library = tmp_path / "photos", tmp_path / "library"
    copied(photos, folder, *range(6))
    (folder / "broken.jpg").write_text("no photo")
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("not looked at")
    (folder / "01.DNG").write_text("not looked at: the camera wrote 01.jpg, too")
    assert counts(update(library, [folder], backbone)) == (6, 6, 0, 2)
    assert counts(update(library, [folder], backbone)) == (6, 0, 0, 2)
    (folder / "deeper").mkdir()
    (folder / "00.jpg").rename(folder / "deeper" / "moved.jpg")
    shutil.copy(photos / "01.jpg", folder / "deeper" / "again.jpg")
    shutil.copy(photos / "20.jpg", folder / "02.jpg")
    (folder / "03.jpg").unlink()
    shutil.copy(photos / "21.jpg", folder / "new.jpg")
    report = update(library, [folder], backbone)
    assert counts(report) == (6, 2, 2, 2)
    assert {Path(path).name for path, _ in report.failed} == {"broken.jpg", "empty.png"}
    opened = PhotoLibrary.open(library)
    found = {path: row.id for path, row in read_files(opened).items() if row.id}
    names = {Path(path).relative_to(folder).as_posix() for path in found}
    assert names == {"deeper/moved.jpg", "deeper/again.jpg", "01.jpg", "02.jpg", "04.jpg", "05.jpg", "new.jpg"}
    searched = LibraryPhotos(opened, backbone)
    for place, path in enumerate(searched.paths(range(6))):
        prefix = backbone.prefix(backbone.pixels(open_photo(path))[None])
        torch.testing.assert_close(searched.index.take(np.array([place])), backbone.suffix(prefix), atol=2e-3, rtol=0)
        assert searched.row(searched.key(place)) == place
    # Of several files of a photo, the one in the folder that is asked.
    twice = searched.find(str(folder / "01.jpg"))
    for asked, name in ((None, "01.jpg"), (folder / "deeper", "deeper/again.jpg"), (Path("photos/deeper"), "deeper/again.jpg")):
        assert searched.paths([twice], asked) == [folder / name]
        assert searched.place(folder / name) == f"photos/{name}"
    assert searched.place(tmp_path / "elsewhere.jpg") == "elsewhere.jpg"


def test_a_folder_inside_another_one_is_not_missing(backbone: Backbone, photos: Path, tmp_path: Path) -> None:
    outer, inner, library = tmp_path / "outer", tmp_path / "outer" / "inner", tmp_path / "library"
    copied(photos, outer, 0, 1), copied(photos, inner, 2)
    for folders in ([outer, inner], [], [inner, outer]):
        report = update(library, folders, backbone)
        assert (report.photos, report.missing) == (3, [])


def test_photos_of_a_folder_that_vanished_are_kept(backbone: Backbone, photos: Path, tmp_path: Path) -> None:
    drive, other, library = tmp_path / "drive", tmp_path / "other", tmp_path / "library"
    copied(photos, drive, 0, 1, 2), copied(photos, other, 3, 4)
    assert update(library, [drive, other], backbone).photos == 5
    drive.rename(tmp_path / "elsewhere")
    for make in (lambda: None, drive.mkdir):  # first no folder, then an empty mount point
        make()
        report = update(library, [], backbone)
        assert (report.photos, report.removed) == (5, 0)
        assert len(report.missing) == 1 and str(drive) in report.missing[0]
    (other / "03.jpg").unlink()
    assert update(library, [other], backbone).photos == 4
    drive.rmdir()
    report = update(library, [], backbone, forget_missing=True)  # the folder is gone
    assert (report.photos, report.removed, report.missing) == (1, 3, [])
    copied(photos, drive, 0, 1)
    assert update(library, [drive], backbone).photos == 3
    shutil.rmtree(drive)
    drive.mkdir()  # or empty
    report = update(library, [drive], backbone, forget_missing=True)
    assert (report.photos, report.removed) == (1, 2)


def test_a_library_of_an_earlier_version_is_searched_and_updated(backbone: Backbone, photos: Path, tmp_path: Path) -> None:
    folder, library = tmp_path / "photos", tmp_path / "library"
    copied(photos, folder, 0, 1, 2)
    update(library, [folder], backbone)
    files = PhotoLibrary.open(library).files()
    captions = pa.array([["a dog"], [], None], pa.list_(pa.string()))
    lance.write_dataset(files.to_table().append_column("captions", captions), files, mode="overwrite")
    assert PhotoLibrary.open(library).files().schema.names[-1] == "captions"
    assert len(LibraryPhotos(PhotoLibrary.open(library), backbone).paths(range(3))) == 3
    assert counts(update(library, [folder], backbone)) == (3, 0, 0, 0)
    copied(photos, folder, 3)
    (folder / "00.jpg").unlink()
    assert counts(update(library, [folder], backbone)) == (3, 1, 1, 0)
    assert {Path(path).name for path in read_files(PhotoLibrary.open(library))} == {"01.jpg", "02.jpg", "03.jpg"}


def test_old_libraries_are_rejected_with_a_command_that_remakes_them(backbone: Backbone, photos: Path, tmp_path: Path) -> None:
    folder, library = tmp_path / "my photos", tmp_path / "library"
    copied(photos, folder, 0, 1)
    update(library, [folder], backbone)
    about = json.loads((library / ABOUT).read_text())
    (library / ABOUT).write_text(json.dumps(about | {"layout": 2}))
    for use in (PhotoLibrary.open, lambda path: update(path, [], backbone)):
        with pytest.raises(
            LibraryError, match=r"older version of this program: `python -m core index .* makes it again"
        ) as old:
            use(library)
    (library / ABOUT).write_text(json.dumps(about))
    with pytest.raises(LibraryError, match="another backbone") as other:
        PhotoLibrary.open(library, tiny_backbone(seed=5))
    for refused in (old, other):
        command = shlex.split(str(refused.value).split("`")[1])
        assert command[:4] == ["python", "-m", "core", "index"] and command[5] == "--library"
        assert command[7:] == ["--backbone", "tiny"], "without it, the library would be made with the default backbone"
        report = update(Path(command[6]), [Path(command[4])], backbone)
        assert report.photos == 2 and Path(command[6]) != library


def test_readers_keep_their_version_and_notice_new_ones(backbone: Backbone, photos: Path, tmp_path: Path) -> None:
    folder, library = tmp_path / "photos", tmp_path / "library"
    copied(photos, folder, *range(10))
    update(library, [folder], backbone)
    reader = LibraryPhotos(PhotoLibrary.open(library), backbone)
    paths, vectors = reader.paths(range(10)), reader.index.take(np.arange(10))
    assert reader.current
    for i in range(0, 10, 2):
        (folder / f"{i:02}.jpg").unlink()
    blurred(folder, ["later.jpg"], 99)
    assert counts(update(library, [folder], backbone)) == (6, 1, 5, 0)
    assert not reader.current
    assert torch.equal(reader.index.take(np.arange(10)), vectors)
    assert all(thumbnail.startswith(b"\xff\xd8") for thumbnail in reader.thumbnails(range(10)))
    again = LibraryPhotos(PhotoLibrary.open(library), backbone)
    for place, path in enumerate(again.paths(range(6))):
        if path.name != "later.jpg":
            assert torch.equal(again.index.take(np.array([place]))[0], vectors[paths.index(path)])


def test_unusable_libraries_are_rejected_with_a_message(backbone: Backbone, indexed: PhotoLibrary, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("something else")
    with pytest.raises(LibraryError, match="holds no library"):
        PhotoLibrary.open(other)
    with pytest.raises(LibraryError, match="other files"):
        PhotoLibrary.create(other, backbone)
    copy = tmp_path / "copy"
    shutil.copytree(indexed.folder, copy)
    about = json.loads((copy / ABOUT).read_text())
    (copy / ABOUT).write_text(json.dumps(about | {"layout": 99}))
    with pytest.raises(LibraryError, match="newer version"):
        PhotoLibrary.open(copy)
    (copy / ABOUT).write_text(json.dumps(about))
    with pytest.raises(LibraryError, match="does not exist"):
        update(copy, [tmp_path / "nowhere"], backbone)
    with pytest.raises(LibraryError, match="is the library itself"):
        update(copy, [copy], backbone)
    with pytest.raises(LibraryError, match="knows no folder"):
        update(tmp_path / "new", [], backbone)


def test_a_damaged_index_is_made_again(backbone: Backbone, indexed: PhotoLibrary, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(indexed.folder, copy)
    (index,) = (copy / "index").iterdir()
    good = index.read_bytes()
    for damage in (lambda: index.write_bytes(good[:-4]), lambda: shutil.rmtree(index.parent)):
        damage()
        assert len(LibraryPhotos(PhotoLibrary.open(copy), backbone).index) == 40 and index.read_bytes() == good


def test_a_library_that_cannot_be_written_is_searched(backbone: Backbone, indexed: PhotoLibrary, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(indexed.folder, copy)
    shutil.rmtree(copy / "index")
    (copy / "index").write_text("root writes anywhere, but not into a file")
    there, here = (LibraryPhotos(PhotoLibrary.open(folder), backbone).index.rows for folder in (indexed.folder, copy))
    np.testing.assert_array_equal(there, here)


def test_a_library_is_compared_with_its_files_and_vectors(backbone: Backbone, photos: Path, tmp_path: Path) -> None:
    folder, made = tmp_path / "photos", tmp_path / "library"
    copied(photos, folder, 0, 1, 2, 3)
    update(made, [folder], backbone)
    assert main(["library", str(made), "--verify", "--json"]) == 0  # which makes the index
    assert problems(PhotoLibrary.open(made)) == []
    changed, gone, rotten = sorted(folder.iterdir())[:3]
    stamps = changed.stat()
    changed.write_bytes(changed.read_bytes()[:-1] + b"!")  # one bit has rotted on the disk, which keeps the time of change
    os.utime(changed, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    gone.unlink()
    (index,) = (made / "index").iterdir()
    vectors = np.fromfile(index, np.float32)
    vectors[-1] += 1
    vectors.tofile(index)
    files = {Path(path): row.id for path, row in read_files(PhotoLibrary.open(made)).items()}
    assert rotten in files
    first, *others = problems(PhotoLibrary.open(made))
    assert first.endswith(f": its vector differs from the index: remove {made / 'index'}.") and first[:32] in files.values()
    assert others == [f"{changed}: the file has changed since it was indexed.", f"{gone}: the file is not there."]
    PhotoLibrary.open(made).files().delete(f"path = '{changed}'")
    assert f"{files[changed]}: no file has this photo: index again." in problems(PhotoLibrary.open(made))


def test_two_processes_do_not_write_at_once(backbone: Backbone, indexed: PhotoLibrary, photos: Path) -> None:
    with indexed.writing(), pytest.raises(LibraryError, match="Another process is writing"):
        index_folders(indexed, [photos], backbone)
    assert index_folders(indexed, [photos], backbone).photos == 40


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}"}
CHILD = """
import sys
from pathlib import Path
from tiny_models import tiny_backbone
from core.retrieval import indexing
from core.retrieval.library import PhotoLibrary
indexing.COMMIT_PHOTOS = 16
backbone = tiny_backbone()
folder, library = Path(sys.argv[1]), Path(sys.argv[2])
try:
    indexing.index_folders(PhotoLibrary.create(library, backbone), [folder], backbone)
finally:
    print(PhotoLibrary.open(library).counts()["photos"], flush=True)
"""


KILLED = """
import os, random, signal, sys, threading
from pathlib import Path
from tiny_models import tiny_backbone
from core.retrieval import indexing
from core.retrieval.library import PhotoLibrary
indexing.COMMIT_PHOTOS = 4
indexing.BATCH = 4
folder, library = Path(sys.argv[1]), Path(sys.argv[2])
import lance
backbone = tiny_backbone()
write_dataset = lance.write_dataset

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def killed_at(moment):
    left = 1 + moment % 7
    def step(event, arguments):
        nonlocal left
        changes = event in ("os.rename", "os.remove") or event == "open" and arguments[1] not in ("r", "rb")
        if event == "test.write" or changes and str(library) in str(arguments[0]):
            left -= 1
            if left == 0 and event == "test.write":
                threading.Timer(random.Random(moment).uniform(0, 0.01), die).start()
            elif left == 0:
                die()
    def write(*arguments, **options):
        sys.audit("test.write")
        return write_dataset(*arguments, **options)
    lance.write_dataset = write
    sys.addaudithook(step)
    indexing.index_folders(PhotoLibrary.create(library, backbone), [folder], backbone)

for moment in sys.stdin:
    child = os.fork()  # of a process that has used neither Lance nor a second thread
    if not child:
        try:
            killed_at(int(moment))
        finally:
            os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_kill_9_at_many_moments_loses_nothing(backbone: Backbone, tmp_path: Path) -> None:
    """Processes are killed when they open, rename or remove a file, or shortly after Lance begins to write."""
    folder, library, photos = tmp_path / "photos", tmp_path / "library", 60
    blurred(folder, [f"{i:03}.jpg" for i in range(photos)], 3)
    command = [sys.executable, "-c", KILLED, str(folder), str(library)]
    before = killed = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as parent:
        assert parent.stdin and parent.stdout
        for moment in range(12):  # each step of an update comes at least once
            print(moment, file=parent.stdin, flush=True)
            killed += int(parent.stdout.readline()) == -signal.SIGKILL
            if (library / ABOUT).is_file():
                now = PhotoLibrary.open(library).counts()["photos"]
                assert now >= before, "indexed photos must not disappear"
                before = now
        parent.stdin.close()
    assert killed > 8 and before >= photos // 2, (killed, before)
    report = update(library, [folder], backbone)
    assert report.photos == photos and report.added == photos - before
    opened = PhotoLibrary.open(library)
    assert len(read_files(opened)) == photos


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("unshare") or os.geteuid() != 0, reason="needs a small disk of its own")
def test_a_full_disk_is_reported_and_keeps_indexed_photos(photos: Path, tmp_path: Path) -> None:
    many, small = tmp_path / "many", tmp_path / "small"
    blurred(many, [f"{i:03}.jpg" for i in range(400)], 5)
    script = f'mkdir {small} && mount -t tmpfs -o size=1m tmpfs {small} && "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", CHILD, many, small / "library"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert "is full" in done.stderr and "What was indexed before stays" in done.stderr, done.stderr
    assert 0 < int(done.stdout) < 400
