"""A page whose server lost or forgot something: a restart, deleted photos, an ended tab. The page says so and goes on."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from app_process import PATIENCE_SECONDS, blank, free_port, visit
from app_visitors import QUERY, SENTENCE, Running, Visitor, launched
from page_state import (
    add,
    answered,
    ask,
    asked_of,
    back_at,
    box,
    choose,
    close_message,
    draw_again,
    expect_photos,
    labels,
    settles,
    submit,
    teach,
)
from playwright.sync_api import Browser, Error, Page, Route, expect

from app.actions import own_experts
from app.actions.adapters import write_zip
from app.languages import texts
from app.page import event
from app.photos.samples import OPENING, sample_questions
from app.visitors import registry
from app.visitors.limits import Limits
from core.data.sample_photos import sample_photos, sample_sets
from core.sglora.engine import SGLora

FIRST, SAMPLES = sample_questions()[0], len(sample_photos(OPENING))


@pytest.fixture(autouse=True)
def _lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message stays until a slow test has looked at it."""
    monkeypatch.setattr(event, "SECONDS_SHOWN", 600)


def told(page: Page, words: str) -> None:
    """Expect one message with these words, and close it."""
    expect(page.get_by_test_id("toast-body")).to_have_count(1)
    expect(page.get_by_test_id("toast-body")).to_contain_text(words)
    expect(page.get_by_test_id("toast-body")).not_to_contain_text("(2)")
    close_message(page)


def not_told(page: Page) -> None:
    """Check that there is no message now."""
    assert page.get_by_test_id("toast-body").all_inner_texts() == []


@contextmanager
def loads_itself(words: str) -> Iterator[None]:
    """After a restart a page may load itself again in the same moment. What Playwright says of that is no error: ``words``."""
    try:
        yield
    except Error as error:
        if words not in str(error):
            raise


def look_again(page: Page) -> None:
    """Look at a page whose app was restarted: it loads itself again, if it has not done so by itself."""
    with loads_itself("context was destroyed"):
        back_at(page)
    page.wait_for_function("!window.beforeRestart")


def load_again(page: Page) -> None:
    """Load a page again."""
    with loads_itself("ERR_ABORTED"):
        page.reload()
    page.wait_for_load_state()


def expect_no_answer(page: Page) -> None:
    """Expect no photos, results and history."""
    expect(page.locator("#fill")).to_contain_text(texts.GALLERY_EMPTY)
    expect(page.locator("#results")).to_contain_text(
        re.compile(f"{re.escape(texts.COMPARE_EMPTY)}|{re.escape(texts.COMPARE_NO_PHOTOS)}")
    )
    expect(page.locator("#search-command").filter(visible=True)).to_have_count(0)


