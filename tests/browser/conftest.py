"""The app as a user starts it, and a browser to look at it with: one of each for a file of tests, unless it has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from app_process import chromium, serve
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("app")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started
