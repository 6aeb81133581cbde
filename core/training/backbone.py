"""Train the two heads of the embedded backbone (docs/design.md, section 3).

The base is general. It learns everyday objects with label templates, part of COCO's captions, and the image tower's classifier,
distilled into similarities with class names. Flickr8k's captions and the special domains are left to the experts.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.backbones.embedded import save_heads
from core.backbones.frozen_towers import EmbeddedTowers
from core.backbones.heads import HeadsConfig, TextHead, VisionHead
from core.common.device import current, sent, training_autocast
from core.common.errors import DataError
from core.common.paths import data_of
from core.common.progress import Bar, Log
from core.data import Sample, read_folder
from core.names.ordinary_texts import imagenet_class_names
from core.training.corpus import COCO_HELD_OUT, OBJECTS, coco_held_out
from core.training.descent import descend, one_cycle
from core.training.features import image_features, text_features
from core.training.objective import contrastive, distillation

TEMPLATES, PAIR_TEMPLATES = (data_of(__file__)[about] for about in ("object", "pair of objects"))  # of sentences
PAIRS = 20_000  # number of sentences about two objects


@dataclass(frozen=True)
class BackboneRecipe:
    steps: int = 450
    objects: int = 160
    captioned: int = 96
    mixed: int = 96
    views: int = 4
    tokens: int = 25
    lr: float = 1e-3
    text_lr: float = 3e-4
    weight_decay: float = 0.2
    warmup: int = 50
    scale: float = 20.0
    distil: float = 1.0  # this and the next three: weights of the parts of the loss
    label: float = 0.5
    caption: float = 0.6
    mix: float = 0.5
    seed: int = 0


class _Data:
    """The base's training set as features in memory. Raises DataError: when a kind has too few photos."""

    def __init__(self, data: Path, cache: Path, recipe: BackboneRecipe, log: Log) -> None:
        labelled, coco = (read_folder(data / name) for name in ("labelled", "coco"))
        objects = np.flatnonzero([s.domain == OBJECTS for s in labelled])
        names, labels = np.unique([labelled[i].label for i in objects], return_inverse=True)
        captioned, needed = sum(bool(s.captions) for s in coco), COCO_HELD_OUT + recipe.captioned
        if captioned < needed or len(names) < 2:
            found = f"({captioned} of {needed}) in coco, or labels of “{OBJECTS}” in labelled ({len(names)} of 2)"
            raise DataError(f"{data} holds too few captioned photos {found}: add some.")
        towers = EmbeddedTowers().to(current())

        def read(texts: Sequence[str]) -> Tensor:
            return text_features(texts, cache, log, towers)

        def views(samples: Sequence[Sample], rows: np.ndarray) -> list[tuple[Tensor, Tensor]]:
            """Of each view: the photos' maps, and what the image tower's classifier says."""
            maps = [torch.from_numpy(image_features(samples, cache, view, log, towers)[rows]) for view in range(recipe.views)]
            classify = towers.image_tower.classify
            return [(each, torch.cat([classify(part) for part in each.split(256)]).half()) for each in maps]

        keep = np.flatnonzero(~coco_held_out(coco) & np.array([bool(s.captions) for s in coco]))
        self.objects, self.coco = views(labelled, objects), views(coco, keep)
        self.labels = torch.from_numpy(labels)
        self.label_texts = read([t.format(n) for n in names for t in TEMPLATES]).view(len(names), len(TEMPLATES), -1)
        self.class_texts = read([t.format(n) for n in imagenet_class_names() for t in TEMPLATES[:4]]).view(1000, 4, -1)
        captions = [coco[i].captions for i in keep]
        self.captions = read([text for texts in captions for text in texts]).split([len(texts) for texts in captions])

        rng = np.random.default_rng(1)
        self.pairs = np.stack([rng.integers(0, len(names), PAIRS) for _ in range(2)], 1)
        self.pair_texts = read([PAIR_TEMPLATES[i % 3].format(names[a], names[b]) for i, (a, b) in enumerate(self.pairs)])
        self.by_label = [np.flatnonzero(labels == i) for i in range(len(names))]


