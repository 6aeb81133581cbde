"""Fixtures that several test files share; the models load once a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.backbones.embedded import EmbeddedBackbone, load_embedded
from core.common.paths import heads_path
from core.sglora.engine import SGLora
from core.sglora.load import load_engine

if TYPE_CHECKING:
    from core.experiments.context import ExperimentContext
    from core.experiments.folds import PreparedFold


SLOW_FOLDERS = {"browser", "hostile"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that starts the app or a browser is slow."""
    for item in items:
        if SLOW_FOLDERS & set(item.path.parts):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def backbone() -> EmbeddedBackbone:
    """The shipped embedded backbone."""
    return load_embedded(heads_path())


@pytest.fixture(scope="session")
def engine(backbone: EmbeddedBackbone) -> SGLora:
    """The engine with all shipped files."""
    return load_engine(backbone)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ExperimentContext:
    """Made-up tasks on a tiny backbone."""
    from made_up_folds import made_up_study

    return made_up_study(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="module")
def prepared(context: ExperimentContext) -> PreparedFold:
    """The first fold of ``context``, trained."""
    from made_up_folds import RECIPE

    from core.experiments.folds import prepare_fold

    return prepare_fold(context, 0, RECIPE)
