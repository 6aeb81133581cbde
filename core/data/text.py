"""Text files and JSON of a data folder, with errors that name the file and the line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from core.common.errors import DataError


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1.

    Raises:
        DataError: the file is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path.name}, line {number}: not UTF-8 text.") from None
    # Not splitlines(): a caption may hold U+2028 and other separators that JSON leaves as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.rstrip("\r")


def read_json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The content of a JSON file; ``hook`` sees each object, as in ``json.loads``.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_hook=hook)
    except json.JSONDecodeError as error:
        raise DataError(f"{path.name}, line {error.lineno}: not valid JSON ({error.msg}); is the file complete?") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name}: no JSON that can be read ({type(error).__name__}).") from None


def parse_json(where: str, text: str) -> Any:
    """The content of a piece of JSON.

    Raises:
        DataError: it is not JSON; the message begins with ``where``.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = where if error.lineno == 1 else f"{where}, line {error.lineno}"
        raise DataError(f"{place}: not valid JSON ({error.msg}).") from None
    except (ValueError, RecursionError):
        raise DataError(f"{where}: the JSON has too large numbers or too deep nesting.") from None
