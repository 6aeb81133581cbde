"""A context of made-up tasks on a tiny backbone: folds are really trained and measured, in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tiny_models import noise, tiny_backbone

from core.experiments.context import ExperimentContext
from core.experiments.folds import FoldRecipe
from core.training.experts import ExpertRecipe
from core.training.features import Features
from core.training.generator import GeneratorRecipe
from core.training.task_dataset import Pool
from core.training.tasks import EVERYDAY, Task

SCENES, SPECIAL, PHOTOS, CLASSES = 8, 7, 40, 3
EXPERTS = ExpertRecipe(
    batch=16, tokens=9, shared_steps=3, steps=4, check=2, snapshots=3, fresh_steps=4, fresh_check=2, shared_lr=0.02, lr=0.02
)
RECIPE = FoldRecipe(EXPERTS, GeneratorRecipe(dimensions=6, latent=4, hidden=16, warm_steps=4, steps=2, batch=8), single_steps=3)


def made_up_study(cache: Path) -> ExperimentContext:
    """Eight tasks of everyday scenes (and EVERYDAY), seven of special domains with three classes each."""
    backbone = tiny_backbone()
    rng = np.random.default_rng(0)
    tasks, own_texts, labels, strings = [], [], [], []
    for number in range(SCENES + SPECIAL):
        rows = np.arange(number * PHOTOS, (number + 1) * PHOTOS)
        parts = {"train": rows[:24], "stop": rows[24:30], "test": rows[30:]}
        if number < SCENES:
            name, group, classes = f"scene{number}", "scenes", ()
            for row in rows:
                strings += [f"photo {row} shows thing {number}", f"thing {number}, as in photo {row}"]
                own_texts.append(np.array([len(strings) - 2, len(strings) - 1]))
                labels.append(row)
        else:
            name, group, classes = f"field{number}", f"domain{number % 3}", tuple(f"{number}-{c}" for c in range(CLASSES))
            first = len(strings)
            strings += [text for c in range(CLASSES) for text in (f"a {number}-{c}", f"a photo of a {number}-{c}")]
            for row in rows:
                c = row % CLASSES
                own_texts.append(np.array([first + 2 * c, first + 2 * c + 1]))
                labels.append(-1 - CLASSES * number - c)
        tasks.append(Task(name, f"a photo of thing {number}", group, "made-up", **parts, classes=classes))
    n = len(labels)
    scenes = np.arange(SCENES * PHOTOS)
    everyday = {"train": scenes[scenes % PHOTOS < 24], "stop": scenes[24:30], "test": scenes[30:40]}
    tasks.append(Task(EVERYDAY, "photos of things", "scenes", "made-up", **everyday))
    maps = rng.normal(size=(n, *backbone.prefix_shape)).astype(np.float16)
    texts = F.normalize(noise(len(strings), backbone.dim, seed=1), dim=-1)
    measured = tuple(2 if labels[i] >= 0 else 1 for i in range(n))
    pool = Pool(
        (Features([(maps, np.arange(n))]),), texts, tuple(strings), tuple(own_texts), measured, np.array(labels), tuple(tasks)
    )
    context = ExperimentContext(cache / "data", cache, backbone, lambda line: None)
    vars(context)["pool"] = pool  # where the cached property would keep it
    return context


def dense(lora) -> dict[str, torch.Tensor]:
    """Weight changes, written out."""
    return {name: f.b @ f.a for name, f in lora.factors.items()}