def train_backbone(data: Path, out: Path, cache: Path, recipe: BackboneRecipe, log: Log) -> str:
    """Train the heads and write them to ``out``; returns their fingerprint."""
    device = current()
    torch.set_float32_matmul_precision("high")  # TF32 for training; routing compares, and keeps float32
    torch.manual_seed(recipe.seed)
    config = HeadsConfig()
    vision, text = VisionHead(config).to(device), TextHead(config).to(device)
    log_scale = torch.nn.Parameter(torch.tensor(math.log(recipe.scale), device=device))
    decay = [p for p in vision.parameters() if p.ndim > 1]
    rest = [p for p in vision.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decay, "lr": recipe.lr, "weight_decay": recipe.weight_decay},
            {"params": [*rest, log_scale], "lr": recipe.lr, "weight_decay": 0.0},
            {"params": list(text.parameters()), "lr": recipe.text_lr, "weight_decay": recipe.weight_decay},
        ]
    )
    schedule = one_cycle(optimizer, recipe.steps, recipe.warmup)
    d = _Data(data, cache, recipe, log)
    with Bar("training", recipe.steps, log, "steps") as bar:
        for step in range(recipe.steps):
            rng = np.random.default_rng([recipe.seed, step])
            loss, parts = _step(vision, text, log_scale, d, recipe, rng)
            descend(loss, optimizer, schedule, [*vision.parameters(), *text.parameters()])
            bar.to(step + 1, " ".join(f"{k} {v:.3f}" for k, v in parts.items()) + f" scale {log_scale.exp():.1f}")
    vision.eval()
    text.eval()
    fingerprint = save_heads(vision.cpu(), text.cpu(), out, {"recipe": asdict(recipe)})
    log(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB), fingerprint {fingerprint}")
    return fingerprint


def _step(
    vision: VisionHead, text: TextHead, log_scale: Tensor, d: _Data, recipe: BackboneRecipe, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """The loss of one batch, and its parts. The batch has objects, captioned photos, and pairs of objects in one picture."""
    scale = log_scale.exp()
    view = rng.integers(recipe.views)
    rows = rng.integers(0, len(d.labels), recipe.objects)
    objects, object_teacher = (each[rows] for each in d.objects[view])
    view = rng.integers(recipe.views)
    shown = rng.choice(len(d.captions), recipe.captioned, replace=False)
    captioned, coco_teacher = (each[shown] for each in d.coco[view])

    # Two objects in one picture, side by side or one above the other, and a sentence that names both.
    chosen = rng.choice(len(d.pairs), recipe.mixed, replace=False)
    view = rng.integers(recipe.views)
    left = torch.from_numpy(np.array([rng.choice(d.by_label[a]) for a in d.pairs[chosen, 0]]))
    right = torch.from_numpy(np.array([rng.choice(d.by_label[b]) for b in d.pairs[chosen, 1]]))
    maps_left, mixed = (d.objects[view][0][photos].unflatten(1, (7, 7)) for photos in (left, right))
    cut = int(rng.integers(3, 5))
    if rng.random() < 0.5:
        mixed[:, :, :cut] = maps_left[:, :, :cut]
    else:
        mixed[:, :cut] = maps_left[:, :cut]

    device = vision.cls.device
    keep = torch.from_numpy(rng.permutation(49)[: recipe.tokens]).to(device)
    maps = sent(torch.cat([objects, captioned, mixed.flatten(1, 2)]), device).float()
    with training_autocast(device):
        images = vision(maps, keep=keep)
        labels = d.labels[rows]
        unique, inverse = labels.unique(return_inverse=True)
        pick = torch.from_numpy(rng.integers(0, len(TEMPLATES), len(unique)))
        captions = torch.stack([texts[rng.integers(len(texts))] for texts in (d.captions[i] for i in shown)])
        names = d.class_texts[:, rng.integers(4)]
        texts = text(sent(torch.cat([d.label_texts[unique, pick], captions, d.pair_texts[chosen], names]), device))
    teacher = torch.cat([object_teacher, coco_teacher])
    n, m = recipe.objects, recipe.captioned
    t_label, t_caption, t_pair, t_class = texts.split([len(unique), m, recipe.mixed, 1000])
    parts = {
        "label": contrastive(images[:n], t_label, (inverse[:, None] == torch.arange(len(unique))).to(device), scale),
        "caption": contrastive(images[n : n + m], t_caption, torch.eye(m, dtype=torch.bool, device=device), scale),
        "mix": contrastive(images[n + m :], t_pair, torch.eye(recipe.mixed, dtype=torch.bool, device=device), scale),
        "distil": distillation(images[: n + m], t_class, sent(teacher, device).float(), scale),
    }
    loss = torch.stack([getattr(recipe, name) * part for name, part in parts.items()]).sum()
    return loss, {name: float(part.detach()) for name, part in parts.items()}
