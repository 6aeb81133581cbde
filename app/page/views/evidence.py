"""The shipped results, as the Evidence tab shows them. They are read from files; nothing is computed."""

import json
import logging
import re
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from app.page.views.template import macros
from core.common.paths import results_path

log = logging.getLogger(__name__)
_html = macros("evidence.html")
page = _html.page  # the whole tab: a table of questions and answers, then every question with its figures, folded


@cache
def shipped() -> list[dict[str, Any]]:
    return exhibits(results_path("any").parent)


def exhibits(folder: Path) -> list[dict[str, Any]]:
    """The report of each result in a folder, in order, with its plot and its tables as HTML. One that cannot be read, such as
    that of another version, is left out."""
    found = []
    for file in folder.glob("*.json"):
        try:
            if report := json.loads(file.read_text(encoding="utf-8")).get("report"):
                tables = _tables(report["table"], report["question"], file.stem)
                found.append(report | {"plot": _plot(file.with_suffix(".svg"), report["question"]), "tables": tables})
        except Exception:
            log.exception("The result %s cannot be shown", file)
    return sorted(found, key=lambda report: report["order"])


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
