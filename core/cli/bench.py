"""``bench``: what the engine costs in time and memory, one benchmark or all of them."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.cli.commands import Answer, log
from core.cli.train import check_data
from core.experiments.bench.registry import BENCHMARKS, Benchmark

ALL = "all"


def bench(arguments: Namespace) -> Answer:
    """Run benchmarks one after the other; each result is written as soon as it is there."""
    if arguments.data is not None:
        check_data(arguments)
    from core.common.paths import results_path
    from core.experiments.bench.context import Setting, machine

    chosen = list(BENCHMARKS.values()) if arguments.name == ALL else [BENCHMARKS[arguments.name]]
    setting = Setting(arguments.data, arguments.largest, arguments.rounds, log)
    out = arguments.out or results_path(ALL).parent
    results = {}
    for number, each in enumerate(chosen, 1):
        log(f"[{number}/{len(chosen)}] {each.name}: {each.question}")
        around = machine()
        results[each.name] = {"machine": around, **each.module.run(setting)}
        _write(each, results[each.name], out)
    data = results if arguments.name == ALL else results[arguments.name]
    return Answer(data, "\n\n".join(_text(BENCHMARKS[name], found) for name, found in results.items()))


def _write(each: Benchmark, result: Mapping[str, Any], out: Path) -> None:
    from core.experiments import figures

    out.mkdir(parents=True, exist_ok=True)
    file = out / f"bench-{each.name}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    log(f"wrote {file}")
    if each.curve:
        file.with_suffix(".svg").write_text(figures.svg(each.module.plot, result), encoding="utf-8")
        log(f"wrote {file.with_suffix('.svg')}")


def _text(each: Benchmark, result: Mapping[str, Any]) -> str:
    here = result["machine"]
    kind = "bfloat16" if here["bfloat16"] else "float32"
    load = "" if here["load"] is None else f"; {here['load']:g} processes were running or waiting when it began"
    said = "\n".join(f"- {sentence}" for sentence in each.module.findings(result))
    return (
        f"## {each.question}\n\n{each.method}\n\n{said}\n\n{each.module.table(result)}\n\n"
        f"{here['cores']} cores, {here['threads']} threads, {kind}{load}."
    )
