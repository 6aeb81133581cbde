"""All experiments and benchmarks, in the order in which `all` runs them and the Evidence tab shows them.

To add one: a module ``core/experiments/NAME.py`` (or ``core/experiments/bench/NAME.py``) with the functions of ``Module``, and
a line below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Module(Protocol):
    """What a module of an experiment or a benchmark defines; a result is JSON."""

    def run(self, context: Any) -> dict[str, Any]:
        """Answer the question, from an ``ExperimentContext`` or a ``BenchmarkContext``."""
        ...

    def findings(self, result: Mapping[str, Any]) -> list[str]:
        """What holds and what does not, a sentence or two each."""
        ...

    def table(self, result: Mapping[str, Any]) -> str:
        """Markdown tables, with paragraphs between them."""
        ...

    def plot(self, result: Mapping[str, Any]) -> Figure:
        """One picture of the result, drawn with ``core.experiments.figures``; only where ``Experiment.plot`` says so."""
        ...


@dataclass(frozen=True)
class Experiment:
    """A question that is answered with numbers.

    Attributes:
        name: of its module. question: what is asked. method: how it is measured, in a sentence or two.
        data: whether it needs a data folder. plot: whether it draws one picture. bench: whether it measures time or memory.
        shared: whether processes of `accelerate launch` share its work.
        version: raised when a change of the code changes the result; kept results of another version are not used.
    """

    name: str
    question: str
    method: str
    data: bool = True
    plot: bool = True
    bench: bool = False
    shared: bool = False
    version: int = 1

    @property
    def module(self) -> Module:
        """Imported only when it is needed: the list itself is free."""
        return import_module(f"core.experiments.{'bench.' if self.bench else ''}{self.name}")  # type: ignore[return-value]

    @property
    def file(self) -> str:
        """Name of its result file."""
        return f"{'bench-' if self.bench else ''}{self.name}.json"

    @property
    def command(self) -> str:
        """The command line that repeats it."""
        return f"python -m core {'bench' if self.bench else 'experiment'} {self.name}{' --data data' if self.data else ''}"


_EXPERIMENTS = (
    Experiment(
        "unseen",
        "Does SG-LoRA beat zero-shot, merging, one LoRA for everything and a random sentence on tasks that no training saw?",
        "Five folds over tasks: no photo of a held-out task trains the shared part, an expert or the generator. "
        "Recall in percent, mean of both directions; intervals of the difference, paired by task.",
        shared=True,
    ),
    Experiment(
        "known",
        "And on new photos whose topic an expert knows, as most photos are?",
        "The shipped experts on photos that trained nothing: scenes, 1,000 everyday photos as one gallery, special domains "
        "with their name alone, and COCO.",
    ),
    Experiment(
        "languages",
        "Does search work in other languages than English?",
        "The same photos are asked for with captions that are translations of each other; every photo has one caption. German "
        "and French train the shared part, Czech is a language that the text tower does not know.",
        plot=False,
    ),
    Experiment(
        "latent",
        "How much does a sample of the generator say, and what does another seed change?",
        "The generator trained with several weights of the KL divergence, on tasks of watched photos: it chose the recipe. "
        "KL in nats, distance of two seeds' adapters as a share of that of two experts, recall of samples minus the merge.",
        plot=False,
    ),
    Experiment(
        "samples",
        "What does an adapter do to the sample photos?",
        "Every caption of the sample photos is asked, with and without the adapter that a sentence about photos of its kind "
        "gives; the questions that the page offers are chosen from these by a fixed rule.",
        data=False,
        plot=False,
    ),
    Experiment(
        "forgetting",
        "What does a generated adapter forget?",
        "R@1 of class names, zero-shot minus adapted, on photos that trained no adapter, over descriptions of scenes and "
        "domains.",
    ),
    Experiment(
        "teach",
        "Does a name that was taught from a few photos find more of them, and what is forgotten for it?",
        "Classes of special domains under made-up and real names, on photos that trained nothing and taught nothing; the right "
        "name of up to eleven, and the class's photos among the first ten beside 1,000 everyday ones. Intervals over domains.",
    ),
    Experiment(
        "feedback",
        "Do marks on the first ten results find the rest, and what do other questions lose for it?",
        "A simulated user asks 1,000 everyday photos for a word without a sentence, and marks ten results a round as right "
        "where two captions have the word; the weights of marks were chosen on watched photos. Intervals over words.",
        plot=False,
    ),
    Experiment(
        "wording",
        "Is routing insensitive to wording, and is it noticed when no expert fits?",
        "Twenty subjects in five wordings each, single words among them; sentences about no photos, and in other languages.",
        plot=False,
        data=False,
    ),
    Experiment(
        "verification",
        "Do experts beat zero-shot on their own topic?",
        "Measured on photos that trained no expert; intervals over experts.",
        data=False,
    ),
)
_BENCHMARKS = (
    Experiment(
        "adaptation",
        "How long does it take from a sentence to an adapter, and how much longer by fine-tuning?",
        "Twenty sentences, then one expert of one's own trained on captioned photos whose activations are cached, in turn; the "
        "time of a step is the shortest over all sentences.",
        plot=False,
        data=False,
        bench=True,
    ),
    Experiment(
        "indexing",
        "How many photos a second go from JPEG to index, and how close is that to the bare tower?",
        "The packages' sample photos as JPEGs in memory. Indexed: as the app does it, with thumbnails and the index "
        "for zero-shot search. Tower: the frozen convolutional tower alone, on ready tensors and in the same batches. Naive: "
        "decoded in full, float32, one photo after the other. All in turn, round by round.",
        plot=False,
        data=False,
        bench=True,
    ),
    Experiment(
        "library",
        "How fast is a library made, and what does a question cost as it grows?",
        "Up to 20,000 photos of a data folder (without one, the sample photos) are indexed by the command. For "
        "growth, the vectors of these photos are repeated with noise.",
        plot=False,
        bench=True,
    ),
)
EXPERIMENTS: Mapping[str, Experiment] = {e.name: e for e in _EXPERIMENTS}
BENCHMARKS: Mapping[str, Experiment] = {e.name: e for e in _BENCHMARKS}
