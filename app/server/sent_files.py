"""Files in the arguments of MCP tools. Gradio's schema for a list of files is one that MCP clients cannot use."""

import base64
import mimetypes
import re
import secrets
from pathlib import Path
from urllib.parse import unquote

from app.languages import texts
from app.server.routes import is_kept
from app.server.scratch import upload_folder
from core.common.errors import StudioError
from core.common.text import safe_name

LETTERS = 60  # of a file name: four bytes each are within a file system's 255
DATA = re.compile(r"data:([\w.+/-]*)(?:;name=([^;,]*))?(?:;[\w=.+-]+)*;base64,(.*)")


def sent_files(lines: str | None) -> list[str]:
    """Paths of files, one a line: a data URL, or a path that an upload returned. Raises StudioError: when a line is neither."""
    return [_file(number, line.strip()) for number, line in enumerate((lines or "").splitlines(), 1) if line.strip()]


def _file(number: int, line: str) -> str:
    if not (data := DATA.fullmatch(line)):
        if not is_kept(line):
            raise StudioError(texts.NO_ADDRESSES if "://" in line else texts.FILE_NOT_YOURS)
        return line
    try:
        content = base64.b64decode(data[3], validate=True)
    except ValueError:
        raise StudioError(texts.VALUES_UNUSABLE) from None
    (folder := upload_folder() / secrets.token_hex(32)).mkdir(parents=True)
    name = safe_name(unquote(data[2] or f"photo-{number}"))[-LETTERS:]
    path = folder / (name if Path(name).suffix else f"{name}{mimetypes.guess_extension(data[1]) or ''}")
    path.write_bytes(content)
    return str(path)
