"""Fixtures that several test files share; the models load once a session."""

from __future__ import annotations

import pytest

from core.backbones.embedded import EmbeddedBackbone, load_embedded
from core.loading import heads_path, load_engine
from core.sglora import SGLora


@pytest.fixture(scope="session")
def backbone() -> EmbeddedBackbone:
    """The shipped embedded backbone."""
    return load_embedded(heads_path())


@pytest.fixture(scope="session")
def engine(backbone: EmbeddedBackbone) -> SGLora:
    """The engine with all shipped files."""
    return load_engine(backbone)
