"""Weights by hand, through engine, command line and API: compared with experts merged by hand."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from app_visitors import client_of
from command_line import Answer, Run
from gradio_client import handle_file
from made_up_photos import blurred
from random_engines import DESCRIPTION, random_engine
from recalls import ranked
from tiny_models import tiny_backbone

from app.answers.commands import adapt_command
from core.backbones.lora import Lora
from core.backbones.peft_format import load_peft
from core.common.errors import DescriptionError
from core.experts.random_sentence import random_sentence
from core.retrieval.adapter import Adapter
from core.retrieval.gallery import Gallery
from core.sglora.engine import Adaptation, SGLora
from core.sglora.fit import Fit
from core.sglora.request import AdapterRequest

if TYPE_CHECKING:
    from app_visitors import Running

SENTENCE = "photos of people surfing"
GIVEN = {"aerial: road": 0.2, "satellite pictures of the ground": 0.6}  # one by its description
LINES = [f"{name}={weight}" for name, weight in GIVEN.items()]
MADE = {"aerial: road": 0.25, "aerial": 0.75}


def changes(engine: SGLora, weights: dict[str, float]) -> dict[str, np.ndarray]:
    """The weighted sum of the experts' weight changes, by linear, in numpy."""
    names = [expert.name for expert in engine.repository.experts]
    own = {names.index(name): weight for name, weight in weights.items()}
    loras = [(Lora.from_vector(engine.repository.layout, engine.repository.means[i]), weight) for i, weight in own.items()]
    linears = loras[0][0].factors
    return {n: sum(w * (f.b.double() @ f.a.double()).numpy() for lora, w in loras for f in [lora.factors[n]]) for n in linears}


def test_the_adapter_is_of_exactly_these_weights() -> None:
    """An untrained generator adds nothing to the merge of the experts."""
    engine, alpha = random_engine(tiny_backbone(adapt_blocks=2), trained=False), {"snow": 0.1, "sea": 0.3, "bicycle": 0.6}
    made = engine.adapt(AdapterRequest(DESCRIPTION, k=1, tau=0.9, weights={name: 7 * a for name, a in alpha.items()}))
    whole = engine.repository.merged(made.routing.chosen, made.routing.weights)
    for name, change in changes(engine, alpha).items():
        for lora in (whole, made.own):
            np.testing.assert_allclose(lora.factors[name].delta.numpy(), change, rtol=1e-3, atol=1e-5)
    assert made.routing.by_hand


def test_the_routed_weights_change_nothing(engine: SGLora) -> None:
    routed = engine.adapt(AdapterRequest(SENTENCE))
    names = [engine.repository.experts[i].name for i in routed.routing.chosen]
    same = dict(zip(names, routed.routing.weights.tolist(), strict=True))
    again = engine.adapt(AdapterRequest(SENTENCE, weights=same))
    torch.testing.assert_close(again.lora.vector(), routed.lora.vector(), atol=1e-5, rtol=1e-4)


def test_weights_apply_though_no_expert_fits_and_the_random_control_keeps_its_own(engine: SGLora) -> None:
    sentence = "quarterly tax returns"
    assert not engine.adapt(AdapterRequest(sentence)).fits
    request = AdapterRequest(sentence, weights=GIVEN)
    made = engine.adapt(request)
    assert made.fits and Fit.of(engine, made.routing).fits
    torch.testing.assert_close(
        random_sentence(engine, request).lora.vector(), random_sentence(engine, replace(request, weights={})).lora.vector()
    )


def test_an_unknown_expert_is_named_with_the_closest(engine: SGLora) -> None:
    with pytest.raises(DescriptionError, match="There is no expert “aerial: raod”: the closest are “aerial: road”, “"):
        engine.adapt(AdapterRequest(SENTENCE, weights={"aerial: raod": 1}))
    long = "x" * 10_000
    with pytest.raises(DescriptionError, match=r"There is no expert “x{79}…”"):
        engine.route(SENTENCE, weights={long: 1})
    limited = engine.limited(AdapterRequest(SENTENCE, weights={"no such one": 1}))
    assert limited == AdapterRequest(SENTENCE)  # as after a switch to other experts
    assert engine.limited(request := AdapterRequest(SENTENCE, weights=GIVEN)) == request


