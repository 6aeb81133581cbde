"""A load test of the app: many visitors at once, each with photos of their own, each answer checked against the truth.

    python benchmarks/load.py --minutes 10
    python benchmarks/load.py --minutes 10 --mixed
    git worktree add ../before REVISION && python benchmarks/load.py --app ../before

It starts the app in a process of its own on this machine's loopback address. Every visitor is a gradio_client of its own,
uploads photos that nobody else has, asks for adapters and searches without a pause in between. What each must be answered
was computed before, alone, by the engine in this process: an answer with another's photos, scores or adapter is an error.
In the usual mix the same seeds return each round; ``--mixed`` draws new ones, and newcomers upload beside the searches.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRuns
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests/helpers")]
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import numpy as np
import torch
from app_process import running
from gradio_client import Client, handle_file
from PIL import Image

from core.backbones.lora import VISION, Lora
from core.backbones.peft_format import load_peft
from core.data.sample_photos import examples
from core.experts.load import load_engine
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SCORE_TOLERANCE = 1e-3  # of a cosine: what other thread counts may change
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 120
FORGOTTEN_AFTER = 1.3  # times what the app keeps visitors for: its sweeps come ten times within that
COLUMNS = ("zero_shot", "merge", "sg_lora")
QUERIES = (*(example.query for example in examples().shown), "something red", "a quiet evening")


@dataclass(frozen=True)
class Plan:
    """How many visitors at once, and what each of them does."""

    visitors: int = 30
    photos: int = 20
    adaptations: int = 3
    searches: int = 10
    think: float = 0.0  # seconds between two calls of a visitor
    mixed: bool = False  # new seeds each round, and an upload of a newcomer before each adapter


@dataclass(frozen=True)
class Search:
    """A question, and the ranking [(name, score), …] that each column must show."""

    description: str
    query: str
    seed: int
    rankings: Mapping[str, Sequence[tuple[str, float]]]


@dataclass(frozen=True)
class Visitor:
    """What one visitor does, and what must come of it.

    Attributes:
        files: the photos. adapters: (description, seed, the LoRA's weight change of each linear of texts).
    """

    number: int
    files: tuple[Path, ...]
    adapters: tuple[tuple[str, int, Mapping[str, torch.Tensor]], ...]
    searches: tuple[Search, ...]


@dataclass
class Log:
    """What happened: seconds of each call by endpoint, the places in the queue that were shown, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    waited: int = 0  # calls that were not answered at the first look
    told: int = 0  # those of them that were shown a place in the queue
    errors: list[str] = field(default_factory=list)
    deviation: float = 0.0

    def join(self, other: Log) -> None:
        for name, values in other.seconds.items():
            self.seconds.setdefault(name, []).extend(values)
        self.places += other.places
        self.errors += other.errors
        self.waited, self.told = self.waited + other.waited, self.told + other.told
        self.deviation = max(self.deviation, other.deviation)


# The truth


def draw(folder: Path, number: int, count: int) -> tuple[Path, ...]:
    """Photos that nobody else has: blurred colour noise, named after their visitor."""
    rng, paths = np.random.default_rng(1000 + number), []
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        paths.append(folder / f"visitor-{number}-photo-{i}.jpg")
        small.resize((640, 480), Image.Resampling.BICUBIC).save(paths[-1])
    return tuple(paths)


def prepare(engine: SGLora, folder: Path, number: int, plan: Plan, turn: int) -> Visitor:
    """A visitor of a round, and by the engine alone what this visitor must be answered."""
    files = draw(folder / str(number), number, plan.photos)
    gallery = Gallery(engine.backbone)
    gallery.add(files)
    descriptions, first = [example.description for example in examples().shown], 10 * number + 1000 * turn * plan.mixed
    tasks = [(descriptions[(number + i) % len(descriptions)], first + i) for i in range(plan.adaptations)]
    adaptations = [engine.adapt(AdapterRequest(description, seed=seed)) for description, seed in tasks]
    searches = []
    for i in range(plan.searches):
        at = i * len(tasks) // plan.searches
        adaptation, query = adaptations[at], QUERIES[(number + i) % len(QUERIES)]
        adapters = (
            ZERO_SHOT,
            Adapter.of(*engine.applied(engine.repository.merged(adaptation.routing), adaptation.strength)),
            Adapter.of(adaptation.lora, adaptation.weight),
        )
        ranked = (gallery.text_to_image(query, adapter, top=None).hits for adapter in adapters)
        rankings = {c: [(h.label, h.score) for h in hits] for c, hits in zip(COLUMNS, ranked, strict=True)}
        searches.append(Search(*tasks[at][:1], query, tasks[at][1], rankings))
    adapters = [(d, s, text_changes(a.lora)) for (d, s), a in zip(tasks, adaptations, strict=True)]
    return Visitor(number, files, tuple(adapters), tuple(searches))


def text_changes(lora: Lora) -> Mapping[str, torch.Tensor]:
    """What a LoRA does to texts; what it does to photos is the same for all."""
    return {name: factors.delta for name, factors in lora.factors.items() if not name.startswith(VISION)}


def wrong(found: Mapping[str, Any], search: Search, top: int = 10) -> tuple[str, float]:
    """What is wrong with an answer ("" if nothing), and how far its scores are from the truth."""
    far, worst = 0.0, ""
    for column, ranking in search.rankings.items():
        true, hits = dict(ranking), found[column]
        foreign = [h["name"] for h in hits if h["name"] not in true]
        if foreign:
            return f"{column}: photos of somebody else: {foreign}", far
        if len(hits) != min(top, len(true)) or len({h["name"] for h in hits}) != len(hits):
            return f"{column}: {len(hits)} hits", far
        # Equal to rounding, two photos may change places: each has its own score, and each place has the right one.
        for hit, (_, score) in zip(hits, ranking, strict=False):
            for what, right in ((f"score of {hit['name']}", true[hit["name"]]), (f"place {hit['rank']}", score)):
                if abs(hit["score"] - right) > far:
                    far, worst = abs(hit["score"] - right), f"{column}: the {what} is off by {abs(hit['score'] - right):.4f}"
    return (worst if far > SCORE_TOLERANCE else ""), far


# The visit


class Caller:
    """A client that measures its calls and notes the place in the queue that it is shown."""

    def __init__(self, address: str, folder: Path, log: Log, think: float) -> None:
        # Over loopback there is no TLS: reading the certificates for each call would take more time than the app does.
        self.client = Client(address, verbose=False, download_files=folder, analytics_enabled=False, ssl_verify=False)
        self.log, self.think = log, think

    def __call__(self, endpoint: str, **arguments: Any) -> Any:
        time.sleep(self.think)
        begin, shown = time.perf_counter(), []
        job = self.client.submit(**arguments, api_name=endpoint)
        while True:
            try:
                answer = job.result(timeout=POLL_SECONDS)
                break
            except StillRuns:
                if time.perf_counter() - begin > PATIENCE_SECONDS:
                    raise
                shown.append(job.status().rank)
        self.log.seconds.setdefault(endpoint, []).append(time.perf_counter() - begin)
        places = [rank for rank in shown if rank is not None]
        self.log.waited += bool(shown)
        self.log.told += bool(places)
        self.log.places += places[:1]
        return answer


def visit(address: str, visitor: Visitor, plan: Plan, folder: Path, known: Mapping[str, Any]) -> Log:
    """Everything that one visitor does."""
    log, downloads = Log(), folder / f"downloads-{visitor.number}"
    try:
        call = Caller(address, downloads, log, plan.think)
        answer = call("/index", files=[handle_file(path) for path in visitor.files], captions="")
        if (answer["added"], answer["photos"], answer["failed"]) != (len(visitor.files), len(visitor.files), []):
            reasons = Counter(failure["reason"] for failure in answer["failed"])
            log.errors.append(f"/index: {answer['added']} of {len(visitor.files)} photos were added: {dict(reasons)}")
            return log  # what is asked of these photos cannot be what it should be
        for at, (description, seed, changes) in enumerate(visitor.adapters):
            if plan.mixed:
                newcomer = Caller(address, downloads, log, plan.think)
                newcomer("/index", files=[handle_file(path) for path in visitor.files[:5]], captions="")
            _, path = call("/adapt", description=description, seed=seed)
            shutil.unpack_archive(path, downloads / str(at))
            lora, _ = load_peft(downloads / str(at), **known)
            if not all(torch.allclose(lora.factors[name].delta, change, atol=1e-3) for name, change in changes.items()):
                log.errors.append("/adapt: another adapter")
            for search in (s for s in visitor.searches if s.seed == seed):
                found = call("/search", query=search.query, description=description, seed=seed)
                said, far = wrong(found, search)
                log.deviation = max(log.deviation, far)
                if said:
                    log.errors.append(f"/search: {said}")
    except Exception as error:
        log.errors.append(f"{type(error).__name__}: {error}"[:300])
    finally:
        shutil.rmtree(downloads, ignore_errors=True)
    return log


def round_of_visits(address: str, visitors: Sequence[Visitor], plan: Plan, folder: Path, known: Mapping[str, Any]) -> Log:
    """All visitors at once."""
    total = Log()
    with ThreadPoolExecutor(len(visitors)) as pool:
        for log in pool.map(lambda visitor: visit(address, visitor, plan, folder, known), visitors):
            total.join(log)
    return total


# The report


def resident_mb(process_id: int) -> float | None:
    """Resident memory of a process; None where the system does not say."""
    status = Path(f"/proc/{process_id}/status")
    if not status.exists():
        return None
    return int(status.read_text().split("VmRSS:")[1].split()[0]) / 1024


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    packages = ("gradio", "gradio_client", "torch", "faiss-cpu")
    versions = {name: importlib.metadata.version(name) for name in packages}
    load = [round(value, 1) for value in os.getloadavg()]
    return {
        "load_average": load,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **versions,
    }


def percentile(values: Sequence[float], percent: int) -> float:
    return float(np.percentile(values, percent))


def report(
    plan: Plan, log: Log, memory: Sequence[float | None], rested: float | None, rounds: int, seconds: float
) -> dict[str, Any]:
    """The figures as plain data."""
    calls = {
        name: {
            "calls": len(values),
            "p50": round(percentile(values, 50), 3),
            "p95": round(percentile(values, 95), 3),
            "max": round(max(values), 3),
        }
        for name, values in sorted(log.seconds.items())
    }
    resident = [value for value in memory if value is not None]
    found: dict[str, Any] = {"plan": asdict(plan), "rounds": rounds, "seconds": round(seconds, 1), "calls": calls}
    found |= {"errors": len(log.errors), "error_kinds": dict(Counter(log.errors).most_common(20))}
    found |= {"largest_score_deviation": log.deviation}
    found |= {"queue": {"calls_that_waited": log.waited, "shown_a_place": log.told, "last_place": max(log.places, default=0)}}
    if resident:
        plateau = statistics.median(resident[len(resident) // 2 :])
        found["memory_mb"] = {
            "start": round(resident[0]),
            "after_rounds": [round(value) for value in resident[1:]],
            "plateau": round(plateau),
            "end": round(resident[-1]),
            "end_over_plateau": round(resident[-1] / plateau, 3),
        }
        if rested is not None:
            found["memory_mb"]["after_all_were_forgotten"] = round(rested)
    return found | {"machine": machine()}


def table(found: Mapping[str, Any]) -> str:
    """The figures for people."""
    lines = ["| call | calls | p50 | p95 | longest |", "| --- | --- | --- | --- | --- |"]
    for name, call in found["calls"].items():
        lines.append(f"| {name} | {call['calls']} | {call['p50']:.2f} s | {call['p95']:.2f} s | {call['max']:.2f} s |")
    queue = found["queue"]
    lines.append("")
    lines.append(f"{found['plan']['visitors']} visitors at once, {found['rounds']} rounds in {found['seconds']:.0f} s.")
    lines.append(f"Errors: {found['errors']} {found['error_kinds'] or ''}")
    lines.append(f"Largest deviation of a score from the truth: {found['largest_score_deviation']:.1e}")
    lines.append(f"Shown a place in the queue: {queue['shown_a_place']} of {queue['calls_that_waited']} calls that waited.")
    if "memory_mb" in found:
        memory = found["memory_mb"]
        lines.append(f"Memory: {memory['start']} MB at start, after each round {memory['after_rounds']} MB,")
        lines.append(f"at the end {memory['end_over_plateau']:.1%} of the plateau of {memory['plateau']} MB.")
        if "after_all_were_forgotten" in memory:
            lines.append(f"After all visitors were forgotten: {memory['after_all_were_forgotten']} MB.")
    return "\n".join(lines)


@contextmanager
def app(folder: Path, url: str | None, keep: float, checkout: Path | None) -> Iterator[tuple[str, int | None]]:
    """The address, and the process where it was started here."""
    if url is not None:
        yield url, None
        return
    root = (checkout or Path(__file__).parents[1]).resolve()
    with running(folder, root=root, SG_LORA_KEEP_MINUTES=str(keep)) as (address, process):
        yield address, process.pid


def show_tracebacks(file: Path) -> None:
    """What the app logged of its own failures, for who has to find out why."""
    text = file.read_text() if file.exists() else ""
    if "Traceback" in text:
        print(text[max(0, text.index("Traceback") - 300) :][:8_000], file=sys.stderr)


def measure(plan: Plan, minutes: float, keep: float, url: str | None = None, checkout: Path | None = None) -> dict[str, Any]:
    """Rounds of visits until the minutes are over, at least one; then what stays when all visitors were forgotten."""
    engine = load_engine()
    known = {"modules": tuple(engine.backbone.linears.values()), "fingerprint": engine.backbone.fingerprint, "partly": True}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with app(folder, url, keep, checkout) as (address, process_id):
            Client(address, verbose=False, analytics_enabled=False).predict(description="a photo", api_name="/route")
            memory = [resident_mb(process_id) if process_id else None]
            seconds, rounds, log, rested = 0.0, 0, Log(), None
            visitors: list[Visitor] = []
            while rounds == 0 or seconds < minutes * 60:
                if plan.mixed or not visitors:
                    visitors = [prepare(engine, folder, number, plan, rounds) for number in range(plan.visitors)]
                begin = time.perf_counter()
                log.join(round_of_visits(address, visitors, plan, folder, known))
                seconds, rounds = seconds + time.perf_counter() - begin, rounds + 1
                memory.append(resident_mb(process_id) if process_id else None)
            if minutes and process_id:
                time.sleep(60 * keep * FORGOTTEN_AFTER)
                rested = resident_mb(process_id)
        show_tracebacks(folder / "log.txt")
        return report(plan, log, memory, rested, rounds, seconds)


def main() -> int:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind in (("visitors", int), ("photos", int), ("adaptations", int), ("searches", int), ("think", float)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Plan, name))
    parser.add_argument("--minutes", type=float, default=10.0, help="repeat until so many minutes are over (0: once)")
    parser.add_argument("--keep", type=float, default=2.0, help="minutes the app keeps a visitor's photos (default: 2)")
    parser.add_argument("--mixed", action="store_true", help="new seeds each round, and newcomers' uploads between searches")
    parser.add_argument("--url", help="an app that runs already; its memory is then not measured")
    parser.add_argument("--app", type=Path, help="the checkout whose app is started (default: this one)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: nowhere)")
    # Uploads wait in the queue for longer than a minute on a slow machine, and an app that forgets sooner forgets them too.
    args = parser.parse_args()
    plan = Plan(args.visitors, args.photos, args.adaptations, args.searches, args.think, args.mixed)
    found = measure(plan, args.minutes, args.keep, args.url, args.app)
    print(table(found))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if found["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
