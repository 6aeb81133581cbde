"""How a backbone is chosen, for this machine and for others: a path means nothing elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.backbones import EMBEDDED
from core.backbones.lora import Side

FOLDER, HUB = "local-dir:", "hf-hub:"
OWN_WEIGHTS = (FOLDER, HUB)  # how models begin that bring theirs


def backbone_options(choice: Mapping[str, Any]) -> list[str]:
    """Of the command line, for these arguments of ``load_backbone``."""
    names = {"spec": "--backbone", "pretrained": "--pretrained", "adapt_blocks": "--adapt-blocks", "adapt": "--adapt"}
    return [part for key, name in names.items() if choice.get(key) is not None for part in (name, str(choice[key]))]


def adapted_side(choice: Mapping[str, Any]) -> Side:
    """What LoRAs adapt that are trained for a backbone: what was chosen, or what is usual for it."""
    return choice.get("adapt") or ("texts" if choice["spec"] == EMBEDDED else "photos")


def with_full_paths(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``load_backbone`` with whole paths, so that they hold wherever the program is started on this machine."""
    whole = dict(choice)
    if str(choice["spec"]).startswith(FOLDER):
        whole["spec"] = f"{FOLDER}{_folder(choice['spec'])}"
    pretrained = choice.get("pretrained")
    if pretrained is not None and Path(pretrained).is_file():
        whole["pretrained"] = str(Path(pretrained).resolve())
    return whole


def portable(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``load_backbone`` for other machines: of files and folders of this one the name alone."""
    return {**choice, **local_names(choice)}


def local_names(choice: Mapping[str, Any]) -> dict[str, str]:
    """The arguments that are a local file or folder, and its name."""
    spec, pretrained = str(choice["spec"]), choice.get("pretrained")
    names = {"spec": f"{FOLDER}{_folder(spec).name}"} if spec.startswith(FOLDER) else {}
    # No tag of open_clip has a dot or a slash; and the file need not be on this machine.
    if pretrained is not None and ("." in pretrained or Path(pretrained).name != pretrained or Path(pretrained).is_file()):
        names["pretrained"] = Path(pretrained).name
    return names


def _folder(spec: str) -> Path:
    return Path(spec.removeprefix(FOLDER)).resolve()
