"""One folder for all temporary files of this process. It is deleted when the process ends, or when the next one starts."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from core.common.errors import StudioError

PREFIX = "sg-lora-studio-"
LOCK = "lock"
YOUNG_SECONDS = 60  # a folder without a lock may belong to a process that is just starting

_held: list[FileLock] = []  # the system releases them, however the process ends


def claim_scratch() -> Path:
    """Use a new folder for all temporary files of this process; delete folders of ended processes. Raises StudioError: when no
    folder can be written."""
    try:
        parent = Path(tempfile.gettempdir())
        remove_abandoned(parent)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except OSError as error:
        raise StudioError(f"The app cannot write temporary files ({error}): set TMPDIR to a writable folder.") from error
    _held.append(lock)
    tempfile.tempdir = str(folder)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def upload_folder() -> Path:
    """Where Gradio keeps uploads and serves files from."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def remove_abandoned(parent: Path) -> None:
    """Delete the folders below ``parent`` whose process has ended: their lock is free."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if not (folder / LOCK).exists() and time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
                continue
            with FileLock(folder / LOCK, timeout=0):
                pass
        except (Timeout, OSError):  # the process runs, or another user owns the folder
            continue
        shutil.rmtree(folder, ignore_errors=True)
