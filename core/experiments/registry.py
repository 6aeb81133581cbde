"""All experiments, in the order of the Evidence tab.

To add one, write a module ``core/experiments/NAME.py``, and its question and method in ``registry.json``. ``run(context)``
returns the result as JSON. The interval that answers the question is named there, too ("minus"), or comes from
``decides(result)``. Optional are ``findings(result)``, sentences, ``table(result)``, Markdown (without it: methods by group),
and a plot (``core.experiments.figures``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType

from core.common.paths import data_of


@dataclass(frozen=True)
class Experiment:
    """A question, answered with numbers."""

    name: str  # of its module
    question: str
    method: str  # in a sentence or two
    data: bool = True  # needs a data folder
    plot: bool = False  # has a figure
    # Of a result with groups: the compared method with its verb; others, as sentences call them, and the difference to the
    # first decides; the group that decides.
    finds: str = "SG-LoRA finds"
    minus: Mapping[str, str] = field(default_factory=dict)
    group: str = "special domains"
    paper: str = ""  # what the paper found, if it asks the same, and {found}: what we found

    @property
    def module(self) -> ModuleType:
        """The module, imported on use, so that listing experiments is fast."""
        return import_module(f"core.experiments.{self.name}")


EXPERIMENTS: Mapping[str, Experiment] = {name: Experiment(name, **entry) for name, entry in data_of(__file__).items()}
