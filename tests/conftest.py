"""Fixtures that several test files share; models load once a session, and one app is started."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from app_process import serve

from core.backbones.embedded import EmbeddedBackbone, load_embedded
from core.common.paths import heads_path
from core.experts.load import load_engine
from core.sglora.engine import SGLora

SLOW_FOLDERS = {"browser", "hostile"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that starts the app or a browser is slow, and comes first, in whatever order: two processes end at one time then."""
    for item in items:
        if SLOW_FOLDERS & set(item.path.parts):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.parent.name)  # browser, hostile, integration, unit


def pytest_collection_finish() -> None:
    """What was imported stays: garbage is not looked for in it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def backbone() -> EmbeddedBackbone:
    """The shipped embedded backbone."""
    return load_embedded(heads_path())


@pytest.fixture(scope="session")
def engine(backbone: EmbeddedBackbone) -> SGLora:
    """The engine with all shipped files."""
    return load_engine(backbone)


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app as a user starts it; visitors begin without photos."""
    with serve(tmp_path_factory.mktemp("app")) as address:
        yield address
