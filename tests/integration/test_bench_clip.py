"""The benchmark of open_clip backbones, on a tiny model: what it reports is right, however long it took."""

from __future__ import annotations

import json

import open_clip
import pytest
from tiny_models import tiny_clip_config

from core.experiments.bench import backbones
from core.experiments.bench.context import BenchmarkContext

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("configs") / "tiny-vit-to-measure.json"
    path.write_text(json.dumps(tiny_clip_config()), encoding="utf-8")
    open_clip.add_model_config(path)
    return path.stem


def test_all_ways_to_an_embedding_are_compared(tiny_name: str) -> None:
    result = backbones.run(BenchmarkContext(rounds=2, log=lambda _: None), tiny_name, photos=2)
    assert [(row["path"], row["blocks"]) for row in result["rows"]] == [
        (backbones.PLAIN, 3),
        (backbones.SPLIT, 3),
        (backbones.ADAPT, 3),
        *((backbones.SUFFIX, n) for n in (3, 1)),
    ]
    assert result["rows"][0]["share"] == {"wall": 1.0, "cpu": 1.0}
    assert result["largest difference of an embedding"] < 1e-5
    assert result["kilobytes of a cached photo"] == round(2 * 10 * 64 / 1000, 1), "float16, 10 tokens of width 64"
    assert result["parameters"] == {"3": 2304, "1": 768}
    assert len(backbones.findings(result)) == 2
    assert backbones.table(result).count("\n") == 1 + len(result["rows"])
