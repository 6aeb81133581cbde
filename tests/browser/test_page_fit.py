"""What the page and the endpoints say where no expert fits, and that the strength only scales what was generated."""

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
from gradio_client import Client
from gradio_client.exceptions import AppError
from made_up_photos import blurred
from playwright.sync_api import Browser, Page, expect

from app import texts
from app.engines import Models
from app.page import build, launch_options
from core.backbones.peft_format import load_peft
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

NEAR, FAR = "a photo of a dog", "the quarterly tax report of a bank"


@pytest.fixture(scope="module")
def url(engine: SGLora) -> Iterator[str]:
    page = build(Models(lambda: engine))
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_options())
    yield address
    page.close()


@pytest.fixture
def client(url: str, tmp_path: Path) -> Client:
    return Client(url, verbose=False, download_files=tmp_path / "downloads", analytics_enabled=False)


def test_an_adapter_that_no_expert_fits_is_the_shared_part(client: Client, engine: SGLora, tmp_path: Path) -> None:
    facts, path = client.predict(description=FAR, seed=3, strength=0.5, api_name="/adapt")
    assert facts["fit"]["fits"] is False and facts["fit"]["remark"]
    shutil.unpack_archive(path, tmp_path / "adapter")
    lora, provenance = load_peft(tmp_path / "adapter", engine.repository.layout.modules, engine.backbone.fingerprint)
    assert engine.repository.shared is not None
    for name, factors in engine.repository.shared.factors.items():
        torch.testing.assert_close(lora.factors[name].delta, 0.5 * factors.delta, atol=1e-6, rtol=1e-4)
    assert provenance["fit"] == facts["fit"] and provenance["strength"] == 0.5


def test_route_says_what_adapt_says(client: Client, engine: SGLora) -> None:
    fit = client.predict(description=NEAR, api_name="/route")["fit"]
    assert fit["fits"] is True and fit["remark"] is None
    adaptation = engine.adapt(AdapterRequest(NEAR))
    closeness = sum(
        w * s for w, s in zip(adaptation.routing.weights, adaptation.routing.similarity[adaptation.routing.chosen], strict=True)
    )
    assert fit["closeness"] == pytest.approx(float(closeness), abs=1e-3)
    with pytest.raises(AppError, match="The strength is -1"):
        client.predict(description=FAR, strength=-1, api_name="/adapt")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.slow
def test_the_page_says_that_no_expert_fits_and_strength_scales(browser: Browser, url: str, tmp_path: Path) -> None:
    photos = blurred(tmp_path, [f"{i}.png" for i in range(8)], 2)
    context = browser.new_context(viewport={"width": 390, "height": 800}, is_mobile=True, has_touch=True)
    page, errors, wait = context.new_page(), [], 60_000
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(url)
    expect(page.locator("#status .sg-ready")).to_be_visible(timeout=START_SECONDS * 1000)
    page.set_input_files("#upload input[type=file]", photos)
    expect(page.locator("#fill")).to_contain_text("8 photos of", timeout=wait)
    page.locator("#description textarea").fill(FAR)
    expect(page.locator("#routing .sg-fit")).to_contain_text(texts.ONLY_SHARED, timeout=wait)
    page.locator("#query textarea, #query input").first.fill("something red")
    page.click("#search")
    expect(page.locator("#results section")).to_have_count(2, timeout=wait)

    strength = page.locator("#strength input[type=number]")
    expect(strength).to_have_value("1")
    strength.fill("0")
    page.keyboard.press("Tab")
    expect(page.locator("#lora")).to_contain_text(texts.LORA_NOTHING, timeout=wait)
    assert column(page, texts.SG_LORA) == column(page, texts.ZERO_SHOT), "no strength, no change"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
    assert errors == []


def column(page: Page, title: str) -> list[tuple[str, str]]:
    hits = page.locator(f'#results section[aria-label="{title}"] .sg-hit')
    return [(h.locator(".sg-label").inner_text(), h.locator(".sg-score").text_content()) for h in hits.all()]


def test_without_a_threshold_every_sentence_fits(engine: SGLora) -> None:
    open_to_all = replace(engine, repository=replace(engine.repository, closeness_threshold=None))
    routing = open_to_all.route("blood cells under a microscope")
    assert (
        open_to_all.fit(routing).fits
        and not replace(engine, repository=replace(engine.repository, closeness_threshold=0.99)).fit(routing).fits
    )
