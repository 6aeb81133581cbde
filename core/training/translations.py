"""Train a map toward English for each language of translated captions (``core.backbones.translations``).

A map starts as ridge regression from sentences to their translations (Mikolov, Le and Sutskever, arXiv 1309.4168). This brings
sentences close, but does not train search. So training goes on through the frozen heads: a caption should find its photo, and
its embedding should equal the mean of its translation's and of all English captions of the photo. Half of the captions are as
people type them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.embedded import EmbeddedBackbone
from core.backbones.translations import CASELESS, Maps, in_forms
from core.common.progress import Bar, Log
from core.data.jsonl import Translation, read_translations
from core.training.corpus import LANGUAGES, TRANSLATIONS
from core.training.descent import descend
from core.training.objective import TRAINED_WEIGHT, contrastive, mixed


@dataclass(frozen=True)
class MapRecipe:
    ridge: float = 1.0  # of the regression
    share: float = 0.7  # weight of the regression at the start, else the mean of the forms
    steps: int = 400
    batch: int = 256
    lr: float = 1e-3
    scale: float = 20.0  # inverse temperature
    like: float = 20.0  # weight of the distance between a caption and its English target
    seed: int = 0


def translation_maps(
    data: Path, photos: Mapping[str, Tensor], described: Mapping[str, Sequence[str]], backbone: EmbeddedBackbone, log: Log
) -> Maps:
    """Maps toward English by the name of the language, from a data folder's captions in other languages; none without such
    captions.

    By image: ``photos``, embeddings [2d] for mixed scores of TRAINED_WEIGHT, and ``described``, all English captions.
    ``backbone``: has a shared LoRA.
    """
    if not (data / TRANSLATIONS).is_dir():
        return {}
    captions: dict[str, list[tuple[str, Translation]]] = defaultdict(list)
    for image, found in read_translations(data / TRANSLATIONS).items():
        for each in found:
            if image in photos and each.english and each.language in LANGUAGES:
                captions[LANGUAGES[each.language]].append((image, each))

    def read(sentences: Tensor) -> Tensor:
        base, adapted = (backbone.adapted.text(sentences, lora) for lora in (None, backbone.shared))
        return mixed(base, adapted, TRAINED_WEIGHT)

    with torch.no_grad():
        means = {image: read(backbone.encode_sentence(described[image])).mean(0) for image in photos}
    maps = {}
    for name, pairs in captions.items():
        english = backbone.encode_sentence([t.english for _, t in pairs])
        with torch.no_grad():
            target = F.normalize(read(english) + F.normalize(torch.stack([means[i] for i, _ in pairs]), dim=-1), dim=-1)
        shown, texts = torch.stack([photos[image] for image, _ in pairs]), [t.text for _, t in pairs]
        sentences = backbone.encode_sentence(texts)
        if name not in CASELESS:
            english, target, shown = (each.repeat(2, 1) for each in (english, target, shown))
            texts = [*texts, *map(as_typed, texts)]
            sentences = in_forms(texts, backbone.encode_sentence(texts), backbone.encode_sentence)
        with Bar(f"map of {name}", MapRecipe.steps, log, "steps") as bar:
            maps[name] = train_map(sentences, english, target, shown, read, MapRecipe(), bar)
    return maps


def as_typed(caption: str) -> str:
    """A caption as people type it into a search box."""
    return caption.lower().rstrip(".")


def ridge_regression(sentences: Tensor, english: Tensor, ridge: float) -> Tensor:
    """The map [f, s] from sentences in forms [n, f] to the embeddings [n, s] of their English translations."""
    x, y = sentences.double(), english.double()
    return torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y).float()


def train_map(
    sentences: Tensor,
    english: Tensor,
    target: Tensor,
    photos: Tensor,
    read: Callable[[Tensor], Tensor],
    recipe: MapRecipe,
    bar: Bar,
) -> Tensor:
    """The map [f, s] for captions in forms [n, f] of photos [n, e]. It starts from translations [n, s] and nears the text
    embeddings ``target`` [n, e]. ``read`` turns sentences [n, s] into text embeddings [n, e], with gradients."""
    size = english.shape[1]
    forms = sentences.shape[1] // size
    mean = torch.eye(size).repeat(forms, 1) / forms
    map = torch.nn.Parameter(torch.lerp(mean, ridge_regression(sentences, english, recipe.ridge), recipe.share))
    optimizer = torch.optim.Adam([map], lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    random = torch.Generator().manual_seed(recipe.seed)
    for step in range(1, recipe.steps + 1):
        rows = torch.randperm(len(sentences), generator=random)[: recipe.batch]
        texts = read(F.normalize(sentences[rows] @ map, dim=-1))
        unlike = 1 - (texts * target[rows]).sum(1).mean()
        positive = torch.eye(len(rows), dtype=torch.bool)
        loss = contrastive(photos[rows], texts, positive, recipe.scale) + recipe.like * unlike
        descend(loss, optimizer, schedule)
        bar.to(step, f"loss {loss.detach():.3f}")
    return map.detach()
