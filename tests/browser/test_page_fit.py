"""How well the experts fit a sentence, on the page and in the endpoints: what it says, and what is applied then.

The engine's models are the shipped ones; the threshold is made up here, so that one sentence fits and one does not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from app_process import CHROMIUM, START_SECONDS
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from made_up_photos import blurred
from playwright.sync_api import Browser, Page, expect

from app import texts
from app.engines import Models
from app.page import build, launch_options
from app.views.fit_html import notice
from core.backbones.peft_format import load_peft
from core.experts.adapter_files import routed_experts
from core.sglora.engine import SGLora
from core.sglora.fit import Fit
from core.sglora.repository import CLASS_NAMES
from core.sglora.request import AdapterRequest

NEAR, FAR = "a photo of a dog", "the quarterly tax report of a bank"
FORGOTTEN = 3.0  # points


@pytest.fixture(scope="module")
def measured(engine: SGLora) -> SGLora:
    """The threshold lies between the two sentences."""
    near, far = (closeness(engine, sentence) for sentence in (NEAR, FAR))
    assert far < near - 0.1
    experts = tuple(replace(expert, forgetting={CLASS_NAMES: FORGOTTEN}) for expert in engine.repository.experts)
    return replace(engine, repository=replace(engine.repository, experts=experts, closeness_threshold=(near + far) / 2))


def closeness(engine: SGLora, sentence: str) -> float:
    return sum(e["similarity"] * e["weight"] for e in routed_experts(engine, engine.route(sentence)))


@pytest.fixture(scope="module")
def url(measured: SGLora) -> Iterator[str]:
    page = build(Models(lambda: measured))
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_options())
    yield address
    page.close()


@pytest.fixture
def client(url: str, tmp_path: Path) -> Client:
    return Client(url, verbose=False, download_files=tmp_path / "downloads", analytics_enabled=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return blurred(tmp_path_factory.mktemp("photos"), [f"{i}.png" for i in range(8)], 2)


# Endpoints


@pytest.mark.parametrize("sentence", [NEAR, FAR])
def test_route_says_whether_an_expert_fits(client: Client, engine: SGLora, sentence: str) -> None:
    fit = client.predict(description=sentence, api_name="/route")["fit"]
    assert fit["fits"] is (sentence == NEAR)
    assert fit["closeness"] == pytest.approx(closeness(engine, sentence), abs=1e-3)
    assert fit["forgetting"] == pytest.approx(FORGOTTEN, abs=0.01)


@pytest.mark.parametrize("sentence", [NEAR, FAR])
def test_where_no_expert_fits_only_the_shared_part_is_applied(
    client: Client, engine: SGLora, tmp_path: Path, sentence: str
) -> None:
    answer, path = client.predict(description=sentence, seed=3, api_name="/adapt")
    assert (answer["strength"], answer["rank"]) == (1.0, engine.layout.rank)
    shutil.unpack_archive(path, tmp_path / "adapter")
    lora, _ = load_peft(tmp_path / "adapter", engine.backbone.layout.modules, engine.backbone.fingerprint)
    assert engine.repository.shared is not None
    for name, factors in engine.repository.shared.factors.items():
        # Factors that are multiplied out in another order: some rounding of float32.
        alone = torch.allclose(lora.factors[name].delta, factors.delta, atol=1e-6, rtol=1e-3)
        assert alone is (sentence == FAR), name


def test_a_strength_is_what_was_asked_for(client: Client, engine: SGLora, tmp_path: Path) -> None:
    answer, path = client.predict(description=NEAR, strength=0.5, api_name="/adapt")
    assert answer["strength"] == 0.5
    shutil.unpack_archive(path, tmp_path / "adapter")
    lora, provenance = load_peft(tmp_path / "adapter", engine.backbone.layout.modules, engine.backbone.fingerprint)
    assert provenance["strength"] == 0.5
    for name, factors in engine.adapt(AdapterRequest(NEAR)).lora.factors.items():
        torch.testing.assert_close(lora.factors[name].delta, 0.5 * factors.delta, atol=1e-5, rtol=1e-3)
    with pytest.raises(AppError, match="The strength is -1"):
        client.predict(description=NEAR, strength=-1, api_name="/adapt")


def test_without_strength_search_is_zero_shots(client: Client, photos: list[Path]) -> None:
    client.predict(files=[handle_file(p) for p in photos], api_name="/index")
    answer = client.predict(query="something red", description=NEAR, strength=0, api_name="/search")
    assert answer["sg_lora"] == answer["zero_shot"] == answer["merge"], "to the last digit"
    whole = client.predict(query="something red", description=NEAR, api_name="/search")
    assert whole["zero_shot"] == answer["zero_shot"] and whole["strength"] == 1
    assert [h["score"] for h in whole["sg_lora"]] != [h["score"] for h in whole["zero_shot"]]


def test_a_visitor_who_loses_nothing_sees_no_notice() -> None:
    assert notice(Fit(0.9, True, 0.4, None)) == ""
    assert texts.FORGETS.format(points="2") in notice(Fit(0.9, True, 1.6, None))
    assert texts.NO_EXPERT_FITS in notice(Fit(0.2, False, 1.6, None))


# Page


@pytest.fixture
def opened(browser: Browser, url: str) -> Iterator[Page]:
    """On a phone, where room is scarce."""
    context = browser.new_context(viewport={"width": 390, "height": 800}, is_mobile=True, has_touch=True)
    page, errors = context.new_page(), []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(url)
    expect(page.locator("#status .sg-ready")).to_be_visible(timeout=START_SECONDS * 1000)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
    assert errors == []


def column(page: Page, title: str) -> list[tuple[str, str]]:
    hits = page.locator(f'#results section[aria-label="{title}"] .sg-hit')
    return [(h.locator(".sg-label").inner_text(), h.locator(".sg-score").text_content()) for h in hits.all()]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_the_page_says_whether_an_expert_fits_and_applies_what_it_is_told(opened: Page, photos: list[Path]) -> None:
    page, patience = opened, 60_000
    routing, strength = page.locator("#routing .sg-fit"), page.locator("#strength input[type=number]")
    page.set_input_files("#upload input[type=file]", photos)
    expect(page.locator("#fill")).to_contain_text("8 photos of", timeout=patience)

    # No expert fits: the page says so as the sentence is typed, and offers a wording that does.
    page.locator("#description textarea").fill(FAR)
    expect(routing).to_contain_text(texts.NO_EXPERT_FITS, timeout=patience)
    page.click("#suggestion")
    expect(routing).to_contain_text(texts.FORGETS.format(points="3"), timeout=patience)
    expect(page.locator("#suggestion")).to_be_hidden()

    # All of it is applied, until a visitor says otherwise.
    page.locator("#description textarea").fill(NEAR)
    page.locator("#query textarea, #query input").first.fill("something red")
    page.click("#search")
    expect(page.locator("#lora .sg-made-line")).to_contain_text("rank", timeout=patience)
    expect(strength).to_have_value("1")
    before = column(page, texts.ZERO_SHOT)
    assert len(before) == 8
    assert column(page, texts.SG_LORA) != before
    strength.fill("0")
    page.keyboard.press("Tab")
    expect(page.locator("#lora")).to_contain_text(texts.LORA_NOTHING, timeout=patience)
    assert column(page, texts.SG_LORA) == before
