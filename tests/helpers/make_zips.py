"""Hostile ZIP files."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from hostile_cases import Case
from make_images import NAMES, encode, picture, zeros

UNREADABLE = "damaged or of a kind that cannot be read"
GOOD = "good.png"


@dataclass(frozen=True)
class Archive(Case):
    photos: int = 1  # that the app adds; most of these ZIPs hold one good photo


def photo(seed: int) -> bytes:
    return encode(picture(seed), "PNG")


@dataclass(frozen=True)
class Member:
    """One file of a ZIP. Its header can claim anything about it."""

    name: bytes
    data: bytes
    flags: int = 0
    method: int = 0
    crc: int | None = None
    packed: int | None = None
    size: int | None = None
    attributes: int = 0
    offset: int | None = None
    local_name: bytes | None = None
    extra: bytes = b""


def pack(*members: Member, comment: bytes = b"") -> bytes:
    """A ZIP whose headers can hold wrong values."""
    body, directory = bytearray(), bytearray()
    for m in members:
        crc = zlib.crc32(m.data) if m.crc is None else m.crc
        packed = len(m.data) if m.packed is None else m.packed
        size = len(m.data) if m.size is None else m.size
        offset = len(body) if m.offset is None else m.offset
        local = m.name if m.local_name is None else m.local_name
        common = struct.pack("<HHHHIII", m.flags, m.method, 0, 33, crc, packed, size)
        body += b"PK\3\4" + struct.pack("<H", 20) + common + struct.pack("<HH", len(local), 0) + local + m.data
        head = b"PK\1\2" + struct.pack("<HH", 3 << 8 | 20, 20) + common + struct.pack("<HHH", len(m.name), len(m.extra), 0)
        directory += head + struct.pack("<HHII", 0, 0, m.attributes, offset) + m.name + m.extra
    count = min(len(members), 65_535)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), len(comment))
    return bytes(body + directory) + b"PK\5\6" + end + comment


def with_good(seed: int, *members: Member, **options: bytes) -> bytes:
    """A ZIP of these members, followed by a good photo."""
    return pack(*members, Member(GOOD.encode(), photo(seed)), **options)


def zipped(seed: int, method: int) -> bytes:
    """A ZIP of a photo that is compressed with this method, and a good photo that is not compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("odd.png", photo(seed + 1), method)
        archive.writestr(GOOD, photo(seed))
    return out.getvalue()


def names() -> Iterator[Archive]:
    for seed, (what, name) in enumerate(NAMES.items(), 300):
        raw, flags = (b"\xff\xfe.png", 0) if "surrogate" in what else (name.encode(), 0x800)
        data = with_good(500 + seed, Member(raw, photo(seed), flags=flags))
        yield Archive(f"a member called {what}", "names.zip", data, None, 1 if name == ".." else 2)


def members() -> Iterator[Archive]:
    link = stat.S_IFLNK << 16 | 0o777 << 16
    symlink = Member(b"link.png", b"/etc/passwd", attributes=link)
    yield Archive("a symlink", "link.zip", with_good(1, symlink), "not a readable image")
    pipe = stat.S_IFIFO << 16
    yield Archive("a pipe", "pipe.zip", with_good(2, Member(b"pipe.png", b"", attributes=pipe)), "empty")
    inner = pack(Member(b"deep.png", photo(3)))
    yield Archive("a ZIP in a ZIP", "nested.zip", with_good(4, Member(b"inner.zip", inner)), "not a readable image")
    yield Archive("a program", "program.zip", with_good(5, Member(b"setup.exe", b"MZ" + bytes(90))), "not a readable image")
    yield Archive("a locked file", "locked.zip", with_good(6, Member(b"x.png", photo(7), flags=1)), "password")
    unknown = Member(b"x.png", photo(1), method=99)
    yield Archive("an unknown compression", "method.zip", with_good(10, unknown), "cannot be read")
    yield Archive("LZMA", "lzma.zip", zipped(22, zipfile.ZIP_LZMA), "cannot be read")
    for what, member in {
        "a wrong checksum": Member(b"x.png", photo(25), crc=7),
        "a header of another file": Member(b"x.png", b"1", local_name=b"y.png"),
        "a file beyond the end": Member(b"x.png", b"1", offset=2**31),
        "a file that claims to be longer": Member(b"x.png", b"1", packed=10**6, size=10**6),
        "a file that is not deflated": Member(b"x.png", b"\xff" * 99, method=8),
    }.items():
        yield Archive(what, "damaged.zip", with_good(24, member), "cannot be read")
    twice = Member(b"same.png", photo(30)), Member(b"same.png", photo(31))
    yield Archive("the same name twice", "twice.zip", with_good(32, *twice), None, 3)
    yield Archive("the same content twice", "copies.zip", with_good(33, Member(b"copy.png", photo(33))), None, 1)
    torn = Member(b"x.png", photo(36), extra=b"\x01\x00\xff\xff\x00")
    yield Archive("a torn extra field", "extra.zip", with_good(35, torn), UNREADABLE, 0)


