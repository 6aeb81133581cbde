"""The command ``experiment``: a question answered with numbers."""

from argparse import Namespace
from importlib import import_module

from core.cli.commands import Answer, chosen_backbone, log
from core.common.paths import default_cache, results_path
from core.data import check_folder
from core.experiments import report
from core.experiments.context import ExperimentContext
from core.experiments.registry import EXPERIMENTS


def experiment(arguments: Namespace) -> Answer:
    chosen = EXPERIMENTS[arguments.name]
    if chosen.data:
        check_folder(arguments.data)
    if chosen.plot:
        import_module("core.experiments.figures")  # before hours of work, since its packages may be missing
    log(f"{chosen.name}: {chosen.question}")
    context = ExperimentContext(arguments.data, arguments.cache or default_cache(), chosen_backbone(arguments), log)
    result = chosen.module.run(context)
    log(f"wrote {report.write(chosen, result, arguments.out or results_path(chosen.name).parent)}")
    return Answer(result, lambda data: report.text(chosen, result))
