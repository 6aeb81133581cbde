"""The page's address: links to tabs, and the browser's Back."""

from __future__ import annotations

import pytest
from app_process import CHROMIUM, visit
from page_state import asked_of, settles
from playwright.sync_api import Browser, Page, expect

from app import texts

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")

TABS = {"search": texts.TAB_STUDIO, "evidence": texts.TAB_EVIDENCE, "experts": texts.TAB_EXPERTS, "about": texts.TAB_ABOUT}


def opened(browser: Browser, address: str) -> Page:
    return visit(browser, address)[0]


def expect_tab(page: Page, name: str) -> None:
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")


def test_a_link_on_the_page_is_one_step_of_back(browser: Browser, url: str) -> None:
    page = opened(browser, url)
    address = page.url
    page.locator('.sg-header a[href="?tab=evidence"]').click()
    expect_tab(page, texts.TAB_EVIDENCE)
    settles(lambda: asked_of(page), {"tab": "evidence"})
    page.go_back()
    expect_tab(page, texts.TAB_STUDIO)
    expect(page).to_have_url(address)
    page.go_forward()
    expect_tab(page, texts.TAB_EVIDENCE)
    page.context.close()


def test_back_closes_gradios_panel_and_closing_it_is_no_step(browser: Browser, url: str) -> None:
    page = opened(browser, url)
    address, steps = page.url, page.evaluate("history.length")
    panel = page.locator(".api-docs")
    page.get_by_role("button", name="Use via API").click()
    expect(panel).to_be_visible()
    page.go_back()
    expect(panel).to_have_count(0)
    page.wait_for_url(lambda now: now.rstrip("?") == address)
    page.get_by_role("button", name="Use via API").click()
    expect(panel).to_be_visible()
    panel.locator(".backdrop").click(position={"x": 5, "y": 300})
    expect(panel).to_have_count(0)
    page.wait_for_url(lambda now: now.rstrip("?") == address)
    settles(lambda: page.evaluate("history.length"), steps + 1)  # one that is ahead of here
    page.context.close()


@pytest.mark.parametrize("tab", TABS)
def test_links_open_tabs_and_400_percent_fits(browser: Browser, url: str, tab: str) -> None:
    page, _ = visit(browser, f"{url}?tab={tab}", viewport={"width": 320, "height": 640})
    expect_tab(page, TABS[tab])
    if tab == "search":
        page.click("#try-it")
        expect(page.locator("#results .sg-hit").first).to_be_visible()
    settles(lambda: page.evaluate("document.documentElement.scrollWidth"), 320)
    page.context.close()
