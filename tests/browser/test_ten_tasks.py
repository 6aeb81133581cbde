"""Ten tasks that visitors come for, in a browser at three sizes. If SCREENSHOTS is set, pictures go to that folder."""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from pathlib import Path

import pytest
from app_process import visit
from page_state import box, expect_fit, labels
from playwright.sync_api import Browser, Page, expect

from app import texts
from core.experts.adapter_files import routed_experts
from core.sglora.engine import SGLora

SCREENSHOTS = os.environ.get("SCREENSHOTS")
SIZES = {
    "wide": {"viewport": {"width": 1400, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True},
}
TABLET = {"width": 820, "height": 1100}
VERDICT_BEGINS, RESULTS_BEGIN = 530, 590  # at most this many px from the top of a page 900 px high
SENTENCE, QUERY = "photos of wild animals", "an animal that runs fast"


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def fetched(page: Page, button: str) -> bytes:
    """The content of a button's download."""
    with page.expect_download() as waiting:
        page.click(f"#{button}")
    return Path(waiting.value.path()).read_bytes()


def weights(adapter: zipfile.ZipFile) -> bytes:
    return adapter.read("adapter_model.safetensors")


@pytest.mark.parametrize("size", SIZES)
def test_ten_tasks(browser: Browser, url: str, engine: SGLora, size: str) -> None:
    page, errors = visit(browser, url, **SIZES[size])

    def done(task: str, whole: bool = False) -> None:
        """Check that everything fits into the page at this size. The wide page is also checked as a tablet."""
        for name, viewport in ((size, SIZES[size]["viewport"]), *([("tablet", TABLET)] if size == "wide" else [])):
            page.set_viewport_size(viewport)
            expect_fit(page)
            if SCREENSHOTS:
                page.wait_for_timeout(800)
                page.screenshot(path=Path(SCREENSHOTS) / f"{name}-{task}.png", full_page=whole)
        page.set_viewport_size(SIZES[size]["viewport"])

    # 1. See at once what the app does.
    page.click("#try-it")
    expect(page.locator("#results .sg-hit").first).to_be_in_viewport()
    expect(page.locator("#results .sg-right-places .sg-up")).to_be_visible()  # the first question's photo rises
    expect(page.locator("#routing .sg-fit.sg-low")).to_have_count(0)  # an expert fits its sentence
    if size == "wide":
        expect(page.locator("#recall .sg-figures")).to_be_visible()
        for part, begin in (("#recall", VERDICT_BEGINS), ("#results", RESULTS_BEGIN)):
            assert page.locator(part).evaluate("part => part.getBoundingClientRect().y + scrollY") < begin
    # Read at one moment, because the page may still be scrolling.
    columns = page.locator("#results section").evaluate_all("all => all.map(each => each.getBoundingClientRect().toJSON())")
    assert columns[0]["y"] == pytest.approx(columns[1]["y"]) and columns[0]["right"] <= columns[1]["left"]
    done("1-first-look")

    # 2. Find a photo with an own sentence and an own question, by keyboard.
    if size == "phone":
        page.click("#folded button")
    box(page, "description").fill(SENTENCE)
    box(page, "query").fill(QUERY)
    box(page, "query").press("Enter")
    expect(page.locator("#results h3").first).to_contain_text(QUERY)
    expect(page.locator("#results section")).to_have_count(2)
    done("2-own-question", whole=True)

    # 3. Which expert had the most weight?
    routed = routed_experts(engine, engine.route(SENTENCE))
    first = page.locator("#routing .sg-experts li").first
    expect(first).to_have_attribute("title", re.compile(f"^{re.escape(routed[0]['name'])}"))
    expect(first).to_contain_text(f"{routed[0]['weight'] * 100:.0f} %")

    # 4. Get another variant of the adapter, and compare it with the experts' average.
    if size == "phone":
        page.click("#folded button")
    adapter = fetched(page, "download")
    page.click("#more button")
    for drawing in ("map", "latent"):
        expect(page.locator(f"#{drawing} .sg-dot-here")).to_have_count(1)
    page.click("#resample")
    for _ in range(60):  # the new variant may take a while
        again = zipfile.ZipFile(io.BytesIO(fetched(page, "download")))
        if weights(again) != weights(zipfile.ZipFile(io.BytesIO(adapter))):
            break
        page.wait_for_timeout(500)
    assert weights(again) != weights(zipfile.ZipFile(io.BytesIO(adapter)))
    page.locator("#with-merge input").check()
    expect(page.locator("#results section")).to_have_count(3)
    done("4-variant")

    # 5. Download the adapter: the ZIP includes the lines that load it.
    assert {"README.md", "adapter_config.json"} <= set(again.namelist())

    # 6. Download the results.
    page.click("#take-home button")
    rows = list(csv.DictReader(io.StringIO(fetched(page, "take-results").decode())))
    shown = labels(page, texts.SG_LORA)
    assert [row["photo"] for row in rows[: len(shown)]] == shown
    photos = zipfile.ZipFile(io.BytesIO(fetched(page, "take-photos"))).namelist()
    assert photos == [f"{place:03d} {name}" for place, name in enumerate(shown, 1)]
    done("6-take-home")

    # 7. What does a photo show? Search its captions.
    page.click("#photo-words > button")
    page.locator("#pick input").fill(shown[0])
    page.locator("#pick").get_by_role("option", name=shown[0], exact=True).click()
    page.click("#find")
    expect(page.locator("#results h3").first).to_contain_text(shown[0])
    done("7-photo-to-words")

    # 8. Find an expert.
    tab(page, texts.TAB_EXPERTS)
    box(page, "find-expert").fill("nothing of the kind")
    expect(page.locator("#experts-found")).to_contain_text("No expert has")
    box(page, "find-expert").fill(routed[0]["description"])
    expect(page.locator("#experts")).to_contain_text(routed[0]["name"])
    page.locator("#experts [role=gridcell]:visible", has_text=routed[0]["name"]).first.click()
    expect(page.locator("#details .sg-facts").first).to_be_visible()
    expect(page.locator("#details h3").first).to_contain_text(routed[0]["name"])
    done("8-experts", whole=True)

    # 9. Train an own expert on the photos. Routing must choose it.
    page.click("#train-own button")
    box(page, "own-name").fill("my animals")
    box(page, "own-description").fill(SENTENCE)
    page.click("#train")
    other = "photos of people surfing"
    if size == "wide":  # what is asked during a training is still there after it
        tab(page, texts.TAB_STUDIO)
        box(page, "description").fill(other)
        box(page, "description").press("Enter")
        expect(page.locator("#command textarea")).to_have_value(re.compile(other))
        tab(page, texts.TAB_EXPERTS)
    expect(page.locator("#trained")).to_contain_text(re.compile(r"measured on \d+ held-out photos"))
    expect(page.locator("#own")).to_contain_text("my animals")
    done("9-own-expert")
    tab(page, texts.TAB_STUDIO)
    if size == "wide":
        expect(page.locator("#routing")).to_contain_text("riding a wave")
        expect(page.locator("#command textarea")).to_have_value(re.compile(other))
        box(page, "description").fill(SENTENCE)
    expect(page.locator("#routing .sg-experts li").first).to_have_attribute("title", re.compile("^my animals"))

    # 10. See what was measured, and download its figures.
    tab(page, texts.TAB_EVIDENCE)
    page.locator(".sg-exhibit summary").first.click()
    with page.expect_download() as waiting:
        page.locator(".sg-exhibit[open] .sg-csv a").first.click()
    assert len(list(csv.reader(Path(waiting.value.path()).read_text().splitlines()))) > 1
    done("10-evidence")
    page.context.close()
    assert errors == []
