"""All experiments and benchmarks, in the order in which `all` runs them and the Evidence tab shows them.

To add one: a module ``core/experiments/NAME.py`` (or ``core/experiments/bench/NAME.py``), and its question and method in
``registry.json``. The module has ``run(context)``, whose result is JSON, and of a result ``findings`` (sentences), ``table``
(Markdown) and, where there is something to draw, ``plot`` (with ``core.experiments.figures``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from core.common.paths import data_of


@dataclass(frozen=True)
class Experiment:
    """A question that is answered with numbers."""

    name: str  # of its module
    question: str
    method: str  # how it is measured, in a sentence or two
    data: bool = True  # whether it needs a data folder
    bench: bool = False  # whether it measures time or memory
    shared: bool = False  # whether processes of `accelerate launch` share its work
    version: int = 1  # raised when a change of the code changes the result; kept results of another version are not used

    @property
    def module(self) -> ModuleType:
        """Imported only when it is needed: the list itself is free."""
        return import_module(f"core.experiments.{'bench.' if self.bench else ''}{self.name}")

    @property
    def file(self) -> str:
        """Name of its result file."""
        return f"{'bench-' if self.bench else ''}{self.name}.json"

    @property
    def command(self) -> str:
        """The command line that repeats it."""
        return f"python -m core {'bench' if self.bench else 'experiment'} {self.name}{' --data data' if self.data else ''}"


_WRITTEN = data_of(__file__)
EXPERIMENTS: Mapping[str, Experiment] = {name: Experiment(name, **said) for name, said in _WRITTEN["experiments"].items()}
BENCHMARKS: Mapping[str, Experiment] = {
    name: Experiment(name, **said, bench=True) for name, said in _WRITTEN["benchmarks"].items()
}
