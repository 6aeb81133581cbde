"""What an experiment may look at, and where its finished pieces are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.backbones.base import Backbone
from core.common.digest import digest
from core.common.files import whole
from core.common.lazy import lazy
from core.common.progress import Log
from core.experts.load import load_engine
from core.sglora.engine import SGLora
from core.training.corpus import Corpus, load_corpus


@dataclass(frozen=True)
class ExperimentContext:
    """A data folder, a cache of all that takes long, and the frozen model; shared by the experiments of one run, so that photos
    are read once."""

    data: Path
    cache: Path
    backbone: Backbone
    log: Log = print

    @lazy
    def engine(self) -> SGLora:
        """The shipped experts and generator."""
        return load_engine(self.backbone)

    @lazy
    def corpus(self) -> Corpus:
        """Photos of the data folder, with the part that each plays in training; raises DataError where there are none."""
        corpus = load_corpus(self.data, self.backbone, self.cache, self.log)
        corpus.tell_unreadable(self.log)
        return corpus

    def folder(self, experiment: str) -> Path:
        """Where an experiment keeps what it finished."""
        return self.cache / "experiments" / experiment

    def piece(self, experiment: str, name: str, key: Any, make: Callable[[], Any]) -> Any:
        """A finished piece of an experiment, as JSON: read where an earlier run kept it, else made and kept. ``key`` is all
        that decides how it comes out, beside backbone and data folder."""
        said = json.dumps([self.backbone.fingerprint, self.backbone.slug, str(self.data.resolve()), key], default=str)
        file = self.folder(experiment) / f"{name}-{digest(said)[:8]}.json"
        if not file.is_file():
            content = json.dumps(make())
            with whole(file) as partial:
                partial.write_text(content, encoding="utf-8")
        return json.loads(file.read_text(encoding="utf-8"))
