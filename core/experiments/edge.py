"""What does a small device need? Real commands on one core, with a limit of memory: 1 GB, then 512 MB.

The limit is RLIMIT_DATA: memory that the process may write, used or reserved. The system may drop and read again what is only
read from files, such as torch's code; the peak counts that, too. As a program, this module fine-tunes on a folder's photos.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.common import markdown
from core.common.text import listed

if TYPE_CHECKING:
    from core.experiments.context import ExperimentContext

LIMITS, PHOTOS = (1024, 512), 200  # megabytes
SENTENCE, QUESTION = "photos of buildings, animals and things", "a cat"
START, INDEX, ADAPT, SEARCH, FINE_TUNE = "import torch and FAISS", "index 200 photos", "sentence to LoRA", "search", "fine-tune"
# What is shown: its title, and its format.
SHOWN = {"wall": ("seconds", ".1f"), "cpu": ("processor seconds", ".1f"), "peak MB": ("largest resident set, MB", ".0f")}


def run(context: ExperimentContext) -> dict[str, Any]:
    """{"limits": {megabytes: {step: what it took, or {"failed": why}}}, "bytes": of what would travel}."""
    from core.experiments.bench.sample_jpegs import captioned

    files, captions = captioned(PHOTOS)
    limits: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="sg-lora-edge-") as folder:
        home = Path(folder)
        (home / "photos").mkdir()
        for name, content in files:
            (home / "photos" / name).write_bytes(content)
        (home / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
        for memory in LIMITS:
            library, first = (home / f"library-{size}" for size in (memory, LIMITS[0]))
            search = (QUESTION, "--library", first, "--adapter", home / "adapter")
            commands: dict[str, tuple[str | Path, ...]] = {
                START: ("-c", "import torch, faiss"),
                INDEX: ("-m", "core", "index", home / "photos", "--library", library),
                ADAPT: ("-m", "core", "adapt", SENTENCE, "--out", home / "adapter"),
                SEARCH: ("-m", "core", "search", *search),
                FINE_TUNE: ("-m", "core.experiments.edge", home),
            }
            limits[str(memory)] = {step: attempt(memory, *command) for step, command in commands.items()}
            context.log(f"edge, {memory} MB: {limits[str(memory)]}")
        attempt(2 * LIMITS[0], "-m", "core", "adapt", SENTENCE, "--part", "expert", "--out", home / "expert")
        travels = {
            "sentence": len(SENTENCE.encode()),
            "expert LoRA": sum(file.stat().st_size for file in (home / "expert").glob("*.safetensors")),
            "photos and captions": sum(len(c) for _, c in files) + len((home / "captions.json").read_bytes()),
        }
    return {"limits": limits, "bytes": travels, "photos": PHOTOS}


def attempt(memory: int, *arguments: str | Path) -> dict[str, Any]:
    """What a command takes on one core within a limit in megabytes, or the last line of its error."""
    from core.experiments.bench.process import finished

    done = finished(*arguments, limit=partial(limit, memory * 2**20))
    return {"failed": done.errors.strip().rpartition("\n")[2][:200]} if done.code else done.taken


def limit(size: int) -> None:
    """Keep this process to one core, one thread and ``size`` bytes."""
    import resource  # not on Windows

    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def fine_tune(home: Path) -> None:
    """Train an expert on the captioned photos, as the page's "Train an expert" does."""
    from core.backbones import load_backbone
    from core.experts.load import load_engine
    from core.retrieval.gallery import Gallery
    from core.training.own_expert import train_own_expert

    captions = json.loads((home / "captions.json").read_text(encoding="utf-8"))
    gallery = Gallery(load_backbone(), len(captions))
    gallery.add([(name, (home / "photos" / name).read_bytes()) for name in captions])
    gallery.set_captions({name: tuple(texts) for name, texts in captions.items()})
    train_own_expert(load_engine(gallery.backbone), gallery, "task", SENTENCE)


def findings(result: Mapping[str, Any]) -> list[str]:
    told, sizes, large = [], result["bytes"], result["limits"][str(LIMITS[0])]
    for memory, steps in result["limits"].items():
        failed = [step for step, taken in steps.items() if "failed" in taken]
        told.append(f"{memory} MB {f'do not suffice to {listed(failed)}' if failed else 'suffice for everything'}")
    made, tuned = (large[step].get("cpu", 0.0) for step in (ADAPT, FINE_TUNE))
    up, down = sizes["photos and captions"] / 1e6, sizes["expert LoRA"] / 1e6
    return [
        f"On one core, {'; '.join(told)}.",
        f"With the start, a sentence takes {made:.1f} s of processor time, fine-tuning {tuned:.1f} s.",
        f"From a server, {down:.1f} MB come down for {sizes['sentence']} bytes; to fine-tune there, {up:.1f} MB go up.",
    ]


def table(result: Mapping[str, Any]) -> str:
    rows = [
        [memory, step, *(f"{v[name]:{shape}}" if name in v else "fails" for name, (_, shape) in SHOWN.items())]
        for memory, steps in result["limits"].items()
        for step, v in steps.items()
    ]
    return markdown.table(["limit, MB", "step", *(title for title, _ in SHOWN.values())], rows)


if __name__ == "__main__":
    fine_tune(Path(sys.argv[1]))
