"""What a visitor uploads: photos, ZIP files of photos, captions files, XMP sidecars; sorted and unpacked within limits."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

from core.common.errors import DataError
from core.common.messages import Message, message
from core.common.text import safe_name
from core.data.captions import is_flickr_text
from core.data.decode import Source, source_folder
from core.data.decode_pool import MAX_WORD, MAX_WORDS
from core.data.find_images import is_clutter
from core.data.image_io import MAX_BYTES
from core.data.keywords import levels
from core.data.safe_zip import DAMAGE, open_zip, unpacked
from core.data.xmp import keywords

CAPTION_SUFFIXES = {".csv", ".tsv", ".jsonl", ".txt"}
MAX_CAPTIONS_BYTES = 8 * 1024 * 1024
MAX_CAPTION_FILES = 20  # at once
MAX_CAPTIONS = 100_000  # captions of one file
MAX_UNPACKED_BYTES = 512 * 1024 * 1024
MAX_MEMBERS = 2000  # photos and captions files; as many sidecars
MAX_SIDECAR_BYTES, MAX_SIDECARS_BYTES = 2**20, 32 * 2**20  # of one; of all


@dataclass
class Uploads:
    photos: list[Source] = field(default_factory=list)  # not decoded yet; from a ZIP, with the name they had there
    captions: list[tuple[str, bytes]] = field(default_factory=list)  # (name, content) of captions files
    failed: list[tuple[str, Message]] = field(default_factory=list)  # (name, reason) of files that are not taken
    room: int = field(default_factory=lambda: MAX_UNPACKED_BYTES)  # bytes that may still be unpacked
    sidecars: dict[str, list[str]] = field(default_factory=dict)  # their keywords, by folder and name in lower case
    sidecar_room: int = field(default_factory=lambda: MAX_SIDECARS_BYTES)  # bytes

    def fail(self, name: str, template: str, **fields: object) -> None:
        self.failed.append((name, message(template, **fields)))

    def add_sidecar(self, name: str, size: int, read: Callable[[], bytes]) -> None:
        """Take the keywords of a sidecar. A damaged or too large one is left out: photos do not depend on it."""
        if size <= min(MAX_SIDECAR_BYTES, self.sidecar_room):
            self.sidecar_room -= size
            with suppress(DataError, *DAMAGE):
                words = [word for word in levels(keywords(read())) if len(word) <= MAX_WORD]
                self.sidecars[name.lower()] = words[:MAX_WORDS]

    @property
    def keywords(self) -> dict[int, list[str]]:
        """The keywords in the sidecars of each photo, by its place among the photos."""
        found = dict[int, list[str]]()
        for place, source in enumerate(self.photos if self.sidecars else ()):
            name = PurePosixPath(source.name if isinstance(source, Path) else source[0])
            beside = (f"{name}.xmp", str(name.with_suffix(".xmp")))
            found[place] = [word for each in beside for word in self.sidecars.get(each.lower(), ())]
        return found

    def add_captions(self, name: str, content: bytes, where: str = "") -> None:
        """Take a captions file, unless there are too many. ``where``: its name in the error message."""
        if name.lower().endswith(".txt") and not is_flickr_text(content):
            self.fail(
                where or name,
                "a captions file is CSV, JSONL, or Flickr8k's text with lines such as “dog.jpg,a dog on the beach”",
            )
        elif len(self.captions) < MAX_CAPTION_FILES:
            self.captions.append((name, content))
        else:
            self.fail(where or name, "only {n} captions files are taken at once", n=MAX_CAPTION_FILES)


def sort_uploads(paths: Sequence[str | Path], folder: Path) -> Uploads:
    """Sort uploaded files. ZIP files are unpacked below ``folder``, which the caller deletes."""
    uploads = Uploads()
    for number, path in enumerate(map(Path, paths)):
        suffix = path.suffix.lower()
        if suffix == ".xmp" and path.is_file():
            uploads.add_sidecar(path.name, path.stat().st_size, path.read_bytes)
        elif is_clutter(path.name):
            continue
        elif suffix == ".zip":
            _unpack(path, folder / str(number), uploads)
        elif suffix in CAPTION_SUFFIXES:
            if not path.is_file():
                uploads.fail(path.name, "the file is not there")
            elif path.stat().st_size > MAX_CAPTIONS_BYTES:
                uploads.fail(path.name, "a captions file may have at most {mb} MB", mb=MAX_CAPTIONS_BYTES // 2**20)
            else:
                uploads.add_captions(path.name, path.read_bytes())
        else:
            uploads.photos.append(path)
    return uploads


def _unpack(path: Path, folder: Path, uploads: Uploads) -> None:
    """Unpack one ZIP. Its names are never used as paths, and no file is unpacked beyond the size that it claims."""
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(open_zip(path))
        except DAMAGE:
            uploads.fail(path.name, "the ZIP is damaged or of a kind that cannot be read")
            return
        members = [m for m in archive.infolist() if not m.filename.endswith("/") and not is_clutter(m.filename)]
        if not members:
            uploads.fail(path.name, "the ZIP holds no files")
        if len(members) > MAX_MEMBERS:
            uploads.fail(path.name, "only the first {most:,} of its {n:,} files were taken", most=MAX_MEMBERS, n=len(members))
        _read_sidecars(archive, path.stem, uploads)
        folder.mkdir(parents=True)
        for number, member in enumerate(members[:MAX_MEMBERS]):
            name, target = safe_name(member.filename), folder / str(number)
            is_captions = Path(name).suffix.lower() in CAPTION_SUFFIXES
            limit = MAX_CAPTIONS_BYTES if is_captions else MAX_BYTES
            if member.file_size > limit:
                uploads.fail(f"{path.name}/{name}", "larger than {mb} MB", mb=limit // 2**20)
                continue
            if member.file_size > uploads.room:
                uploads.fail(path.name, "more than {mb} MB unpacked: the rest was left out", mb=MAX_UNPACKED_BYTES // 2**20)
                break
            uploads.room -= member.file_size
            try:
                content = unpacked(archive, member, member.file_size)
            except DAMAGE:
                locked = member.flag_bits & 1
                uploads.fail(f"{path.name}/{name}", "it is locked with a password" if locked else "the file cannot be read.")
                continue
            if is_captions:
                uploads.add_captions(name, content, f"{path.name}/{name}")
            else:
                target.write_bytes(content)
                inner_folder = source_folder(f"{path.stem}/{member.filename}")
                uploads.photos.append((f"{inner_folder}/{name}", target))


def _read_sidecars(archive: ZipFile, stem: str, uploads: Uploads) -> None:
    """``stem``: the first folder of photos from this ZIP."""
    beside = [member for member in archive.infolist() if member.filename.lower().endswith(".xmp")]
    for member in beside[:MAX_MEMBERS]:
        name = f"{source_folder(f'{stem}/{member.filename}')}/{safe_name(member.filename)}"
        uploads.add_sidecar(name, member.file_size, partial(unpacked, archive, member, member.file_size))
