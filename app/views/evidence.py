"""The results that ship with the studio, as exhibits to show; whatever subset of them is there."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from app import texts
from core.common.paths import results_path
from core.experiments.bench.registry import BENCHMARKS, Benchmark
from core.experiments.registry import EXPERIMENTS, Experiment

log = logging.getLogger(__name__)
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Exhibit:
    """One result.

    Attributes:
        title: its question. lead: how it is measured. findings: what holds and what does not.
        plot, table: as HTML; either may be empty. command: repeats it.
    """

    title: str
    lead: str
    findings: tuple[str, ...] = ()
    plot: str = ""
    table: str = ""
    command: str = ""


def folder() -> Path:
    """Where results are shipped."""
    return results_path("any").parent


@dataclass(frozen=True)
class Result:
    """What an experiment or a benchmark left: the ``file``, and the ``command`` that repeats it."""

    of: Experiment | Benchmark
    file: Path
    command: str


def available(where: Path | None = None) -> list[Result]:
    """The results in the folder: of experiments, then of benchmarks, in their order."""
    place = where or folder()
    results = [
        Result(e, place / f"{e.name}.json", f"python -m core experiment {e.name}{' --data data' if e.data else ''}")
        for e in EXPERIMENTS.values()
    ]
    results += [Result(b, place / f"bench-{b.name}.json", f"python -m core bench {b.name}") for b in BENCHMARKS.values()]
    return [result for result in results if result.file.is_file()]


def exhibits(where: Path | None = None) -> list[Exhibit]:
    """All results; a file that cannot be shown says so in its place."""
    return [_exhibit(result) for result in available(where)]


def _exhibit(result: Result) -> Exhibit:
    question, file = result.of.question, result.file
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError("too large")
        found = json.loads(file.read_text(encoding="utf-8"))
        module = result.of.module
        findings, table = tuple(module.findings(found)), _tables(module.table(found), question)
        return Exhibit(question, result.of.method, findings, _plot(file.with_suffix(".svg"), question), table, result.command)
    except Exception:
        # A result of another version, or half a file: the rest of the tab is worth showing all the same.
        log.exception("The result %s cannot be shown", file)
        return Exhibit(question, texts.EVIDENCE_BROKEN.format(name=file.name))


def _plot(file: Path, title: str) -> str:
    """The SVG itself, so that it takes the page's colours and its words can be read and found; none where there is no file."""
    if not file.is_file():
        return ""
    svg = re.sub(r"<style>.*?</style>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


def _tables(markdown: str, title: str) -> str:
    """Tables and paragraphs of an experiment as HTML; Gradio's Markdown scrolls for no keyboard."""
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
