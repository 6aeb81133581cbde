"""How a backbone is chosen, for this machine and for others: a path means nothing elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "local-dir:"


def placed(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``load_backbone`` with whole paths, so that they hold wherever the program is started on this machine."""
    whole = dict(choice)
    if str(choice["spec"]).startswith(FOLDER):
        whole["spec"] = f"{FOLDER}{_folder(choice['spec'])}"
    if choice.get("pretrained") is not None and Path(choice["pretrained"]).is_file():
        whole["pretrained"] = str(Path(choice["pretrained"]).resolve())
    return whole


def told(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``load_backbone`` for others: of files and folders of this machine the name alone."""
    return {**choice, **own_files(choice)}


def own_files(choice: Mapping[str, Any]) -> dict[str, str]:
    """Which arguments are a file or folder of whoever chose them, and its name."""
    spec, pretrained = str(choice["spec"]), choice.get("pretrained")
    found = {"spec": f"{FOLDER}{_folder(spec).name}"} if spec.startswith(FOLDER) else {}
    # No tag of open_clip has a dot or a slash; and the file need not be on this machine.
    if pretrained is not None and ("." in pretrained or Path(pretrained).name != pretrained or Path(pretrained).is_file()):
        found["pretrained"] = Path(pretrained).name
    return found


def _folder(spec: str) -> Path:
    return Path(spec.removeprefix(FOLDER)).resolve()
