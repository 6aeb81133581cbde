"""Do the shipped files do what they did at the release? From shipped files alone, on the CPU, in a minute."""

import json
from collections.abc import Callable, Mapping
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
from core.common.lazy import lazy
from core.common.paths import ASSETS, EXPERTS, heads_path
from core.data.sample_photos import sample_photos, sample_sets
from core.experts.adapter_files import save_adapter
from core.experts.load import load_engine
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.gallery import Gallery
from core.retrieval.questions import Query
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest

REFERENCE = ASSETS / "check.json"  # what ``Release.facts`` were at the release
# How far a number may be from the release's. bfloat16 moves a photo or two (README.md); the others are float32 on all machines.
ALLOWED = {"opening": 2, "routing": 0.001, "prior": 0.02, "lora": 0.003}
SCORE, TOP = 1e-4, 10  # between two computations on this machine; results compared
Outcome = tuple[bool | None, str]  # passed (None: skipped), and what was found


class Release:
    """The shipped files, and what is computed from them."""

    @lazy
    def engine(self) -> SGLora:
        return load_engine(load_embedded(heads_path()))

    @lazy
    def adapted(self) -> Adaptation:
        """The adapter of the opening screen's sentence."""
        return self.engine.adapt(AdapterRequest(next(iter(sample_sets().values())).examples[0].description))

    @lazy
    def gallery(self) -> Gallery:
        """The photos of the opening screen, with their names."""
        gallery, photos = Gallery(self.engine.backbone), sample_photos(next(iter(sample_sets())))
        gallery.add([photo.path for photo in photos])
        gallery.set_captions({photo.name: photo.captions for photo in photos})
        return gallery

    def weights(self) -> dict[str, str]:
        """The sha256 of each shipped file that changes results."""
        shipped = [*ASSETS.glob("embedded/*.*"), *EXPERTS.glob("embedded*/*.safetensors"), *EXPERTS.glob("embedded*/*.json")]
        return {file.relative_to(ASSETS.parent).as_posix(): digest(file.read_bytes()) for file in sorted(shipped)}

    def opening(self) -> dict[str, int]:
        """How many photos get their right name first."""
        shared, made = self.engine.backbone.shared, self.adapted
        assert shared is not None
        adapters = {"before": ZERO_SHOT, "without a sentence": Adapter.of(shared, DEFAULT_WEIGHT)}
        adapters["with it"] = Adapter.of(made.lora, made.weight)
        found = {name: self.gallery.contents.hits(each)["i2t"].ranks for name, each in adapters.items()}
        return {"photos": len(self.gallery.photos)} | {name: int((ranks < 1).sum()) for name, ranks in found.items()}

    def routing(self) -> dict[str, float]:
        routing, experts = self.adapted.routing, self.engine.repository.experts
        return {experts[i].name: w for i, w in zip(routing.chosen.tolist(), routing.weights.tolist(), strict=True)}

    def prior(self) -> dict[str, float]:
        return projections(self.adapted.prior.mean, self.adapted.prior.variance)

    def lora(self) -> dict[str, float]:
        """The sentence's weight change."""
        return projections(*(factors.delta for factors in self.adapted.own.factors.values()))

    def facts(self) -> dict[str, Any]:
        return {name: getattr(self, name)() for name in ("weights", *ALLOWED)}


def projections(*tensors: Tensor) -> dict[str, float]:
    """The length of a vector, and its products with seven waves: numbers that change if it does."""
    vector = torch.cat([tensor.reshape(-1) for tensor in tensors]).double().numpy()
    waves = {f"wave {n}": float(vector @ np.cos(np.arange(len(vector)) * n)) for n in range(1, 8)}
    return {"length": float(np.linalg.norm(vector)), **waves}


def check(log: Callable[[str], object]) -> list[dict[str, Any]]:
    """Each check's "name", whether it "passed" (None: skipped), and what it "found"."""
    expected, release, outcomes = json.loads(REFERENCE.read_text(encoding="utf-8")), Release(), []
    for name in (*expected, "search", "peft"):
        log(f"checking {name}")
        try:
            if name in ALLOWED:
                passed, found = _near(getattr(release, name)(), expected[name], ALLOWED[name])
            else:
                passed, found = {"weights": _weights, "search": _search, "peft": _peft}[name](release, expected)
        except Exception as error:  # a damaged file may make anything fail
            passed, found = False, f"{type(error).__name__}: {error}"
        outcomes.append({"name": name, "passed": passed, "found": found})
    return outcomes


def _near(found: Mapping[str, float], expected: Mapping[str, float], allowed: float) -> Outcome:
    off = max(abs(found.get(name, np.inf) - number) for name, number in expected.items())
    shown = ", ".join(f"{name} {number:.4g}" for name, number in found.items())
    return off <= allowed, f"{shown}; {off:.1g} from the release at most ({allowed:g} is allowed)"


def _weights(release: Release, expected: dict[str, Any]) -> Outcome:
    found, listed = release.weights(), expected["weights"]
    wrong = [name for name, checksum in listed.items() if found.get(name) != checksum]
    return not wrong, f"changed or missing: {', '.join(wrong)}" if wrong else f"{len(listed)} files have their sha256"


def _search(release: Release, _: object) -> Outcome:
    backbone, adapter = release.engine.backbone, Adapter.of(release.adapted.lora, release.adapted.weight)
    row, index = (
        Query.parse(["a harbor"]).question(backbone).row(backbone, adapter),
        release.gallery.contents.index_for(adapter),
    )
    places, told = (list(values) for values in zip(*index.search(row, TOP), strict=True))
    scores = index.rows.astype(float) @ row.double().numpy()
    off = float(np.abs([scores[places] - told, np.sort(scores)[::-1][:TOP] - told]).max())
    return off <= SCORE, f"FAISS's best {TOP} are those of brute force; scores differ by {off:.0e} at most"


def _peft(release: Release, _: object) -> Outcome:
    if find_spec("peft") is None:
        return None, "peft is not installed: `pip install peft` checks the adapter's files, too"
    from peft import PeftModel  # takes seconds

    backbone, lora = release.engine.backbone, release.adapted.lora
    texts = backbone.text_prefix(["a harbor", "a tennis court"])
    with TemporaryDirectory() as folder, torch.no_grad():
        save_adapter(release.engine, release.adapted, Path(folder))
        theirs = PeftModel.from_pretrained(deepcopy(backbone.adapted), folder).eval().text(texts)
    off = float((theirs - backbone.text_suffix(texts, lora)).abs().max())
    return off <= SCORE, f"peft reads the adapter's files; embeddings differ by {off:.0e} at most"
