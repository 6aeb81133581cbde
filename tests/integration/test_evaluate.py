"""Evaluation on a small gallery, compared with loops and with models merged by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora, LoraLayout, LoraModule
from core.common.errors import DataError, DescriptionError
from core.data import Sample
from core.data.image_io import open_photo
from core.data.sample import caption_texts, gather
from core.experiments.evaluate import evaluate, read_prefixes
from core.sglora.engine import SGLora
from core.sglora.generator import LoraGenerator
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.request import AdapterRequest
from core.sglora.subspace import Basis
from core.sglora.vae import ConditionalVAE, VaeConfig

SIDE, DIM = 4, 6
REQUEST = AdapterRequest("a red dog")
WORDS = ("red", "green", "blue", "dark", "bright", "dog", "cat", "boat")


@dataclass
class ToyBackbone(Backbone):
    """A backbone of one linear over 4 x 4 pixels; texts are bags of words. Everything else is the real engine."""

    name = "toy"
    fingerprint = sentence_key = "0123456789abcdef"
    layout = LoraLayout((LoraModule("vision.proj", 3 * SIDE * SIDE, DIM),), 2)
    dim = DIM
    sentence_dim = len(WORDS)
    prefix_shape = (3 * SIDE * SIDE,)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.adapted = torch.nn.Module()
        self.adapted.proj = torch.nn.Linear(3 * SIDE * SIDE, DIM, bias=False).requires_grad_(False)
        self.words = torch.randn(len(WORDS), DIM)
        self.prefix_calls = 0

    def encode_sentence(self, texts) -> Tensor:
        bags = torch.tensor([[float(word in text.lower()) + 0.01 for word in WORDS] for text in texts])
        return torch.nn.functional.normalize(bags, dim=-1)

    def to(self, device: torch.device) -> ToyBackbone:
        return self

    text_prefix = encode_sentence

    def text_suffix(self, sentences: Tensor, lora: Lora | None = None) -> Tensor:
        return torch.nn.functional.normalize(sentences @ self.words, dim=-1)

    def pixels(self, image: Image.Image) -> Tensor:
        small = np.asarray(image.resize((SIDE, SIDE)), dtype=np.float32) / 255
        return torch.from_numpy(small).permute(2, 0, 1) - 0.5

    def prefix(self, pixels: Tensor) -> Tensor:
        self.prefix_calls += len(pixels)
        return pixels.flatten(1).half()

    def suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        out = self.adapted.proj(prefix.float())
        if lora is not None:
            factors = lora.factors["vision.proj"]
            out = out + prefix.float() @ factors.a.T @ factors.b.T
        return torch.nn.functional.normalize(out, dim=-1)


@pytest.fixture
def engine() -> SGLora:
    backbone = ToyBackbone()
    size, n = backbone.layout.size, 5
    recall = {"i2t": {"R@1": 0.0}, "t2i": {"R@1": 0.0}}
    experts = tuple(Expert(w, f"a photo of a {w}", "scenes", "toy", 1, 0, 1, recall, recall) for w in WORDS[:n])
    embeddings = backbone.encode_sentence([e.description for e in experts])
    torch.manual_seed(1)
    means, stds = torch.randn(n, size) * 0.3, torch.rand(n, size) * 0.05
    repository = ExpertRepository(backbone.fingerprint, backbone.layout, experts, means, stds, embeddings, torch.zeros(size))
    basis = Basis.fit(means, torch.zeros(size), 3)
    vae = ConditionalVAE(VaeConfig(basis.dimensions)).eval()
    with torch.no_grad():
        vae.decoder[-1].bias.fill_(0.5)  # an untrained decoder would return the merge
    generator = LoraGenerator(basis, vae, backbone.fingerprint, {})
    return SGLora(backbone, repository, generator)


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """Photos with one to three captions from a small pool, so that captions are shared."""
    rng = np.random.default_rng(0)
    pool = [f"a {a} {b}" for a in WORDS[:5] for b in WORDS[5:]]
    found = []
    for i in range(40):
        path = tmp_path / f"{i:02}.png"
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
        found.append(Sample(path, tuple(rng.choice(pool, rng.integers(1, 4)))))
    return found


def by_hand(backbone, samples, lora):
    """Recall with a LoRA added to the weights, photo by photo and text by text, as {"i2t": …, "t2i": …}.

    For a photo, texts are ranked by their scores minus their popularity.
    """
    model = copy.deepcopy(backbone.adapted.proj)
    if lora is not None:
        a, b = lora.factors["vision.proj"].a, lora.factors["vision.proj"].b
        model.weight += sum(torch.outer(column, row) for row, column in zip(a, b.T, strict=True))
    photos = []
    for sample in samples:
        row = model(backbone.prefix(backbone.pixels(open_photo(sample.path))[None]).float())[0]
        photos.append(row / row.norm())
    texts = sorted({c for s in samples for c in s.captions})
    rows = {t: backbone.encode_text([t])[0] for t in texts}
    score = {(i, t): float(photos[i] @ rows[t]) for i in range(len(samples)) for t in texts}
    popular = {t: math.log(sum(math.exp(20 * score[i, t]) for i in range(len(samples)))) / 20 for t in texts}
    found = {"i2t": {}, "t2i": {}}
    for k in (1, 5, 10):
        hits = 0
        for i, sample in enumerate(samples):
            ranked = sorted(texts, key=lambda t, i=i: popular[t] - score[i, t])
            hits += any(t in sample.captions for t in ranked[:k])
        found["i2t"][f"R@{k}"] = 100 * hits / len(samples)
        hits = 0
        for t in texts:
            ranked = sorted(range(len(samples)), key=lambda i, t=t: -score[i, t])
            hits += any(t in samples[i].captions for i in ranked[:k])
        found["t2i"][f"R@{k}"] = 100 * hits / len(texts)
    return found


def same_recall(found, expected):
    for way in ("i2t", "t2i"):
        assert found[way] == pytest.approx(expected[way])


def test_recall_of_every_method_is_what_hand_merged_models_give(engine, samples):
    request = AdapterRequest("a red dog", 3, 0.2, 4, 1.5)
    found = evaluate(engine, samples, request, log=lambda line: None)
    assert found.images == 40
    assert found.captions == len({c for s in samples for c in s.captions})
    assert list(found.methods) == ["zero-shot", "merge", "sg-lora"]
    routing = engine.route("a red dog", 3, 0.2)
    merged = sum(
        w * engine.repository.lora(i).factors["vision.proj"].delta
        for i, w in zip(routing.chosen.tolist(), routing.weights.tolist(), strict=True)
    )
    by_method = {"zero-shot": None, "sg-lora": engine.adapt(request).lora}
    for name, lora in by_method.items():
        same_recall(found.methods[name], by_hand(engine.backbone, samples, lora))
    with torch.no_grad():
        engine.backbone.adapted.proj.weight += 1.5 * merged
    same_recall(found.methods["merge"], by_hand(engine.backbone, samples, None))
    assert len({str(v) for v in found.methods.values()}) == 3, "the three methods must give different results here"


def test_photos_go_through_the_prefix_once(engine, samples):
    evaluate(engine, samples, REQUEST, log=lambda line: None)
    assert engine.backbone.prefix_calls == len(samples)


def test_unreadable_photos_are_left_out_and_named(engine, samples, tmp_path):
    expected = evaluate(engine, samples, REQUEST, log=lambda line: None)
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "cut.png").write_bytes(samples[0].path.read_bytes()[:60])
    bad = [Sample(tmp_path / name, ("only theirs",)) for name in ("text.jpg", "cut.png", "nowhere.jpg")]
    lines = []
    found = evaluate(engine, [bad[0], *samples[:20], bad[1], *samples[20:], bad[2]], REQUEST, log=lines.append)
    assert (found.images, found.captions, found.methods) == (expected.images, expected.captions, expected.methods)
    assert len(found.skipped) == 3
    for name in ("text.jpg", "cut.png", "nowhere.jpg"):
        assert sum(name in line for line in found.skipped) == 1
        assert any(line.startswith("left out: ") and name in line for line in lines)


def test_prefixes_keep_their_photos_order(engine, samples, tmp_path):
    paths = [s.path for s in samples]
    kept, prefixes, skipped = read_prefixes(engine.backbone, [paths[0], tmp_path / "no.png", *paths[1:]], lambda line: None)
    assert kept == [0, *range(2, 41)]
    assert len(skipped) == 1
    for row, path in zip(prefixes, paths, strict=True):
        alone = engine.backbone.prefix(engine.backbone.pixels(open_photo(path))[None])[0]
        torch.testing.assert_close(row, alone, atol=1e-2, rtol=1e-2)


def test_a_photo_on_several_lines_is_one_photo_with_all_captions(tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    rows = [Sample(a, ("one",)), Sample(b, ("two",)), Sample(a, ("three", "four"))]
    assert gather(rows) == {a: ("one", "three", "four"), b: ("two",)}


def test_labels_become_captions():
    assert caption_texts(Sample(Path("a"), label="tabby cat")) == ("a photo of a tabby cat",)
    assert caption_texts(Sample(Path("a"))) == ()


def test_photos_without_captions_are_distractors(engine, samples):
    bare = [Sample(s.path, ()) for s in samples[20:]]
    found = evaluate(engine, [*samples[:20], *bare], REQUEST, ("zero-shot",), log=lambda line: None)
    alone = evaluate(engine, samples[:20], REQUEST, ("zero-shot",), log=lambda line: None)
    assert found.images == 40
    assert found.captions == alone.captions
    by_all = by_hand(engine.backbone, [*samples[:20], *bare], None)["i2t"]  # half of the photos have no captions
    assert found.methods["zero-shot"]["i2t"] == pytest.approx({k: 2 * value for k, value in by_all.items()})
    assert all(found.methods["zero-shot"]["t2i"][k] <= v for k, v in alone.methods["zero-shot"]["t2i"].items())


def test_what_cannot_be_measured_is_refused(engine, samples, tmp_path):
    quiet = {"log": lambda line: None}
    with pytest.raises(DataError, match="method magic is unknown; known are zero-shot"):
        evaluate(engine, samples, REQUEST, ("magic",), **quiet)
    with pytest.raises(DataError, match=r"None of the 1 photos can be read .*nowhere"):
        evaluate(engine, [Sample(tmp_path / "nowhere.jpg", ("a",))], REQUEST, **quiet)
    with pytest.raises(DataError, match="None of the 40 photos has a caption"):
        evaluate(engine, [Sample(s.path) for s in samples], REQUEST, **quiet)
    with pytest.raises(DescriptionError):
        evaluate(engine, samples, AdapterRequest(""), **quiet)
    assert engine.backbone.prefix_calls == 40, "a bad description must be rejected before photos are read"
