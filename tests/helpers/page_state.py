"""Uses the page as a visitor does, reads what it shows, and waits for changes."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from app_process import PATIENCE_SECONDS
from playwright.sync_api import Locator, Page, expect

from app.visitors.tab import Tab

HITS = """hits => hits.map(hit => {
  const [rank, label, score] = [".sg-rank", ".sg-label", ".sg-score"].map(part => hit.querySelector(part));
  return [Number(rank.textContent), label.textContent, Number(score.textContent)];
})"""

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def settles(read: Callable[[], Any], wanted: Any) -> None:
    """Wait until ``read`` returns the wanted value. For checks that ``expect`` does not have."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (found := read()) != wanted and time.monotonic() < end:
        time.sleep(0.1)
    assert found == wanted


def box(page: Page, name: str) -> Locator:
    """The text field of a component."""
    return page.locator(f"#{name} textarea, #{name} input:not([type=file])").first


def choose(page: Page, name: str, words: str) -> None:
    """Choose an option of a dropdown."""
    box(page, name).click()
    page.locator(f"#{name}").get_by_role("option", name=words, exact=True).click()


def submit(page: Page, name: str, words: str) -> None:
    """Type into the text field of a component, and press Enter."""
    box(page, name).fill(words)
    box(page, name).press("Enter")


def teach(page: Page, name: str) -> None:
    """Teach a name with the chosen photos."""
    box(page, "names-name").fill(name)
    page.click("#names-teach")


def downloaded(page: Page, button: str) -> Path:
    """The file that a click on a button downloads."""
    with page.expect_download() as waiting:
        page.click(button)
    return Path(waiting.value.path())


def close_message(page: Page) -> None:
    """Close the page's message, unless it has gone by itself."""
    page.get_by_test_id("toast-close").evaluate_all("all => all.forEach(each => each.click())")
    expect(page.get_by_test_id("toast-body")).to_have_count(0)


def back_at(page: Page) -> None:
    """The visitor looks at the tab again. Headless Chromium shows all of its tabs at once, so a test must say so."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def draw_again(page: Page, tab: Tab) -> None:
    """Draw everything again, as if the browser had missed an answer."""
    drawn = tab.drawn.number
    tab.drawn.views.clear()
    back_at(page)
    settles(lambda: tab.drawn.number > drawn, True)
    page.wait_for_timeout(1_000)


def ask(page: Page, query: str, description: str | None = None) -> None:
    """Ask a question, and wait for its answer. ``description``: another sentence."""
    if description is not None:
        box(page, "description").fill(description)
    box(page, "query").fill(query)
    page.click("#search")
    answered(page, query)


def answered(page: Page, query: str, photos: int | None = None) -> None:
    """Wait until the page shows an answer to this question, with as many photos."""
    expect(page.locator("#results h3")).to_contain_text(query)
    expect(box(page, "query")).to_have_value(query)
    if photos is not None:
        expect(page.locator("#results h3")).to_contain_text(f"{photos} ranked")


def add(page: Page, files: Sequence[Path], photos: int | None = None) -> None:
    """Add files. ``photos``: how many photos the visitor has then."""
    page.set_input_files("#upload input[type=file]", files)
    if photos is not None:
        expect_photos(page, photos)


def expect_photos(page: Page, photos: int) -> None:
    expect(page.locator("#fill")).to_contain_text(f"Photos: {photos} of")


def column(page: Page, title: str) -> list[tuple[int, str, float]]:
    """(rank, label, score) of each hit in a column of the results."""
    return [tuple(hit) for hit in page.locator(f'#results section[aria-label="{title}"] .sg-hit').evaluate_all(HITS)]


def labels(page: Page, title: str) -> list[str]:
    """The names of the photos in a column of the results."""
    return [label for _, label, _ in column(page, title)]


def asked_of(page: Page) -> dict[str, str]:
    """The query parameters of the page's address. ``page.url`` may miss what the page writes there while it loads."""
    return dict(parse_qsl(page.evaluate("location.search").lstrip("?")))


def expect_fit(page: Page) -> None:
    """Check that the page is no wider than its window."""
    settles(lambda: page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), True)
