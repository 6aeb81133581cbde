"""A page whose photos the app has deleted, in a real browser. At its next event, the page shows the current state."""

from __future__ import annotations

import re
from pathlib import Path

from app_process import visit
from app_visitors import QUERY, SENTENCE, Visitor, launched
from made_up_photos import blurred
from page_state import box
from playwright.sync_api import Browser, Page, expect

from app import actions, expert_actions, texts
from app.visitors.album import open_albums
from app.visitors.retention import Limits
from core.retrieval.gallery import Gallery
from core.sglora.engine import SGLora


def told(page: Page, words: str) -> None:
    """Expect one message with these words, and close it."""
    expect(page.get_by_test_id("toast-body")).to_have_count(1)
    expect(page.get_by_test_id("toast-body")).to_contain_text(words)
    expect(page.get_by_test_id("toast-body")).not_to_contain_text("(2)")
    page.get_by_test_id("toast-close").click()


def expect_photos(page: Page, count: int) -> None:
    """Expect ``count`` photos in all places that show photos."""
    if not page.locator("#captions .sg-gallery").count():  # the panel is folded after each load
        page.click("#captions > button")
    thumbnails = page.locator("#gallery .thumbnail-item")
    expect(thumbnails).to_have_count(count)
    expect(page.locator("#fill")).to_contain_text(f"Photos: {count} of" if count else texts.GALLERY_EMPTY)


def expect_no_answer(page: Page) -> None:
    """Expect no results, no history and no adapter."""
    expect(page.locator("#results")).to_contain_text(
        re.compile(f"{re.escape(texts.COMPARE_EMPTY)}|{re.escape(texts.COMPARE_NO_PHOTOS)}")
    )
    expect(page.locator("#search-command, #history, #command")).to_have_count(0)
    expect(page.locator("#lora")).to_contain_text(texts.LORA_EMPTY)


def test_a_page_whose_photos_are_gone_says_so_and_shows_what_is_there(browser: Browser, engine: SGLora, tmp_path: Path) -> None:
    photos = blurred(tmp_path, [f"{i}.png" for i in range(3)], 2)
    probe = Gallery(engine.backbone)
    probe.add(photos)
    with launched(engine, tmp_path, Limits(memory=int(1.5 * probe.memory))) as app:
        page = visit(browser, app.url, viewport={"width": 1000, "height": 1600})[0]
        second = page.context.new_page()
        page.set_input_files("#upload input[type=file]", photos)
        expect_photos(page, 3)
        box(page, "description").fill(SENTENCE)
        box(page, "query").fill(QUERY)
        page.click("#search")
        expect(page.locator("#results .sg-hit")).to_have_count(6)
        expect(page.locator("#history")).to_be_visible()
        expect(page.locator("#lora .sg-made-line")).to_be_visible()
        # Albums of other tests may still be open with the same question. This test's album has these photos.
        mine = [a for a in open_albums() if sorted(p.name for p in a.photos) == [f"{i}.png" for i in range(3)]]
        session = next(s for a in mine for s in a.sessions if s.history == [(QUERY, SENTENCE)] and s.adaptation is not None)
        adapter = actions.write_zip(engine, session)
        expert_actions.import_files(engine, session, [str(adapter)], "photos of my sea")
        second.goto(app.url)
        expect(second.locator("#status .sg-ready")).to_be_visible()
        expect_photos(second, 3)
        second.get_by_role("tab", name=texts.TAB_EXPERTS).click()
        expect(second.locator("#own li")).to_have_count(1)

        # Another visitor's photos need the room. Then this visitor types.
        Visitor(app, tmp_path, 1).add()
        expect_photos(page, 3)
        box(page, "description").fill(f"{SENTENCE} at noon")
        told(page, texts.MADE_ROOM)
        expect_photos(page, 0)
        expect_no_answer(page)
        expect(page.locator("#report")).to_have_text("")
        expect(page.locator("#description textarea")).to_have_value(f"{SENTENCE} at noon")
        expect(page.locator("#routing .sg-experts li").first).to_be_visible()
        page.click("#photo-words > button")
        page.locator("#pick input").click()
        expect(page.locator("#pick").get_by_role("option")).to_have_count(0)

        # The other tab also gets the message, at an event that fails.
        second.click("#import-own button")
        second.click("#import")
        expect(second.get_by_test_id("toast-body").filter(has_text=texts.MADE_ROOM)).to_have_count(1)
        expect(second.locator("#own")).to_contain_text(texts.OWN_NONE)
        second.get_by_role("tab", name=texts.TAB_STUDIO).click()
        expect_photos(second, 0)
        second.close()

        # The time is up, and there is nothing to lose: no message, and photos that are added survive a reload.
        app.sweep()
        kept = "localStorage['sg-lora-studio']"
        before = page.evaluate(kept)
        page.set_input_files("#upload input[type=file]", photos)
        expect_photos(page, 3)
        page.wait_for_function(f"before => {kept} !== before", arg=before)
        expect(page.get_by_test_id("toast-body")).to_have_count(0)
        page.reload()
        expect(page.locator("#status .sg-ready")).to_be_visible()
        expect_photos(page, 3)
        expect(page.locator("#results .sg-hit")).to_have_count(6)

        # The time is up, and photos are lost: the message does not replace the event's own report.
        app.sweep()
        page.set_input_files("#upload input[type=file]", photos[:2])
        told(page, "unused for 60 minutes")
        expect_photos(page, 2)
        expect(page.locator("#results .sg-hit")).to_have_count(4)  # the typed question searches the new photos
        expect(page.locator("#report")).to_contain_text("2 added")