def bombs() -> Iterator[Archive]:
    gigabyte = deflated_zeros(2**30)
    honest = Member(b"zeros.png", gigabyte, method=8, crc=0, size=2**30)
    yield Archive("a gigabyte of zeros", "bomb.zip", with_good(40, honest), "larger than 64 MB")
    liar = Member(b"zeros.png", gigabyte, method=8, crc=0, size=100)
    yield Archive("a gigabyte that claims to be 100 bytes", "liar.zip", with_good(41, liar), "cannot be read")
    table = Member(b"captions.csv", deflated_zeros(50 * 2**20), method=8, crc=0, size=50 * 2**20)
    yield Archive("captions of 50 MB", "table.zip", with_good(42, table), "larger than 8 MB")
    many = Member(GOOD.encode(), photo(43)), *(Member(b"%d" % i, b"") for i in range(99_999))
    yield Archive("100,000 files", "many.zip", pack(*many), "first 2,000 of its 100,000")
    short = pack(Member(b"", b""))
    entry = short[short.index(b"PK\1\2") : short.index(b"PK\5\6")]
    listed = entry * 300_000
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65_535, 65_535, len(listed), 30, 0)
    yield Archive("300,000 files", "too-many.zip", short[:30] + listed + end, UNREADABLE, 0)
    same = [Member(b"%d.png" % i, b"", method=8, crc=0, packed=len(gigabyte), size=60 * 2**20, offset=0) for i in range(5)]
    first = Member(b"first.png", gigabyte, method=8, size=2**30)
    yield Archive("files that overlap", "overlap.zip", with_good(44, first, *same), "")
    captions = [Member(b"%d.csv" % i, b"image,caption\nx.png,x") for i in range(30)]
    yield Archive("30 captions files", "tables.zip", with_good(45, *captions), "20 captions files")


def deflated_zeros(size: int) -> bytes:
    """``zeros`` as a ZIP stores them: without zlib's header and checksum."""
    return zeros(size)[2:-4]


def broken() -> Iterator[Archive]:
    whole = with_good(50)
    yield Archive("without its directory", "front.zip", whole[: whole.index(b"PK\1\2")], UNREADABLE, 0)
    yield Archive("an empty one", "nothing.zip", pack(), "holds no files", 0)
    yield Archive("RAR called .zip", "rar.zip", b"Rar!\x1a\x07\x00" + bytes(300), UNREADABLE, 0)
    marked = pack(Member(GOOD.encode(), photo(53)), comment=b"PK\5\6" * 9)
    yield Archive("a comment with a directory's mark", "comment.zip", marked, "", 0)
    no_utf8 = with_good(54, Member(b"\xff\xfe.png", b"", flags=0x800))
    yield Archive("a name that is not UTF-8 but says so", "utf8.zip", no_utf8, UNREADABLE, 0)
    at = whole.index(b"PK\5\6")
    for what, change in (
        ("a directory of 4 GB", struct.pack("<I", 2**32 - 1) + whole[at + 16 : at + 20]),
        ("a directory beyond the end", whole[at + 12 : at + 16] + struct.pack("<I", 2**32 - 2)),
        ("a directory of nothing", struct.pack("<I", 0) + whole[at + 16 : at + 20]),
    ):
        yield Archive(what, "directory.zip", whole[: at + 12] + change + whole[at + 20 :], "", 0)


def clutter() -> Iterator[Archive]:
    """Files that systems and cameras put beside photos: the app skips them without a message. Also an empty name."""
    beside = "a/ a/.DS_Store __MACOSX/._a.png ._good.png Thumbs.db DESKTOP.INI IMG_1.AAE DSC1.xmp MVI_1.THM".split()
    yield Archive("a file without a name", "unnamed.zip", with_good(90, Member(b"", photo(91))))
    members = (Member(name.encode(), b"" if name == "a/" else bytes(40)) for name in beside)
    yield Archive("clutter of all systems", "clutter.zip", with_good(92, *members))


@cache
def zips() -> tuple[Archive, ...]:
    return tuple(case for maker in (names, members, bombs, broken, clutter) for case in maker())
