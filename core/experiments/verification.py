"""Do experts beat zero-shot on photos of their own task? This is the paper's first onboarding experiment."""

from typing import Any

from core.experiments.context import ExperimentContext
from core.experts.recall_summary import findings, table, verify

__all__ = ["findings", "run", "table"]


def run(context: ExperimentContext) -> dict[str, Any]:
    """``verify`` of the shipped repository."""
    return verify(context.engine.repository)
