"""The inputs of experiments, and the folder of their finished pieces."""

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
        """The shipped experts and generator."""
        return load_engine(self.backbone)

    @lazy
    def corpus(self) -> Corpus:
        """The data folder's photos, each with its role in training. Raises DataError: when there are no photos."""
        return load_corpus(self.data, self.backbone, self.cache, self.log)

    @lazy
    def contents(self) -> str:
        """A checksum of the data folder."""
        return contents(self.data)

    def folder(self, experiment: str) -> Path:
        """The folder of an experiment's finished pieces."""
        return self.cache / "experiments" / experiment

    def piece(self, experiment: str, name: str, key: Any, make: Callable[[], Any]) -> Any:
        """A piece of an experiment as JSON, made once and kept on disk. ``key``: everything that determines it, beside backbone
        and data folder."""
        identity = json.dumps([self.backbone.fingerprint, self.backbone.slug, self.contents, key], default=str)
        file = self.folder(experiment) / f"{name}-{digest(identity)[:8]}.json"
        if not file.is_file():
            content = json.dumps(make())
            with whole(file) as partial:
                partial.write_text(content, encoding="utf-8")
        return json.loads(file.read_text(encoding="utf-8"))
