"""Hostile files: the base class of all cases, and the checks during and after each case."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

LONGEST_MESSAGE = 400
TRACES = ("Traceback", 'File "', " object at 0x", "site-packages", "/core/", "/app/")
ALWAYS_INERT = {"script", "iframe", "object", "embed", "svg", "math", "form", "link", "meta", "base", "style", "video", "audio"}


@dataclass(frozen=True)
class Case:
    """One hostile file."""

    what: str  # a short description, for the test's name
    name: str  # the file's name, as a browser sends it
    data: bytes = field(repr=False)
    reason: str | None = None  # part of the error message; None: the app accepts the file

    def __str__(self) -> str:
        return self.what


# Checks while the app reads a case


@dataclass
class Watch:
    """Side effects of a block. ``outside``: paths written outside the allowed folder. ``grown``: the largest growth of memory,
    in MB."""

    outside: list[str] = field(default_factory=list)
    grown: int = 0


_watched: list[tuple[Path, Watch, set[int]]] = []


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched or event not in ("open", "os.mkdir", "os.rename", "os.symlink", "os.link"):
        return
    allowed, watch, foreign = _watched[-1]
    if threading.get_ident() in foreign:  # a server thread that another test left running
        return
    if event == "open":
        path, _, flags = arguments
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    else:
        path = arguments[0 if event == "os.mkdir" else 1]
    if isinstance(path, int):
        return
    path = Path(os.path.realpath(os.fsdecode(path)))
    if not path.is_relative_to(allowed) and "__pycache__" not in path.parts and path.parts[1] not in ("dev", "proc"):
        watch.outside.append(str(path))


sys.addaudithook(_listen)


@contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    """Record writes outside ``folder``, and the growth of memory, in this block. Temporary files go to ``folder``."""
    watch, temporary = Watch(), tempfile.tempdir
    tempfile.tempdir = str(folder)
    known = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
    _watched.append((Path(os.path.realpath(folder)), watch, known))
    before = _memory(reset=True)
    try:
        yield watch
    finally:
        _watched.pop()
        tempfile.tempdir = temporary
        watch.grown = _memory() - before


def _memory(reset: bool = False) -> int:
    """The maximum of resident memory since the last reset, in MB. 0: the system does not report it."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
    except OSError:
        return 0


# Checks of messages and pages


def check_message(message: str, *private: Path) -> None:
    """Check that an error message is short, and has no stack trace or server path."""
    assert message.strip()
    assert len(message) <= LONGEST_MESSAGE, f"{len(message)} characters"
    assert not [trace for trace in (*TRACES, *map(str, private)) if trace in message], message


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {value or "" for name, value in attrs if name in ("href", "src", "action", "formaction", "data")}


def check_inert(page: str) -> None:
    """Check that a piece of HTML has no tag, attribute or address that runs code or sends a request."""
    tags = _Tags()
    tags.feed(page)
    assert not tags.found & ALWAYS_INERT
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert all(address.startswith("data:image/") for address in tags.addresses), tags.addresses
