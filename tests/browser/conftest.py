"""Fixtures of a browser that shows the app: one browser for all files of tests, unless a file has its own."""

from collections.abc import Iterator

import pytest
from app_process import chromium, visit
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from app.photos.samples import OPENING
from core.data.sample_photos import sample_photos
from core.retrieval.gallery import Gallery
from core.sglora.engine import SGLora


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver. A process can have only one."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def started(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright=playwright) as browser:
        yield browser


@pytest.fixture
def browser(started: Browser) -> Iterator[Browser]:
    """The browser without pages of other tests."""
    yield started
    for each in [page for context in started.contexts for page in context.pages]:
        each.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A visitor's page. The test fails if the page reports an error."""
    opened, errors = visit(browser, url)
    yield opened
    opened.close()
    assert errors == []


@pytest.fixture(scope="package")
def opening(engine: SGLora) -> Gallery:
    """The samples that the page opens on, for what core finds among them."""
    gallery = Gallery(engine.backbone)
    gallery.add([sample.path for sample in sample_photos(OPENING)])
    return gallery
