"""The small page that most of these tests attack."""

from collections.abc import Iterator

import pytest
from small_page import Small, small


@pytest.fixture(scope="module")
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """With the tools of MCP if the module's ``MCP`` says so."""
    with small(tmp_path_factory.mktemp("app"), mcp=getattr(request.module, "MCP", False)) as running:
        yield running
