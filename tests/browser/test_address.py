"""The page's address: links to tabs, and the browser's Back."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from app_process import CHROMIUM, START_SECONDS
from playwright.sync_api import Browser, Page, expect

from app import texts

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")

TABS = {"evidence": texts.TAB_EVIDENCE, "experts": texts.TAB_EXPERTS, "about": texts.TAB_ABOUT}


def opened(browser: Browser, address: str) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(address)
    expect(page.locator("#status .sg-ready")).to_be_visible(timeout=START_SECONDS * 1000)
    return page


def expect_tab(page: Page, name: str) -> None:
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize("tab", TABS)
def test_a_link_to_a_tab_opens_it(browser: Browser, url: str, tab: str) -> None:
    for _ in range(3):
        page = opened(browser, f"{url}?tab={tab}")
        expect_tab(page, TABS[tab])
        page.context.close()


def test_a_link_on_the_page_is_one_step_of_back(browser: Browser, url: str) -> None:
    page = opened(browser, url)
    address = page.url
    page.locator('.sg-header a[href="?tab=evidence"]').click()
    expect_tab(page, texts.TAB_EVIDENCE)
    assert parse_qs(urlsplit(page.url).query)["tab"] == ["evidence"]
    page.go_back()
    expect_tab(page, texts.TAB_STUDIO)
    assert page.url == address
    page.go_forward()
    expect_tab(page, texts.TAB_EVIDENCE)
    page.context.close()