def test_after_a_restart_photos_are_gone_and_names_come_back_from_the_browser(
    browser: Browser, engine: SGLora, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names come back also if the first event that the server hears changes them. A name that was taken back does not."""
    monkeypatch.setattr(event, "NOTICE_SECONDS", 600)  # however long a slow machine takes to load the page twice
    port, key = free_port(), "sg-lora-studio-names"
    with launched(engine, tmp_path, samples=True, port=port) as app:
        away, _ = visit(browser, app.url)  # a visitor without photos of their own
        answered(away, FIRST.query, SAMPLES)
        away.click("#names > button")
        shown = away.locator("#names-strip img").first.get_attribute("alt")
        names = away.locator("#names-chips button")
        for name in ("wug", "dax"):
            away.locator("#names-strip button").first.click()
            teach(away, name)
            expect(names.last).to_contain_text(name)
        settles(lambda: away.evaluate(f"localStorage['{key}'].length") > 4_000, True)
        app.sweep()  # the time is up: the page does not know
        away.click("#names-remove")
        expect(names).to_have_text(["wug (1 photo)"])
        not_told(away)  # nothing is lost
        ask(away, QUERY)

        page, _ = visit(browser, app.url)
        answered(page, FIRST.query, SAMPLES)
        add(page, photos[:3], 3)
        ask(page, QUERY, SENTENCE)
        closed = page.context.storage_state()
        for each in (page, away):
            each.evaluate("window.beforeRestart = true")
    with launched(engine, tmp_path, samples=True, port=port) as app:
        # The visitor does nothing: the page notices the restart when it is looked at.
        look_again(page)
        told(page, "the app was restarted")
        expect_no_answer(page)
        expect(page.locator("#sets, #examples").filter(visible=True)).to_have_count(0)
        for name, kept in (("query", QUERY), ("description", SENTENCE), ("where", texts.WITHIN_OWN)):
            expect(box(page, name)).to_have_value(kept)
        settles(lambda: asked_of(page), {"q": QUERY, "about": SENTENCE})
        choose(page, "where", sample_sets()[OPENING].title)
        answered(page, QUERY, SAMPLES)
        expect(page.locator("#fill")).to_contain_text(texts.SAMPLES_NOW.format(n=SAMPLES))
        load_again(page)  # the notice comes once
        answered(page, QUERY, SAMPLES)
        not_told(page)

        # A new page of a browser that remembers photos gets the notice, too. Who had no photos sees the samples again.
        again, _ = visit(browser, app.url, storage_state=closed)
        told(again, "the app was restarted")
        expect(again.locator("#fill")).to_contain_text(texts.GALLERY_EMPTY)
        look_again(away)
        expect(away.locator("#status .sg-ready")).to_be_visible()
        answered(away, QUERY, SAMPLES)
        not_told(away)

        # The names are there again, until they are taken back.
        expect(names).to_have_text(["wug (1 photo)"])
        submit(away, "query", "wug")
        expect(away.locator("#results .sg-taught")).to_contain_text("wug")
        assert labels(away, texts.SG_LORA)[0] == shown
        away.click("#names > button")
        away.click("#names-remove")
        expect(names).to_have_count(0)
        app.sweep()
        load_again(away)
        answered(away, "wug")
        expect(names).to_have_count(0)
        for each in (page, again, away):
            each.close()


def test_a_page_whose_tab_or_photos_are_gone_shows_what_is_there(
    browser: Browser, app: Running, engine: SGLora, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tab that the app forgot goes on with the photos. If they are gone, the page says so."""
    app.sweep()
    photos = photos[:3]
    page, errors = visit(browser, app.url)
    second, other = page.context.new_page(), Visitor(app, tmp_path, 1)
    add(page, photos, 3)
    ask(page, QUERY, SENTENCE)
    expect(page.locator("#results .sg-hit")).to_have_count(6)
    routed = page.locator("#routing .sg-experts").text_content() or ""
    (mine,) = (each for each in app.visitors.all() if each.photos)

    def forgotten() -> bool:
        other.client.predict(description=SENTENCE, api_name="/route")
        return not mine.sessions

    with monkeypatch.context() as patch:
        patch.setattr(registry, "MOST_TABS", 1)
        settles(forgotten, True)  # the page may still send an event of its answer
    assert len(mine.photos) == 3
    back_at(page)  # the tab's answer is gone: it is asked again
    expect_photos(page, 3)
    answered(page, QUERY, 3)
    ask(page, "a dog")
    ask(page, QUERY)
    not_told(page)
    assert errors == []

    expect(page.locator("#lora .sg-made-line")).to_be_visible()
    (tab,) = map(app.visitors.find_tab, mine.sessions)
    adapter = write_zip(engine, tab.visitor, tab.adaptation)
    own_experts.import_files(engine, tab, [str(adapter)], "photos of my sea")
    second.goto(app.url)
    expect_photos(second, 3)
    second.get_by_role("tab", name=texts.TAB_EXPERTS).click()
    expect(second.locator("#own li")).to_have_count(1)

    # Another visitor's photos need the room. Then this visitor types.
    limits = app.visitors.limits
    other.add()
    app.visitors.limits = Limits(memory=mine.memory)
    other.found()
    app.visitors.limits = limits
    box(page, "description").fill(f"{SENTENCE} at noon")
    told(page, "ran out of memory")
    expect_no_answer(page)
    expect(page.locator("#lora")).to_contain_text(texts.LORA_EMPTY)
    expect(page.locator("#report")).to_have_text("")
    expect(page.locator("#description textarea")).to_have_value(f"{SENTENCE} at noon")
    expect(page.locator("#routing .sg-experts li").first).to_be_visible()
    expect(page.locator("#routing .sg-experts")).not_to_have_text(routed)
    page.click("#photo-words > button")
    page.locator("#pick input").click()
    expect(page.locator("#pick").get_by_role("option")).to_have_count(0)

    # The other tab shows the same, at an event that fails.
    second.click("#import-own button")
    second.click("#import")
    expect(second.locator("#own")).to_contain_text(texts.OWN_NONE)
    second.get_by_role("tab", name=texts.TAB_STUDIO).click()
    expect(second.locator("#fill")).to_contain_text(texts.GALLERY_EMPTY)
    second.close()

    # The time is up, and there is nothing to lose: no message, and photos that are added survive a reload.
    box(page, "description").fill(SENTENCE)
    expect(page.locator("#routing .sg-experts")).to_have_text(routed)  # with this answer, the page knows that nothing is left
    app.sweep()
    add(page, photos, 3)
    not_told(page)
    page.reload()
    expect_photos(page, 3)
    expect(page.locator("#results .sg-hit")).to_have_count(6)

    # The time is up, and photos are lost: the message does not replace the event's own report.
    app.sweep()
    add(page, photos[:2])
    told(page, "unused for 60 minutes")
    expect_photos(page, 2)
    expect(page.locator("#results .sg-hit")).to_have_count(4)  # the typed question searches the new photos
    expect(page.locator("#report")).to_contain_text("2 added")


def losing(page: Page, words: str, lost: list[str], most: int) -> None:
    """Leave the first answers with these words out of the page's streams."""

    def lose(route: Route) -> None:
        response, left = route.fetch(timeout=1000 * PATIENCE_SECONDS), list[str]()
        for part in response.text().split("\n\n"):
            (lost if words in part and len(lost) < most else left).append(part)
        route.fulfill(response=response, body="\n\n".join(left))

    page.route("**/queue/data*", lose)


def delaying(page: Page, words: str, *seconds: float) -> None:
    """Hold the first events with these words back, each so many seconds, before the server gets them."""
    waits = list(seconds)

    def wait(route: Route) -> None:
        if waits and words in (route.request.post_data or ""):
            time.sleep(waits.pop(0))
        route.continue_()

    page.route("**/queue/join*", wait)


@pytest.mark.parametrize("way", ["alone", "late", "next answer"])
def test_an_event_goes_on_after_its_answer_was_lost(browser: Browser, url: str, way: str) -> None:
    """The page notices it by the next answer, or asks by itself, also while the event is still on its way."""
    (page, errors), lost = blank(browser, url), list[str]()
    losing(page, "--strength 0.3", lost, 1)
    if way == "late":
        delaying(page, ",0.3,", 8, 2)  # the page's question comes after the event, but is sent before the event is there
    page.goto(url)
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    ask(page, QUERY, SENTENCE)
    page.click("#more > button")
    strength, command = page.locator("#strength input[type=number]"), page.locator("#command textarea")
    for value in ("0.3", "0.5"):
        strength.fill(value)
        page.keyboard.press("Tab")
        if way == "next answer" and not lost:
            settles(lambda: page.evaluate("1") and len(lost), 1)
            box(page, "description").fill(f"{SENTENCE} at noon")
        expect(command).to_have_value(re.compile(f"--strength {value}$"))
    assert len(lost) == 1
    page.unroute_all(behavior="ignoreErrors")
    assert errors == []


@pytest.mark.parametrize("next_answer", [False, True])
def test_what_a_lost_answer_sets_is_set_again(browser: Browser, url: str, next_answer: bool) -> None:
    (page, errors), lost, chosen = blank(browser, url), list[str](), sample_questions()[1].query
    losing(page, f"q={quote_plus(chosen)}", lost, 1)
    page.goto(url)
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    page.locator("#examples").get_by_text(chosen, exact=True).click()
    if next_answer:
        settles(lambda: page.evaluate("1") and len(lost), 1)
        page.click("#more > button")
    answered(page, chosen, SAMPLES)
    assert len(lost) == 1
    page.unroute_all(behavior="ignoreErrors")
    assert errors == []


def test_a_page_asks_for_an_answer_that_is_lost(browser: Browser, url: str) -> None:
    (page, errors), lost = blank(browser, url), list[str]()
    losing(page, "how-search", lost, 2)  # also the answer to the page's first question for it
    page.goto(url)
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    page.get_by_role("tab", name=texts.TAB_ABOUT).click()
    expect(page.locator("#how-search img").first).to_be_visible()
    assert len(lost) == 2
    page.unroute_all(behavior="ignoreErrors")  # the stream stays open until the page is closed
    assert errors == []


def test_a_chosen_photo_stays_chosen_if_everything_is_drawn_again(browser: Browser, app: Running, photos: list[Path]) -> None:
    app.sweep()
    page, errors = visit(browser, app.url)
    add(page, photos[:3], 3)
    (mine,) = (each for each in app.visitors.all() if each.photos)
    (tab,) = map(app.visitors.find_tab, mine.sessions)
    page.click("#captions > button")
    page.locator("#gallery .thumbnail-item").nth(1).click()
    expect(page.locator("#remove")).to_be_enabled()
    chosen = mine.photos[1]
    draw_again(page, tab)
    expect(page.locator("#gallery .thumbnail-item.selected")).to_have_count(1)
    page.click("#remove")
    expect_photos(page, 2)
    assert chosen not in mine.photos
    expect(page.locator("#remove")).to_be_disabled()
    page.close()
    assert errors == []
