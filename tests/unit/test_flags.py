"""Flags that a Space sets as variables."""

from __future__ import annotations

import sys

import pytest

from app.flags import flags


@pytest.mark.parametrize(("value", "mcp"), [("true", True), ("True", True), ("false", False), (None, False)])
def test_a_variable_offers_mcp_where_no_flags_are_given(monkeypatch: pytest.MonkeyPatch, value: str | None, mcp: bool) -> None:
    pytest.importorskip("mcp")
    monkeypatch.setattr(sys, "argv", ["app.py"])
    monkeypatch.delenv("GRADIO_MCP_SERVER", raising=False)
    if value is not None:
        monkeypatch.setenv("GRADIO_MCP_SERVER", value)
    assert flags().mcp is mcp
