"""HTML from Jinja2 templates, one file of macros per topic. Values are escaped, unless they are HTML from another macro."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from app.languages import texts
from core.common.metrics import KS

FOLDER = Path(__file__).with_name("templates")
BESIDE_A_TAG = re.compile(r"(?<=[>}])\s*\n\s*|\s*\n\s*(?=[<{])")


def _one_line(name: str) -> str:
    """A template without its line breaks: beside tags they are dropped, elsewhere they become a space."""
    return re.sub(r"\s*\n\s*", " ", BESIDE_A_TAG.sub("", (FOLDER / name).read_text(encoding="utf-8")))


_environment = Environment(autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(_one_line))
_environment.globals |= {"texts": texts, "KS": KS}
_environment.filters["percent"] = lambda share: f"{max(0.0, min(1.0, share)) * 100:.1f}%"


def script(name: str) -> str:
    return Path(__file__).with_name(f"{name}.js").read_text(encoding="utf-8")


def macros(name: str) -> Any:
    """The macros of a template, as functions that return ``Markup``."""
    return _environment.get_template(name).module
