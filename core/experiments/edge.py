"""What does a small device need: one core, little memory, few bytes over the air? A generated adapter against fine-tuning.

Both ways run as programs of their own (``core.experiments.edge_worker``), kept to one core and to a limit of memory that the
operating system enforces. A device may do all by itself, and nothing travels; or a server does the work: then a sentence goes
up, or the task's photos and captions, and an adapter comes down.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from core.common import markdown
from core.common.errors import DataError
from core.common.paths import GENERATOR_FILE, ROOT
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.experiments.edge_worker import FINE_TUNE, GENERATE, Job
from core.experiments.folds import FoldRecipe, prepare_fold
from core.sglora.generator import LoraGenerator
from core.sglora.repository import ExpertRepository
from core.training.experts import ExpertRecipe
from core.training.tasks import Task, label_texts

FOLD = 0
LIMITS = (512, 640, 768, 1024, 1536, 2048, 4096)  # megabytes, tried in turn
WAYS = (GENERATE, FINE_TUNE)


def run(context: ExperimentContext, fold: int = FOLD, recipe: FoldRecipe | None = None) -> dict[str, Any]:
    """``measured`` of two held-out tasks of a fold, one of everyday scenes and one of a special domain.

    Raises:
        DataError: not on Linux, whose limits these are; or the pool does not know its photos.
    """
    recipe = recipe or FoldRecipe.of(context.backbone)
    prepared = prepare_fold(context, fold, recipe)
    tasks = typical(prepared.held)
    return {"fold": fold, **measured(context, prepared.repository, prepared.generator, tasks, recipe.experts)}


def typical(held: Sequence[Task]) -> list[Task]:
    """Of the scenes and of the special domains, the task with the median number of photos to train on."""
    found = []
    for scenes in (True, False):
        some = sorted((t for t in held if (t.group == "scenes") is scenes), key=lambda t: len(t.train))
        found += some[len(some) // 2 : len(some) // 2 + 1]
    return found


def measured(
    context: ExperimentContext,
    repository: ExpertRepository,
    generator: LoraGenerator,
    tasks: Sequence[Task],
    recipe: ExpertRecipe,
) -> dict[str, Any]:
    """Every task, both ways.

    Returns:
        {"limits", "tasks": [{"task", "group", "description", "photos", "texts": what fine-tuning takes, "gallery",
        "bytes": {"sentence", "photos", "captions", "experts and generator"},
        "ways": {way: what ``core.experiments.edge_worker.work`` gives, with "failed": limits that did not suffice}}]}
    """
    if not sys.platform.startswith("linux"):
        raise DataError("This experiment sets limits that only Linux enforces: run it there.")
    if not context.pool.samples:
        raise DataError("The photos of this data are not known by file, so none can be sent anywhere.")
    found = []
    for task in tasks:
        samples = [context.pool.samples[row] for row in (*task.train, *task.stop)]
        with tempfile.TemporaryDirectory(prefix="sg-lora-edge-") as folder:
            engine = Path(folder)
            repository.save(engine)
            generator.save(engine / GENERATOR_FILE)
            stored = sum(file.stat().st_size for file in engine.iterdir())
            ways = {}
            for way in WAYS:
                job = job_of(context, way, task, engine, recipe)
                key = [statistics.identity(repository, generator), asdict(replace(job, engine="")), LIMITS]
                name = f"{task.name}-{way}"
                ways[way] = context.piece("edge", name, key, lambda j=job, n=name: within_limits(j, context, n))
        found.append(
            {
                "task": task.name,
                "group": task.group,
                "description": task.description,
                "photos": len(samples),
                "texts": len({text for s in samples for text in s.captions or label_texts(s)}),
                "gallery": len(task.test),
                "bytes": {
                    "sentence": len(task.description.encode()),
                    "photos": sum(s.path.stat().st_size for s in samples),
                    "captions": sum(len(text.encode()) for s in samples for text in s.captions or (s.label,)),
                    "experts and generator": stored,
                },
                "ways": ways,
            }
        )
    return {"limits": list(LIMITS), "tasks": found}


def job_of(context: ExperimentContext, way: str, task: Task, engine: Path, recipe: ExpertRecipe) -> Job:
    """A task as a job for a device; a generated adapter needs the photos that are searched, and no others."""
    parts = {"train": task.train, "stop": task.stop, "test": task.test}
    if way == GENERATE:
        parts |= {"train": task.train[:0], "stop": task.stop[:0]}
    rows = np.concatenate(list(parts.values()))
    starts = np.cumsum([0, *(len(part) for part in parts.values())])
    new = {name: list(range(a, b)) for name, a, b in zip(parts, starts[:-1], starts[1:], strict=True)}
    samples = [{**asdict(context.pool.samples[row]), "path": str(context.pool.samples[row].path.resolve())} for row in rows]
    choice = dict(context.backbone.choice)
    about = (task.name, task.description, task.classes, str(engine), samples)
    return Job(way, choice, *about, **new, recipe=asdict(recipe), memory=LIMITS[0])


def within_limits(job: Job, context: ExperimentContext, name: str) -> dict[str, Any]:
    """The job under the first limit that it can be done in.

    Raises:
        DataError: it fails under the largest one, too.
    """
    failed: list[int] = []
    for memory in LIMITS:
        context.log(f"edge, {name}: one core, {memory} MB")
        done, said = attempt(replace(job, memory=memory))
        if done is not None:
            return {**done, "failed": failed}
        failed.append(memory)
    raise DataError(f"{name} on one core with {LIMITS[-1]} MB failed: {said}")


def attempt(job: Job) -> tuple[dict[str, Any] | None, str]:
    """What the device prints; or None, and the last line of what went wrong."""
    with tempfile.TemporaryDirectory(prefix="sg-lora-job-") as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(asdict(job)), encoding="utf-8")
        command = [sys.executable, "-m", "core.experiments.edge_worker", str(file)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1]), ""
    return None, (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def needed(row: Mapping[str, Any], way: str, kind: str = "cpu") -> float:
    """Seconds from what is asked for to the adapter, once the models are loaded: of a sentence; or of reading and encoding the
    task's photos and captions, and training on them.

    Args:
        row: a task of ``measured``. kind: "cpu" or "wall".
    """
    seconds = {name: spent[kind] for name, spent in row["ways"][way]["seconds"].items()}
    if way == GENERATE:
        return seconds["adapt"]
    return seconds["photos"] * row["photos"] + seconds["captions"] * row["texts"] + seconds["adapt"]


def findings(result: Mapping[str, Any]) -> list[str]:
    """Time, memory, bytes, and what the adapters are worth; a sentence each for every task."""
    said = []
    for row in result["tasks"]:
        ways, sizes = row["ways"], row["bytes"]
        ours, tuned = (needed(row, way) for way in WAYS)
        up = sizes["photos"] + sizes["captions"]
        said.append(
            f"{row['task']}: on one core, a sentence becomes an adapter in {1000 * ours:.0f} ms of processor time; fine-tuning "
            f"on {row['photos']} photos takes {tuned:.0f} s, {_rounded(tuned / ours)} times as long."
        )
        said.append(
            f"{row['task']}: generating, with search, works within {ways[GENERATE]['memory']} MB (largest resident set "
            f"{ways[GENERATE]['peak']:.0f} MB), fine-tuning within {ways[FINE_TUNE]['memory']} MB "
            f"({ways[FINE_TUNE]['peak']:.0f} MB). Loading the models takes {ways[GENERATE]['seconds']['start']['cpu']:.1f} s."
        )
        said.append(
            f"{row['task']}, with a server: {sizes['sentence']} bytes go up for a generated adapter, {_size(up)} of photos and "
            f"captions for a fine-tuned one, {_rounded(up / sizes['sentence'])} times as much; "
            f"{_size(ways[GENERATE]['adapter'])} come down."
        )
        gains = [
            f"{_gain(ways[w], 'R@1'):+.1f} / {_gain(ways[w], 'R@5'):+.1f} {name}"
            for w, name in ((GENERATE, "generated"), (FINE_TUNE, "fine-tuned"))
        ]
        said.append(
            f"{row['task']}: gain in R@1 / R@5 on {row['gallery']} photos, {markdown.listed(gains)}; one task says little of "
            "quality, the other experiments do."
        )
    return said


def _gain(way: Mapping[str, Any], measure: str) -> float:
    return way["recall"]["adapted"][measure] - way["recall"]["zero-shot"][measure]


def _rounded(value: float) -> str:
    """Two significant digits: more would be noise."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.1f}"


