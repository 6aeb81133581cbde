"""The page uses the visitor's language: from the first byte, in all messages, for several visitors at once. All texts fit."""

from __future__ import annotations

import html
import json
import re
import urllib.request
from pathlib import Path

import pytest
from app_process import visit
from app_visitors import client_of
from gradio_client.exceptions import AppError
from page_state import box, expect_fit, settles
from playwright.sync_api import Browser, Page, expect

from app import actions
from app.languages import ENGLISH, OTHERS, TAGS, speaking, texts_in

SIZES = ((1280, 900), (390, 844))
# Texts and controls that are cut off or beyond the page's edge. Parts that scroll are left out.
CUT = """() => {
  const scrolls = (e) => e.closest(".sg-scroll, .sg-options, #examples, #history, #experts, [lang=en]");
  const texts = [...document.querySelectorAll("button, label, h1, h2, h3, h4, p, summary, [data-testid=block-info]")];
  return texts.filter((e) => e.checkVisibility() && e.innerText.trim() && !scrolls(e)).filter((e) => {
    const edge = e.getBoundingClientRect();
    return edge.right > document.documentElement.clientWidth + 1 || edge.left < -1
      || (getComputedStyle(e).overflowX !== "visible" && e.scrollWidth > e.clientWidth + 1);
  }).map((e) => e.innerText.slice(0, 60));
}"""


@pytest.fixture(scope="module")
def url(samples_url: str) -> str:
    return samples_url


def fetched(url: str, accepted: str) -> tuple[str, str]:
    """The page's HTML, and the language in its headers."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept-Language": accepted})) as answer:
        return answer.read().decode(), answer.headers["content-language"]


@pytest.mark.parametrize(("accepted", "code"), [(f"{TAGS[code]},en;q=0.5", code) for code in TAGS] + [("it,tlh;q=0.9", "en")])
def test_the_first_bytes_are_in_the_visitors_language(url: str, accepted: str, code: str) -> None:
    content, said = fetched(url, accepted)
    head = re.search(r"<html[^>]*>", content)
    assert head and f'lang="{TAGS[code]}"' in head[0] and 'dir="ltr"' in head[0] and said == TAGS[code]
    config = json.loads(re.search(r"window\.gradio_config = (.*?);</script>", content)[1])
    labels = {part["props"].get("label") for part in config["components"]}
    assert {texts_in(code)[name] for name in ("QUERY_LABEL", "DESCRIPTION_LABEL", "TAB_EXPERTS")} <= labels
    others = {texts_in(other)["QUERY_LABEL"] for other in TAGS if other != code}
    assert not labels & others
    preview = re.search(r'<meta\s+property="og:description"\s+content="([^"]*)"', content)
    assert preview and html.unescape(preview[1]) == texts_in(code)["TAGLINE"]


def test_all_languages_are_laid_out_alike(url: str) -> None:
    """Events refer to components by number. With another layout, a text would go into another component."""

    def parts(code: str) -> list[tuple[int, str, str]]:
        config = json.loads(re.search(r"window\.gradio_config = (.*?);</script>", fetched(url, TAGS[code])[0])[1])
        return [(part["id"], part["type"], part["props"].get("elem_id") or "") for part in config["components"]]

    english = parts(ENGLISH)
    for code in OTHERS:
        assert parts(code) == english


def test_the_api_stays_english(url: str, tmp_path: Path) -> None:
    client = client_of(url, tmp_path, headers={"Accept-Language": "de"})
    with pytest.raises(AppError, match="The description is empty"):
        client.predict(description=" ", api_name="/route")


def test_two_visitors_at_once_get_their_own(browser: Browser, url: str) -> None:
    """Both ask for nothing, and both get a message; then both ask for something in a language that the model does not know."""
    visits = {code: visit(browser, url, locale=TAGS[code]) for code in ("de", "ja")}
    pages = {code: page for code, (page, _) in visits.items()}
    for code, page in pages.items():
        expect_whole(page, code)
    for page in pages.values():
        box(page, "query").fill("")
    for page in pages.values():
        page.locator("#search").click()
    for code, page in pages.items():
        own = texts_in(code)
        toast = page.locator(".toast-body")
        expect(toast).to_contain_text(own["CORE_EMPTY"].split("{what}")[-1].strip(") 。:：）"))
        box(page, "query").fill("můj pes běží v lese a ve sněhu")
    for page in pages.values():
        page.locator("#search").click()
    for code, page in pages.items():
        own = texts_in(code)
        expect(page.locator("#results .sg-taught")).to_contain_text(own["CORE_CZECH"])
        expect(page.locator("#results h3")).to_contain_text(own["RANKED"].format(total=40))
    assert [errors for _, errors in visits.values()] == [[], []]
    for page in pages.values():
        page.context.close()


def expect_whole(page: Page, code: str) -> None:
    """Expect the page to name its language and to fit at all sizes."""
    own = texts_in(code)
    expect(page.locator("#recall .sg-figures")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == TAGS[code]
    expect(page.locator("#more > [data-testid=accordion-content]")).to_have_attribute("lang", "en")
    # The sample's question is in the visitor's language, and the page still knows its right answer.
    with speaking(code):
        query = actions.sample_questions()[0].query
    expect(box(page, "query")).to_have_value(query)
    expect(page.locator("#results .sg-right-places")).to_be_visible()
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
    expect(page.locator(".sg-about ol li")).to_have_count(5)
    page.locator("#tab-search-button").click()
