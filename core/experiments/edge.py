"""What does a small device need? Real commands on one core, with a limit of memory: 1 GB, then 512 MB.

    python -m core.experiments.edge MEGABYTES COMMAND ...

runs one command within the limit and prints what it took. The limit is RLIMIT_DATA: memory that the process may write, used or
reserved. The system may drop and read again what is only read from files, such as torch's code; the peak counts that, too.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.common import markdown

if TYPE_CHECKING:
    from core.experiments.context import ExperimentContext

LIMITS, PHOTOS = (1024, 512), 200  # megabytes
SHOWN = {"seconds": "seconds", "cpu": "processor seconds", "peak": "largest resident set, MB", "writable": "writable, MB"}
SENTENCE, QUESTION = "photos of buildings, animals and things", "a cat"
START, INDEX, ADAPT, SEARCH, FINE_TUNE = "import torch and FAISS", "index 200 photos", "sentence to LoRA", "search", "fine-tune"


def run(context: ExperimentContext) -> dict[str, Any]:
    """{"limits": {megabytes: {step: what ``limit`` prints, or {"failed": why}}}, "bytes": of what would travel}."""
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
            commands: dict[str, list[str | Path]] = {
                START: [START],
                INDEX: ["index", home / "photos", "--library", library],
                ADAPT: ["adapt", SENTENCE, "--out", home / "adapter"],
                SEARCH: ["search", QUESTION, "--library", first, "--adapter", home / "adapter"],
                FINE_TUNE: [FINE_TUNE, home],
            }
            limits[str(memory)] = {step: attempt(memory, command) for step, command in commands.items()}
            context.log(f"edge, {memory} MB: {limits[str(memory)]}")
        attempt(2 * LIMITS[0], ["adapt", SENTENCE, "--part", "expert", "--out", home / "expert"])
        travels = {
            "sentence": len(SENTENCE.encode()),
            "expert LoRA": sum(file.stat().st_size for file in (home / "expert").glob("*.safetensors")),
            "photos and captions": sum(len(c) for _, c in files) + len((home / "captions.json").read_bytes()),
        }
    return {"limits": limits, "bytes": travels, "photos": PHOTOS}


def attempt(memory: int, command: Sequence[str | Path]) -> dict[str, Any]:
    """What a command took within the limit, or the last line of its error."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "core.experiments.edge", str(memory), *map(str, command)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    lines = done.stderr.strip().splitlines()
    said = [line for line in lines if not line.startswith("{")] or [f"exit status {done.returncode}"]
    return json.loads(lines[-1]) if done.returncode == 0 else {"failed": said[-1][:200]}


def limit(memory: int) -> None:
    """Keep this process to one core and so many megabytes, and print at its end what it took, as JSON."""
    import resource  # not on Windows

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_DATA, (memory * 2**20, memory * 2**20))
    began = time.monotonic()

    def took() -> None:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
        peak, writable = (int(status[name].split()[0]) / 1024 for name in ("VmHWM", "VmData"))  # ru_maxrss counts the parent
        taken = {"seconds": time.monotonic() - began, "cpu": time.process_time(), "peak": peak, "writable": writable}
        print(json.dumps({**taken, "cores": len(os.sched_getaffinity(0))}), file=sys.stderr)

    atexit.register(took)


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
        told.append(f"On one core with {memory} MB, {' and '.join(failed) + ' fail' if failed else 'everything runs'}.")
    made, tuned = (large[step].get("cpu", 0.0) for step in (ADAPT, FINE_TUNE))
    told.append(f"With the start, a sentence takes {made:.1f} s of processor time, fine-tuning {tuned:.1f} s.")
    up, down = sizes["photos and captions"] / 1e6, sizes["expert LoRA"] / 1e6
    told.append(f"From a server, {down:.1f} MB come down for {sizes['sentence']} bytes; to fine-tune there, {up:.1f} MB go up.")
    return told


def table(result: Mapping[str, Any]) -> str:
    rows = [
        [memory, step, *("fails" if "failed" in v else f"{v[name]:.1f}" for name in SHOWN)]
        for memory, steps in result["limits"].items()
        for step, v in steps.items()
    ]
    return markdown.table(["limit, MB", "step", *SHOWN.values()], rows)


if __name__ == "__main__":
    limit(int(sys.argv[1]))
    sys.argv = ["core", *sys.argv[2:]]
    if sys.argv[1] == START:
        list(map(import_module, ("torch", "faiss")))
    elif sys.argv[1] == FINE_TUNE:
        fine_tune(Path(sys.argv[2]))
    else:
        runpy.run_module("core", run_name="__main__")
