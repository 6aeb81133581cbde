"""Each promise in SECURITY.md names one file of tests, and the file exists."""

from __future__ import annotations

import ast
import re

from core.common.paths import ROOT

FILE = re.compile(r"`(tests/[\w/]+\.py)`")


def promises() -> list[tuple[str, list[str]]]:
    """(promise, files) for each line of the lists."""
    lines = [line for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines() if line.startswith("- ")]
    return [(line, FILE.findall(line)) for line in lines]


def functions_of(file: str) -> list[str]:
    """Names of a file's test functions; none if the file does not exist."""
    path = ROOT / file
    tree = ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def test_every_promise_names_one_file_of_tests() -> None:
    table = promises()
    assert len(table) > 10
    assert [promise for promise, files in table if len(files) != 1] == []
    assert sorted({file for _, files in table for file in files if not functions_of(file)}) == []
