"""Where the shipped files are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# An installed wheel has them in the package; in a checkout they lie at its top.
_IN_WHEEL = ROOT / "core" / "shipped"
_SHIPPED = _IN_WHEEL if _IN_WHEEL.is_dir() else ROOT
ASSETS = _SHIPPED / "assets"
EXPERTS = _SHIPPED / "experts"

GENERATOR_FILE = "generator.safetensors"
EVERYDAY_FILE = "everyday.safetensors"


def heads_path() -> Path:
    """The shipped heads of the embedded backbone."""
    return ASSETS / "embedded" / "backbone.safetensors"


def everyday_path(backbone: str = "embedded") -> Path:
    """What everyday photos look like to a backbone."""
    return ASSETS / backbone / EVERYDAY_FILE


def generator_path(backbone: str = "embedded") -> Path:
    """The shipped generator of a backbone."""
    return ASSETS / backbone / GENERATOR_FILE


def experts_path(backbone: str = "embedded") -> Path:
    """The shipped expert repository of a backbone."""
    return EXPERTS / backbone


def find_generator(experts: Path, backbone: str) -> Path:
    """The generator of a repository: in its folder, where training leaves it, else in the assets under the folder's name or
    the backbone's."""
    inside = experts / GENERATOR_FILE
    return next((path for path in (inside, generator_path(experts.name), generator_path(backbone)) if path.is_file()), inside)


def results_path(experiment: str) -> Path:
    """The shipped result of an experiment."""
    return ASSETS / "results" / f"{experiment}.json"


def data_of(module: str) -> Any:
    """What is in the JSON file beside a module, which is given by its ``__file__``."""
    return json.loads(Path(module).with_suffix(".json").read_text(encoding="utf-8"))
