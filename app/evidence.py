"""The results that ship with the studio, as exhibits to show; whatever subset of them is there."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from app import texts
from app.plots import Interval, interval_chart
from core.experiments import tables
from core.loading import results_path

log = logging.getLogger(__name__)
PICTURES = {".png": "image/png", ".svg": "image/svg+xml", ".webp": "image/webp"}
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Exhibit:
    """One result: its question, a chart and a table, both as HTML; either may be empty."""

    title: str
    lead: str
    chart: str
    table: str


def folder() -> Path:
    """Where results are shipped."""
    return results_path("any").parent


def files(where: Path | None = None) -> list[Path]:
    """All results of the folder, the known ones first; none where it is not there."""
    where = where or folder()
    if not where.is_dir():
        return []
    known = list(texts.EVIDENCE)
    return sorted(
        (f for f in where.iterdir() if f.is_file() and f.suffix.lower() in {".json", *PICTURES}),
        key=lambda f: (known.index(f.stem) if f.stem in known else len(known), f.name),
    )


def exhibits(where: Path | None = None) -> list[Exhibit]:
    """All results; a file that cannot be shown says so in its place."""
    return [_picture(f) if f.suffix.lower() in PICTURES else _result(f) for f in files(where)]


def _result(file: Path) -> Exhibit:
    title, lead = texts.EVIDENCE.get(file.stem, (_words(file.stem), ""))
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError("too large")
        result = json.loads(file.read_text(encoding="utf-8"))
        make = getattr(tables, file.stem, None) if file.stem.isidentifier() and not file.stem.startswith("_") else None
        if not callable(make):
            return Exhibit(title, lead, _raw(result), "")
        chart = _CHARTS[file.stem](result) if file.stem in _CHARTS else ""
        return Exhibit(title, lead, chart, _tables(make(result), title))
    except Exception:
        # A result of another version, or half a file: the rest of the tab is worth showing all the same.
        log.exception("The result %s cannot be shown", file)
        return Exhibit(title, texts.EVIDENCE_BROKEN.format(name=file.name), "", "")


def _tables(markdown: str, title: str) -> str:
    """The tables and paragraphs of ``core.experiments.tables`` as HTML; Gradio's Markdown scrolls for no keyboard."""
    parts = []
    for block in markdown.split("\n\n"):
        lines = block.splitlines()
        if not block.startswith("|"):
            parts.append(f"<p>{_bold(block)}</p>")
            continue
        head, _, *rows = (line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines)
        heads = "".join(f'<th scope="col">{_bold(cell)}</th>' for cell in head)
        body = "".join(f"<tr>{''.join(f'<td>{_bold(cell)}</td>' for cell in row)}</tr>" for row in rows)
        parts.append(
            f'<div class="sg-table" tabindex="0" role="region" aria-label="{escape(title)}">'
            f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        )
    return "".join(parts)


def _bold(text: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))


def _picture(file: Path) -> Exhibit:
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    alt = _words(file.stem)
    kind = PICTURES[file.suffix.lower()]
    return Exhibit(alt, "", f'<img class="sg-figure" src="data:{kind};base64,{data}" alt="{escape(alt)}">', "")


def _words(stem: str) -> str:
    return stem.replace("_", " ").replace("-", " ").capitalize()


def _raw(result: Any) -> str:
    shown = json.dumps(result, indent=1, ensure_ascii=False)[:20_000]
    return f'<details class="sg-raw"><summary>{texts.EVIDENCE_RAW}</summary><pre>{escape(shown)}</pre></details>'


def _verification(result: Mapping[str, Any]) -> str:
    rows = [Interval(name, *v["gain"]["R@1"]) for name, v in result.items() if isinstance(v, dict) and "gain" in v]
    return interval_chart(texts.VERIFICATION_CHART, rows)


def _generation(result: Mapping[str, Any]) -> str:
    charts = []
    for group in ("all", "scenes", "special domains"):
        if group in result:
            leads = result[group]["sg-lora minus"]
            rows = [Interval(method, *lead["R@1"]) for method, lead in leads.items()]
            charts.append(interval_chart(texts.GENERATION_CHART.format(group=group), rows))
    return "".join(charts)


_CHARTS = {"verification": _verification, "generation": _generation}
