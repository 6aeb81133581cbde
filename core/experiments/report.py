"""The result of an experiment as files: numbers with findings and tables, and of some a picture.

Sentences and tables are stored with the numbers, so that the Evidence tab and the documents only read files.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.common import markdown
from core.common.text import listed
from core.experiments import answers, statistics
from core.experiments.registry import EXPERIMENTS, Experiment


def report(experiment: Experiment, result: Mapping[str, Any]) -> dict[str, Any]:
    """A result's texts: order, question, method, verdict and the interval that decides it, findings (the first has the figures
    of the answer, the last are the file's own notes), what the paper found, tables in Markdown, the command that repeats it."""
    module, decide = experiment.module, answers.differences(experiment, result.get("groups", {}))
    interval = next(iter(decide.values())) if decide else module.decides(result) if hasattr(module, "decides") else None
    sentences = [answers.sentence(experiment, group, result["groups"][group]) for group in decide]
    found = listed([f"{markdown.difference(interval)} ({group})" for group, interval in decide.items()])
    return {
        "order": list(EXPERIMENTS).index(experiment.name),
        "question": experiment.question,
        "method": experiment.method,
        "verdict": answers.verdict(interval),
        "interval": interval,
        "findings": sentences + (module.findings(result) if hasattr(module, "findings") else []) + result.get("notes", []),
        "paper": experiment.paper.format(found=found),
        "table": module.table(result) if hasattr(module, "table") else statistics.summary_table(result["groups"]),
        "command": f"python -m core experiment {experiment.name}{' --data data' if experiment.data else ''}",
    }


def write(experiment: Experiment, result: Mapping[str, Any], out: Path) -> Path:
    """Write a result, its report and its picture into a folder; returns the first file."""
    out.mkdir(parents=True, exist_ok=True)
    file, content = out / f"{experiment.name}.json", {"report": report(experiment, result), **result}
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if experiment.plot:
        from core.experiments import figures

        file.with_suffix(".svg").write_text(figures.svg(experiment.name, result), encoding="utf-8")
    return file


def text(experiment: Experiment, result: Mapping[str, Any]) -> str:
    """A result as Markdown, for the terminal."""
    content = report(experiment, result)
    first, *more = content["findings"]
    findings = "\n".join(f"- {each}" for each in (f"**{content['verdict']}.** {first}", *more, content["paper"]) if each)
    return f"## {content['question']}\n\n{content['method']}\n\n{findings}\n\n{content['table']}"
