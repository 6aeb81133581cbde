"""The answer of an experiment, and its result as files: numbers with findings and tables, and of some a picture.

Sentences and tables are stored with the numbers, so that the Evidence tab and the documents only read files.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.common import markdown
from core.common.text import listed
from core.experiments import statistics
from core.experiments.registry import EXPERIMENTS, Experiment

SAME = " of the same experts"  # not said twice


def verdict(interval: Sequence[float] | None) -> str:
    """Is a difference above zero? One task alone has no interval (low and high are equal), and decides nothing."""
    if interval is None:
        return "Figures"  # the question is not about yes or no
    _, low, high = interval
    return "Not significant" if low <= 0 <= high or low == high else "Yes" if low > 0 else "No"


def differences(experiment: Experiment, groups: Mapping[str, Any]) -> dict[str, list[float]]:
    """What decides, by group of ``statistics.summary``; the group that counts is the first."""
    other = next(iter(experiment.minus), "")
    ordered = sorted(groups, key=lambda group: group != experiment.group)
    return {group: _first(groups[group]["methods"][other]["ours minus it"]) for group in ordered if other}


def sentence(experiment: Experiment, group: str, content: Mapping[str, Any]) -> str:
    """The means in a group, and the verdict on each of the methods."""
    methods, told = content["methods"], dict[str, list[str]]()
    figures = [f"{experiment.finds} {_first(v['mean']):.1f}" for v in methods.values() if v["ours minus it"] is None]
    for method, name in experiment.minus.items():
        figures.append(f"{name} {_first(methods[method]['mean']):.1f}")
        told.setdefault(verdict(_first(methods[method]["ours minus it"])).lower(), []).append(name.removesuffix(SAME))
    verdicts = ", ".join(f"{word} against {listed(names)}" for word, names in told.items())
    return f"{', '.join(figures)}: {verdicts if content['tasks'] > 1 else 'one task, no interval'} ({group})."


def _first(measures: Mapping[str, Any]) -> Any:
    return next(iter(measures.values()))


def report(experiment: Experiment, result: Mapping[str, Any]) -> dict[str, Any]:
    """A result's texts: order, question, method, verdict and the interval that decides it, findings (the first has the figures
    of the answer), what the paper found, tables in Markdown, the command that repeats it."""
    module, decide = experiment.module, differences(experiment, result.get("groups", {}))
    interval = next(iter(decide.values())) if decide else module.decides(result) if hasattr(module, "decides") else None
    sentences = [sentence(experiment, group, result["groups"][group]) for group in decide]
    found = listed([f"{markdown.difference(interval)} ({group})" for group, interval in decide.items()])
    return {
        "order": list(EXPERIMENTS).index(experiment.name),
        "question": experiment.question,
        "method": experiment.method,
        "verdict": verdict(interval),
        "interval": interval,
        "findings": [*sentences, *(module.findings(result) if hasattr(module, "findings") else ())],
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
    content = report(experiment, result)
    first, *more = content["findings"]
    findings = "\n".join(f"- {each}" for each in (f"**{content['verdict']}.** {first}", *more, content["paper"]) if each)
    return f"## {content['question']}\n\n{content['method']}\n\n{findings}\n\n{content['table']}"
