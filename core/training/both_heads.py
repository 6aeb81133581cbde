"""The shared part of the embedded backbone: one LoRA over the linears of both heads, the same for every sentence.

Photos move as well as texts, and since what moves them never changes, a photo is embedded twice when it is added and never
again (docs/design.md, section 3). It learns from captions of everyday scenes, in other languages, too, and from special
domains, in the mixed scores that people search with, and keeps the similarities of photos to class names as the frozen heads
have them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from core.backbones.embedded import TRANSLATIONS_FILE, EmbeddedBackbone, save_shared
from core.backbones.lora import Lora, LoraLayout
from core.backbones.translations import Maps, fitted, save_maps
from core.common.paths import EVERYDAY_FILE
from core.common.progress import Log
from core.data.jsonl import read_translations
from core.sglora.everyday import EverydayPhotos, save_everyday
from core.sglora.request import DEFAULT_WEIGHT
from core.training.corpus import TRANSLATIONS, Corpus, load_corpus
from core.training.objective import Objective
from core.training.shared_part import train_shared

LANGUAGES = {"de": "German", "fr": "French", "cs": "Czech"}  # that captions are translated to
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
    weight: float = DEFAULT_WEIGHT
    views: int = 4
    scale: float = 20.0
    seed: int = 0


def train_both_heads(
    corpus: Corpus, backbone: EmbeddedBackbone, recipe: BothHeadsRecipe = BothHeadsRecipe(), log: Log = print
) -> Lora:
    """Train on the training photos of a corpus of ``backbone``, whose prefixes are maps of the image tower."""
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
    """Train the shared part on the photos of a data folder and write it to ``out``, and beside it what everyday photos look
    like under it; returns the backbone that has it.

    Raises:
        DataError: as ``load_corpus``.
    """
    paper = backbone.adapting("photos")  # its prefixes are maps, which both heads begin with
    corpus = load_corpus(data, paper, cache, log, recipe.views)
    shared = train_both_heads(corpus, paper, recipe, log)
    save_shared(shared, out, asdict(recipe))
    log(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    trained = backbone.with_shared(shared)
    save_maps(translation_maps(data, corpus, backbone), backbone.sentence_key, out.with_name(TRANSLATIONS_FILE))
    save_everyday(everyday_scenes(corpus, paper, shared), trained.fingerprint, out.with_name(EVERYDAY_FILE))
    return trained


def everyday_scenes(corpus: Corpus, backbone: EmbeddedBackbone, shared: Lora) -> tuple[EverydayPhotos, EverydayPhotos]:
    """The training photos of everyday scenes, zero-shot and under the shared part."""
    rows = torch.from_numpy(np.flatnonzero(corpus.train & corpus.scenes))
    moved = torch.cat([backbone.suffix(corpus.prefixes[some], shared) for some in rows.split(1024)])
    return EverydayPhotos.of(corpus.base[rows]), EverydayPhotos.of(moved)


def translation_maps(data: Path, corpus: Corpus, backbone: EmbeddedBackbone) -> Maps:
    """Maps toward English (``core.backbones.translations``) from the training photos' captions that are translations."""
    if not (data / TRANSLATIONS).is_dir():
        return {}
    spoken = read_translations(data / TRANSLATIONS, ("en", *LANGUAGES))
    trained = {corpus.image(row) for row in np.flatnonzero(corpus.train & corpus.scenes).tolist()}
    pairs = [texts for image, texts in spoken.items() if image in trained and all(texts)]
    english, *others = (backbone.encode_sentence(list(texts)) for texts in zip(*pairs, strict=True))
    return {name: fitted(other, english) for name, other in zip(LANGUAGES.values(), others, strict=True)}
