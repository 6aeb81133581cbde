"""SECURITY.md against the tests: each promise names at least one, and all of them are there and collected."""

from __future__ import annotations

import re

import pytest

from core.common.paths import ROOT

NODE = re.compile(r"`(tests/[\w/]+\.py::\w+)`")


def promises() -> list[tuple[str, list[str]]]:
    """(promise, tests) of every row of the tables."""
    rows = [line.strip("|").split("|") for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [(row[0], NODE.findall(row[-1])) for row in cells if row[0] != "promise" and not set(row[0]) <= set("- ")]


class Collected:
    """A plugin that notes what pytest collects."""

    def __init__(self) -> None:
        self.nodes: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.nodes = {item.nodeid.partition("[")[0] for item in items}


def test_every_promise_names_a_test_that_is_collected(request: pytest.FixtureRequest) -> None:
    table = promises()
    assert len(table) > 10
    assert [promise for promise, nodes in table if not nodes] == []
    named = {node for _, nodes in table for node in nodes}
    # In a run of everything they have been collected already.
    missing = named - {item.nodeid.partition("[")[0] for item in request.session.items}
    if missing:
        files = sorted({str(ROOT / node.partition("::")[0]) for node in missing})
        collected = Collected()
        options = ["--collect-only", "-qq", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
        pytest.main([*options, *files], plugins=[collected])
        missing -= collected.nodes
    assert sorted(missing) == []
