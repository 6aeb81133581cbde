"""A visitor's own expert: a LoRA trained on captioned photos of a gallery, with its measured gain.

As offline (``core.training.experts``), it is an expert LoRA on top of the shared LoRA. Training uses the penalty for forgetting
and averages the last snapshots, so the expert can be routed to and merged like any other. Training reads the gallery's prefix
activations and never changes the model: the LoRA is a vector, passed as an argument.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.description import embed_descriptions
from core.backbones.lora import Lora
from core.common.digest import digest
from core.common.errors import AdapterError, GalleryError, StudioError
from core.common.metrics import Relevance, measure
from core.common.text import clean_name, clean_text
from core.experts.own import OwnEntry
from core.retrieval.columns import photo_rows, text_rows
from core.retrieval.gallery import Gallery
from core.sglora.engine import SGLora
from core.sglora.repository import Expert, ExpertRepository
from core.training.class_names import ClassNames
from core.training.corpus import usual_adapter
from core.training.descent import descend
from core.training.objective import Batch, adapter_loss, contrastive

MIN_PHOTOS = 20


class TrainingStopped(StudioError):
    """The visitor stopped a training."""


@dataclass(frozen=True)
class OwnRecipe:
    """How to train an own expert; ``snapshots``, ``scale`` and ``memory`` as in ``core.training.recipe``."""

    batch: int = 64
    lr: float = 3e-3
    steps: int = 96  # at most
    fixed_steps: int = 32  # if no photos decide when to stop
    # With this many photos besides the held ones, a fifth of them decides when to stop instead of training. With fewer, this
    # loses more than it gains (100 photos of five Flickr8k themes: 11.5 points gained with it, 13.5 without).
    stop_from: int = 150
    check: int = 16  # steps between two checks on these photos
    patience: int = 2  # checks without progress that end the training
    snapshots: int = 16
    scale: float = 20.0
    memory: float = 3.0
    names: int = 64  # class names in the penalty of a step, if a step runs them through the whole text tower
    seed: int = 0  # of batches and captions; equal seeds and photos give equal experts


Progress = Callable[[int, int, float], None]  # a finished step, all steps, and the seconds left unless training stops early


@dataclass(frozen=True, eq=False, kw_only=True)
class OwnExpert(OwnEntry):
    """A trained own expert. Its recalls are measured on the held photos, and may show a loss."""

    start: Mapping[str, Any]  # as ``expert.before``, under the shared LoRA alone: the gain without the visitor's photos
    seen: frozenset[str]  # ids of the photos that trained it, or decided when to stop
    steps: int  # of the training
    seconds: float


@dataclass(frozen=True)
class Split:
    """Rows of photos, by their role."""

    train: np.ndarray
    validation: np.ndarray  # decides when to stop; may be empty
    held: np.ndarray  # measure


@dataclass(frozen=True)
class _Training:
    backbone: Backbone
    experts: ExpertRepository  # which the new one joins
    names: ClassNames | None  # for the penalty for forgetting; None: no penalty
    recipe: OwnRecipe

    def lora(self, vector: Tensor) -> Lora:
        """The shared LoRA plus an expert LoRA [P]."""
        return self.experts.with_shared(Lora.from_vector(self.experts.layout, vector))

    def batch_loss(self, photos: Batch, vector: Tensor, rng: np.random.Generator) -> Tensor:
        """The loss of a random batch with one random caption per photo; differentiable in the vector [P]."""
        rows = torch.from_numpy(rng.permutation(len(photos.prefixes))[: self.recipe.batch])
        right = photos.positive[rows]
        texts = [int(rng.choice(np.flatnonzero(row))) for row in right.numpy()]
        batch = Batch(photos.prefixes[rows], photos.base[rows], photos.texts[texts], right[:, texts])
        names = self.names.some(rng, self.recipe.names) if self.names and self.backbone.text_key is None else self.names
        return adapter_loss(self.backbone, self.lora(vector), batch, names, self.recipe.scale, self.recipe.memory)

    def loss(self, photos: Batch, vector: Tensor) -> float:
        """The loss of all these photos and texts. Recall is too coarse for a dozen photos."""
        lora = self.lora(vector)
        images, texts = self.backbone.suffix(photos.prefixes, lora), self.backbone.text_suffix(photos.texts, lora)
        return float(contrastive(images, texts, photos.positive, self.recipe.scale))

    def recalls(self, photos: Batch, relevance: Relevance, vector: Tensor | None) -> dict[str, Any]:
        """Recalls as in ``core.common.metrics.measure``; None: zero-shot."""
        adapter = usual_adapter(self.backbone, None if vector is None else self.lora(vector))
        images, texts = photo_rows(self.backbone, photos.prefixes, adapter), text_rows(self.backbone, photos.texts, adapter)
        return measure(images, texts, relevance)

    def fit(self, train: Batch, validation: Batch, progress: Progress, stop: threading.Event) -> tuple[Tensor, int]:
        """Return snapshots [M, P] and the number of steps.

        With validation photos, the snapshots are those whose mean has the lowest loss on them, and training ends after
        ``recipe.patience`` checks without a lower loss. Without, they are the last ones.
        """
        validates, recipe, start = len(validation.prefixes) > 0, self.recipe, torch.zeros(self.experts.layout.size)
        steps = recipe.steps if validates else recipe.fixed_steps
        vector, rng = torch.nn.Parameter(start.clone()), np.random.default_rng(recipe.seed)
        optimizer = torch.optim.Adam([vector], lr=recipe.lr)
        last = deque([start], maxlen=recipe.snapshots)
        best, lowest, waited = torch.stack([start]), self.loss(validation, start) if validates else math.inf, 0
        began = time.monotonic()
        for step in range(1, steps + 1):
            descend(self.batch_loss(train, vector, rng), optimizer)
            last.append(vector.detach().clone())
            progress(step, steps, (time.monotonic() - began) / step * (steps - step))
            if stop.is_set():
                raise TrainingStopped("The training was stopped, and nothing was kept.")
            if validates and step % recipe.check == 0:
                snapshots = torch.stack([*last])
                current, waited = self.loss(validation, snapshots.mean(0)), waited + 1
                if current < lowest:
                    best, lowest, waited = snapshots, current, 0
                elif waited >= recipe.patience:
                    return best, step
        return best if validates else torch.stack([*last]), steps


def split_photos(ids: Sequence[str], stop_from: int = OwnRecipe.stop_from) -> Split:
    """Hold a quarter of the photos out. If the rest has at least ``stop_from`` photos, a fifth of it decides when to stop.

    The hash of a photo's content decides its role, not order or seed: a user cannot pick the seed with the best held photos.
    """
    order = np.array(sorted(range(len(ids)), key=lambda i: digest(ids[i])))
    held = round(len(ids) / 4)
    rest = len(ids) - held
    stop = rest // 5 if rest >= stop_from else 0
    return Split(order[held + stop :], order[held : held + stop], order[:held])


def train_own_expert(
    engine: SGLora,
    gallery: Gallery,
    name: str,
    description: str,
    progress: Progress = lambda step, steps, left: None,
    stop: threading.Event | None = None,
    recipe: OwnRecipe = OwnRecipe(),
) -> OwnExpert:
    """Train an expert on the captioned photos that the gallery has when the call begins.

    Args:
        engine: has the experts that the new one joins; training starts from the shared LoRA.
        name: short, such as "my garden". description: the sentence that routing compares.
        progress: called after every step. stop: once set, training ends within a step.

    Raises:
        GalleryError: when fewer than MIN_PHOTOS photos have captions. AdapterError: when a trained value is not finite.
        DescriptionError, RepositoryError: when the description or the name is invalid.
        TrainingStopped: when ``stop`` is set; nothing is kept.
    """
    name, description, backbone = clean_name(name), clean_text(description), engine.backbone
    with torch.inference_mode(False), torch.enable_grad():  # the caller may have switched gradients off in this thread
        photos, prefix = gallery.contents.captioned()
        if len(photos) < MIN_PHOTOS:
            few = "An own expert needs at least {least} photos with captions. You have {n}: add photos or captions."
            raise GalleryError(few, least=MIN_PHOTOS, n=len(photos))
        names = ClassNames.of(backbone, backbone.text_prefix) if recipe.memory else None
        training = _Training(backbone, engine.repository, names, recipe)
        split = split_photos([p.id for p in photos], recipe.stop_from)

        def pick(rows: np.ndarray) -> tuple[Batch, Relevance]:
            relevance, prefixes = Relevance.of([photos[row].captions for row in rows]), prefix[torch.from_numpy(rows)]
            texts, positive = backbone.text_prefix(relevance.texts), torch.from_numpy(relevance.matrix)
            return Batch(prefixes, backbone.suffix(prefixes), texts, positive), relevance

        (train, _), (validation, _), (held, relevance) = map(pick, (split.train, split.validation, split.held))
        began = time.monotonic()
        snapshots, steps = training.fit(train, validation, progress, stop or threading.Event())
        seconds = time.monotonic() - began
    if not bool(torch.isfinite(snapshots).all()):
        raise AdapterError("Training failed: a number was infinite or invalid. Nothing was saved: try other captions.")
    mean, variance = snapshots.mean(0), engine.repository.basis.encode(snapshots).var(0, correction=0)
    before, start, after = (training.recalls(held, relevance, vector) for vector in (None, torch.zeros_like(mean), mean))
    shared = {} if backbone.shared is None else start
    about = (name, description, "own", "own photos", len(split.train), recipe.seed, len(snapshots))
    expert = Expert(*about, before, after, shared=shared)
    embedding = embed_descriptions(backbone, [description])[0]
    seen = frozenset(photos[row].id for row in (*split.train, *split.validation))
    return OwnExpert(expert, mean, variance, embedding, start=start, seen=seen, steps=steps, seconds=seconds)
