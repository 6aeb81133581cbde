"""The shipped results, as the Evidence tab shows them. They are read from files; nothing is computed."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from app import texts
from app.views.template import macros
from core.common.paths import results_path

log = logging.getLogger(__name__)
MAX_BYTES = 16 * 1024 * 1024
_html = macros("evidence.html")


@dataclass(frozen=True)
class Exhibit:
    """One result."""

    title: str  # the question that it answers
    lead: str  # how it was measured
    findings: tuple[str, ...] = ()  # what holds, and what does not; the first answers the question
    plot: str = ""  # HTML; "" without one
    table: str = ""
    command: str = ""  # the command that repeats it
    order: int = 0  # its place among all


def page(shown: Sequence[Exhibit]) -> Markup:
    """The whole tab: a table of questions and answers, then every question with its figures, folded."""
    return _html.page(list(shown))


@cache
def shipped() -> list[Exhibit]:
    """The shipped results, read once although the page is laid out in every language."""
    return exhibits(results_path("any").parent)


def exhibits(folder: Path) -> list[Exhibit]:
    """All results in a folder, in order. A result that cannot be read shows a notice in its place."""
    return sorted(filter(None, map(_exhibit, sorted(folder.glob("*.json")))), key=lambda exhibit: exhibit.order)


def _exhibit(file: Path) -> Exhibit | None:
    """The result in a JSON file; None if it holds none."""
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
            _tables(report["table"], question, file.stem),
            str(report["command"]),
            int(report["order"]),
        )
    except Exception:
        # The file may be of another version or incomplete: the rest of the tab is still worth showing.
        log.exception("The result %s cannot be shown", file)
        return Exhibit(file.stem, texts.EVIDENCE_BROKEN.format(name=file.name))


def _plot(file: Path, title: str) -> Markup:
    """The SVG itself, so that it takes the page's colours and its words can be read and searched; "" without a file."""
    if not file.is_file():
        return Markup("")
    svg = re.sub(r"<style>.*?</style>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1))


def _tables(markdown: str, title: str, file: str) -> Markup:
    """Tables and paragraphs in Markdown as HTML. HTML in the Markdown is escaped. Tables scroll by keyboard, and have a link to
    their figures as ``file``."""
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return Markup(html.replace("<table>", _html.table_open(title)).replace("</table>", _html.table_close(f"{file}.csv")))
