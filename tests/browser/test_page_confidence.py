"""The confidence on the page and in the endpoints: what it says, what follows it, and what zero-shot then means.

The engine's models are the shipped ones; the calibration is made up here, so that one sentence is sure, one half sure, and
one too far from every expert.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import norm

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from app.views.confidence import words
from app_process import CHROMIUM, START_SECONDS
from core.sglora.confidence import Confidence, ConfidenceModel
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from made_up_photos import blurred
from playwright.sync_api import Browser, Page, expect

from app import actions, texts
from app.engines import Models
from app.page import build, launch_options
from app.views import page_html
from app.visitors.session import Session
from core.backbones.peft_format import load_peft
from core.experts.adapter_files import routed_experts
from core.sglora.engine import SGLora

SURE, HALF, FAR = "a photo of a dog", "photos of clouds", "the quarterly tax report of a bank"
SPREAD, GENERAL = 2.0, 3.0  # points


@pytest.fixture(scope="module")
def calibrated(engine: SGLora) -> SGLora:
    """Closeness alone decides: the half sure sentence gains what makes a chance of 60 %, so half of the strength."""
    close = {sentence: closeness(engine, sentence) for sentence in (SURE, HALF, FAR)}
    assert close[FAR] < close[HALF] - 0.1 and close[HALF] < close[SURE] - 0.1
    slope = SPREAD * (norm.ppf(0.9) - norm.ppf(0.6)) / (close[SURE] - close[HALF])
    bias = SPREAD * norm.ppf(0.6) - slope * close[HALF]
    # Every group gained the same, so that it only adds to the bias.
    experts = tuple(replace(e, transfer=GENERAL, forgetting={}) for e in engine.repository.experts)
    model = ConfidenceModel(bias - 0.5 * GENERAL, slope, 0.5, SPREAD, (close[FAR] + close[HALF]) / 2, 60)
    return replace(engine, repository=replace(engine.repository, experts=experts, confidence=model))


def closeness(engine: SGLora, sentence: str) -> float:
    routing = engine.route(sentence)
    return sum(e["similarity"] * e["weight"] for e in routed_experts(engine, routing))


@pytest.fixture(scope="module")
def url(calibrated: SGLora) -> Iterator[str]:
    page = build(Models(lambda: calibrated))
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


def test_route_says_how_likely_it_is_that_adapting_helps(client: Client, engine: SGLora) -> None:
    found = client.predict(description=HALF, api_name="/route")["confidence"]
    assert found["probability"] == pytest.approx(0.6, abs=1e-4)
    assert found["gain"] == pytest.approx(SPREAD * norm.ppf(0.6), abs=1e-3)
    assert (found["fits"], found["spread"], found["transfer"]) == (True, SPREAD, pytest.approx(GENERAL))
    assert found["closeness"] == pytest.approx(closeness(engine, HALF), abs=1e-4)
    assert found["strength"] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("sentence", "strength"), [(SURE, 1.0), (HALF, 0.5), (FAR, 0.0)])
def test_strength_follows_where_it_is_left_out(
    client: Client, engine: SGLora, tmp_path: Path, sentence: str, strength: float
) -> None:
    found, path = client.predict(description=sentence, seed=3, api_name="/adapt")
    assert found["strength"] == pytest.approx(strength, abs=1e-3)
    assert found["confidence"]["fits"] is (sentence != FAR)
    shutil.unpack_archive(path, tmp_path / "adapter")
    lora, provenance = load_peft(tmp_path / "adapter", engine.backbone.layout.modules, engine.backbone.fingerprint)
    whole = engine.adapt(sentence, seed=3, strength=1.0).lora
    for name, factors in whole.factors.items():
        torch.testing.assert_close(lora.factors[name].delta, found["strength"] * factors.delta, atol=1e-5, rtol=1e-3)
    assert provenance["strength"] == found["strength"]
    assert provenance["confidence"] == found["confidence"]


def test_a_strength_that_is_asked_for_goes_before_the_confidence(client: Client) -> None:
    left_out, _ = client.predict(description=FAR, api_name="/adapt")
    asked, _ = client.predict(description=FAR, strength=0.8, api_name="/adapt")
    assert (left_out["strength"], asked["strength"]) == (0.0, 0.8)
    assert asked["confidence"] == left_out["confidence"]
    with pytest.raises(AppError, match="The strength is -1"):
        client.predict(description=FAR, strength=-1, api_name="/adapt")


def test_where_no_expert_fits_search_is_zero_shots(client: Client, photos: list[Path]) -> None:
    client.predict(files=[handle_file(p) for p in photos], api_name="/index")
    found = client.predict(query="something red", description=FAR, api_name="/search")
    assert found["strength"] == 0 and found["confidence"]["fits"] is False
    assert found["sg_lora"] == found["zero_shot"] == found["merge"], "to the last digit"
    forced = client.predict(query="something red", description=FAR, strength=1, api_name="/search")
    assert forced["zero_shot"] == found["zero_shot"]
    assert [h["score"] for h in forced["sg_lora"]] != [h["score"] for h in forced["zero_shot"]]


def test_without_a_calibration_all_of_it_is_applied_and_nothing_is_predicted(engine: SGLora) -> None:
    plain = replace(engine, repository=replace(engine.repository, confidence=None))
    made = actions.generate(plain, Session(), actions.settings(FAR, 4, 0.1, 0, None))
    assert (made.strength, made.confidence) == (1.0, None)
    shown = page_html.routing(plain, made.routing, made.confidence)
    assert texts.NOT_CALIBRATED in shown
    assert texts.NO_EXPERT_FITS not in shown and texts.LIKELY not in shown


# Words


def judged(**changes: object) -> Confidence:
    return replace(Confidence(0.6, 2.0, 1.5, 3.0, True, 0.69, 1.0, 0.95), **changes)


def test_words_say_the_chance_the_gain_and_what_they_rest_on() -> None:
    shown = words(judged(), ["dog", "a<b", "ski", "car", "sea"])
    for part in ("69 %", "+1.5 points", "give or take 3.0", "strength 0.95", "dog, a&lt;b, ski, car and 1 more", "+2.0 points"):
        assert part in shown
    assert "sg-medium" in shown and texts.MAYBE in shown
    sure = words(judged(strength=1.0), ["dog"])
    assert "sg-high" in sure and texts.LIKELY in sure
    less = words(judged(gain=-0.4, probability=0.45, strength=0.0), ["dog"])
    assert "sg-low" in less and texts.ADVICE_NOTHING in less and "-0.4 points" in less
    far = words(judged(fits=False, probability=0.0, strength=0.0), ["dog"])
    assert texts.NO_EXPERT_FITS in far and texts.ADVICE_NOTHING in far and "%" not in far
    assert "above 99 %" in words(judged(probability=0.9999), ["dog"])


def test_a_strength_is_needed_where_it_does_not_follow() -> None:
    assert actions.page_settings(SURE, 4, 0.1, 0, True, None).strength is None
    assert actions.page_settings(SURE, 4, 0.1, 0, False, 0.3).strength == 0.3
    with pytest.raises(actions.DescriptionError, match="The strength is not a number"):
        actions.page_settings(SURE, 4, 0.1, 0, False, None)


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
def test_the_page_follows_the_confidence_until_told_otherwise(opened: Page, photos: list[Path]) -> None:
    page, sure, routing = opened, 60_000, opened.locator("#routing .sg-confidence")
    strength, command = page.locator("#strength input[type=number]"), page.locator("#command textarea")
    page.set_input_files("#upload input[type=file]", photos)
    expect(page.locator("#fill")).to_contain_text("8 photos of", timeout=60_000)

    # Half sure: the page says so as the sentence is typed, and half of the adapter is applied.
    page.locator("#description textarea").fill(HALF)
    expect(routing).to_contain_text("60 %", timeout=sure)
    page.click("#generate")
    expect(strength).to_have_value("0.5", timeout=sure)
    expect(strength).to_be_disabled(timeout=sure)
    page.click("#more button")
    expect(page.locator("#facts .sg-facts")).to_contain_text("0.5", timeout=sure)
    assert "--strength" not in command.input_value()

    # No expert fits: zero-shot, in every column.
    page.locator("#description textarea").fill(FAR)
    expect(routing).to_contain_text(texts.ADVICE_NOTHING, timeout=sure)
    page.locator("#query textarea, #query input").first.fill("something red")
    page.click("#search")
    expect(page.locator("#lora")).to_contain_text(texts.LORA_NOTHING, timeout=sure)
    expect(strength).to_have_value("0", timeout=sure)
    before = column(page, texts.ZERO_SHOT)
    assert len(before) == 8
    assert column(page, texts.SG_LORA) == before
    page.locator("#with-merge input").check()
    expect(page.locator("#results section")).to_have_count(3, timeout=sure)
    assert column(page, texts.MERGE) == before

    # One's own choice goes before it, and the page says that it does.
    page.locator("#follow input").uncheck()
    expect(strength).to_be_enabled(timeout=sure)
    strength.fill("0.8")
    page.keyboard.press("Tab")
    expect(page.locator("#lora")).to_contain_text(texts.LORA_AGAINST, timeout=sure)
    assert command.input_value().endswith("--strength 0.8")
    expect(page.locator('#results section[aria-label="SG-LoRA"] h4')).to_contain_text(texts.SG_LORA_NOTE, timeout=sure)
    assert column(page, texts.SG_LORA) != before

    page.locator("#follow input").check()
    expect(page.locator("#lora")).to_contain_text(texts.LORA_NOTHING, timeout=sure)
    expect(strength).to_be_disabled(timeout=sure)
    expect(strength).to_have_value("0", timeout=sure)
    assert "--strength" not in command.input_value()