def _size(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB" if count >= 1e3 else f"{count:.0f} bytes"


def table(result: Mapping[str, Any]) -> str:
    """Time and memory of both ways, then what travels."""
    rows, travels = [], []
    for row in result["tasks"]:
        for way in WAYS:
            found = row["ways"][way]
            spent = [f"{found['seconds']['start']['cpu']:.1f}", f"{needed(row, way):.3g}", f"{needed(row, way, 'wall'):.3g}"]
            search = found["seconds"]["search"]["cpu"] / row["gallery"]
            recall = [f"{found['recall']['adapted'][m]:.1f} ({_gain(found, m):+.1f})" for m in ("R@1", "R@5")]
            memory = [str(found["memory"]), f"{found['peak']:.0f}"]
            rows.append([row["task"], way, *spent, f"{1000 * search:.1f}", *memory, *recall])
        sizes = row["bytes"]
        up = f"{_size(sizes['photos'] + sizes['captions'])} ({row['photos']} photos)"
        travels += [
            [row["task"], "generate, by a server", _size(sizes["sentence"]), _size(row["ways"][GENERATE]["adapter"]), ""],
            [row["task"], "generate, on the device", "", "", _size(sizes["experts and generator"])],
            [row["task"], "fine-tune, by a server", up, _size(row["ways"][FINE_TUNE]["adapter"]), ""],
            [row["task"], "fine-tune, on the device", "", "", ""],
        ]
    head = ["task", "way", "start, s", "to the adapter, s", "wall clock, s", "search, ms a photo", "limit, MB", "peak, MB"]
    parts = [
        "On one core, seconds of processor time; the limit is the first of "
        f"{markdown.listed([str(m) for m in result['limits']])} MB that suffices, the peak is the largest resident set",
        markdown.table([*head, "R@1 (gain)", "R@5 (gain)"], rows),
        "What travels, and what the device has to keep beside the model",
        markdown.table(["task", "way", "up", "down", "experts and generator"], travels),
    ]
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    """Time to the adapter, bytes that go up and peak memory, each on its own scale."""
    rows = result["tasks"]
    places = np.arange(len(rows))[::-1]
    shown = (
        ("Processor time to the adapter, s", needed, True),
        ("Bytes that go up to a server", _up, True),
        ("Largest resident set, MB", lambda row, way: row["ways"][way]["peak"], False),
    )
    figure, axes = figures.panels(len(shown), 0.8 + 0.4 * len(rows), grid="x")
    for panel, (title, value, logarithmic) in zip(axes, shown, strict=True):
        for way, shift, colour in ((GENERATE, 0.18, figures.ACCENT), (FINE_TUNE, -0.18, figures.SECOND)):
            panel.barh(places + shift, [value(row, way) for row in rows], 0.34, color=colour, label=way)
        if logarithmic:
            panel.set_xscale("log")
        panel.set_yticks(places, [row["task"] for row in rows])
        panel.set_title(title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _up(row: Mapping[str, Any], way: str) -> float:
    sizes = row["bytes"]
    return sizes["sentence"] if way == GENERATE else sizes["photos"] + sizes["captions"]
