"""All benchmarks, in the order in which `python -m core bench all` runs them.

To add one: a module ``core/experiments/bench/NAME.py`` with the functions of ``Module``, and a line in ``_ALL``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from core.experiments.bench.context import Setting


class Module(Protocol):
    """What a benchmark's module defines; a result is JSON."""

    def run(self, setting: Setting) -> dict[str, Any]:
        """Measure. Ratios compare what was measured in turn, in this run: see ``core.experiments.bench.timing``."""

    def findings(self, result: Mapping[str, Any]) -> list[str]:
        """What the figures say, in plain words: a sentence each."""

    def table(self, result: Mapping[str, Any]) -> str:
        """Markdown tables, with paragraphs between them."""

    def plot(self, result: Mapping[str, Any]) -> Figure:
        """A growth curve, drawn with ``core.experiments.figures``; only of benchmarks with ``curve``."""


@dataclass(frozen=True)
class Benchmark:
    """Something that has to be fast or small.

    Attributes:
        name: of its module. question: what is asked. method: how it is measured, in a sentence or two.
        curve: whether there is a plot.
    """

    name: str
    question: str
    method: str
    curve: bool = False

    @property
    def module(self) -> Module:
        """Imported only when it is needed: the list itself is free."""
        return import_module(f"core.experiments.bench.{self.name}")  # type: ignore[return-value]


_ALL = (
    Benchmark(
        "adaptation",
        "How long does it take from a sentence to an adapter, and how much longer by fine-tuning?",
        "Twenty sentences, then one expert of one's own trained on captioned photos whose activations are cached, in turn; the "
        "time of a step is the shortest over all sentences.",
    ),
    Benchmark(
        "indexing",
        "How many photos a second go from JPEG to index, and what keeps it from being as fast as the bare tower?",
        "Views of the packages' sample photos as JPEGs in memory. Indexed: as the app does it, with thumbnails and the index "
        "for zero-shot search. Tower: the frozen convolutional tower alone, on ready tensors and in the same batches. Naive: "
        "decoded in full, float32, one photo after the other. All in turn, round by round.",
        curve=True,
    ),
    Benchmark(
        "readaptation",
        "How long does a new sentence take on photos that are indexed already, and what does that cost in memory?",
        "From a sentence to a ranking, from the cached activations and by decoding and encoding every JPEG anew (threads "
        "decode ahead, no thumbnails), in turn. Each time it is another sentence.",
        curve=True,
    ),
    Benchmark(
        "search",
        "How long does one query take, and how many vectors does one machine hold?",
        "The ten nearest of unit vectors without any structure, which is the hardest case for an approximate index; one query "
        "at a time. NumPy multiplies and sorts the ten best.",
        curve=True,
    ),
    Benchmark(
        "memory",
        "How much memory does it take at the start, with photos and after many visitors, and how long is a cold start?",
        "Each in a process of its own; resident memory as the system counts it. Visitors come one after the other, add photos, "
        "make an adapter, search and go.",
        curve=True,
    ),
    Benchmark(
        "backbones",
        "How fast is a ViT-B/16 as open_clip runs it, with its attention split, and when only the adapted blocks run again?",
        "A batch of photos from pixels to embeddings, or from cached activations for the suffix; all ways in turn, round by "
        "round. The weights are random: time depends on their number alone.",
    ),
    Benchmark(
        "writing",
        "What does it take to write the 110,592 parameters of a LoRA for ViT-B/16?",
        "A ViT-B/16, 80 experts and a generator with random numbers, of the sizes of trained ones; the time of a step is the "
        "shortest over all rounds.",
    ),
)
BENCHMARKS: Mapping[str, Benchmark] = {b.name: b for b in _ALL}
