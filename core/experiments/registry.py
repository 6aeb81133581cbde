"""All experiments, in the order in which `python -m core experiment all` runs them.

To add one: a module ``core/experiments/NAME.py`` with the four functions of ``Module``, and a line in ``EXPERIMENTS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from core.experiments.context import Study


class Module(Protocol):
    """What an experiment's module defines; a result is JSON."""

    def run(self, study: Study) -> dict[str, Any]:
        """Answer the question; finished pieces are kept with ``study.piece``."""

    def findings(self, result: Mapping[str, Any]) -> list[str]:
        """What holds and what does not, in plain words: a sentence or two each."""

    def table(self, result: Mapping[str, Any]) -> str:
        """Markdown tables, with paragraphs between them."""

    def plot(self, result: Mapping[str, Any]) -> Figure:
        """One picture of the result, drawn with ``core.experiments.figures``."""


@dataclass(frozen=True)
class Experiment:
    """A question that is answered with numbers.

    Attributes:
        name: of its module and of its result. question: what is asked. method: how it is measured, in a sentence or two.
        data: whether it needs a data folder.
    """

    name: str
    question: str
    method: str
    data: bool = True

    @property
    def module(self) -> Module:
        """Imported only when it is needed: the list itself is free."""
        return import_module(f"core.experiments.{self.name}")  # type: ignore[return-value]


_ALL = (
    Experiment(
        "base",
        "How good is the frozen model by itself?",
        "Zero-shot recall on captioned photos that it never saw; each set is its own gallery.",
    ),
    Experiment(
        "verification",
        "Do experts beat zero-shot on their own task?",
        "Measured on photos that neither trained nor stopped an expert; intervals over experts.",
        data=False,
    ),
    Experiment(
        "routing",
        "Does a description find the right experts?",
        "Descriptions written by hand, each with the experts that should come first, routed to the shipped experts; and the "
        "descriptions of held-out tasks, routed to the experts of all other folds, with neighbours listed by hand.",
    ),
    Experiment(
        "generation",
        "Does a generated LoRA beat zero-shot, merging and the other controls on tasks it never saw?",
        "Five folds over tasks: no photo of a held-out task trains an expert or the generator. Recall in percent, mean of "
        "both directions.",
    ),
    Experiment(
        "crossdata",
        "Do experts of one data set help on photos of another?",
        "The shipped experts of Flickr8k on captioned COCO photos that trained nothing; one task for each category and scene "
        "with a dozen photos or more.",
    ),
    Experiment(
        "domains",
        "Does the confidence protect where no expert fits?",
        "Special domains with the experts of one fold's everyday scenes alone, and a confidence and a generator that know no "
        "others.",
    ),
    Experiment(
        "ablations",
        "What does each part of the method do?",
        "One thing at a time is changed, on held-out tasks: routing, snapshots, variance, samples, strength and "
        "rank at run time, with the generator as it is; its training on one fold. Intervals of the difference, paired by task.",
    ),
    Experiment(
        "classification",
        "Is it further from fine-tuning in classification than in retrieval, and are LoRAs more orthogonal there?",
        "Held-out tasks of special domains as zero-shot classification over their own classes, held-out scenes as retrieval; "
        "fine-tuned on the task's own photos, all with one recipe.",
    ),
    Experiment(
        "composition",
        "Which experts should a repository hold?",
        "Subsets of a fold's experts, drawn at random or picked by rules that see descriptions alone, on held-out tasks. The "
        "generator stays the one that was trained on all of the fold's experts.",
    ),
    Experiment(
        "latent",
        "Where do generated LoRAs lie among the experts, and does the generator collapse?",
        "Weight changes of one fold's experts (their snapshots) and of LoRAs generated for held-out descriptions, and for the "
        "experts' own with the own expert left out of the routing. Intervals draw tasks.",
    ),
    Experiment(
        "wording",
        "How much does it matter how well a task is described?",
        "Held-out tasks, each described by hand from one word to a detailed sentence and in other words; vaguely; with another "
        "task's description; and with sentences about no photos. Intervals of the difference, paired by task.",
    ),
    Experiment(
        "edge",
        "What does a small device need: time, memory, and bytes over the air?",
        "Two held-out tasks on one core under a memory limit that the system enforces: an adapter from a sentence, with "
        "search, against fine-tuning on the task's photos.",
    ),
)
EXPERIMENTS: Mapping[str, Experiment] = {e.name: e for e in _ALL}
