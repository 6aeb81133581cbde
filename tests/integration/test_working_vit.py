"""The maths on a small CLIP that really finds photos (``working_vit``): with random weights, nothing can gain.

The photos are shipped ones, which trained nothing. A wrong sign, scale or order of factors turns each gain into a loss.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor
from working_vit import working_vit

from core.backbones import load_backbone
from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.common.metrics import Relevance, mean_of_ways, measure
from core.data.image_io import open_photo
from core.data.sample_photos import sample_photos
from core.experts.load import load_engine
from core.experts.own import OwnEntry, OwnExperts
from core.names.ridge import Background
from core.names.teach import TaughtNames
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import photo_rows, text_rows
from core.retrieval.gallery import Gallery
from core.sglora.request import AdapterRequest
from core.training.own_expert import split_photos, train_own_expert

TAUGHT, FEWEST = 3, 5  # photos that teach a name; of a class that is used
NONSENSE = "wug dax blicket toma fep zorp kiki bouba gazzer modi tulver quillop".split()
SENTENCES = {"aerial": "satellite pictures", "seedlings": "photos of young plants"}


@dataclass(frozen=True)
class Photos:
    """The photos of a shipped set whose class has FEWEST or more."""

    backbone: Backbone
    prefixes: Tensor  # [n, d]
    classes: Tensor  # [n]
    labels: tuple[str, ...]

    @staticmethod
    def of(backbone: Backbone, name: str) -> Photos:
        counts = Counter(photo.captions[0] for photo in sample_photos(name))
        labels = tuple(sorted(label for label, count in counts.items() if count >= FEWEST))
        listed = [photo for photo in sample_photos(name) if photo.captions[0] in labels]
        pixels = torch.stack([backbone.pixels(open_photo(photo.path)) for photo in listed])
        classes = torch.tensor([labels.index(photo.captions[0]) for photo in listed])
        return Photos(backbone, backbone.prefix(pixels), classes, labels)

    def split(self) -> tuple[Tensor, Tensor]:
        """The rows of the first TAUGHT photos of each class [c, TAUGHT], and all other rows."""
        first = torch.stack([(self.classes == c).nonzero()[:TAUGHT, 0] for c in range(len(self.labels))])
        rest = torch.ones(len(self.classes), dtype=torch.bool)
        rest[first.flatten()] = False
        return first, rest.nonzero()[:, 0]

    def scores(self, texts: list[str], adapter: Adapter = ZERO_SHOT) -> Tensor:
        """[n, texts]"""
        read = text_rows(self.backbone, self.backbone.text_prefix(texts), adapter, texts)
        return photo_rows(self.backbone, self.prefixes) @ read.T


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load_backbone(working_vit(tmp_path_factory.mktemp("vit") / "model"), adapt="texts")


@pytest.fixture(scope="module")
def aerial(vit: Backbone) -> Photos:
    return Photos.of(vit, "aerial")


@pytest.mark.parametrize("background", [False, True])
def test_made_up_names_from_three_photos(aerial: Photos, background: bool) -> None:
    first, rest = aerial.split()
    gallery = Background.of([F.normalize(aerial.prefixes.float(), dim=-1)]) if background else None
    names = TaughtNames(aerial.backbone, background=gallery)
    for word, rows in zip(NONSENSE, first, strict=True):
        names = names.add(word, aerial.prefixes[rows])
    before, after = (
        float((aerial.scores(NONSENSE, adapter)[rest].argmax(1) == aerial.classes[rest]).float().mean())
        for adapter in (ZERO_SHOT, ZERO_SHOT.with_names(names))
    )
    assert before < 0.2 and after > 0.4, "12 % and 54 % when the model was trained"


def test_marks_find_more_of_what_was_ticked(aerial: Photos) -> None:
    first, rest = aerial.split()
    before, after = [], []
    for c, label in enumerate(aerial.labels):
        plain = aerial.scores([label])[:, 0]
        others = first[[row for row in range(len(first)) if row != c]].flatten()
        crossed = others[plain[others].topk(TAUGHT).indices]
        marked = TaughtNames(aerial.backbone).add(label, aerial.prefixes[first[c]], aerial.prefixes[crossed])
        found = aerial.scores([label], ZERO_SHOT.with_names(marked))[:, 0]
        before.append(average_precision_score(aerial.classes[rest] == c, plain[rest]))
        after.append(average_precision_score(aerial.classes[rest] == c, found[rest]))
    assert sum(after) / len(after) > sum(before) / len(before) + 0.25, "0.21 and 0.67 when the model was trained"


@pytest.mark.slow
def test_own_experts_and_their_merge_find_photos_they_never_saw(vit: Backbone) -> None:
    held: dict[str, tuple[Tensor, Relevance]] = {}

    def recall(name: str, lora: Lora | None) -> float:
        prefix, relevance = held[name]
        texts = vit.text_suffix(vit.text_prefix(relevance.texts), lora)
        return mean_of_ways(measure(vit.suffix(prefix, lora), texts, relevance), "R@5")

    engine = load_engine(vit)
    own = OwnExperts(engine.repository)
    for name, sentence in SENTENCES.items():
        gallery, listed = Gallery(vit), sample_photos(name)
        gallery.add([(photo.name, photo.path.read_bytes()) for photo in listed])
        gallery.set_captions({photo.name: photo.captions for photo in listed})
        made = train_own_expert(engine, gallery, name, sentence)
        own = own.add(OwnEntry(made.expert, made.mean, made.variance, made.embedding))
        photos, prefix = gallery.contents.captioned()
        rows = split_photos([photo.id for photo in photos]).held
        held[name] = prefix[rows.tolist()], Relevance.of([photos[row].captions for row in rows])
        assert recall(name, None) == pytest.approx(mean_of_ways(made.expert.before, "R@5"), abs=0.01)
        assert made.expert.gain(5) > 5, "30 and 11 points when the model was trained"

    merged = own.engine(engine)
    for name, sentence in SENTENCES.items():
        adaptation = merged.adapt(AdapterRequest(sentence, k=2, tau=0.5))
        assert 0.2 < float(adaptation.routing.weights.min()) < 0.5, "both experts are in the merge"
        assert recall(name, adaptation.lora) > recall(name, None) + 5
