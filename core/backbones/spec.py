"""The arguments of ``load_backbone``, for this machine and for others, where its paths mean nothing."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Side = Literal["texts", "photos"]  # what LoRAs adapt
EMBEDDED = "embedded"
FOLDER, HUB = "local-dir:", "hf-hub:"
OWN_WEIGHTS = (FOLDER, HUB)  # how names of models with their own weights start


def needed_options(choice: Mapping[str, Any]) -> list[str]:
    """The command-line options for arguments of ``load_backbone``, without the name of the default backbone."""
    names = {"spec": "--backbone", "pretrained": "--pretrained", "adapt_blocks": "--adapt-blocks", "adapt": "--adapt"}
    given = {name: choice.get(key) for key, name in names.items() if choice.get(key) not in (None, EMBEDDED)}
    return [part for name, value in given.items() for part in (name, str(value))]


def adapted_side(choice: Mapping[str, Any]) -> Side:
    """The side that LoRAs for a backbone adapt: the chosen one, or the default."""
    return choice.get("adapt") or ("texts" if choice["spec"] == EMBEDDED else "photos")


def slug(name: str, pretrained: str | None, adapt_blocks: int | None, adapt: Side = "photos") -> str:
    """A folder name that is valid everywhere, from model, weights, adapted blocks and side."""
    parts = [f"local-dir-{Path(name).name}" if name.startswith(FOLDER) else name]
    parts += [Path(pretrained).stem] if pretrained else []
    parts += [f"last-{adapt_blocks}"] if adapt_blocks else []
    parts += [adapt] if adapt == "texts" else []
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts))[:100].strip(".-")


def with_full_paths(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Make paths absolute in arguments of ``load_backbone``, so that they are valid in any working directory."""
    whole = dict(choice)
    if str(choice["spec"]).startswith(FOLDER):
        whole["spec"] = f"{FOLDER}{_folder(choice['spec'])}"
    pretrained = choice.get("pretrained")
    if pretrained is not None and Path(pretrained).is_file():
        whole["pretrained"] = str(Path(pretrained).resolve())
    return whole


def portable(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``load_backbone`` for other machines: local files and folders are reduced to their names."""
    spec, pretrained = str(choice["spec"]), choice.get("pretrained")
    names = {"spec": f"{FOLDER}{_folder(spec).name}"} if spec.startswith(FOLDER) else {}
    # No tag of open_clip has a dot or a slash, so these are files, even if they are not on this machine.
    if pretrained is not None and ("." in pretrained or Path(pretrained).name != pretrained or Path(pretrained).is_file()):
        names["pretrained"] = Path(pretrained).name
    return {**choice, **names}


def _folder(spec: str) -> Path:
    return Path(spec.removeprefix(FOLDER)).resolve()
