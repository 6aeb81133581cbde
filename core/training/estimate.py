"""How long a training of experts will take, from a minute of it on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from core.backbones.base import Backbone
from core.backbones.lora import Lora, LoraLayout, initial_vector
from core.common.progress import Log, duration, silent
from core.data.find_images import photos_in
from core.training.corpus import load_corpus
from core.training.objective import Objective
from core.training.recipe import ExpertRecipe

PHOTOS, STEPS = 192, 2  # what is measured
TOPIC = 0.8  # photos per expert, as a share of those in a fine cluster; Flickr8k's 7,086 photos give 141 experts


def estimate(data: Path, backbone: Backbone, recipe: ExpertRecipe, processes: int = 1, log: Log = print) -> None:
    """Log the estimate: read some photos of each folder and their captions, and take some steps of each training. Experts are
    shared by ``processes``."""
    total = len({*photos_in(data)})
    with TemporaryDirectory() as cache:
        began = time.monotonic()
        corpus = load_corpus(data, backbone, Path(cache), silent, recipe.views, PHOTOS)
        reading = (time.monotonic() - began) * max(1.0, total / len(corpus))
        steps = 0 if backbone.shared else recipe.steps_together(total)
        shared = seconds_a_step(recipe.shared_objective(corpus), recipe.shared_rank) * steps
        each = seconds_a_step(recipe.objective(corpus), recipe.rank) * recipe.steps / processes
    experts = max(2, round(total / (TOPIC * recipe.fine)))
    parts = f"{total:,} photos and their texts {duration(reading)}, shared LoRA {duration(shared)}, "
    parts += f"{experts} experts {duration(experts * each)}"
    log(f"On {backbone.device} this takes about {duration(reading + shared + experts * each)}: {parts}.")


def seconds_a_step(objective: Objective, rank: int) -> float:
    """The time of one step of a training, after a first one that warms up."""
    corpus, rng, began = objective.corpus, np.random.default_rng(0), 0.0
    layout = LoraLayout(corpus.backbone.layout.modules, rank)
    vector = torch.nn.Parameter(initial_vector(layout, 0))
    for step in range(1 + STEPS):
        began = time.monotonic() if step == 1 else began
        objective.loss(np.arange(len(corpus)), Lora.from_vector(layout, vector), rng).backward()
    return (time.monotonic() - began) / STEPS
