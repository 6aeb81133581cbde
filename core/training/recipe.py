"""How experts are trained, by backbone."""

from dataclasses import dataclass, replace

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.training.corpus import Corpus
from core.training.objective import TRAINED_WEIGHT, Objective


@dataclass(frozen=True)
class ExpertRecipe:
    """How to find the experts' topics and train the experts."""

    rank: int = 24  # of expert LoRAs, as are steps, lr and batch
    steps: int = 120
    lr: float = 3e-3
    batch: int = 128
    everyday: int = 0  # for adapters of photos: everyday photos added to a batch
    snapshots: int = 16  # M, the last steps that are averaged
    share: float = 1.0  # factor of the shared LoRA in experts
    memory: float = 3.0  # factor of the penalty for forgetting
    scale: float = 20.0  # inverse temperature
    tokens: int = 100_000  # for adapters of photos: most patches per photo
    names: int = 256  # class names in the penalty of one step
    shared_rank: int = 48
    shared_steps: int = 3000  # at most
    shared_lr: float = 3e-3
    shared_batch: int = 256
    keyword: int = 50  # fewest photos of a keyword
    fine: int = 65  # mean number of photos of a fine cluster
    least: int = 90  # smaller clusters get the photos closest to their centre, up to this number
    classes: int = 16  # mean number of classes of a group
    views: int = 1  # of a photo
    weight: float = 1.0  # as in ``Objective``
    seed: int = 0

    def objective(self, corpus: Corpus) -> Objective:
        return replace(self.shared_objective(corpus), batch=self.batch, weight=self.weight)

    def shared_objective(self, corpus: Corpus) -> Objective:
        return Objective(corpus, self.scale, self.memory, self.shared_batch, self.everyday, self.tokens, self.names)


EMBEDDED_RECIPE = ExpertRecipe(views=4, weight=TRAINED_WEIGHT)

# The paper's form. At rank 4, B alone has as many numbers as the paper's A and B at rank 2.
PAPER = ExpertRecipe(rank=4, memory=1.0, share=0.65, names=1000, shared_rank=8)

# For CLIP: its own temperature, all patches and M = 100. Not measured.
CLIP_RECIPE = replace(
    PAPER,
    steps=400,
    lr=5e-4,
    batch=32,
    everyday=12,
    snapshots=100,
    scale=100.0,
    shared_steps=4000,
    shared_lr=1e-3,
    shared_batch=44,
)

# With CLIP's texts adapted, photos cost nothing, but each step runs texts through the text tower. So trainings are as short as
# with the embedded backbone.
CLIP_TEXTS_RECIPE = replace(
    CLIP_RECIPE, steps=120, lr=1.5e-3, snapshots=16, batch=64, everyday=0, names=64, shared_steps=1000, shared_batch=128
)

# On the embedded backbone: LoRAs on q, k and v of the vision head. Each step runs its photos through the head, so there are
# fewer experts and shorter trainings.
PHOTOS_RECIPE = replace(
    PAPER,
    steps=40,
    batch=24,
    everyday=8,
    tokens=25,
    shared_steps=800,
    shared_batch=40,
    keyword=100,
    fine=140,
    least=120,
    classes=30,
)


def recipe_for(backbone: Backbone) -> ExpertRecipe:
    if not backbone.slug.startswith(EMBEDDED):
        return CLIP_RECIPE if backbone.layout.moves_photos else CLIP_TEXTS_RECIPE
    return PHOTOS_RECIPE if backbone.layout.moves_photos else EMBEDDED_RECIPE
