"""The commands ``experiment``, a question answered with numbers, and ``manifest``, the photos that they come from."""

from argparse import Namespace
from importlib import import_module

from core.cli.commands import Answer, chosen_backbone, log
from core.cli.format import facts
from core.common.paths import default_cache, results_path
from core.data import check_folder
from core.data.manifest import compared, manifest, read_manifest, write_manifest
from core.experiments import report
from core.experiments.context import ExperimentContext
from core.experiments.registry import EXPERIMENTS
from core.training.corpus import splits


def experiment(arguments: Namespace) -> Answer:
    chosen = EXPERIMENTS[arguments.name]
    if chosen.data:
        check_folder(arguments.data)
    if chosen.plot:
        import_module("core.experiments.figures")  # before hours of work, since its packages may be missing
    log(f"{chosen.name}: {chosen.question}")
    if chosen.data:
        log(facts({"figures from": compared(manifest(arguments.data, splits(arguments.data)), read_manifest())}))
    context = ExperimentContext(arguments.data, arguments.cache or default_cache(), chosen_backbone(arguments), log)
    result = chosen.module.run(context)
    log(f"wrote {report.write(chosen, result, arguments.out or results_path(chosen.name).parent)}")
    return Answer(result, lambda data: report.text(chosen, result))


def photos(arguments: Namespace) -> Answer:
    check_folder(arguments.data)
    lines = manifest(arguments.data, splits(arguments.data))
    if arguments.out is not None:
        write_manifest(arguments.out, lines)
    found = compared(lines, read_manifest() if arguments.out is None else lines)
    return Answer(found, passed=found["first"] is None)
