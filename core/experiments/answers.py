"""An experiment's answer: Yes, No or Not significant, as a paired interval decides, and the figures of the controls."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.common.text import listed
from core.experiments.registry import Experiment

YES, NO, UNSURE = "Yes", "No", "Not significant"
SAME = " of the same experts"  # not said twice
FIGURES = "Figures"  # no interval decides: the question is not about yes or no


def verdict(interval: Sequence[float] | None) -> str:
    """Is a difference above zero? One task alone has no interval (low and high are equal), and decides nothing."""
    if interval is None:
        return FIGURES
    _, low, high = interval
    return UNSURE if low <= 0 <= high or low == high else YES if low > 0 else NO


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