def test_the_command_line_writes_this_adapter_and_its_provenance(answer: Answer, engine: SGLora, tmp_path: Path) -> None:
    command = adapt_command(AdapterRequest(SENTENCE, weights=GIVEN))
    assert "'--weights=aerial: road=0.2' '--weights=satellite pictures of the ground=0.6'" in command
    options = [part for line in LINES for part in ("--weights", line)]
    found = answer("adapt", SENTENCE, "--out", out := tmp_path / "adapter", *options)
    assert found["by_hand"] is True and {e["name"]: e["weight"] for e in found["experts"]} == pytest.approx(MADE)
    lora, origin = load_peft(out, engine.backbone.linears.values(), engine.backbone.fingerprint)
    assert origin["by_hand"] is True and origin["experts"] == found["experts"]
    torch.testing.assert_close(lora.vector(), engine.adapt(AdapterRequest(SENTENCE, weights=MADE)).lora.vector())
    readme = (out / "README.md").read_text()
    assert "aerial (75 %)" in readme and "- Weights by hand, seed 0, strength 0.8" in readme
    routed = answer("adapt", SENTENCE, "--out", out)
    assert "by_hand" not in routed and "- k 4, temperature 0.1, seed 0, strength 0.8" in (out / "README.md").read_text()


def test_search_ranks_by_this_adapter(answer: Answer, run: Run, engine: SGLora, tmp_path: Path) -> None:
    paths = blurred(tmp_path / "photos", [f"{i}.png" for i in range(6)], 3)
    asked = ["search", "a road", "--gallery", tmp_path / "photos"]
    found = answer(*asked, "--task", "quarterly tax returns", *(part for line in LINES for part in ("--weights", line)))
    made = engine.adapt(AdapterRequest("quarterly tax returns", weights=MADE))
    assert [hit["score"] for hit in found["rankings"]["sg-lora"]] == pytest.approx(scores(engine, paths, made), abs=1e-4)
    code, _, err = run(*asked, "--weights", LINES[0])
    assert code == 2 and "--weights needs --task TEXT" in err
    for line, reason in (("road", "“road” is no weight"), ("aerial: roda=1", "There is no expert “aerial: roda”")):
        code, out, err = run("adapt", SENTENCE, "--out", tmp_path / "none", "--weights", line)
        assert (code, out) == (1, "") and reason in err and not (tmp_path / "none").exists()


def scores(engine: SGLora, paths: list[Path], made: Adaptation, query: str = "a road") -> list[float]:
    gallery = Gallery(engine.backbone)
    gallery.add(paths)
    return [hit.score for hit in ranked(gallery, query, Adapter.of(made.lora, made.weight)).hits]


def test_the_api_takes_them_one_a_line(app: Running, engine: SGLora, tmp_path: Path) -> None:
    client, lines = client_of(app.url, tmp_path), "\n".join(LINES)
    made = engine.adapt(AdapterRequest(SENTENCE, seed=3, weights=MADE))
    answer, path = client.predict(description=SENTENCE, seed=3, strength=0.5, weights=lines, api_name="/adapt")
    assert {e["name"]: e["weight"] for e in answer["experts"]} == pytest.approx(MADE)
    shutil.unpack_archive(path, tmp_path / "adapter")
    lora, origin = load_peft(tmp_path / "adapter", engine.backbone.linears.values(), engine.backbone.fingerprint)
    torch.testing.assert_close(lora.vector(), made.lora.vector())
    assert origin["by_hand"] is True and origin["weight"] == answer["strength"] == 0.5
    paths = blurred(tmp_path / "photos", [f"{i}.png" for i in range(5)], 4)
    client.predict(files=list(map(handle_file, paths)), api_name="/index")
    found = client.predict(query="a road", description=SENTENCE, seed=3, weights=lines, api_name="/search")
    assert [hit["score"] for hit in found["sg_lora"]] == pytest.approx(scores(engine, paths, made), abs=1e-4)
