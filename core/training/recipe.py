"""How experts are trained, by backbone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.training.corpus import Corpus
from core.training.objective import TRAINED_WEIGHT, Objective


@dataclass(frozen=True)
class ExpertRecipe:
    """How experts are trained, and their topics found."""

    rank: int = 4  # of own parts; so are steps, lr and batch
    steps: int = 120
    lr: float = 2e-3
    batch: int = 128
    everyday: int = 0  # for adapters of photos: photos of everyday objects beside a batch
    snapshots: int = 16  # M, the last steps that are averaged
    share: float = 1.0  # of the shared part, that experts begin with
    memory: float = 1.0  # the penalty for forgetting, in its usual weights
    scale: float = 20.0  # inverse temperature
    tokens: int = 100_000  # for adapters of photos: patches that are looked at
    names: int = 256  # class names that the penalty of one step looks at
    shared_rank: int = 48
    shared_steps: int = 3000
    shared_lr: float = 3e-3
    shared_batch: int = 256
    keyword: int = 50  # photos that a keyword needs
    fine: int = 65  # photos of a fine cluster, on average
    least: int = 90  # to which it is filled up with the photos closest to its centre
    classes: int = 16  # of a group, on average
    views: int = 1  # of a photo
    weight: float = 1.0  # as in ``Objective``
    seed: int = 0

    def objective(self, corpus: Corpus) -> Objective:
        """The loss of an own part."""
        return replace(self.shared_objective(corpus), batch=self.batch, weight=self.weight)

    def shared_objective(self, corpus: Corpus) -> Objective:
        """The loss of the shared part."""
        return Objective(corpus, self.scale, self.memory, self.shared_batch, self.everyday, self.tokens, self.names)


EMBEDDED_RECIPE = ExpertRecipe(views=4, weight=TRAINED_WEIGHT)

# For CLIP: its own temperature, all patches, the paper's rank and M = 100; not measured yet.
CLIP_RECIPE = ExpertRecipe(
    rank=2,
    steps=400,
    lr=5e-4,
    batch=32,
    everyday=12,
    snapshots=100,
    share=0.65,
    scale=100.0,
    names=1000,
    shared_rank=8,
    shared_steps=4000,
    shared_lr=1e-3,
    shared_batch=44,
)

# Where CLIP's texts are adapted, photos cost nothing, and texts go through the text tower at every step.
CLIP_TEXTS_RECIPE = replace(CLIP_RECIPE, batch=64, everyday=0, names=128, shared_batch=128)

# The paper's form on the embedded backbone: rank 2 on q, k and v of the vision head. Every photo goes through the head at every
# step, so that there are fewer experts, and shorter trainings.
PHOTOS_RECIPE = ExpertRecipe(
    rank=2,
    steps=40,
    batch=24,
    everyday=8,
    share=0.65,
    tokens=25,
    names=1000,
    shared_rank=8,
    shared_steps=800,
    shared_batch=40,
    keyword=100,
    fine=140,
    least=120,
    classes=30,
)


def recipe_for(backbone: Backbone) -> ExpertRecipe:
    """The recipe that fits a backbone."""
    if not backbone.slug.startswith(EMBEDDED):
        return CLIP_RECIPE if backbone.layout.moves_photos else CLIP_TEXTS_RECIPE
    return PHOTOS_RECIPE if backbone.layout.moves_photos else EMBEDDED_RECIPE
