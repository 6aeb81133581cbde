"""The shared part of the embedded backbone: one LoRA over the linears of both heads, the same for every sentence.

Photos move as well as texts, and since what moves them never changes, a photo is embedded twice when it is added and never
again (docs/design.md, section 3). It learns from captions of everyday scenes, in other languages, too, and from special
domains, in the mixed scores that people search with, and keeps the similarities of photos to class names as the frozen heads
have them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.backbones.embedded import TRANSLATIONS_FILE, WORDS_FILE, EmbeddedBackbone, load_shared, save_shared
from core.backbones.lora import Lora, LoraLayout
from core.backbones.lora_algebra import merge, reduce_rank
from core.backbones.trained_words import save_words
from core.backbones.translations import save_maps
from core.common.digest import digest
from core.common.files import whole
from core.common.paths import EVERYDAY_FILE
from core.common.progress import Log
from core.data.class_names import imagenet_class_names
from core.sglora.everyday import EverydayPhotos, save_everyday
from core.training.corpus import Corpus, load_corpus
from core.training.objective import TRAINED_WEIGHT, Objective, mixed
from core.training.shared_part import train_shared
from core.training.translations import translation_maps

RUNS, RANK = 3, 48  # it is the mean of so many runs, in this rank
LEFT = ("vision.proj_in",)  # linears that it leaves as they are


@dataclass(frozen=True)
class BothHeadsRecipe:
    """How the shared part of both heads is trained: ``steps`` to ``dense`` as in ``train_shared``, ``views`` of a photo, the
    others as in ``Objective``."""

    rank: int = 32
    steps: int = 1000
    lr: float = 2e-3
    dense: float = 0.5
    batch: int = 128
    everyday: int = 96
    tokens: int = 25
    names: int = 1000
    memory: float = 12.0
    weight: float = TRAINED_WEIGHT
    views: int = 4
    scale: float = 20.0
    seed: int = 0


def train_both_heads(
    corpus: Corpus, backbone: EmbeddedBackbone, recipe: BothHeadsRecipe = BothHeadsRecipe(), log: Log = print
) -> Lora:
    """Train once on the training photos of a corpus of ``backbone``, whose prefixes are maps of the image tower."""
    objective = Objective(
        backbone,
        corpus,
        recipe.scale,
        recipe.memory,
        recipe.batch,
        recipe.everyday,
        recipe.tokens,
        recipe.names,
        recipe.weight,
    )
    layout = LoraLayout.of(backbone.linears, [name for name in backbone.linears if name not in LEFT], recipe.rank)
    vector = train_shared(objective, layout, recipe.steps, recipe.lr, recipe.dense, recipe.seed, log)
    return Lora.from_vector(layout, vector.cpu())


def train_shared_part(
    data: Path,
    out: Path,
    cache: Path,
    backbone: EmbeddedBackbone,
    recipe: BothHeadsRecipe = BothHeadsRecipe(),
    log: Log = print,
) -> EmbeddedBackbone:
    """Train the shared part on the photos of a data folder and write it to ``out``; returns the backbone that has it.

    It is the mean of runs with other seeds, which finds more and forgets less than each of them (model soups, arXiv
    2203.05482). Finished runs are kept in ``cache``. What everyday photos look like under the shared part, maps toward
    English, and the words of all texts are written beside it.

    Raises:
        DataError: as ``load_corpus``.
    """
    paper = backbone.adapting("photos")  # its prefixes are maps, which both heads begin with
    corpus = load_corpus(data, paper, cache, log, recipe.views)
    runs = []
    for seed in range(recipe.seed, recipe.seed + RUNS):
        one = replace(recipe, seed=seed)
        key = digest(json.dumps([paper.with_shared(None).fingerprint, str(data.resolve()), asdict(one)]))[:8]
        runs.append(kept_run(cache / "shared" / f"seed{seed}-{key}.safetensors", lambda: corpus, paper, one, log))
    shared, _ = reduce_rank(merge(runs, [1 / RUNS] * RUNS), RANK)
    save_shared(shared, out, {**asdict(recipe), "runs": RUNS})
    log(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    trained = backbone.with_shared(shared)
    scenes = np.flatnonzero(corpus.train & corpus.scenes)
    base, moved = corpus.base[scenes], embedded(corpus, paper, shared, scenes)
    save_everyday((EverydayPhotos.of(base), EverydayPhotos.of(moved)), trained.fingerprint, out.with_name(EVERYDAY_FILE))
    photos = {corpus.image(row): photo for row, photo in zip(scenes.tolist(), mixed(base, moved, recipe.weight), strict=True)}
    maps = translation_maps(data, photos, paper, shared, recipe.weight, log)
    save_maps(maps, backbone.sentence_key, out.with_name(TRANSLATIONS_FILE))
    texts = [corpus.strings[text] for row in np.flatnonzero(corpus.train) for text in corpus.own_texts[row]]
    save_words([*texts, *imagenet_class_names()], out.with_name(WORDS_FILE))
    return trained


def kept_run(
    file: Path, corpus: Callable[[], Corpus], backbone: EmbeddedBackbone, recipe: BothHeadsRecipe, log: Log = print
) -> Lora:
    """One training as ``train_both_heads``, or what an earlier call kept of it in ``file``."""
    if not file.is_file():
        trained = train_both_heads(corpus(), backbone, recipe, log)
        with whole(file) as partial:
            save_shared(trained, partial, asdict(recipe))
    return load_shared(file, backbone.linears)


def embedded(corpus: Corpus, backbone: EmbeddedBackbone, shared: Lora, rows: np.ndarray) -> Tensor:
    """Embeddings [n, d] of some photos under the shared part."""
    return torch.cat([backbone.suffix(corpus.prefixes[some], shared) for some in torch.from_numpy(rows).split(1024)])
