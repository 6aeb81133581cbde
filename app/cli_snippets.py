"""The page's settings as command lines, to take an experiment from the page into a script."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from app.visitors.session import Settings

GALLERY, FOLDER, PHOTO = "PHOTOS", "adapter", "PHOTO.jpg"  # what only the visitor's own machine can name


def adapt_command(settings: Settings, models: Sequence[str] = ()) -> str:
    """The line that makes the same adapter; ``models`` are the options that choose backbone and experts."""
    return _line("adapt", ["--out", FOLDER, *_sampling(settings), *models], settings.description)


def search_command(settings: Settings, query: str | None, top: int, models: Sequence[str] = ()) -> str:
    """The line that asks the same of a folder with the same photos; a query of None is a photo."""
    options = [f"--gallery={GALLERY}", f"--task={settings.description}", "--top", str(top), *_sampling(settings), *models]
    return _line("search", options, PHOTO if query is None else query)


def evaluate_command(settings: Settings, models: Sequence[str] = ()) -> str:
    """The line that measures recall on a folder with the same photos and captions."""
    return _line("evaluate", [f"--data={GALLERY}", f"--task={settings.description}", *_sampling(settings), *models])


def _sampling(settings: Settings) -> list[str]:
    values: dict[str, object] = {"k": settings.k, "tau": f"{settings.tau:g}", "seed": settings.seed}
    if settings.strength is not None:  # else it follows the confidence there too
        values["strength"] = f"{settings.strength:g}"
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def _line(command: str, options: list[str], positional: str | None = None) -> str:
    """Texts that begin with a dash would be taken for options: they go last, behind ``--``."""
    if positional is None:
        behind, before = [], []
    elif positional.startswith("-"):
        behind, before = ["--", positional], []
    else:
        behind, before = [], [positional]
    return shlex.join(["python", "-m", "core", command, *before, *options, *behind])
