"""The shared LoRA of all experts: one LoRA, the same for every sentence, trained on densely sampled tasks.

In the embedded backbone it adapts both heads. It never changes, so the app embeds each photo twice when it is added, and never
again (docs/design.md, section 3). It learns from captions of everyday scenes in several languages, and from special domains. A
penalty keeps the similarities of photos to class names. It is trained at full rank, which finds more than a low one, and
rounded to a LoRA at the end.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.backbones.embedded import TRANSLATIONS_FILE, WORDS_FILE, EmbeddedBackbone, load_shared, save_shared
from core.backbones.lora import Lora, LoraLayout, initial_vector
from core.backbones.lora_algebra import merge, reduce_rank
from core.backbones.trained_words import save_words
from core.backbones.translations import save_maps
from core.common.digest import digest
from core.common.paths import EVERYDAY_FILE, ORDINARY_TEXTS_FILE
from core.common.progress import Bar, Log
from core.data.folder import contents
from core.names.ordinary_texts import imagenet_class_names, save_moment, second_moment
from core.names.ridge import Background, save_everyday
from core.training.corpus import Corpus, load_corpus
from core.training.dense_tasks import DenseTasks
from core.training.descent import descend, one_cycle
from core.training.objective import TRAINED_WEIGHT, Objective, mixed
from core.training.translations import translation_maps

WARM_UP = 30  # steps
RUNS, RANK = 3, 128  # number of averaged runs, and the rank of their mean


def train_shared(objective: Objective, layout: LoraLayout, steps: int, lr: float, dense: float, seed: int, log: Log) -> Tensor:
    """Train one LoRA [P] of this layout on the training photos of the objective's corpus. The share ``dense`` of the steps uses
    a sampled task, the others use everyday scenes of all kinds."""
    corpus = objective.corpus
    tasks, scenes = DenseTasks(corpus), np.flatnonzero(corpus.train & corpus.scenes)
    vector = torch.nn.Parameter(initial_vector(layout, seed))
    optimizer = torch.optim.Adam([vector], lr=lr)
    schedule = one_cycle(optimizer, steps, WARM_UP)
    rng = np.random.default_rng(seed)
    with Bar("shared LoRA", steps, log, "steps") as bar:
        for step in range(1, steps + 1):
            rows = tasks.sample(rng) if rng.random() < dense or not len(scenes) else scenes
            loss = objective.loss(rows, Lora.from_vector(layout, vector), rng)
            descend(loss, optimizer, schedule, [vector])
            bar.to(step, f"loss {loss.detach():.3f}")
    return vector.detach().cpu()


@dataclass(frozen=True)
class BothHeadsRecipe:
    """How to train the shared LoRA of both heads: ``steps`` to ``dense`` as in ``train_shared``, ``views`` of each photo, the
    others as in ``Objective``."""

    steps: int = 800
    lr: float = 4e-4
    dense: float = 0.3
    batch: int = 192
    everyday: int = 96
    tokens: int = 25
    names: int = 1000
    memory: float = 10.0
    views: int = 4
    scale: float = 20.0
    seed: int = 0


def train_shared_lora(
    data: Path, out: Path, cache: Path, backbone: EmbeddedBackbone, recipe: BothHeadsRecipe, log: Log
) -> EmbeddedBackbone:
    """Train the shared LoRA on the photos of a data folder and write it to ``out``; returns the backbone with it.

    It is the mean of runs with different seeds, which finds more and forgets less than each run (model soups, arXiv
    2203.05482). ``cache`` keeps finished runs. Four more files go beside ``out``: statistics of everyday photos and of
    ordinary texts, maps toward English, and the words of all texts. Raises as ``load_corpus``.
    """
    paper = backbone.adapting("photos")  # its prefixes are the image tower's maps, the input of the vision head
    corpus = load_corpus(data, paper, cache, log, recipe.views)
    runs, photos_and_lists = [], contents(data)
    for seed in range(recipe.seed, recipe.seed + RUNS):
        seeded = replace(recipe, seed=seed)
        key = digest(json.dumps([paper.with_shared(None).fingerprint, photos_and_lists, asdict(seeded)]))[:8]
        runs.append(kept_run(cache / "shared" / f"seed{seed}-{key}.safetensors", lambda: corpus, paper, seeded, log))
    shared = reduce_rank(merge(runs, [1 / RUNS] * RUNS), RANK)
    save_shared(shared, out, {**asdict(recipe), "runs": RUNS})
    log(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    trained = backbone.with_shared(shared)
    scenes = np.flatnonzero(corpus.train & corpus.scenes)
    base = corpus.base[scenes]
    moved = torch.cat([paper.suffix(corpus.prefixes[rows], shared) for rows in torch.from_numpy(scenes).split(1024)])
    save_everyday(Background.of([base, moved]), trained.fingerprint, out.with_name(EVERYDAY_FILE))
    save_moment(second_moment(trained.adapting("texts")), trained.fingerprint, out.with_name(ORDINARY_TEXTS_FILE))
    photos = {corpus.image(row): photo for row, photo in zip(scenes.tolist(), mixed(base, moved, TRAINED_WEIGHT), strict=True)}
    described = {corpus.image(row): corpus.captions(row) for row in scenes.tolist()}
    maps = translation_maps(data, photos, described, trained, log)
    save_maps(maps, backbone.sentence_key, out.with_name(TRANSLATIONS_FILE))
    texts = [corpus.strings[text] for row in np.flatnonzero(corpus.train) for text in corpus.own_texts[row]]
    save_words([*texts, *imagenet_class_names()], out.with_name(WORDS_FILE))
    return trained


def kept_run(file: Path, corpus: Callable[[], Corpus], backbone: EmbeddedBackbone, recipe: BothHeadsRecipe, log: Log) -> Lora:
    """The LoRA of one training of both heads, read from ``file`` if an earlier call wrote it."""
    if not file.is_file():
        whole = {name: torch.eye(m.in_features) for name, m in backbone.linears.items()}  # B A is B: a change of full rank
        layout = LoraLayout.of(backbone.linears, whole, 0).frozen(whole)
        objective = Objective(corpus(), recipe.scale, recipe.memory, recipe.batch, recipe.everyday, recipe.tokens, recipe.names)
        vector = train_shared(objective, layout, recipe.steps, recipe.lr, recipe.dense, recipe.seed, log)
        save_shared(Lora.from_vector(layout, vector), file, asdict(recipe))
    return load_shared(file, backbone.linears)
