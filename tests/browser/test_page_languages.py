"""The page uses the visitor's language: labels, the first answer, and messages, for several visitors at once. All texts fit."""

from pathlib import Path

import pytest
from app_process import visit
from app_visitors import client_of
from gradio_client.exceptions import AppError
from page_state import box, expect_fit, settles
from playwright.sync_api import Browser, Page, expect

from app.languages import speaking, texts, texts_in
from app.photos.samples import OPENING, sample_questions
from core.data.sample_photos import sample_photos, sample_sets

SIZES = ((1280, 900), (390, 844))
LABELS = {"#search": "SEARCH", "#generate": "GENERATE_BUTTON", "#tab-experts-button": "TAB_EXPERTS", "#names": "NAMES_TITLE"}
# Texts and controls that are cut off or beyond the page's edge. Parts that scroll are left out.
CUT = """() => {
  const scrolls = (e) => e.closest(".sg-scroll, .sg-options, #sets, #examples, #experts, [lang=en]");
  const texts = [...document.querySelectorAll("button, label, h1, h2, h3, h4, p, summary, [data-testid=block-info]")];
  return texts.filter((e) => e.checkVisibility() && e.innerText.trim() && !scrolls(e)).filter((e) => {
    const edge = e.getBoundingClientRect(), hidden = getComputedStyle(e).clipPath !== "none";
    return edge.right > document.documentElement.clientWidth + 1 || edge.left < -1
      || (!hidden && getComputedStyle(e).overflowX !== "visible" && e.scrollWidth > e.clientWidth + 1);
  }).map((e) => e.innerText.slice(0, 60));
}"""
# Labels that the browser did not translate, in texts and attributes.
UNTRANSLATED = """() => [...document.querySelectorAll("body :not(script)")].flatMap(e => [
  ...[...e.childNodes].filter(n => n.nodeType === Node.TEXT_NODE).map(n => n.data), ...[...e.attributes].map(a => a.value)
]).filter(words => words.includes("__i18n__"))"""


def opened_in(browser: Browser, url: str, locale: str, code: str) -> tuple[Page, list[str]]:
    """Open the page, and check that its labels and its first answer are in this language."""
    page, errors = visit(browser, url, locale=locale)
    own = texts_in(code)
    with speaking(code):
        query, title = sample_questions()[0].query, texts.of_sample(sample_sets()[OPENING].title)
    expect(box(page, "query")).to_have_value(query)
    expect(page.locator("#results .sg-right-places")).to_be_visible()  # the page still knows its right answer
    expect(page.locator("#results h3")).to_contain_text(own["RANKED"].format(total=len(sample_photos(OPENING))))
    expect(box(page, "where")).to_have_value(title)
    for place, name in LABELS.items():
        expect(page.locator(place)).to_contain_text(own[name])
    assert page.locator("html").get_attribute("lang").partition("-")[0] == code
    assert page.evaluate(UNTRANSLATED) == []
    return page, errors


@pytest.mark.parametrize(("locale", "code"), [("zh-CN", "zh"), ("it-IT", "en")])
def test_the_page_opens_in_the_visitors_language(browser: Browser, url: str, locale: str, code: str) -> None:
    _, errors = opened_in(browser, url, locale, code)
    assert errors == []


def test_the_api_stays_english(url: str, tmp_path: Path) -> None:
    client = client_of(url, tmp_path, headers={"Accept-Language": "de"})
    with pytest.raises(AppError, match="The description is empty"):
        client.predict(description=" ", api_name="/route")


def test_two_visitors_at_once_get_their_own(browser: Browser, url: str) -> None:
    """Both ask for nothing, and both get a message; then both ask for something in a language that the model does not know."""
    visits = {code: opened_in(browser, url, locale, code) for locale, code in (("de-AT", "de"), ("ja", "ja"))}
    pages = {code: page for code, (page, _) in visits.items()}
    for code, page in pages.items():
        expect_whole(page, code)
    for page in pages.values():
        box(page, "query").fill("")
    for page in pages.values():
        page.locator("#search").click()
    for code, page in pages.items():
        own = texts_in(code)
        expect(page.locator(".toast-body")).to_contain_text(
            own["The {what} is empty: say what the photos show, such as “photos of people surfing”."]
            .split("{what}")[-1]
            .strip(") 。:：）")
        )
        box(page, "query").fill("můj pes běží v lese a ve sněhu")
    for page in pages.values():
        page.locator("#search").click()
    for code, page in pages.items():
        own = texts_in(code)
        expect(page.locator("#results .sg-taught")).to_contain_text(own["Czech"])
    assert [errors for _, errors in visits.values()] == [[], []]


def expect_whole(page: Page, code: str) -> None:
    """Expect all tabs to fit at all sizes, and what stays English to say so."""
    own = texts_in(code)
    expect(page.locator("#recall .sg-figures")).to_be_visible()
    expect(page.locator("#more > [data-testid=accordion-content]")).to_have_attribute("lang", "en")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for tab in ("search", "experts"):
            page.locator(f"#tab-{tab}-button").click()
            shown = page.locator("#results section") if tab == "search" else page.locator("#find-expert")
            expect(shown.first).to_be_visible()
            if tab == "experts":
                expect(page.locator("#experts")).to_contain_text(own["EXPERTS_HEADERS"].split("; ")[1])
            settles(lambda: page.evaluate(CUT), [])
            expect_fit(page)
    for tab, place in (("evidence", ".sg-evidence"), ("about", ".sg-about [lang]")):
        page.locator(f"#tab-{tab}-button").click()
        expect(page.locator(place).first).to_have_attribute("lang", "en")
        expect(page.locator(place).first).to_be_visible()
    page.locator("#tab-experts-button").click()
    expect(page.locator("#details")).to_contain_text(own["DETAILS_EMPTY"])
    expect(page.locator("body")).not_to_contain_text("__i18n__")
    expect(page.locator(".sg-about ol li")).to_have_count(6)
    page.locator("#tab-search-button").click()
