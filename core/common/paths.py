"""Paths of the shipped files."""

import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# An installed wheel has the shipped files inside the package; a checkout has them at its top.
_IN_WHEEL = ROOT / "core" / "shipped"
_SHIPPED = _IN_WHEEL if _IN_WHEEL.is_dir() else ROOT
ASSETS = _SHIPPED / "assets"
EXPERTS = _SHIPPED / "experts"

GENERATOR_FILE = "generator.safetensors"
EVERYDAY_FILE = "everyday.safetensors"
ORDINARY_TEXTS_FILE = "ordinary-texts.safetensors"


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/sg-lora-studio``, or ``~/.cache/sg-lora-studio``."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sg-lora-studio"


def heads_path() -> Path:
    """The shipped heads of the embedded backbone."""
    return ASSETS / "embedded" / "backbone.safetensors"


def asset_path(file: str, backbone: str = "embedded") -> Path:
    """A shipped file of a backbone, such as its GENERATOR_FILE."""
    return ASSETS / backbone / file


def experts_path(backbone: str = "embedded") -> Path:
    """The shipped expert repository of a backbone."""
    return EXPERTS / backbone


def results_path(experiment: str) -> Path:
    """The shipped result of an experiment."""
    return ASSETS / "results" / f"{experiment}.json"


def data_of(module: str) -> Any:
    """Read the JSON file beside a module, given the module's ``__file__``."""
    return json.loads(Path(module).with_suffix(".json").read_text(encoding="utf-8"))
