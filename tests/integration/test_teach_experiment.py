"""The experiment about taught names, on a small data folder of made-up photos. Its shares equal those of brute force."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from core.backbones.embedded import EmbeddedBackbone
from core.experiments import figures, teach
from core.experiments.context import ExperimentContext
from core.retrieval.columns import text_rows

pytestmark = pytest.mark.slow
PHOTOS = 24  # for each class; three quarters of them may teach


@pytest.fixture(scope="module")
def context(backbone: EmbeddedBackbone, tmp_path_factory: pytest.TempPathFactory) -> ExperimentContext:
    """Two classes of drawn shapes, and a few captioned photos of noise."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (root / "labelled" / "images").mkdir(parents=True)
    lines = []
    for label in ("cross", "dots"):
        for i in range(PHOTOS):
            image = Image.fromarray(rng.integers(180, 256, (96, 96, 3), dtype=np.uint8))
            pen, at = ImageDraw.Draw(image), int(rng.integers(0, 20))
            if label == "cross":
                pen.line((at, 0, 96 - at, 96), "red", 9), pen.line((96 - at, 0, at, 96), "red", 9)
            else:
                for x in (10, 40, 70):
                    pen.ellipse((x, at + 20, x + 18, at + 38), "blue")
            image.save(root / "labelled" / "images" / f"{label}{i}.png")
            lines.append({"image": f"images/{label}{i}.png", "set": "shapes", "domain": "shapes", "label": label})
    (root / "labelled" / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "flickr8k" / "images").mkdir(parents=True)
    lines = []
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(root / "flickr8k" / "images" / f"{i}.png")
        split, captions = "val" if i < 20 else "train", [f"a dog on carpet number {i}"]
        lines.append({"image": f"images/{i}.png", "split": split, "captions": captions})
    (root / "flickr8k" / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ExperimentContext(root, tmp_path_factory.mktemp("cache"), backbone, lambda line: None)


def test_photos_that_teach_do_not_measure(context: ExperimentContext) -> None:
    corpus = context.corpus
    found = list(teach.draws(corpus))
    assert [domain for domain, _ in found] == ["shapes"] * teach.DRAWS
    for _, draw in found:
        assert sorted(draw.labels) == ["cross", "dots"]
        own, held = np.concatenate(draw.taught), np.concatenate(draw.held)
        assert corpus.train[own].all() and corpus.test[held].all()


def test_shares_are_those_counted_by_hand(context: ExperimentContext) -> None:
    _, draw = next(teach.draws(context.corpus))
    others = teach.everyday(context.corpus)
    named = teach.adapter(context.backbone, None, teach.taught(context, draw.nonsense, draw.taught, 3))
    prefixes = context.backbone.text_prefix([f"a photo of a {name}" for name in draw.nonsense])
    shown = [context.corpus.indexed(rows, named) for rows in (*draw.held, others)]
    found = teach.measured(text_rows(context.backbone, prefixes, named), shown[:-1], shown[-1])
    base, lora = context.corpus.base.numpy(), named.lora
    texts = context.backbone.encode_text([f"a photo of a {name}" for name in draw.nonsense], lora).numpy()
    right = [np.mean([int(np.argmax(texts @ base[row]) == i) for row in rows]) for i, rows in enumerate(draw.held)]
    ten = []
    for i, rows in enumerate(draw.held):
        ranked = sorted([*rows, *others], key=lambda row: -float(texts[i] @ base[row]))[: min(10, len(rows))]
        ten.append(np.mean([row in rows for row in ranked]))
    assert found == {"right": pytest.approx(100 * np.mean(right), abs=0.01), "ten": pytest.approx(100 * np.mean(ten), abs=0.01)}


def test_the_whole_experiment(context: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teach, "DRAWS", 1)
    result = json.loads(json.dumps(teach.run(context)))
    taught, untaught = (teach.mean(result, "nonsense", n, [teach.PLAIN], "right")[0] for n in (10, 0))
    assert taught > 90 and taught > untaught + 20
    assert {row["photos"] for row in result["composed"]} == {None, 0, 1, 3, 10}
    assert {row["word"] for row in result["composed"]} == {"dog"}
    said, table = " ".join(teach.findings(result)), teach.table(result)
    assert f"{taught:.0f} %" in table and "dog" in said
    assert "percent" in figures.svg(teach.plot, result)
    assert torch.isfinite(torch.tensor([row["captions"] for row in result["forgotten"]])).all()
