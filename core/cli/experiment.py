"""The command ``experiment``: questions answered with numbers."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from core.cli.commands import Answer, chosen_backbone, log
from core.cli.parser import ALL
from core.common.errors import DataError, StudioError
from core.common.paths import default_cache, results_path
from core.data import check_folder
from core.experiments import report
from core.experiments.context import ExperimentContext
from core.experiments.registry import EXPERIMENTS


def experiment(arguments: Namespace) -> Answer:
    """Run one experiment, or all, and write results. If one of several fails, the others still run. Raises
    DataError: at the end, when some failed."""
    chosen = list(EXPERIMENTS.values()) if arguments.name == ALL else [EXPERIMENTS[arguments.name]]
    if any(e.data for e in chosen):
        check_folder(arguments.data)
    context = ExperimentContext(arguments.data, arguments.cache or default_cache(), chosen_backbone(arguments), log)
    out: Path = arguments.out or results_path(ALL).parent
    results: dict[str, Any] = {}
    failed = []
    for number, experiment in enumerate(chosen, 1):
        log(f"[{number}/{len(chosen)}] {experiment.name}: {experiment.question}")
        try:
            results[experiment.name] = experiment.module.run(context)
        except StudioError as error:
            if len(chosen) == 1:
                raise
            log(f"{experiment.name} failed: {error}")
            failed.append(experiment.name)
            continue
        log(f"wrote {report.write(experiment, results[experiment.name], out)}")
    if failed:
        raise DataError("CORE_EXPERIMENTS_FAILED", failed=", ".join(failed), n=len(results))
    text = "\n\n".join(report.text(experiment, results[experiment.name]) for experiment in chosen)
    return Answer(results if arguments.name == ALL else results[arguments.name], lambda data: text)
