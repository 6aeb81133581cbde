"""The results that ship with the studio, as the Evidence tab shows them: read from files, nothing is computed."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from app import texts
from core.common.paths import results_path

log = logging.getLogger(__name__)
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Exhibit:
    """One result.

    Attributes:
        title: its question. lead: how it is measured. findings: what holds and what does not.
        plot, table: as HTML; either may be empty. command: repeats it. order: its place among all.
    """

    title: str
    lead: str
    findings: tuple[str, ...] = ()
    plot: str = ""
    table: str = ""
    command: str = ""
    order: int = 0


def exhibits(folder: Path | None = None) -> list[Exhibit]:
    """All results in a folder (default: those that ship) in their order; one that cannot be shown says so in its place."""
    files = sorted((folder or results_path("any").parent).glob("*.json"))
    return sorted((exhibit for file in files if (exhibit := _exhibit(file))), key=lambda each: each.order)


def _exhibit(file: Path) -> Exhibit | None:
    """None for a JSON file that is no result."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError("too large")
        content = json.loads(file.read_text(encoding="utf-8"))
        if "report" not in content:
            return None
        report: dict[str, Any] = content["report"]
        question = str(report["question"])
        return Exhibit(
            question,
            str(report["method"]),
            tuple(map(str, report["findings"])),
            _plot(file.with_suffix(".svg"), question),
            _tables(report["table"], question),
            str(report["command"]),
            int(report["order"]),
        )
    except Exception:
        # A result of another version, or half a file: the rest of the tab is worth showing all the same.
        log.exception("The result %s cannot be shown", file)
        return Exhibit(file.stem, texts.EVIDENCE_BROKEN.format(name=file.name))


def _plot(file: Path, title: str) -> str:
    """The SVG itself, so that it takes the page's colours and its words can be read and searched; empty without a file."""
    if not file.is_file():
        return ""
    svg = re.sub(r"<style>.*?</style>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


class _Renderer(RendererHTML):
    """Tables that scroll by keyboard, which those of Gradio's Markdown do not."""

    def table_open(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return f'<div class="sg-table" tabindex="0" role="region" aria-label="{escape(env["title"])}"><table>'

    def table_close(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return "</table></div>"


def _tables(markdown: str, title: str) -> str:
    """Tables and paragraphs in Markdown as HTML; HTML in the Markdown is escaped."""
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    return parser.render(markdown, {"title": title})
