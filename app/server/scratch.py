"""One folder for all temporary files of this process. It is deleted when the process ends, or when the next one starts."""

import atexit
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from core.common.errors import StudioError

PREFIX = "sg-lora-studio-"
LOCK = "lock"
BLOCKS = 8 * 2**10  # bytes that a file and its folder take beside its content: a million empty files would take 8 GB
YOUNG_SECONDS = 60  # a folder without a lock may belong to a process that is just starting

_held: list[FileLock] = []  # the system releases them, however the process ends


def claim_scratch() -> None:
    """Use a new folder for all temporary files of this process; delete folders of ended processes. Raises StudioError: when no
    folder can be written."""
    try:
        remove_abandoned(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        _held.append(FileLock(folder / LOCK))
        _held[-1].acquire(timeout=0)
    except OSError as error:
        raise StudioError(f"The app cannot write temporary files ({error}): set TMPDIR to a writable folder.") from error
    tempfile.tempdir = str(folder)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def upload_folder() -> Path:
    """Gradio keeps uploads there, and serves files from there."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def remove_abandoned(parent: Path) -> None:
    """Delete the folders below ``parent`` whose process has ended: their lock is free."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(Timeout, OSError):  # the process runs, or another user owns the folder
            if (folder / LOCK).exists() or time.time() - folder.stat().st_mtime >= YOUNG_SECONDS:
                with FileLock(folder / LOCK, timeout=0):
                    pass
                shutil.rmtree(folder, ignore_errors=True)
