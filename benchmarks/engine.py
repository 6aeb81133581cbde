"""What the engine costs in time and memory: an adapter, an index, a library, and each of them on a small device.

    python benchmarks/engine.py adaptation
    python benchmarks/engine.py indexing
    python benchmarks/engine.py library --photos data
    python benchmarks/engine.py edge

It prints sentences and a table. With --record, it also writes them into assets/results, which the Evidence tab shows.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from PIL import ImageOps

from core.backbones.embedded import EmbeddedBackbone
from core.common import markdown
from core.common.paths import ROOT, results_path
from core.common.text import listed
from core.data import read_folder
from core.data.image_io import open_photo
from core.data.sample_photos import sample_photos
from core.experts.load import load_engine
from core.retrieval.adapter import Adapter
from core.retrieval.gallery import Gallery
from core.retrieval.index import Index
from core.retrieval.questions import Query
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest
from core.training.own_expert import train_own_expert

ROUNDS, SENTENCES = 5, 20  # of each measurement; sentences a round
PHOTOS, SIZES = 200, ((224, 224), (640, 480))  # of the made-up data folders
BATCH = 32  # photos that the app encodes at once
ROWS = (1_000, 20_000, 100_000, 1_000_000)
LIMITS = (1024, 512)  # megabytes
TASK, QUESTION = "photos of buildings, animals and things", "a cat"
# Runs a command from a small process, whose only child it is: the memory of this process does not count as the command's.
COUNTED = """import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(code)"""
Result = tuple[list[str], str]  # sentences, of which the first answers the question; a table
_number = count()


class Ran(NamedTuple):
    """A command that ended."""

    failed: bool
    out: str
    seconds: float  # by the clock
    processor: float  # seconds
    peak: float  # megabytes


def ran(*arguments: str | Path, limit: int | None = None) -> Ran:
    """Run Python with these arguments; ``limit``: on one core and with so many megabytes."""

    def small() -> None:
        if limit:
            os.environ["OMP_NUM_THREADS"] = "1"
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            resource.setrlimit(resource.RLIMIT_DATA, (limit * 2**20, limit * 2**20))

    command, begin = [sys.executable, "-c", COUNTED, sys.executable, *map(str, arguments)], time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=small)
    if done.returncode and not limit:
        sys.exit(done.stderr)
    processor, peak = map(float, done.stderr.split()[-2:])
    return Ran(done.returncode != 0, done.stdout, time.perf_counter() - begin, processor, peak * 1024 / 1e6)


def fastest(ways: Sequence[Callable[[], object]], rounds: int = ROUNDS) -> list[float]:
    """The shortest time of each way in seconds; the first round loads the models. They take turns, so that other work on the
    machine affects all alike."""
    laps: list[list[float]] = [[] for _ in ways]
    for way, times in list(zip(ways, laps, strict=True)) * rounds:
        begin = time.perf_counter()
        way()
        times.append(time.perf_counter() - begin)
    return [min(times) for times in laps]


def sample_folder(folder: Path, size: tuple[int, int]) -> Path:
    """Write PHOTOS JPEGs of this size, with captions: the sample photos, each several times but with its own bytes."""
    pictures = []
    for sample in sample_photos():
        out = io.BytesIO()
        ImageOps.fit(open_photo(sample.path), size).save(out, "JPEG", quality=88)
        pictures.append((out.getvalue(), sample.captions))
    (folder / "photos").mkdir(parents=True)
    lines = []
    for n in range(PHOTOS):
        content, captions = pictures[n % len(pictures)]
        (folder / f"photos/{n}.jpg").write_bytes(content + f"#{n}".encode())  # decoders ignore what follows the picture
        lines.append(json.dumps({"image": f"photos/{n}.jpg", "captions": captions}))
    (folder / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def captioned(engine: SGLora, folder: Path) -> Gallery:
    """The gallery of a data folder."""
    samples = read_folder(folder)
    gallery = Gallery(engine.backbone, len(samples))
    gallery.add([sample.path for sample in samples])
    gallery.set_captions({sample.path.name: sample.captions for sample in samples})
    return gallery


def adaptation(folder: Path, options: argparse.Namespace) -> Result:
    """From a sentence to an adapter, compared with fine-tuning an expert on captioned photos, whose activations are cached."""
    engine, encoding = load_engine(), list[float]()
    gallery = captioned(engine, sample_folder(folder, SIZES[1]))

    def sentences() -> None:
        for _ in range(SENTENCES):
            encoding.append(engine.adapt(AdapterRequest(f"{TASK}, album {next(_number)}")).seconds["encode"])

    together, tuning = fastest([sentences, lambda: train_own_expert(engine, gallery, "task", TASK)], 3)
    rows = [["embed the sentence", min(encoding)], ["sentence to adapter", together / SENTENCES], ["fine-tuning", tuning]]
    return [
        f"From a sentence to an adapter takes {1000 * together / SENTENCES:.1f} ms.",
        f"Fine-tuning one expert on {PHOTOS} captioned photos, whose activations are cached already, takes {tuning:.1f} s.",
    ], markdown.table(["step", "ms"], [[step, f"{1000 * taken:,.2f}"] for step, taken in rows])


def indexing(folder: Path, options: argparse.Namespace) -> Result:
    """Photos a second from a JPEG to the index, as the app does it, compared with the frozen tower alone."""
    backbone, rows = load_engine().backbone, []
    assert isinstance(backbone, EmbeddedBackbone)
    for width, height in SIZES:
        files = sorted((sample_folder(folder / f"{width}", (width, height)) / "photos").iterdir())
        batches = torch.stack([backbone.pixels(open_photo(file)) for file in files]).split(BATCH)

        def indexed(files: Sequence[Path] = files) -> None:
            gallery = Gallery(backbone, len(files))
            gallery.add(files)
            gallery.contents.embeddings()

        whole, tower = fastest([indexed, lambda batches=batches: [backbone.image_tower(batch) for batch in batches]])
        rows.append([f"{width} x {height}", f"{PHOTOS / whole:.0f}", f"{PHOTOS / tower:.0f}", f"{tower / whole:.2f}"])
    rates = ", ".join(f"{rate} ({size})" for size, rate, *_ in rows)
    table = markdown.table(["JPEG", "photos / s", "bare tower", "of the tower"], rows)
    return [f"Photos a second, by the size of the JPEG: {rates}."], table


def library(folder: Path, options: argparse.Namespace) -> Result:
    """The commands `index` and `search`, and a question among more and more rows."""
    made, photos = folder / "library", options.photos or sample_folder(folder, SIZES[1]) / "photos"
    index = ("-m", "core", "index", photos.resolve(), "--library", made, "--json")
    first, again = ran(*index), ran(*index)
    report, size = json.loads(first.out), sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
    search = ("-m", "core", "search", QUESTION, "--library", made, "--task", TASK)
    found = min((ran(*search) for _ in range(ROUNDS)), key=lambda each: each.seconds)
    engine = load_engine()
    rows = [grown(engine, folder / "rows", n) for n in options.rows]
    return [
        f"{report['photos']:,} photos are indexed at {report['added'] / report['seconds']['encode']:.0f} a second and "
        f"{1000 * (first.processor - again.processor) / report['added']:.1f} ms of processor time each. The process has "
        f"{first.peak:,.0f} MB at most; a photo takes {size / report['photos'] / 1000:.0f} kB on disk.",
        f"`search` with a new sentence takes {found.seconds:.1f} s from start to end, {found.peak:,.0f} MB at most.",
    ], markdown.table(["rows", "new sentence, s", "known sentence, s", "memory, MB"], rows)


def grown(engine: SGLora, file: Path, n: int) -> list[str]:
    """A question with a new and with a known sentence among ``n`` random vectors: exact search takes as long for any."""
    question = Query((QUESTION,)).question(engine.backbone)

    def adapted(sentence: str) -> torch.Tensor:
        adaptation = engine.adapt(AdapterRequest(sentence))
        return question.row(engine.backbone, Adapter.of(adaptation.lora, adaptation.weight))

    known = adapted(TASK)
    with file.open("wb") as out:
        for start in range(0, n, 10_000):
            F.normalize(torch.randn(min(10_000, n - start), len(known)), dim=1).numpy().tofile(out)
    index = Index(np.memmap(file, np.float32, "r", shape=(n, len(known))))
    ways = [lambda: index.search(adapted(f"{TASK}, day {next(_number)}"), 10), lambda: index.search(known, 10)]
    times = [f"{taken:.2f}" for taken in fastest(ways)]
    return [f"{n:,}", *times, f"{psutil.Process().memory_info().rss / 1e6:,.0f}"]


def edge(folder: Path, options: argparse.Namespace) -> Result:
    """Commands on one core, with LIMITS of the memory that they may write. What is only read, such as torch's code, counts in
    the peak alone."""
    home, rows, told = sample_folder(folder, SIZES[1]), list[list[str]](), list[str]()
    for limit in LIMITS:
        # Both search the library of the first limit, since less memory may not suffice to make one.
        search = (QUESTION, "--library", home / f"library-{LIMITS[0]}", "--adapter", home / "adapter")
        commands: dict[str, tuple[str | Path, ...]] = {
            "import torch and FAISS": ("-c", "import torch, faiss"),
            f"index {PHOTOS} photos": ("-m", "core", "index", home / "photos", "--library", home / f"library-{limit}"),
            "sentence to LoRA": ("-m", "core", "adapt", TASK, "--out", home / "adapter"),
            "search": ("-m", "core", "search", *search),
            "fine-tune": (Path(__file__), "fine-tune", "--photos", home),
        }
        steps = {step: ran(*command, limit=limit) for step, command in commands.items()}
        for step, (failed, _, seconds, processor, peak) in steps.items():
            shown = ["fails"] * 3 if failed else [f"{seconds:.1f}", f"{processor:.1f}", f"{peak:.0f}"]
            rows.append([f"{limit}", step, *shown])
        failing = [step for step, each in steps.items() if each.failed]
        told.append(f"{limit} MB {f'do not suffice to {listed(failing)}' if failing else 'suffice for everything'}")
    ran("-m", "core", "adapt", TASK, "--part", "expert", "--out", home / "expert")
    down = sum(file.stat().st_size for file in (home / "expert").glob("*.safetensors")) / 1e6
    up = sum(file.stat().st_size for file in (home / "captions.jsonl", *(home / "photos").iterdir())) / 1e6
    return [
        f"On one core, {'; '.join(told)}.",
        f"From a server, {down:.1f} MB come down for {len(TASK)} bytes; to fine-tune there, {up:.1f} MB go up.",
    ], markdown.table(["limit, MB", "step", "seconds", "processor seconds", "largest resident set, MB"], rows)


def main() -> None:
    measures = {each.__name__: each for each in (adaptation, indexing, library, edge)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=[*measures, "fine-tune"], metavar=f"{{{','.join(measures)}}}")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos of the library (default: sample photos)")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, metavar="N", help="vectors of the library")
    parser.add_argument("--record", action="store_true", help="write the result into assets/results")
    options = parser.parse_args()
    if options.measure == "fine-tune":  # in a process of its own, for `edge`
        engine = load_engine()
        train_own_expert(engine, captioned(engine, options.photos), "task", TASK)
        return
    with tempfile.TemporaryDirectory() as folder:
        findings, table = measures[options.measure](Path(folder), options)
    print("\n".join(f"- {sentence}" for sentence in findings), table, sep="\n\n")
    if options.record:
        file = results_path(f"bench-{options.measure}")
        report = json.loads(file.read_text(encoding="utf-8"))["report"] | {"findings": findings, "table": table}
        file.write_text(json.dumps({"report": report}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
