"""The result of an experiment as files: numbers with findings and tables, and of some a picture.

Sentences and tables are stored with the numbers, so that the Evidence tab and the documents only read files.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.experiments import statistics
from core.experiments.registry import EXPERIMENTS, Experiment


def report(experiment: Experiment, result: Mapping[str, Any]) -> dict[str, Any]:
    """A result's texts: order, question, method, findings (the first answers the question), tables in Markdown, the command
    that repeats it."""
    module = experiment.module
    return {
        "order": list(EXPERIMENTS).index(experiment.name),
        "question": experiment.question,
        "method": experiment.method,
        "findings": module.findings(result),
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
    findings = "\n".join(f"- {sentence}" for sentence in content["findings"])
    return f"## {content['question']}\n\n{content['method']}\n\n{findings}\n\n{content['table']}"
