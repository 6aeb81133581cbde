"""Read text files and JSON. Errors name the file and the line."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from core.common.errors import DataError
from core.common.messages import Message, message


def decoded(name: str, content: bytes) -> str:
    """Decode the content of a text file. Raises DataError: when it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError("{label}, line {line}: not UTF-8. Save the file in this encoding.", label=name, line=line) from None


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the non-blank lines with their numbers, from 1."""
    # Not splitlines(): a caption in JSON may hold U+2028 and other separators unescaped.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.rstrip("\r")


def read_text(path: Path) -> str:
    """The text of a file. Raises as ``decoded``."""
    return decoded(path.name, path.read_bytes())


def read_json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parse a JSON file. ``hook``: ``object_hook`` of ``json.loads``. Raises as ``decoded`` and ``parse_json``."""
    return parse_json(path.name, read_text(path), hook)


def parse_json(where: str | Message, text: str, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parse JSON text. Raises DataError: when it is invalid; the message begins with ``where``."""
    try:
        return json.loads(text, object_hook=hook)
    except json.JSONDecodeError as error:
        place = where if error.lineno == 1 else message("{label}, line {line}", label=where, line=error.lineno)
        raise DataError(f"{place}: not valid JSON ({error.msg}).") from None
    except (ValueError, RecursionError):
        raise DataError(f"{where}: the JSON has too large numbers or too deep nesting.") from None
