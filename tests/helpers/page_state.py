"""Reads what the page shows, and waits for changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from app_process import PATIENCE_SECONDS
from playwright.sync_api import Locator, Page

HITS = """hits => hits.map(hit => {
  const [rank, label, score] = [".sg-rank", ".sg-label", ".sg-score"].map(part => hit.querySelector(part));
  return [Number(rank.textContent), label.title, Number(score.textContent)];
})"""


def settles(read: Callable[[], Any], wanted: Any) -> None:
    """Wait until ``read`` returns the wanted value. For checks that ``expect`` does not have."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (found := read()) != wanted and time.monotonic() < end:
        time.sleep(0.1)
    assert found == wanted


def box(page: Page, name: str) -> Locator:
    """The text field of a component."""
    return page.locator(f"#{name} textarea, #{name} input:not([type=file])").first


def column(page: Page, title: str) -> list[tuple[int, str, float]]:
    """(rank, label, score) of each hit in a column of the results."""
    return [tuple(hit) for hit in page.locator(f'#results section[aria-label="{title}"] .sg-hit').evaluate_all(HITS)]


def labels(page: Page, title: str) -> list[str]:
    """The names of the photos in a column of the results."""
    return [label for _, label, _ in column(page, title)]


def asked_of(page: Page) -> dict[str, str]:
    """The query parameters of the page's address."""
    return dict(parse_qsl(urlsplit(page.url).query))


def expect_fit(page: Page) -> None:
    """Check that the page is no wider than its window."""
    settles(lambda: page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), True)
