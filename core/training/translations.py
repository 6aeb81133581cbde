"""Train a map toward English for each language of translated captions (``core.backbones.translations``).

A map starts as ridge regression from sentences to their translations (Mikolov, Le and Sutskever, arXiv 1309.4168). This brings
sentences close, but does not train search. So training goes on through the frozen heads: a caption should find its photo, and
its embedding should equal that of its translation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.embedded import EmbeddedBackbone
from core.backbones.lora import Lora
from core.backbones.translations import LOWER_CASE, Maps
from core.common.progress import Bar, Log
from core.data.jsonl import read_translations
from core.training.corpus import LANGUAGES, TRANSLATIONS
from core.training.descent import descend
from core.training.losses import contrastive
from core.training.objective import adapted_texts, mixed

CAPITALS = ("German",)  # languages that write nouns with a capital


@dataclass(frozen=True)
class MapRecipe:
    """How to train a map."""

    ridge: float = 1.0  # of the regression
    share: float = 0.7  # weight of the regression at the start, else the identity
    steps: int = 400
    batch: int = 256
    lr: float = 1e-3
    scale: float = 20.0  # inverse temperature
    like: float = 20.0  # weight of the distance between a caption and its translation
    seed: int = 0


def translation_maps(
    data: Path, photos: Mapping[str, Tensor], backbone: EmbeddedBackbone, shared: Lora, weight: float, log: Log = print
) -> Maps:
    """Maps [s, s] by language, from a data folder's translated captions; none without such captions. ``photos``: embeddings
    [2d] for mixed scores of ``weight``, by image."""
    if not (data / TRANSLATIONS).is_dir():
        return {}
    translations = read_translations(data / TRANSLATIONS, tuple(LANGUAGES))
    pairs = {image: texts for image, texts in translations.items() if image in photos and all(texts)}
    captions = dict(zip(LANGUAGES.values(), zip(*pairs.values(), strict=True), strict=True))
    english = backbone.encode_sentence(captions.pop("English"))
    captions |= {LOWER_CASE.format(name): as_typed(captions[name]) for name in CAPITALS}
    shown = torch.stack([photos[image] for image in pairs])

    def read(sentences: Tensor) -> Tensor:
        base = backbone.adapted.text(sentences)
        return mixed(base, adapted_texts(backbone, sentences, shared), weight)

    maps = {}
    for name, texts in captions.items():
        with Bar(f"map of {name}", MapRecipe.steps, log, "steps") as bar:
            maps[name] = train_map(backbone.encode_sentence(texts), english, shown, read, MapRecipe(), bar)
    return maps


def as_typed(captions: Iterable[str]) -> list[str]:
    """Captions as people type them into a search box."""
    return [caption.lower().rstrip(".") for caption in captions]


def ridge_regression(sentences: Tensor, english: Tensor, ridge: float) -> Tensor:
    """The map [s, s] from sentence embeddings [n, s] to the embeddings [n, s] of their English translations."""
    x, y = sentences.double(), english.double()
    return torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y).float()


def train_map(
    sentences: Tensor, english: Tensor, photos: Tensor, read: Callable[[Tensor], Tensor], recipe: MapRecipe, bar: Bar
) -> Tensor:
    """The map [s, s] for captions [n, s] of photos [n, e]. ``read`` turns sentences [n, s] into text embeddings [n, e], with
    gradients."""
    start = ridge_regression(sentences, english, recipe.ridge)
    map = torch.nn.Parameter((1 - recipe.share) * torch.eye(len(start)) + recipe.share * start)
    optimizer = torch.optim.Adam([map], lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    random = torch.Generator().manual_seed(recipe.seed)
    with torch.no_grad():
        translations = read(english)
    for step in range(1, recipe.steps + 1):
        rows = torch.randperm(len(sentences), generator=random)[: recipe.batch]
        texts = read(F.normalize(sentences[rows] @ map, dim=-1))
        unlike = 1 - (texts * translations[rows]).sum(1).mean()
        positive = torch.eye(len(rows), dtype=torch.bool)
        loss = contrastive(photos[rows], texts, positive, recipe.scale) + recipe.like * unlike
        descend(loss, optimizer, schedule)
        bar.to(step, f"loss {loss.detach():.3f}")
    return map.detach()
