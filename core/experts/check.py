"""Do the shipped files do what they did at the release? From shipped files alone, on the CPU, in a minute."""

from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.backbones.embedded import load_embedded
from core.common.digest import digest
from core.common.paths import ASSETS, EXPERTS, heads_path
from core.data.sample_photos import sample_photos, sample_sets
from core.data.text import read_json
from core.experts.adapter_files import save_adapter
from core.experts.load import load_engine
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.gallery import Gallery, GalleryPhotos
from core.retrieval.questions import Query
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest

REFERENCE = ASSETS / "check.json"  # ``weights`` and ``facts`` of the release
# How far a fact may be from the release's. bfloat16 moves a photo or two (README.md); the others are float32 on all machines.
ALLOWED = {"opening": 2, "routing": 0.001, "prior": 0.02, "lora": 0.003}
SCORE, TOP = 1e-4, 10  # between two computations on this machine; results compared


def weights() -> dict[str, str]:
    """The sha256 of each shipped file that changes results."""
    shipped = [*EXPERTS.glob("embedded*/*.safetensors"), *EXPERTS.glob("embedded*/*.json")]
    shipped += [*ASSETS.glob("embedded/*.safetensors"), ASSETS / "embedded" / "words.txt"]
    return {file.relative_to(ASSETS.parent).as_posix(): digest(file.read_bytes()) for file in sorted(shipped)}


def load() -> tuple[SGLora, Adaptation, GalleryPhotos]:
    """The engine, and the adapter and the named photos of the opening screen."""
    engine, (name, opening) = load_engine(load_embedded(heads_path())), next(iter(sample_sets().items()))
    gallery, photos = Gallery(engine.backbone), sample_photos(name)
    gallery.add([photo.path for photo in photos])
    gallery.set_captions({photo.name: photo.captions for photo in photos})
    return engine, engine.adapt(AdapterRequest(opening.examples[0].description)), gallery.contents


def facts(engine: SGLora, made: Adaptation, photos: GalleryPhotos) -> dict[str, dict[str, float]]:
    """How many photos get their right name first; the routing; the prior and the sentence's weight change, as projections."""
    shared, routing, experts = engine.backbone.shared, made.routing, engine.repository.experts
    assert shared is not None
    adapters = {"before": ZERO_SHOT, "without a sentence": Adapter.of(shared, DEFAULT_WEIGHT)}
    adapters["with it"] = Adapter.of(made.lora, made.weight)
    right = {name: int((photos.hits(each)["i2t"].ranks < 1).sum()) for name, each in adapters.items()}
    return {
        "opening": {"photos": len(photos), **right},
        "routing": {experts[i].name: float(w) for i, w in zip(routing.chosen.tolist(), routing.weights, strict=True)},
        "prior": projections(made.prior.mean, made.prior.variance),
        "lora": projections(*(factors.delta for factors in made.own.factors.values())),
    }


def projections(*tensors: Tensor) -> dict[str, float]:
    """The length of a vector, and its products with seven waves: numbers that change if it does."""
    vector = torch.cat([tensor.reshape(-1) for tensor in tensors]).double().numpy()
    waves = {f"wave {n}": float(vector @ np.cos(np.arange(len(vector)) * n)) for n in range(1, 8)}
    return {"length": float(np.linalg.norm(vector)), **waves}


def twice(engine: SGLora, made: Adaptation, photos: GalleryPhotos) -> Iterator[tuple[str, Any, Any]]:
    """What is computed in two ways: the best scores by FAISS and by brute force; texts under the adapter's files in peft, and
    here, if peft is installed."""
    backbone, adapter = engine.backbone, Adapter.of(made.lora, made.weight)
    row, index = Query.parse(["a harbor"]).question(backbone).row(backbone, adapter), photos.index_for(adapter)
    places, told = (list(values) for values in zip(*index.search(row, TOP), strict=True))
    scores = index.rows.astype(float) @ row.double().numpy()
    yield "search", [told, told], [scores[places], np.sort(scores)[::-1][:TOP]]
    if find_spec("peft") is not None:
        from peft import PeftModel  # takes seconds

        texts = backbone.text_prefix(["a harbor", "a tennis court"])
        with TemporaryDirectory() as folder, torch.no_grad():
            save_adapter(engine, made, Path(folder))
            model = PeftModel.from_pretrained(deepcopy(backbone.adapted), folder).eval()
            yield "peft", model.text(texts).numpy(), backbone.text_suffix(texts, made.lora).numpy()


def check() -> Iterator[dict[str, Any]]:
    """Each check's "name", whether it "passed", and what it "found". Raises as ``read_json``: without the release's numbers."""
    expected, found = read_json(REFERENCE), weights()
    wrong = [name for name, checksum in expected["weights"].items() if found.get(name) != checksum]
    told = f"changed or missing: {', '.join(wrong)}" if wrong else f"{len(found)} files have their sha256"
    yield {"name": "weights", "passed": not wrong, "found": told}
    try:
        loaded = load()
        for name, numbers in facts(*loaded).items():
            off = max(abs(numbers.get(key, np.inf) - number) for key, number in expected[name].items())
            told = ", ".join(f"{key} {number:.4g}" for key, number in numbers.items())
            told += f"; {off:.1g} from the release at most ({ALLOWED[name]:g} is allowed)"
            yield {"name": name, "passed": off <= ALLOWED[name], "found": told}
        for name, one, other in twice(*loaded):
            off = float(np.abs(np.subtract(one, other)).max())
            told = f"computed twice; {off:.1g} apart at most ({SCORE:g} is allowed)"
            yield {"name": name, "passed": off <= SCORE, "found": told}
    except Exception as error:  # a damaged file may make anything fail
        yield {"name": "loading", "passed": False, "found": f"{type(error).__name__}: {error}"}
