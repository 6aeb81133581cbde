"""The page's settings as command lines, to take an experiment from the page into a script."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from app.visitors.question import Within
from core.sglora.request import AdapterRequest

# What only the visitor's own machine can name; the last as the page saves it.
GALLERY, FOLDER, PHOTO, NAMES = "PHOTOS", "adapter", "PHOTO.jpg", "sg-lora-names.safetensors"


def adapt_command(request: AdapterRequest, models: Sequence[str] = ()) -> str:
    """The line that makes the same adapter; ``models`` are the options that choose backbone and experts."""
    return _line("adapt", ["--out", FOLDER, *_sampling(request), *models], request.description)


def search_command(
    request: AdapterRequest,
    query: str | None,
    top: int,
    within: Within = Within(),
    models: Sequence[str] = (),
    names: bool = False,
) -> str:
    """The line that asks the same of a folder with the same photos, or of a library; a query of None is a photo. ``names``:
    whether there are taught ones."""
    place = [f"--gallery={GALLERY}"] if within.own else [f"--library={within.library}"]
    if within.folder and not within.own:
        place.append(f"--folder={within.folder}")
    place += [f"--{name}={day}" for name, day in (("since", within.since), ("until", within.until)) if day]
    place += [f"--names={NAMES}"] * names
    options = [*place, f"--task={request.description}", "--top", str(top), *_sampling(request), *models]
    return _line("search", options, PHOTO if query is None else query)


def evaluate_command(request: AdapterRequest, models: Sequence[str] = ()) -> str:
    """The line that measures recall on a folder with the same photos and captions."""
    return _line("evaluate", [f"--data={GALLERY}", f"--task={request.description}", *_sampling(request), *models])


def _sampling(request: AdapterRequest) -> list[str]:
    values = {"k": request.k, "tau": f"{request.tau:g}", "seed": request.seed}
    values |= {} if request.strength is None else {"strength": f"{request.strength:g}"}
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def _line(command: str, options: list[str], positional: str | None = None) -> str:
    """Texts that begin with a dash would be taken for options: they go last, behind ``--``."""
    last = ["--", positional] if positional is not None and positional.startswith("-") else []
    first = [] if last or positional is None else [positional]
    return shlex.join(["python", "-m", "core", command, *first, *options, *last])
