"""``experiment``: questions that are answered with numbers, one by one or all of them."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.commands import Answer, chosen_backbone, log, on_gpu
from core.cli.train import cache_folder, check_data
from core.common.errors import DataError, StudioError
from core.experiments.registry import EXPERIMENTS, Experiment

if TYPE_CHECKING:
    from core.experiments.context import Study

ALL = "all"


def experiment(arguments: Namespace) -> Answer:
    """Run one experiment, or all of them, and write results and plots."""
    from core.common.paths import results_path
    from core.experiments.context import Study

    chosen = list(EXPERIMENTS.values()) if arguments.name == ALL else [EXPERIMENTS[arguments.name]]
    if any(e.data for e in chosen):
        check_data(arguments)
    study = Study(arguments.data, cache_folder(arguments), on_gpu(chosen_backbone(arguments)), log)
    out = arguments.out or results_path(ALL).parent
    if arguments.name == ALL:
        results = _run_all(chosen, study, out)
        return Answer(results, "\n\n".join(_text(EXPERIMENTS[name], found) for name, found in results.items()))
    (only,) = chosen
    result = only.module.run(study)
    _write(only, result, out)
    return Answer(result, _text(only, result))


def _run_all(chosen: list[Experiment], study: Study, out: Path) -> dict[str, Any]:
    """One after the other; what an earlier run finished with the same code, models and data is not run again.

    Raises:
        DataError: experiments that could not be run, after all the others.
    """
    results, failed = {}, []
    key = _state()
    for number, each in enumerate(chosen, 1):
        log(f"[{number}/{len(chosen)}] {each.name}: {each.question}")
        try:
            results[each.name] = study.piece("results", each.name, key, lambda each=each: each.module.run(study))
        except StudioError as error:
            log(f"{each.name} could not be run: {error}")
            failed.append(each.name)
            continue
        _write(each, results[each.name], out)
    if failed:
        raise DataError(f"{', '.join(failed)} could not be run; the reasons are above. {len(results)} others were.")
    return results


def _state() -> str:
    """A checksum of the engine's code and of the shipped experts and generator: what results depend on beside the data."""
    from core.common.paths import EXPERTS, ROOT, generator_path

    digest = hashlib.sha256()
    for file in (*sorted((ROOT / "core").rglob("*.py")), *sorted(EXPERTS.rglob("*.safetensors")), generator_path()):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _write(each: Experiment, result: Mapping[str, Any], out: Path) -> None:
    from core.experiments import figures

    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{each.name}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    file.with_suffix(".svg").write_text(figures.svg(each.module.plot, result), encoding="utf-8")
    log(f"wrote {file} and {file.with_suffix('.svg').name}")


def _text(each: Experiment, result: Mapping[str, Any]) -> str:
    said = "\n".join(f"- {sentence}" for sentence in each.module.findings(result))
    return f"## {each.question}\n\n{each.method}\n\n{said}\n\n{each.module.table(result)}"
