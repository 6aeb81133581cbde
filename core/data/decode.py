"""From a file to a decoded photo: read, identified by its content, and decoded in another process."""

import logging
from collections.abc import Callable, Container
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from core.common.digest import digest
from core.common.errors import PhotoError
from core.common.messages import Message
from core.common.text import safe_name
from core.data.decode_pool import DecodedPhoto
from core.data.image_io import photo_bytes, photo_error

DEEPEST = 8  # maximum folder levels kept for a source

log = logging.getLogger(__name__)

Source = Path | tuple[str, bytes | Path]
# A decoded photo with its id, the id of a known photo, or why there is none.
Read = tuple[str, DecodedPhoto] | str | PhotoError


class Failure(NamedTuple):
    """A file that gave no photo, and the reason."""

    name: str
    reason: Message


def source_folder(name: str) -> str:
    """The folder in a name inside an added ZIP, as safe names: at most DEEPEST levels; "" for a name alone."""
    parts = PurePosixPath(name.replace("\\", "/")).parts[:-1]
    return "/".join(safe_name(part) for part in parts[:DEEPEST] if part.strip("./"))


def content_id(content: bytes) -> str:
    """The id of a file's content: 32 hex digits of its hash."""
    return digest(content)[:32]


def read_photo(name: str, content: Path | bytes, known: Container[str], decode: Callable[[str, bytes], DecodedPhoto]) -> Read:
    """Read and decode a file. ``known``: ids of photos that need no decoding. ``decode``: as ``Upload.decode``."""
    try:
        content = photo_bytes(content, name) if isinstance(content, Path) else content
        id = content_id(content)
        return id if id in known else (id, decode(name, content))
    except PhotoError as error:
        return error
    except Exception:  # any error rejects this file only
        log.exception("%r could not be read", name)
        return photo_error(name, "the file cannot be read.")
