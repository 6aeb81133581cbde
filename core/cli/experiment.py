"""``experiment``: questions that are answered with numbers, one by one."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from core.cli.commands import Answer, chosen_backbone, log
from core.cli.train import cache_folder, check_data

NAMES = ("base", "verification", "generation")


def experiment(arguments: Namespace) -> Answer:
    """Run one experiment, and keep its result as JSON."""
    from core.loading import results_path

    data = {"base": _base, "verification": _verification, "generation": _generation}[arguments.name](arguments)
    out = arguments.out or results_path(arguments.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    log(f"wrote {out}")
    return Answer(data, _text(arguments.name, data))


def _base(arguments: Namespace) -> dict[str, Any]:
    from core.experiments.base import run

    check_data(arguments)
    return run(arguments.data, cache_folder(arguments), chosen_backbone(arguments), log)


def _verification(arguments: Namespace) -> dict[str, Any]:
    from core.experiments.verification import run

    return run(_repository(arguments))


def _generation(arguments: Namespace) -> dict[str, Any]:
    from core.experiments.generation import run

    check_data(arguments)
    cache = cache_folder(arguments)
    return run(arguments.data, cache / "experiments" / "generation", cache, chosen_backbone(arguments), log=log)


def _repository(arguments: Namespace) -> Any:
    from core.experts import ExpertRepository
    from core.loading import experts_path

    model = chosen_backbone(arguments)
    return ExpertRepository.load(experts_path(model.name), model.layout, model.fingerprint)


def _text(name: str, data: dict[str, Any]) -> str:
    from core.experiments import tables

    return {"base": tables.base, "verification": tables.verification, "generation": tables.generation}[name](data)
