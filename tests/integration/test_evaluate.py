"""Evaluation on a small gallery, compared with loops over photos and texts."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_photos import blurred
from random_engines import random_engine
from tiny_models import tiny_backbone

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.backbones.lora_algebra import merge
from core.common.errors import DataError
from core.common.progress import Log, silent
from core.data import Sample
from core.data.image_io import open_photo
from core.data.sample import caption_texts, gather
from core.experiments.evaluate import DEFAULT_METHODS, adapters_of, evaluate
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

REQUEST = AdapterRequest("a red dog", 3, 0.2, 4, 4.0)


@pytest.fixture(scope="module")
def engine() -> SGLora:
    return random_engine(tiny_backbone(adapt_blocks=1))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Photos with one to three captions from a small pool, so that captions are shared."""
    rng, paths = np.random.default_rng(0), blurred(tmp_path_factory.mktemp("photos"), [f"{i:02}.png" for i in range(40)], 0)
    pool = [f"a {colour} {thing}" for colour in ("red", "green", "blue", "dark", "bright") for thing in ("dog", "cat", "boat")]
    return [Sample(path, tuple(rng.choice(pool, rng.integers(1, 4)))) for path in paths]


def measured(engine: SGLora, samples: list[Sample], *methods: str, log: Log = silent) -> dict[str, Any]:
    return evaluate(engine.backbone, samples, adapters_of(engine, REQUEST, methods or DEFAULT_METHODS), log)


def by_hand(backbone: Backbone, samples: list[Sample], lora: Lora | None) -> dict[str, Any]:
    """Recall, photo by photo and text by text. For a photo, texts are ranked by their scores minus their popularity."""
    photos = [backbone.suffix(backbone.prefix(backbone.pixels(open_photo(s.path))[None]), lora)[0] for s in samples]
    texts = sorted({c for s in samples for c in s.captions})
    rows = {t: backbone.encode_text([t], lora)[0] for t in texts}
    score = {(i, t): float(photos[i] @ rows[t]) for i in range(len(samples)) for t in texts}
    popular = {t: math.log(sum(math.exp(20 * score[i, t]) for i in range(len(samples)))) / 20 for t in texts}
    ranked_texts = [sorted(texts, key=lambda t, i=i: popular[t] - score[i, t]) for i in range(len(samples))]
    ranked_photos = {t: sorted(range(len(samples)), key=lambda i, t=t: -score[i, t]) for t in texts}
    found: dict[str, dict[str, Any]] = {"i2t": {}, "t2i": {}}
    for k in (1, 5, 10):
        right = [any(t in s.captions for t in ranked[:k]) for s, ranked in zip(samples, ranked_texts, strict=True)]
        found["i2t"][f"R@{k}"] = pytest.approx(100 * np.mean(right))
        right = [any(t in samples[i].captions for i in ranked[:k]) for t, ranked in ranked_photos.items()]
        found["t2i"][f"R@{k}"] = pytest.approx(100 * np.mean(right))
    return found


def test_recall_of_every_method_is_that_counted_by_hand(engine, samples) -> None:
    found = measured(engine, samples)
    assert (found["images"], found["captions"]) == (40, len({c for s in samples for c in s.captions}))
    routing = engine.route("a red dog", 3, 0.2)
    weights = [4.0 * weight for weight in routing.weights.tolist()]
    merged = merge([engine.repository.lora(i) for i in routing.chosen.tolist()], weights)
    loras = {"zero-shot": None, "merge": merged, "sg-lora": engine.adapt(REQUEST).lora}
    assert found["methods"] == {name: by_hand(engine.backbone, samples, lora) for name, lora in loras.items()}
    assert len({str(v) for v in found["methods"].values()}) == 3, "the three methods must give different results here"


def test_unreadable_photos_are_left_out_and_named(engine, samples, tmp_path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "cut.png").write_bytes(samples[0].path.read_bytes()[:60])
    bad = [Sample(tmp_path / name, ("only theirs",)) for name in ("text.jpg", "cut.png", "nowhere.jpg")]
    lines: list[str] = []
    mixed = [bad[0], *samples[:20], bad[1], *samples[20:], bad[2]]
    assert measured(engine, mixed, log=lines.append) == measured(engine, samples)
    for sample in bad:
        assert sum(line.startswith("left out: ") and sample.path.name in line for line in lines) == 1


def test_lines_of_a_data_folder_become_captions_of_photos() -> None:
    a, b = Path("a.png"), Path("b.png")
    rows = [Sample(a, ("one",)), Sample(b, ("two",)), Sample(a, ("three", "four"))]
    assert gather(rows) == {a: ("one", "three", "four"), b: ("two",)}
    assert caption_texts(Sample(a, label="tabby cat")) == ("a photo of a tabby cat",) and caption_texts(Sample(a)) == ()


def test_photos_without_captions_are_distractors(engine, samples) -> None:
    mixed = [*samples[:20], *(Sample(s.path, ()) for s in samples[20:])]
    found, alone = measured(engine, mixed, "zero-shot"), measured(engine, samples[:20], "zero-shot")
    assert (found["images"], found["captions"]) == (40, alone["captions"])
    by_all = by_hand(engine.backbone, mixed, None)["i2t"]  # half of the photos have no captions
    assert found["methods"]["zero-shot"]["i2t"] == {k: pytest.approx(2 * value.expected) for k, value in by_all.items()}
    assert all(found["methods"]["zero-shot"]["t2i"][k] <= v for k, v in alone["methods"]["zero-shot"]["t2i"].items())


def test_what_cannot_be_measured_is_rejected(engine, samples, tmp_path) -> None:
    with pytest.raises(DataError, match=r"None of the 1 photos can be read .*nowhere"):
        measured(engine, [Sample(tmp_path / "nowhere.jpg", ("a",))])
    with pytest.raises(DataError, match="None of the 40 photos has a caption"):
        measured(engine, [Sample(s.path) for s in samples])
    with pytest.raises(DataError, match="method magic is unknown; known are zero-shot"):
        adapters_of(engine, REQUEST, ["magic"])
