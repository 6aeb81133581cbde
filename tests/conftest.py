"""Fixtures that several test files share; the models load once a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.backbones.embedded import EmbeddedBackbone, load_embedded
from core.common.paths import heads_path
from core.sglora.engine import SGLora
from core.sglora.load import load_engine

if TYPE_CHECKING:
    from core.experiments.context import Study
    from core.experiments.folds import PreparedFold


@pytest.fixture(scope="session")
def backbone() -> EmbeddedBackbone:
    """The shipped embedded backbone."""
    return load_embedded(heads_path())


@pytest.fixture(scope="session")
def engine(backbone: EmbeddedBackbone) -> SGLora:
    """The engine with all shipped files."""
    return load_engine(backbone)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Made-up tasks on a tiny backbone."""
    from studies import made_up_study

    return made_up_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def prepared(study: Study) -> PreparedFold:
    """The first fold of ``study``, trained."""
    from studies import RECIPE

    from core.experiments.folds import prepare_fold

    return prepare_fold(study, 0, RECIPE)
