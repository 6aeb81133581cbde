"""Tasks that visitors come for, at three sizes, and by keyboard."""

import csv
import io
import re
import zipfile

import pytest
from app_process import visit
from page_state import PHONE, ask, box, column, downloaded, expect_fit, labels, settles, submit
from playwright.sync_api import Browser, Page, expect

from app.languages import texts
from core.experts.adapter_files import routed_experts
from core.sglora.engine import SGLora
from core.sglora.request import DEFAULT_WEIGHT

WIDE = {"width": 1400, "height": 900}
SIZES = WIDE, {"width": 820, "height": 1100}, PHONE["viewport"]
VERDICT_BEGINS, RESULTS_BEGIN = 530, 590  # at most this many px from the top of a page 900 px high
TOP = "part => part.getBoundingClientRect().y + scrollY"
SENTENCE, QUERY, FAR = "photos of wild animals", "an animal that runs fast", "photos of screws and bolts"


def test_tasks_at_three_sizes(browser: Browser, url: str, engine: SGLora) -> None:
    page, errors = visit(browser, url, **PHONE)

    def done() -> None:
        """Check that everything fits into the page at each size."""
        for size in SIZES:
            page.set_viewport_size(size)
            expect_fit(page)
        page.set_viewport_size(PHONE["viewport"])

    # 1. See at once what the app does.
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    expect(page.locator("#results .sg-right-places .sg-up")).to_be_visible()  # the first question's photo rises
    expect(page.locator("#routing .sg-fit.sg-low")).to_have_count(0)  # an expert fits its sentence
    expect(page.locator("#recall .sg-figures")).to_be_visible()
    page.set_viewport_size(WIDE)
    for part, begin in (("#recall", VERDICT_BEGINS), ("#results", RESULTS_BEGIN)):
        settles(lambda part=part, begin=begin: page.locator(part).evaluate(TOP) < begin, True)
    page.set_viewport_size(PHONE["viewport"])
    # Read at one moment, because the page may still be scrolling.
    columns = page.locator("#results section").evaluate_all("all => all.map(each => each.getBoundingClientRect().toJSON())")
    assert columns[0]["y"] == pytest.approx(columns[1]["y"]) and columns[0]["right"] <= columns[1]["left"]
    done()

    # 2. Find a photo with an own sentence and an own question, by keyboard.
    page.click("#folded button")
    box(page, "description").fill(SENTENCE)
    submit(page, "query", QUERY)
    expect(page.locator("#results h3").first).to_contain_text(QUERY)
    expect(page.locator("#results section")).to_have_count(3)
    done()

    # 3. Download the results.
    page.click("#take-home button")
    rows = list(csv.DictReader(io.StringIO(downloaded(page, "#take-results").read_text())))
    shown = labels(page, texts.SG_LORA)
    assert [row["photo"] for row in rows[: len(shown)]] == shown
    photos = zipfile.ZipFile(downloaded(page, "#take-photos")).namelist()
    assert photos == [f"{place:03d} {name}" for place, name in enumerate(shown, 1)]
    done()

    # 4. Find an expert, and look at it.
    routed = routed_experts(engine, engine.route(SENTENCE))
    page.get_by_role("tab", name=texts.TAB_EXPERTS, exact=True).click()
    expect(page.locator("#experts [role=gridcell]").first).to_be_visible()
    box(page, "find-expert").fill("nothing of the kind")
    expect(page.locator("#experts-found")).to_contain_text("No expert has")
    box(page, "find-expert").fill(routed[0]["description"])
    expect(page.locator("#experts")).to_contain_text(routed[0]["name"])
    page.locator("#experts [role=gridcell]:visible", has_text=routed[0]["name"]).first.click()
    expect(page.locator("#details .sg-facts").first).to_be_visible()
    done()

    # 5. Learn while typing that no expert fits, or that the photos are of another kind. A click uses a wording for them.
    page.get_by_role("tab", name=texts.TAB_STUDIO, exact=True).click()
    for sentence, notice in ((FAR, texts.ONLY_SHARED), ("chest X-rays", texts.PHOTOS_DIFFER)):
        box(page, "description").fill(sentence)
        expect(page.locator("#routing .sg-fit")).to_contain_text(notice)
        page.click("#suggestion")
        expect(page.locator("#routing .sg-fit.sg-low")).to_have_count(0)
        expect(page.locator("#suggestion")).to_be_hidden()

    ask(page, QUERY, SENTENCE)
    expect(page.locator("#folded button")).to_have_count(0)  # the notice about the photos stays open

    # 6. Change the strength: with 0, every column is as before.
    page.click("#more > button")
    strength, command = page.locator("#strength input[type=number]"), page.locator("#command textarea")
    expect(strength).to_have_value(f"{DEFAULT_WEIGHT:g}")
    before, whole = column(page, texts.ZERO_SHOT), column(page, texts.SG_LORA)
    assert len(before) == 12 and whole != before
    for value, expected in (("0", before), (f"{DEFAULT_WEIGHT:g}", whole)):
        strength.fill(value)
        page.keyboard.press("Tab")
        expect(command).to_have_value(re.compile(f"--strength {value}$"))
        settles(lambda expected=expected: column(page, texts.SG_LORA), expected)
    # An invalid seed takes the place of the experts until it is corrected.
    seed, experts = page.locator("#seed input"), page.locator("#routing .sg-experts li")
    for value, shown in (("-1", 0), ("0", 4)):
        seed.fill(value)
        page.keyboard.press("Tab")
        expect(experts).to_have_count(shown)
    done()
    assert errors == []


def test_a_search_needs_no_mouse(page: Page) -> None:
    keys, focused = page.keyboard, page.locator(":focus")
    keys.press("Tab")
    expect(focused).to_have_text(texts.SKIP)
    keys.press("Enter")
    expect(box(page, "query")).to_be_focused()
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    page.locator("#search").focus()
    keys.press("/")
    expect(box(page, "query")).to_be_focused()
    keys.press("Control+A")
    keys.type(QUERY)
    keys.press("Enter")
    expect(page.locator("#results h3")).to_contain_text(QUERY)

    # Tab stops once at each column, and arrows move inside it. Enter enlarges a photo; arrows work there, too.
    columns = [page.locator(f'#results section[aria-label="{title}"] .sg-open') for title in (texts.ZERO_SHOT, texts.RANDOM)]
    columns[0].first.focus()
    keys.press("ArrowRight")
    keys.press("ArrowDown")
    expect(columns[0].nth(2)).to_be_focused()
    keys.press("Tab")
    expect(columns[1].first).to_be_focused()
    keys.press("Shift+Tab")
    expect(columns[0].nth(2)).to_be_focused()
    keys.press("Enter")
    large = page.locator("dialog.sg-view img")
    expect(large).to_be_visible()
    names = [photo.locator("img").get_attribute("alt") for photo in columns[0].all()]
    expect(large).to_have_attribute("alt", names[2])
    keys.press("ArrowLeft")
    expect(large).to_have_attribute("alt", names[1])
    keys.press("Escape")
    expect(columns[0].nth(1)).to_be_focused()
