"""Write a file completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.common.errors import StudioError
from core.common.messages import Message


def no_folder(path: Path | str) -> Message:
    """The error message for a path that should be a folder."""
    return Message(f"{path} is a file: name the folder." if Path(path).is_file() else f"The folder {path} does not exist.")


def check_free(folder: Path, mark: str, error: type[StudioError]) -> None:
    """Raise ``error`` unless a folder is new, empty, or has a file ``mark`` from an earlier run. Hidden files do not count."""
    others = [folder] if folder.is_file() else [path for path in folder.glob("*") if not path.name.startswith(".")]
    if others and not (folder / mark).is_file():
        raise error(f"{folder} is a file or holds other files: name a new folder, or an empty one.")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends. An interrupted run leaves no half-written ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # a suffix that no search for files matches
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)


def clear_partials(folder: Path, pattern: str) -> None:
    """Remove what killed processes left of ``whole`` files with such names in a folder."""
    for partial in folder.glob(f"{pattern}.*.partial") if os.name == "posix" else ():  # Windows would end the process
        with suppress(ValueError, OverflowError, OSError):  # another program's file, or one that cannot be removed
            try:
                os.kill(int(partial.suffixes[-2][1:]), 0)
            except ProcessLookupError:
                partial.unlink()
