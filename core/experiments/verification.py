"""Do experts beat zero-shot on photos of their own task? This is the paper's first onboarding experiment."""

from collections.abc import Mapping
from typing import Any

from core.experiments.context import ExperimentContext
from core.experts.recall_summary import findings, table, verify

__all__ = ["decides", "findings", "run", "table"]


def run(context: ExperimentContext) -> dict[str, Any]:
    return verify(context.engine.repository)


def decides(result: Mapping[str, Any]) -> list[float]:
    return result["all"]["gain"]["R@1"]
