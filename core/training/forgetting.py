"""Forgetting: class names that the frozen model finds and the adapted one does not."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import text_rows
from core.retrieval.popularity import spread_rows
from core.sglora.repository import CLASS_NAMES
from core.training.corpus import OBJECTS, Corpus, usual_adapter

FEWEST = 30  # photos of a measured set


@dataclass(frozen=True)
class NamedSet:
    """Labelled photos that trained nothing, and the class names to classify them with."""

    name: str  # CLASS_NAMES for everyday objects, else the domain
    rows: np.ndarray  # [n] photos
    names: Tensor  # [c, …] text prefixes of the classes
    answers: Tensor  # [n] class of each photo

    def share(self, corpus: Corpus, adapter: Adapter = ZERO_SHOT) -> float:
        """R@1 in percent, the share of photos whose own class name fits best."""
        images, names = corpus.indexed(self.rows, adapter), text_rows(corpus.backbone, self.names, adapter)
        return float(((images @ names.T).argmax(1) == self.answers).float().mean() * 100)


def named_sets(corpus: Corpus, most: int = 1000) -> list[NamedSet]:
    """For each labelled domain with enough test photos, its data set with the most classes: up to ``most`` test photos, evenly
    spread."""
    sets: dict[str, NamedSet] = {}
    for (domain, _), classes in corpus.sets.items():
        rows = np.sort(np.concatenate([photos[corpus.test[photos]] for photos in classes.values()]))
        first = {corpus.samples[r].label: corpus.own_texts[r][0] for r in rows}
        labels = sorted(first)
        name = CLASS_NAMES if domain == OBJECTS else domain
        if len(rows) < FEWEST or len(labels) < 2 or (name in sets and len(sets[name].names) >= len(labels)):
            continue
        rows = rows[spread_rows(len(rows), most)]
        names = corpus.texts[torch.tensor([first[label] for label in labels])]
        answers = torch.tensor([labels.index(corpus.samples[r].label) for r in rows])
        sets[name] = NamedSet(name, rows, names, answers)
    return list(sets.values())


def forgetting(corpus: Corpus, lora: Lora | None, most: int = 1000) -> dict[str, float]:
    """The points of R@1 that each of ``named_sets`` loses under a LoRA; below zero for a gain."""
    adapter = usual_adapter(corpus.backbone, lora)
    return {each.name: round(each.share(corpus) - each.share(corpus, adapter), 2) for each in named_sets(corpus, most)}
