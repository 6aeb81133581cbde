"""The page's address: links to tabs, and the browser's Back button."""

from __future__ import annotations

from app_process import visit
from page_state import asked_of, box, expect_fit, settles
from playwright.sync_api import Browser, Page, expect

from app import texts


def expect_tab(page: Page, name: str) -> None:
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")


def test_back_undoes_a_link_and_closes_gradios_panel(browser: Browser, url: str) -> None:
    page, _ = visit(browser, url)
    address = page.url
    page.locator('.sg-header a[href="?tab=evidence"]').click()
    expect_tab(page, texts.TAB_EVIDENCE)
    settles(lambda: asked_of(page), {"tab": "evidence"})
    page.go_back()
    expect_tab(page, texts.TAB_STUDIO)
    expect(page).to_have_url(address)
    page.go_forward()
    expect_tab(page, texts.TAB_EVIDENCE)
    page.go_back()
    expect_tab(page, texts.TAB_STUDIO)

    # Opening the panel adds one history step. Closing it adds none.
    steps, panel = page.evaluate("history.length"), page.locator(".api-docs")
    for close in (page.go_back, lambda: panel.locator(".backdrop").click(position={"x": 5, "y": 300})):
        page.get_by_role("button", name="Use via API").click()
        expect(panel).to_be_visible()
        close()
        expect(panel).to_have_count(0)
        page.wait_for_url(lambda now: now.rstrip("?") == address)
    settles(lambda: page.evaluate("history.length"), steps)  # the panel's step replaced the link's step
    page.context.close()


def test_two_quick_backs_show_the_question_before_the_last_two(browser: Browser, samples_url: str) -> None:
    page, asked = visit(browser, samples_url)[0], ["a red car", "a cup of coffee", "a lion"]
    for query in asked:
        box(page, "query").fill(query)
        box(page, "query").press("Enter")
        expect(page.locator("#results h3")).to_contain_text(query)
        settles(lambda query=query: asked_of(page).get("q"), query)
    page.evaluate("history.back(); setTimeout(() => history.back(), 100)")
    expect(page.locator("#results h3")).to_contain_text(asked[0])
    expect(box(page, "query")).to_have_value(asked[0])
    settles(lambda: asked_of(page).get("q"), asked[0])
    page.context.close()


def test_a_link_opens_its_tab_and_400_percent_fits(browser: Browser, url: str) -> None:
    page, _ = visit(browser, f"{url}?tab=evidence", viewport={"width": 320, "height": 640})
    expect_tab(page, texts.TAB_EVIDENCE)
    expect_fit(page)
    for name in (texts.TAB_EXPERTS, texts.TAB_ABOUT, texts.TAB_STUDIO):
        page.get_by_role("tab", name=name, exact=True).click()
        expect_tab(page, name)
        expect_fit(page)
    page.click("#try-it")
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    expect_fit(page)
    page.context.close()
