"""Fixtures for all tests. The models load once a session, and the session starts one app."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from app_process import serve
from command_line import Answer, Run, answers, runner
from made_up_photos import blurred

from core.backbones.embedded import EmbeddedBackbone, load_embedded
from core.common.paths import heads_path
from core.experts.load import load_engine
from core.sglora.engine import SGLora

if TYPE_CHECKING:
    from app_visitors import Running

SLOW_FOLDERS, APPS = {"browser", "hostile"}, {"url", "app"}  # fixtures that start the app


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that start the app or a browser as slow, and run them first. Two worker processes then end at about the same
    time."""
    for item in items:
        if SLOW_FOLDERS & set(item.path.parts) or APPS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.parent.name)  # browser, hostile, integration, unit


def pytest_collection_finish() -> None:
    """Exclude all imported objects from garbage collection: scanning them again and again takes time."""
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
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos of a visitor: 0.png to 5.png."""
    return blurred(tmp_path_factory.mktemp("photos"), [f"{i}.png" for i in range(6)], 2)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``call(*argv)`` runs a command line: (exit code, stdout, stderr)."""
    return runner(capsys)


@pytest.fixture
def answer(run: Run) -> Answer:
    """``call(*argv)`` runs a command line that succeeds: its JSON."""
    return answers(run)


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app that runs as a user starts it. Its page opens on the samples."""
    with serve(tmp_path_factory.mktemp("app"), flags=()) as address:
        yield address


@pytest.fixture(scope="session")
def app(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An app in this process, without samples. A test empties it with ``app.sweep()`` if it counts visitors."""
    from app_visitors import launched  # imports Gradio, which most tests do not need

    with launched(engine, tmp_path_factory.mktemp("app")) as running:
        yield running
