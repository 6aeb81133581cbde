"""The page's address: links to tabs and questions, reloads, and the browser's Back button."""

from pathlib import Path

from app_process import visit
from page_state import add, answered, ask, asked_of, box, expect_fit, settles
from playwright.sync_api import Browser, Page, expect

from app.languages import texts
from app.photos.samples import sample_questions

SENTENCE, QUERY, OTHER = "photos of wild animals", "a lion on a rock", "a tower at night"


def expect_tab(page: Page, name: str) -> None:
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")


def test_back_undoes_a_link_and_closes_gradios_panel(browser: Browser, url: str) -> None:
    page, _ = visit(browser, url)  # Gradio's panel asks for files that do not exist
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    settles(lambda: asked_of(page).get("q"), sample_questions()[0].query)
    address, asked = page.evaluate("location.href"), asked_of(page)
    page.locator('.sg-header a[href="?tab=evidence"]').click()
    expect_tab(page, texts.TAB_EVIDENCE)
    settles(lambda: asked_of(page), asked | {"tab": "evidence"})
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
        page.wait_for_url(address)
    settles(lambda: page.evaluate("history.length"), steps)  # the panel's step replaced the link's step


def test_a_link_opens_its_tab_and_400_percent_fits(browser: Browser, url: str) -> None:
    # The answer is there before the tab of the link is. Gradio then sets the label from before the answer.
    page, errors = visit(browser, f"{url}?tab=experts", viewport={"width": 320, "height": 640})
    expect_tab(page, texts.TAB_EXPERTS)
    expect(page.locator("#experts-lead")).to_contain_text("R@1")
    expect(page.get_by_text(texts.LOADING)).to_have_count(0)
    expect_fit(page)
    for name in (texts.TAB_EVIDENCE, texts.TAB_ABOUT, texts.TAB_STUDIO):
        page.get_by_role("tab", name=name, exact=True).click()
        expect_tab(page, name)
        expect_fit(page)
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    expect_fit(page)
    assert errors == []


def test_reloads_links_and_back_keep_questions(page: Page, browser: Browser, url: str, photos: list[Path]) -> None:
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    add(page, photos, len(photos))
    ask(page, QUERY, SENTENCE)
    ask(page, OTHER)
    ask(page, "a dog")
    page.evaluate("history.back(); setTimeout(() => history.back(), 100)")  # two quick steps
    answered(page, QUERY, len(photos))
    settles(lambda: asked_of(page).get("q"), QUERY)
    page.go_forward()
    answered(page, OTHER, len(photos))
    page.reload()  # what was typed and asked after it is not asked again
    answered(page, OTHER, len(photos))
    page.go_forward()
    answered(page, "a dog", len(photos))
    page.go_back()
    answered(page, OTHER, len(photos))

    # The address names the shown question. Another browser asks the same about its own photos.
    settles(lambda: asked_of(page), {"q": OTHER, "about": SENTENCE})
    other, _ = visit(browser, page.url)
    expect(box(other, "query")).to_have_value(OTHER)
    expect(box(other, "description")).to_have_value(SENTENCE)
    expect(box(other, "where")).to_have_value(texts.WITHIN_OWN)
    expect(other.locator("#fill")).to_contain_text(texts.GALLERY_EMPTY)

    # What was typed when the page was loaded again is asked.
    box(page, "query").fill("a boat")
    page.reload()
    answered(page, "a boat", len(photos))
    expect(box(page, "description")).to_have_value(SENTENCE)
    page.go_back()
    answered(page, OTHER, len(photos))
    # An address without a question shows no answer, but the photos.
    page.evaluate("history.pushState({}, '', '/')")
    page.evaluate("history.pushState({}, '', '/?q=x')")
    page.go_back()
    expect(page.locator("#results")).to_contain_text(texts.COMPARE_EMPTY)
    expect(page.locator("#results .sg-waiting img")).to_have_count(len(photos))
    expect(box(page, "where")).to_have_value(texts.WITHIN_OWN)
    expect(box(page, "query")).to_have_value("")
    # A link opened in the same tab shows its own question, not the text typed before.
    box(page, "query").fill(OTHER)
    page.goto(f"{url}?q=a+tree&about=photos+of+boats")
    answered(page, "a tree", len(photos))

    # Control characters of a link are dropped.
    link = "?q=a%00+big%1b+boat&about=photos+of%07+boats%c2%9f"
    page.goto(f"{url}{link}")
    answered(page, "a big boat", len(photos))
    expect(box(page, "description")).to_have_value("photos of boats")
    ask(page, "a tree")
    page.evaluate("link => history.pushState({}, '', link)", link)
    page.evaluate("history.pushState({}, '', '/?q=x')")
    page.go_back()
    answered(page, "a big boat", len(photos))
    expect(page.locator(".toast-body")).to_have_count(0)
