"""A load test of the app: many visitors at once, each with photos of their own, each answer checked against the truth.

    python benchmarks/load.py --minutes 10
    python benchmarks/load.py --minutes 10 --mixed
    git worktree add ../before REVISION && python benchmarks/load.py --app ../before

It starts the app in its own process, on loopback. Every visitor uploads its own photos, asks for adapters and searches,
without a pause. The engine of this process computes the right answers beforehand, and compares them after the round: an answer
with another's photos, scores or adapter is an error. Usually, the same seeds return each round; ``--mixed`` draws new ones,
and newcomers open the page and upload beside the searches.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests/helpers")]

import httpx
import numpy as np
import psutil
import torch
from app_process import running
from PIL import Image
from strangers import API, Stranger, value

from core.backbones.lora import VISION, Lora
from core.backbones.peft_format import load_peft
from core.common import markdown
from core.data.sample_photos import examples
from core.experts.load import load_engine
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest
from core.sglora.router import DEFAULT_K, DEFAULT_TAU

SCORE_TOLERANCE = 1e-3  # of a cosine: other thread counts may change a score so much
# On a slow machine, uploads wait in the queue for longer than a minute. An app that forgets sooner forgets them too.
KEEP_MINUTES = 2
FORGOTTEN_AFTER = 1.3  # times the minutes that the app keeps visitors: it sweeps ten times in them
COLUMNS = ("zero_shot", "merge", "sg_lora")
QUERIES = (*(example.query for example in examples().shown), "something red", "a quiet evening")


@dataclass(frozen=True)
class Plan:
    """The number of visitors at once, and what each of them does."""

    visitors: int = 30
    photos: int = 20
    adaptations: int = 3
    searches: int = 10
    mixed: bool = False  # new seeds each round, and a newcomer's upload before each adapter


@dataclass(frozen=True)
class Search:
    """A question, and the ranking [(name, score), …] that each column must show."""

    description: str
    query: str
    seed: int
    rankings: Mapping[str, Sequence[tuple[str, float]]]


@dataclass(frozen=True)
class Visitor:
    """What one visitor does, and the right answers.

    Attributes:
        files: the photos. adapters: (description, seed, the LoRA's weight change of each linear of texts).
    """

    number: int
    files: tuple[Path, ...]
    adapters: tuple[tuple[str, int, Mapping[str, torch.Tensor]], ...]
    searches: tuple[Search, ...]


@dataclass
class Log:
    """For all visitors: seconds of each call by endpoint, errors, and how far scores were from the truth."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    deviations: list[float] = field(default_factory=list)


@dataclass
class Answers:
    """What one visitor got: the upload's answer, each adapter's ZIP and each search's answer, in order."""

    added: Mapping[str, Any] = field(default_factory=dict)
    adapters: list[bytes] = field(default_factory=list)
    searches: list[Mapping[str, Any]] = field(default_factory=list)


# The truth


def draw(folder: Path, number: int, count: int) -> tuple[Path, ...]:
    """Draw photos that no other visitor has: blurred colour noise, named after their visitor."""
    rng, paths = np.random.default_rng(1000 + number), []
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        paths.append(folder / f"visitor-{number}-photo-{i}.jpg")
        small.resize((640, 480), Image.Resampling.BICUBIC).save(paths[-1])
    return tuple(paths)


def prepare(engine: SGLora, folder: Path, number: int, plan: Plan, turn: int) -> Visitor:
    """A visitor of a round, with the right answers, computed by the engine alone."""
    files = draw(folder / str(number), number, plan.photos)
    gallery = Gallery(engine.backbone)
    gallery.add(files)
    descriptions, first_seed = [example.description for example in examples().shown], 10 * number + 1000 * turn * plan.mixed
    tasks = [(descriptions[(number + i) % len(descriptions)], first_seed + i) for i in range(plan.adaptations)]
    adaptations = [engine.adapt(AdapterRequest(description, seed=seed)) for description, seed in tasks]
    searches = []
    for i in range(plan.searches):
        task = i * len(tasks) // plan.searches
        adaptation, query = adaptations[task], QUERIES[(number + i) % len(QUERIES)]
        adapters = (
            ZERO_SHOT,
            Adapter.of(*engine.applied(engine.repository.merged(adaptation.routing), adaptation.strength)),
            Adapter.of(adaptation.lora, adaptation.weight),
        )
        ranked = (gallery.text_to_image(query, adapter, top=None).hits for adapter in adapters)
        rankings = {c: [(h.label, h.score) for h in hits] for c, hits in zip(COLUMNS, ranked, strict=True)}
        searches.append(Search(*tasks[task][:1], query, tasks[task][1], rankings))
    adapters = [(d, s, text_changes(a.lora)) for (d, s), a in zip(tasks, adaptations, strict=True)]
    return Visitor(number, files, tuple(adapters), tuple(searches))


def text_changes(lora: Lora) -> Mapping[str, torch.Tensor]:
    """What a LoRA changes in texts. What it changes in photos is the same for all."""
    return {name: factors.delta for name, factors in lora.factors.items() if not name.startswith(VISION)}


def wrong(answer: Mapping[str, Any], search: Search, top: int = 10) -> tuple[str, float]:
    """What is wrong with an answer ("" if nothing), and how far its scores are from the truth."""
    far, worst = 0.0, ""
    for column, ranking in search.rankings.items():
        true, hits = dict(ranking), answer[column]
        foreign = [h["name"] for h in hits if h["name"] not in true]
        if foreign:
            return f"{column}: photos of somebody else: {foreign}", far
        if len(hits) != min(top, len(true)) or len({h["name"] for h in hits}) != len(hits):
            return f"{column}: {len(hits)} hits", far
        # Photos with scores equal within rounding may change places. Each photo must have its score, and each place its score.
        for hit, (_, score) in zip(hits, ranking, strict=False):
            for what, right in ((f"score of {hit['name']}", true[hit["name"]]), (f"place {hit['rank']}", score)):
                if abs(hit["score"] - right) > far:
                    far, worst = abs(hit["score"] - right), f"{column}: the {what} is off by {abs(hit['score'] - right):.4f}"
    return (worst if far > SCORE_TOLERANCE else ""), far


# The visit


class Caller(Stranger):
    """A client that measures its calls. It does little else, since all visitors share this process."""

    def __init__(self, address: str, log: Log) -> None:
        super().__init__(address)
        self.log = log

    def measured(self, endpoint: str, *values: Any, photos: Sequence[Path] = ()) -> list[Any]:
        """The values of an answer, with a file as its bytes. ``photos`` are uploaded first. Raises RuntimeError: when the
        answer is an error message."""
        begin = time.perf_counter()
        if photos:
            files = [("files", (path.name, path.read_bytes())) for path in photos]
            kept = self.post(f"{API}/upload", files=files).raise_for_status().json()
            values = ([value(at, path.name) for at, path in zip(kept, photos, strict=True)], *values)
        answer = self.call(endpoint, *values)
        if answer.values is None:
            raise RuntimeError(f"/{endpoint}: {answer.words}")
        got = [self.get(f"{API}/file={v['path']}").content if "path" in v else v for v in answer.values]
        self.log.seconds[endpoint].append(time.perf_counter() - begin)
        return got


def visit(address: str, visitor: Visitor, plan: Plan, log: Log) -> Answers:
    """Make all calls of one visitor."""
    caller, answers = Caller(address, log), Answers()
    try:
        answers.added = caller.measured("index", "", photos=visitor.files)[0]
        for description, seed, _ in visitor.adapters:
            if plan.mixed:
                newcomer = Caller(address, log)
                newcomer.get("")
                newcomer.measured("index", "", photos=visitor.files[:5])
            sampling = (DEFAULT_K, DEFAULT_TAU, seed)
            answers.adapters.append(caller.measured("adapt", description, *sampling)[1])
            for search in (s for s in visitor.searches if s.seed == seed):
                answers.searches.append(caller.measured("search", search.query, description, *sampling)[0])
    except (RuntimeError, httpx.HTTPError, OSError) as error:
        log.errors.append(f"{type(error).__name__}: {error}"[:300])
    return answers


def check(visitor: Visitor, answers: Answers, options: Mapping[str, Any], log: Log) -> None:
    """Compare the answers with the right ones, and log what is wrong."""
    counts, failed = [answers.added.get(key) for key in ("added", "photos")], answers.added.get("failed", [])
    if counts != [len(visitor.files)] * 2 or failed:
        log.errors.append(
            f"/index: {counts[0]} of {len(visitor.files)} photos were added: {Counter(f['reason'] for f in failed)}"
        )
        return  # without all photos, no answer can be right
    for (*_, changes), archive in zip(visitor.adapters, answers.adapters, strict=False):
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)
            lora, _ = load_peft(Path(folder), **options)
        if not all(torch.allclose(lora.factors[name].delta, change, atol=1e-3) for name, change in changes.items()):
            log.errors.append("/adapt: another adapter")
    for search, answer in zip(visitor.searches, answers.searches, strict=False):
        flaw, far = wrong(answer, search)
        log.deviations.append(far)
        if flaw:
            log.errors.append(f"/search: {flaw}")


