"""What a small device does with one task, as a program of its own: ``python -m core.experiments.edge_worker JOB.json``.

It keeps to one core and to a limit of memory that the operating system enforces (`resource` limits: what goes beyond fails),
set before anything else is loaded. It prints what it took as one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.backbones.base import Backbone
    from core.backbones.lora import Lora
    from core.training.task_dataset import Pool

GENERATE, FINE_TUNE = "generate", "fine-tune"
REPEATS = 5


@dataclass(frozen=True)
class Job:
    """One task for a device.

    Attributes:
        way: GENERATE or FINE_TUNE. choice: arguments of ``load_backbone``.
        name, description, classes: of the task. engine: folder of experts and generator, for GENERATE.
        samples: photos, as keywords of ``Sample``. train, stop, test: rows of them; GENERATE has test photos alone.
        recipe: fields of ``ExpertRecipe``, for FINE_TUNE.
        memory: megabytes that the process may hold.
    """

    way: str
    choice: Mapping[str, Any]
    name: str
    description: str
    classes: Sequence[str]
    engine: str
    samples: Sequence[Mapping[str, Any]]
    train: Sequence[int]
    stop: Sequence[int]
    test: Sequence[int]
    recipe: Mapping[str, Any]
    memory: int


def limit(memory: int) -> None:
    """Keep this process to one core, and to so many megabytes of memory that it may write to (heap, stacks, private maps)."""
    import resource  # not on every system

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_DATA, (memory * 2**20, memory * 2**20))


@dataclass
class Clock:
    """Seconds of each step, of the wall clock and of the processor."""

    steps: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, times: int = 1) -> Iterator[None]:
        """Time what follows, which is done ``times`` times."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        self.steps[name] = {name: round(seconds / times, 5) for name, seconds in spent.items()}


def work(job: Job) -> dict[str, Any]:
    """Do the job: {"cores", "memory", "peak", "seconds": of each step, "recall": zero-shot and adapted, "adapter": bytes}.

    "peak" is the largest resident set in megabytes. "start" is everything up to the first answer: imports, models, and one run
    of each tower, which load when they are first used.
    """
    import resource

    clock = Clock()
    with clock.step("start"):
        from PIL import Image

        from core.backbones import load_backbone
        from core.common.device import use

        use("cpu")  # an edge device has no GPU
        backbone = load_backbone(**job.choice)
        engine = None
        if job.way == GENERATE:
            from core.sglora.load import load_engine

            engine = load_engine(backbone, Path(job.engine), Path(job.engine) / "generator.safetensors")
            engine.adapt("a photo")
        backbone.encode_text(["a photo"])
        backbone.suffix(backbone.prefix(backbone.pixels(Image.new("RGB", (8, 8)))[None]))
    lora, pool = _generated(job, engine, clock) if engine else _fine_tuned(job, backbone, clock)
    maps, texts, relevance = pool.evaluation(pool.tasks[0].test)
    with clock.step("search"):
        images = backbone.suffix(maps, lora)
    from core.common.metrics import measure
    from core.experiments.statistics import both_ways

    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory": resource.getrlimit(resource.RLIMIT_DATA)[0] // 2**20,
        "peak": round(_peak_kilobytes() / 1024, 1),
        "seconds": clock.steps,
        "recall": {
            "zero-shot": both_ways(measure(backbone.suffix(maps), texts, relevance)),
            "adapted": both_ways(measure(images, texts, relevance)),
        },
        "adapter": adapter_bytes(backbone, lora),
    }


def _generated(job: Job, engine: Any, clock: Clock) -> tuple[Lora, Pool]:
    with clock.step("adapt", REPEATS):
        for _ in range(REPEATS):
            adaptation = engine.adapt(job.description)
    return adaptation.lora, _pool(job, engine.backbone, clock)


def _fine_tuned(job: Job, backbone: Backbone, clock: Clock) -> tuple[Lora, Pool]:
    from core.backbones.lora import Lora, LoraLayout
    from core.training.experts import ExpertRecipe, train_expert

    pool, recipe = _pool(job, backbone, clock), ExpertRecipe(**job.recipe)
    with clock.step("adapt"):
        trained = train_expert(backbone, pool, pool.tasks[0], None, recipe)
    return Lora.from_vector(LoraLayout(backbone.layout.modules, recipe.rank), trained.mean), pool


def _pool(job: Job, backbone: Backbone, clock: Clock) -> Pool:
    """The task's photos, read and encoded once; "photos" is the time of one, "captions" that of one text."""
    import numpy as np
    import torch

    from core.data import Sample
    from core.data.image_io import open_photo
    from core.training.features import Features
    from core.training.task_dataset import Pool
    from core.training.tasks import Task

    samples = [Sample(**{**s, "path": Path(s["path"]), "captions": tuple(s["captions"])}) for s in job.samples]
    with clock.step("photos", len(samples)):
        maps = torch.cat([backbone.prefix(backbone.pixels(open_photo(s.path))[None]) for s in samples])
    parts = {name: np.array(getattr(job, name), dtype=np.int64) for name in ("train", "stop", "test")}
    task = Task(job.name, job.description, "", "", **parts, classes=tuple(job.classes))

    def embed(texts: Sequence[str]) -> Any:
        with clock.step("captions", len(texts)):
            return backbone.encode_text(texts)

    return Pool.of(samples, [task], [Features([(maps.numpy(), np.arange(len(samples)))])], embed)


def adapter_bytes(backbone: Backbone, lora: Lora) -> int:
    """Size of an adapter as it is downloaded: its PEFT files."""
    from core.backbones.peft_format import save_peft

    with tempfile.TemporaryDirectory(prefix="sg-lora-device-") as folder:
        save_peft(lora, Path(folder), backbone.fingerprint, backbone.name, {})
        return sum(file.stat().st_size for file in Path(folder).iterdir())


def _peak_kilobytes() -> int:
    """Largest resident set of this program; ru_maxrss would count the process that started it, too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(status["VmHWM"].split()[0])


if __name__ == "__main__":
    given = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    limit(given.memory)
    print(json.dumps(work(given)))
