"""What does a small device need? Real commands on one core, with a limit of memory: 1 GB, then 512 MB.

    python -m core.experiments.edge MEGABYTES COMMAND ...

runs one command within the limit and prints what it took. The limit is RLIMIT_DATA: memory that the process may write. The
system may drop and read again what is only read from files, such as torch's code; the peak counts that, too.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.common import markdown

if TYPE_CHECKING:
    from core.experiments.context import ExperimentContext

LIMITS = (1024, 512)  # megabytes
PHOTOS = 200
SENTENCE, QUESTION = "photos of buildings, animals and things", "a cat"
FINE_TUNE = "fine-tune"
INDEX, ADAPT, SEARCH = "index 200 photos", "sentence to LoRA", "search"


def run(context: ExperimentContext) -> dict[str, Any]:
    """{"limits": {megabytes: {step: {"seconds", "cpu", "peak"} or {"failed": why}}}, "bytes": of what would travel}."""
    from core.data.sample_jpegs import captioned

    files, captions = captioned(PHOTOS)
    limits: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="sg-lora-edge-") as folder:
        home = Path(folder)
        (home / "photos").mkdir()
        for name, content in files:
            (home / "photos" / name).write_bytes(content)
        (home / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
        commands: dict[str, list[str | Path]] = {
            INDEX: ["index", home / "photos", "--library", home / "library"],
            ADAPT: ["adapt", SENTENCE, "--out", home / "adapter"],
            SEARCH: ["search", QUESTION, "--library", home / "library", "--adapter", home / "adapter"],
            FINE_TUNE: [FINE_TUNE, home],
        }
        for memory in LIMITS:
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
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return json.loads(lines[-1]) if done.returncode == 0 else {"failed": lines[-1][:200]}


def limited(memory: int, command: Sequence[str]) -> dict[str, float]:
    """Run a command of ``python -m core``, or FINE_TUNE, in this process, within the limit. Raises SystemExit: as it does."""
    import resource  # not on Windows

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_DATA, (memory * 2**20, memory * 2**20))
    began = time.monotonic()
    if command[0] == FINE_TUNE:
        fine_tune(Path(command[1]))
    else:
        sys.argv = ["core", *command]
        try:
            runpy.run_module("core", run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024  # ru_maxrss would count the process that started this one
    seconds, cpu = (round(clock, 2) for clock in (time.monotonic() - began, time.process_time()))
    return {"seconds": seconds, "cpu": cpu, "peak": round(peak, 1), "cores": len(os.sched_getaffinity(0))}


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
    told, sizes = [], result["bytes"]
    for memory, steps in result["limits"].items():
        failed = [step for step, taken in steps.items() if "failed" in taken]
        told.append(f"On one core with {memory} MB, {' and '.join(failed) + ' fail' if failed else 'everything runs'}.")
    made, tuned = (result["limits"][str(LIMITS[0])][step].get("cpu", 0.0) for step in (ADAPT, FINE_TUNE))
    return [
        *told,
        f"A sentence takes {made:.1f} s of processor time, start included; fine-tuning on {result['photos']} photos {tuned:.1f} s.",
        f"If a server generates, {sizes['sentence']} bytes go up and {sizes['expert LoRA'] / 1e6:.1f} MB come down; if it "
        f"fine-tunes, {sizes['photos and captions'] / 1e6:.1f} MB go up.",
    ]


def table(result: Mapping[str, Any]) -> str:
    rows = []
    for memory, steps in result["limits"].items():
        for step, v in steps.items():
            cells = [f"{v['seconds']:.1f}", f"{v['cpu']:.1f}", f"{v['peak']:.0f}"] if "peak" in v else ["fails", "", ""]
            rows.append([memory, step, *cells])
    return markdown.table(["limit, MB", "step", "seconds", "processor seconds", "largest resident set, MB"], rows)


if __name__ == "__main__":
    print(json.dumps(limited(int(sys.argv[1]), sys.argv[2:])), file=sys.stderr)
