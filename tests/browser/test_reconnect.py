"""A page recovers by itself from a lost connection or a restarted server. Back and links restore questions."""

from __future__ import annotations

from urllib.parse import urlsplit

from app_process import START_SECONDS, free_port, visit
from forwarded import forwarded
from page_state import asked_of, box, settles
from playwright.sync_api import Browser, Page, expect

from app import texts

OFFLINE_MS, AWAY_MS = 5_000, 1_000
SENTENCE, QUERY, OTHER = "photos of wild animals", "a lion on a rock", "a tower at night"


def opened(browser: Browser, address: str) -> Page:
    return visit(browser, address, viewport={"width": 1400, "height": 900})[0]


def ready(page: Page) -> None:
    expect(page.locator("#status .sg-ready")).to_be_visible(timeout=1000 * START_SECONDS)


def search(page: Page, query: str, description: str = SENTENCE) -> None:
    box(page, "description").fill(description)
    box(page, "query").fill(query)
    page.click("#search")
    answered(page, query)


def answered(page: Page, query: str) -> None:
    expect(page.locator("#results h3")).to_contain_text(query)


def test_the_page_goes_on_after_five_seconds_offline_and_after_a_reload(browser: Browser, url: str) -> None:
    page = opened(browser, url)
    page.click("#try-it")
    expect(page.locator("#results .sg-hit").first).to_be_in_viewport()
    search(page, QUERY)

    page.context.set_offline(True)
    page.wait_for_timeout(OFFLINE_MS)
    page.context.set_offline(False)
    # If one of Gradio's own requests failed meanwhile, Gradio shows a message and reloads the page. In both cases, photos,
    # sentence, question and results are there.
    expect(page.get_by_text("Connection to the server was lost")).to_have_count(0)
    ready(page)
    answered(page, QUERY)
    expect(box(page, "description")).to_have_value(SENTENCE)
    expect(box(page, "query")).to_have_value(QUERY)
    search(page, OTHER)

    # The address names the shown question. Back shows the earlier one. Another browser asks the same about its own photos.
    settles(lambda: asked_of(page), {"q": OTHER, "about": SENTENCE})
    link = page.url
    page.go_back()
    answered(page, QUERY)
    expect(box(page, "query")).to_have_value(QUERY)
    page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
    settles(lambda: asked_of(page).get("tab"), "experts")
    page.go_back()
    expect(page.get_by_role("tab", name=texts.TAB_STUDIO)).to_have_attribute("aria-selected", "true")
    other = opened(browser, link)
    expect(box(other, "query")).to_have_value(OTHER)
    expect(box(other, "description")).to_have_value(SENTENCE)
    expect(other.locator("#fill")).to_contain_text(texts.GALLERY_EMPTY)
    other.context.close()

    # What was typed when the page was loaded again is asked.
    box(page, "query").fill(OTHER)
    page.reload()
    answered(page, OTHER)
    expect(box(page, "query")).to_have_value(OTHER)
    expect(box(page, "description")).to_have_value(SENTENCE)
    page.go_back()
    answered(page, QUERY)
    # An address without a question shows no answer, but the photos.
    page.evaluate("history.pushState({}, '', '/')")
    page.evaluate("history.pushState({}, '', '/?q=x')")
    page.go_back()
    expect(page.locator("#results")).to_contain_text(texts.COMPARE_EMPTY)
    expect(box(page, "query")).to_have_value("")
    # A link opened in the same tab shows its own question, not the text typed before.
    box(page, "query").fill(OTHER)
    page.goto(f"{url}?q=a+boat&about=photos+of+boats")
    answered(page, "a boat")
    expect(box(page, "query")).to_have_value("a boat")


def test_after_a_restart_of_the_server_sentence_and_question_are_kept(browser: Browser, samples_url: str, url: str) -> None:
    port, first, second = free_port(), urlsplit(samples_url).port, urlsplit(url).port
    with forwarded(port, first) as address:
        page = opened(browser, address)
        expect(page.locator("#results .sg-hit").first).to_be_visible()  # the first view fills the boxes
        search(page, QUERY)
    page.wait_for_timeout(AWAY_MS)
    with forwarded(port, second):
        # The visitor does nothing: the page notices the restart and shows the state of the new server.
        expect(page.locator("#fill")).to_contain_text(texts.GALLERY_EMPTY)
        ready(page)
        expect(box(page, "description")).to_have_value(SENTENCE)
        expect(box(page, "query")).to_have_value(QUERY)
        settles(lambda: asked_of(page), {"q": QUERY, "about": SENTENCE})
        page.click("#try-it")
        expect(page.locator("#results .sg-hit").first).to_be_visible()