# The report


def resident_mb(process_id: int) -> int:
    return round(psutil.Process(process_id).memory_info().rss / 2**20)


def table(plan: Plan, log: Log, rounds: int, seconds: float) -> str:
    rows = [
        [name, str(len(times)), *(f"{figure:.2f} s" for figure in (*np.percentile(times, [50, 95]), max(times)))]
        for name, times in sorted(log.seconds.items())
    ]
    lines = [
        markdown.table(["call", "calls", "p50", "p95", "longest"], rows),
        "",
        f"{plan.visitors} visitors at once, {rounds} rounds in {seconds:.0f} s.",
        f"Errors: {len(log.errors)} {dict(Counter(log.errors).most_common(20)) or ''}",
        f"Largest deviation of a score from the truth: {max(log.deviations, default=0.0):.1e}",
    ]
    return "\n".join(lines)


def show_tracebacks(file: Path) -> None:
    """Print what the app logged about its own failures."""
    text = file.read_text() if file.exists() else ""
    if "Traceback" in text:
        print(text[max(0, text.index("Traceback") - 300) :][:8_000], file=sys.stderr)


def measure(plan: Plan, minutes: float, root: Path) -> int:
    """Print the figures of rounds of visits until the minutes are over, then the memory after all visitors were forgotten. At
    least one round is run. Returns the number of errors."""
    engine = load_engine()
    options = {"modules": tuple(engine.backbone.linears.values()), "fingerprint": engine.backbone.fingerprint, "partly": True}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(folder, root=root, SG_LORA_KEEP_MINUTES=str(KEEP_MINUTES)) as (address, process):
            Stranger(address).call("route", "a photo")
            memory, log, visitors = [resident_mb(process.pid)], Log(), list[Visitor]()
            seconds, rounds = 0.0, 0
            while rounds == 0 or seconds < minutes * 60:
                if plan.mixed or not visitors:
                    visitors = [prepare(engine, folder, number, plan, rounds) for number in range(plan.visitors)]
                begin = time.perf_counter()
                with ThreadPoolExecutor(len(visitors)) as pool:
                    answers = list(pool.map(lambda visitor: visit(address, visitor, plan, log), visitors))
                seconds, rounds = seconds + time.perf_counter() - begin, rounds + 1
                memory.append(resident_mb(process.pid))
                for visitor, got in zip(visitors, answers, strict=True):
                    check(visitor, got, options, log)
            if minutes:
                time.sleep(60 * KEEP_MINUTES * FORGOTTEN_AFTER)
                memory.append(resident_mb(process.pid))
        show_tracebacks(folder / "log.txt")
    print(table(plan, log, rounds, seconds))
    print(f"Memory at start, after each round{' and after all visitors were forgotten' if minutes else ''}: {memory} MB")
    return len(log.errors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=Plan.visitors)
    parser.add_argument("--minutes", type=float, default=10.0, help="repeat until so many minutes are over (0: once)")
    parser.add_argument("--mixed", action="store_true", help="new seeds each round, and newcomers' uploads between searches")
    parser.add_argument("--app", type=Path, default=Path(__file__).parents[1], help="the checkout (default: this one)")
    args = parser.parse_args()
    return min(1, measure(Plan(args.visitors, mixed=args.mixed), args.minutes, args.app.resolve()))


if __name__ == "__main__":
    sys.exit(main())
