"""How well experts fit, on the page and in the endpoints: the notice, the applied parts, and their strength.

The engine's models are the shipped ones. The threshold is made up: it lies between two sentences.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from app_process import visit
from app_visitors import client_of, serve_page
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from made_up_photos import blurred
from page_state import box, column, expect_fit, settles
from playwright.sync_api import Browser, Page, expect

from app import texts
from app.engines import Models
from app.page import build, launch_options
from app.views import page_html
from core.backbones.peft_format import load_peft
from core.common.messages import message
from core.sglora.engine import SGLora
from core.sglora.fit import Fit
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest

CLOSE, FAR, ODD = "a photo of a dog", "photos of clouds", "the quarterly tax report of a bank"
OWN_PARTS = 6  # stacked: four experts, the sample, and minus the prior's mean


@pytest.fixture(scope="module")
def judged(engine: SGLora) -> SGLora:
    """An engine for which one sentence fits, one is too far from every expert, and one is odd."""
    close, far = (engine.route(sentence).closeness for sentence in (CLOSE, FAR))
    assert far < close - 0.1
    return replace(engine, repository=replace(engine.repository, closeness_threshold=(close + far) / 2))


@pytest.fixture(scope="module")
def url(judged: SGLora) -> Iterator[str]:
    page = build(Models(lambda: judged), samples=False)
    yield serve_page(page, **launch_options())
    page.close()


@pytest.fixture
def client(url: str, tmp_path: Path) -> Client:
    return client_of(url, tmp_path / "downloads")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return blurred(tmp_path_factory.mktemp("photos"), [f"{i}.png" for i in range(8)], 2)


# Endpoints


@pytest.mark.parametrize(("sentence", "fits", "remark"), [(CLOSE, True, ""), (FAR, False, ""), (ODD, False, "documents")])
def test_route_says_whether_an_expert_fits(client: Client, engine: SGLora, sentence: str, fits: bool, remark: str) -> None:
    answer = client.predict(description=sentence, api_name="/route")
    assert set(answer) == {"experts", "fit"}
    assert (answer["fit"]["fits"], remark in (answer["fit"]["remark"] or "")) == (fits, True)
    weighted = sum(expert["similarity"] * expert["weight"] for expert in answer["experts"])
    assert answer["fit"]["closeness"] == pytest.approx(weighted, abs=1e-3)


@pytest.mark.parametrize(("sentence", "strength"), [(CLOSE, None), (CLOSE, 0.5), (FAR, None)])
def test_a_sentence_that_does_not_fit_applies_only_the_shared_part(
    client: Client, judged: SGLora, tmp_path: Path, sentence: str, strength: float | None
) -> None:
    given = {} if strength is None else {"strength": strength}
    answer, path = client.predict(description=sentence, seed=3, **given, api_name="/adapt")
    shared = judged.repository.shared
    assert shared is not None
    rank = shared.rank + (OWN_PARTS * judged.repository.layout.rank if sentence == CLOSE else 0)
    assert answer["strength"] == (DEFAULT_WEIGHT if strength is None else strength) and answer["rank"] == rank
    shutil.unpack_archive(path, tmp_path / "adapter")
    lora, provenance = load_peft(
        tmp_path / "adapter", judged.backbone.linears.values(), judged.backbone.fingerprint, partly=True
    )
    assert provenance["fit"] == answer["fit"] and provenance["weight"] == answer["strength"]
    adaptation = judged.adapt(AdapterRequest(sentence, seed=3))
    expected = adaptation.full if sentence == CLOSE else shared
    for name, factors in expected.factors.items():
        torch.testing.assert_close(lora.factors[name].delta, factors.b @ factors.a, atol=1e-5, rtol=1e-3)


def test_a_strength_that_cannot_be_used_is_refused(client: Client) -> None:
    with pytest.raises(AppError, match="The strength is -1"):
        client.predict(description=FAR, strength=-1, api_name="/adapt")


def test_at_strength_zero_search_is_zero_shots(client: Client, photos: list[Path]) -> None:
    client.predict(files=[handle_file(p) for p in photos], api_name="/index")
    zero = client.predict(query="something red", description=CLOSE, strength=0, api_name="/search")
    assert zero["strength"] == 0 and zero["fit"]["fits"]
    assert zero["sg_lora"] == zero["zero_shot"] == zero["merge"], "strength 0 gives exactly zero-shot"
    full = client.predict(query="something red", description=CLOSE, api_name="/search")
    assert full["strength"] == DEFAULT_WEIGHT and full["zero_shot"] == zero["zero_shot"]
    assert [h["score"] for h in full["sg_lora"]] != [h["score"] for h in full["zero_shot"]]


# Words


@pytest.mark.parametrize(
    ("fit", "level", "words"),
    [
        (Fit(0.6, True, 0.9, None), "", ()),
        (Fit(0.6, True, 2.4, None), "sg-medium", (texts.FORGETS.format(points=2.4),)),
        (Fit(0.2, False, 2.4, None), "sg-low", (texts.NO_EXPERT_FITS, texts.ONLY_SHARED)),
        (Fit(0.6, False, 0.0, message("CORE_LANGUAGE", language="<Polish>")), "sg-low", ("&lt;Polish&gt;", texts.ONLY_SHARED)),
        (
            Fit(0.6, True, 2.4, message("CORE_NO_PHOTOS")),
            "sg-low",
            (str(message("CORE_NO_PHOTOS")),),
        ),
    ],
)
def test_a_notice_is_shown_where_there_is_something_to_say(fit: Fit, level: str, words: tuple[str, ...]) -> None:
    notice = page_html.fit_notice(fit)
    assert bool(notice) is bool(level) and level in notice
    assert all(part in notice for part in words)
    assert (texts.FORGETS[:12] in notice) is (level == "sg-medium"), "only applied experts can forget"
    assert (texts.ONLY_SHARED in notice) is not fit.fits


# Page


@pytest.fixture
def opened(browser: Browser, url: str) -> Iterator[Page]:
    """A page on a phone, which has little room."""
    page, errors = visit(browser, url, viewport={"width": 390, "height": 800}, is_mobile=True, has_touch=True)
    yield page
    expect_fit(page)
    page.context.close()
    assert errors == []


def test_the_page_names_a_misfit_and_applies_the_strength(opened: Page, judged: SGLora, photos: list[Path]) -> None:
    page, notice = opened, opened.locator("#routing .sg-fit")
    strength, command = page.locator("#strength input[type=number]"), page.locator("#command textarea")
    page.set_input_files("#upload input[type=file]", photos)
    expect(page.locator("#fill")).to_contain_text("Photos: 8 of")

    # While the visitor types: no expert fits, and a click uses the wording of the closest expert.
    box(page, "description").fill(FAR)
    expect(notice).to_contain_text(texts.ONLY_SHARED)
    page.click("#suggestion")
    expect(page.locator("#routing .sg-experts li").first).to_be_visible()
    expect(page.locator("#suggestion")).to_be_hidden()

    # An expert fits: no notice, and the rank names the shared part and the own part.
    box(page, "description").fill(CLOSE)
    box(page, "query").fill("something red")
    page.click("#search")
    expect(page.locator("#results section")).to_have_count(2)
    expect(page.locator("#routing .sg-fit.sg-low")).to_have_count(0)
    shared, own = judged.repository.shared, OWN_PARTS * judged.repository.layout.rank
    assert shared is not None
    words = texts.RANKS.format(rank=shared.rank + own, shared=shared.rank, own=own)
    expect(page.locator("#lora")).to_contain_text(words)

    # The visitor can set the strength from the beginning. With 0, every column is zero-shot.
    page.click("#more button")
    expect(strength).to_have_value(f"{DEFAULT_WEIGHT:g}")
    expect(strength).to_be_enabled()
    before, whole = column(page, texts.ZERO_SHOT), column(page, texts.SG_LORA)
    assert len(before) == 8 and whole != before
    strength.fill("0")
    page.keyboard.press("Tab")
    expect(page.locator("#lora")).to_contain_text(texts.LORA_NOTHING)
    expect(command).to_have_value(re.compile("--strength 0$"))
    settles(lambda: column(page, texts.SG_LORA), before)
    page.locator("#with-merge input").check()
    expect(page.locator("#results section")).to_have_count(3)
    settles(lambda: column(page, texts.MERGE), before)
    strength.fill(f"{DEFAULT_WEIGHT:g}")
    page.keyboard.press("Tab")
    expect(command).to_have_value(re.compile(f"--strength {DEFAULT_WEIGHT:g}$"))
    settles(lambda: column(page, texts.SG_LORA), whole)
