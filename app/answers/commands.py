"""The page's settings as command lines, to repeat them in a script."""

import shlex
from collections.abc import Sequence

from app.answers.question import Question
from core.sglora.request import AdapterRequest, written_weights

# Placeholders for files on the visitor's machine. The page saves names under the last one.
GALLERY, FOLDER, PHOTO, NAMES = "PHOTOS", "adapter", "PHOTO.jpg", "sg-lora-names.safetensors"


def adapt_command(request: AdapterRequest, models: Sequence[str] = ()) -> str:
    """The command that makes the same adapter. ``models``: options that choose backbone and experts."""
    return _line("adapt", ["--out", FOLDER], request, models, request.description)


def search_command(request: AdapterRequest, asked: Question, top: int, models: Sequence[str] = (), names: bool = False) -> str:
    """The command that asks the same of a folder with the same photos, or of a library."""
    scope = asked.scope
    searched = [f"--library={scope.library}"] if scope.library and not scope.own else [f"--gallery={GALLERY}"]
    if scope.folder and not scope.own:
        searched.append(f"--folder={scope.folder}")
    searched += [f"--{name}={day}" for name, day in (("since", scope.since), ("until", scope.until)) if day]
    searched += [f"--names={NAMES}"] * names
    options = [*searched, f"--task={request.description}", "--top", str(top)]
    return _line("search", options, request, models, asked.what if asked.kind == "words" else PHOTO)


def evaluate_command(request: AdapterRequest, models: Sequence[str] = ()) -> str:
    """The command that measures recall on a folder with the same photos and captions."""
    return _line("evaluate", [f"--data={GALLERY}", f"--task={request.description}"], request, models)


def _line(command: str, options: list[str], request: AdapterRequest, models: Sequence[str], text: str = "") -> str:
    """The command line. A text that begins with a dash goes last, behind ``--``, so that it is not taken for an option."""
    values = {"k": request.k, "tau": f"{request.tau:g}", "seed": request.seed}
    values |= {} if request.strength is None else {"strength": f"{request.strength:g}"}
    sampling = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    sampling += [f"--weights={each}" for each in written_weights(request.weights)]
    first, last = ([], ["--", text]) if text.startswith("-") else ([text] if text else [], [])
    return shlex.join(["python", "-m", "core", command, *first, *options, *sampling, *models, *last])
