"""The inputs of experiments, and the folder of their trainings."""

from dataclasses import dataclass
from pathlib import Path

from core.backbones.base import Backbone
from core.common.lazy import lazy
from core.common.progress import Log
from core.data.folder import contents
from core.experts.load import load_engine
from core.sglora.engine import SGLora
from core.training.corpus import Corpus, load_corpus


@dataclass(frozen=True)
class ExperimentContext:
    """A data folder, a cache for slow results, and the frozen model."""

    data: Path
    cache: Path
    backbone: Backbone
    log: Log = print

    @lazy
    def engine(self) -> SGLora:
        return load_engine(self.backbone)

    @lazy
    def corpus(self) -> Corpus:
        """The data folder's photos, each with its role in training. Raises DataError: when there are no photos."""
        return load_corpus(self.data, self.backbone, self.cache, self.log)

    @lazy
    def contents(self) -> str:
        return contents(self.data)

    def folder(self, experiment: str) -> Path:
        """The folder of an experiment's trainings."""
        return self.cache / "experiments" / experiment
