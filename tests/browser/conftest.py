"""Fixtures of a browser that shows the app: one browser for each file of tests, unless the file has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from app_process import chromium, serve, visit
from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def samples_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app whose page opens on the samples."""
    with serve(tmp_path_factory.mktemp("app"), flags=()) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def opened(browser: Browser, url: str) -> Iterator[Page]:
    """A visitor's page. The test fails if the page reports an error."""
    page, errors = visit(browser, url)
    yield page
    page.context.close()
    assert errors == []
