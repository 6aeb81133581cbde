"""A load test of the app: many visitors at once, each with photos of their own, each answer compared with the engine's.

    python benchmarks/load.py

It starts the app in its own process, on loopback. Every visitor opens the page, uploads 20 photos, gets 3 adapters and asks 10
questions. An answer with another visitor's photos or other scores is an error. Visitors have forwarded addresses, as behind a
proxy.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests/helpers")]

import numpy as np
import psutil
from app_process import running
from made_up_photos import blurred
from recalls import ranked
from strangers import API, Answer, Stranger, value

from core.common import markdown
from core.data.sample_photos import EVERYDAY, sample_sets
from core.experts.load import load_engine
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest
from core.sglora.router import DEFAULT_K, DEFAULT_TAU

SCORE_TOLERANCE = 1e-3  # of a cosine: other thread counts may change a score so much
PHOTOS, ADAPTERS, SEARCHES = 20, 3, 10  # of a visitor
THINK_SECONDS = 5  # of a visitor before each call
COLUMNS = ("zero_shot", "merge", "sg_lora")
QUERIES = (*(example.query for example in sample_sets()[EVERYDAY].examples), "something red", "a quiet evening")


@dataclass(frozen=True)
class Search:
    """A question, and the ranking [(name, score), …] that each column must show."""

    description: str
    query: str
    seed: int
    rankings: Mapping[str, Sequence[tuple[str, float]]]


@dataclass
class Log:
    """For all visitors: seconds of each call by name, and errors."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, call: str) -> Iterator[None]:
        """Note the seconds of a call, or its error."""
        begin = time.perf_counter()
        try:
            yield
            self.seconds[call].append(time.perf_counter() - begin)
        except Exception as error:
            self.errors.append(f"{call}: {type(error).__name__}: {error}"[:200])


def prepare(engine: SGLora, files: Sequence[Path], number: int) -> list[Search]:
    """The questions of a visitor with the right answers, computed by the engine alone."""
    gallery = Gallery(engine.backbone)
    gallery.add(files)
    descriptions, searches = [example.description for example in sample_sets()[EVERYDAY].examples], []
    for i in range(SEARCHES):
        task, query = i * ADAPTERS // SEARCHES, QUERIES[(number + i) % len(QUERIES)]
        description, seed = descriptions[(number + task) % len(descriptions)], 10 * number + task
        adaptation = engine.adapt(AdapterRequest(description, seed=seed))
        merge = engine.repository.merged(adaptation.routing.chosen, adaptation.routing.weights)
        merged = Adapter.of(*engine.applied(merge, adaptation.strength))
        found = [
            ranked(gallery, query, adapter, top=10).hits
            for adapter in (ZERO_SHOT, merged, Adapter.of(adaptation.lora, adaptation.weight))
        ]
        rankings = {c: [(h.label, h.score) for h in hits] for c, hits in zip(COLUMNS, found, strict=True)}
        searches.append(Search(description, query, seed, rankings))
    return searches


def check(answer: Mapping[str, Any], search: Search, own: set[str]) -> None:
    """Compare an answer with the right one. Raises ValueError: when a column has another visitor's photos, or wrong scores."""
    for column, ranking in search.rankings.items():
        if foreign := {hit["name"] for hit in answer[column]} - own:
            raise ValueError(f"{column}: photos of another visitor: {foreign}")
        off = [abs(hit["score"] - score) for hit, (_, score) in zip(answer[column], ranking, strict=True)]
        if max(off) > SCORE_TOLERANCE:
            raise ValueError(f"{column}: a score is off by {max(off):.4f}")


def values(answer: Answer) -> list[Any]:
    if answer.values is None:
        raise RuntimeError(answer.words)
    return answer.values


def visit(caller: Stranger, files: Sequence[Path], searches: Sequence[Search], log: Log) -> None:
    """Make all calls of one visitor, and think before each."""

    def call(endpoint: str, *given: Any) -> list[Any]:
        return values(caller.call(endpoint, *given))

    time.sleep(THINK_SECONDS * random.random())
    with log.timed("page"):
        caller.get("").raise_for_status()
    time.sleep(THINK_SECONDS)
    with log.timed("index"):
        sent = [("files", (path.name, path.read_bytes())) for path in files]
        kept = caller.post(f"{API}/upload", files=sent).raise_for_status().json()
        added = call("index", [value(at, path.name) for at, path in zip(kept, files, strict=True)], "", None, "")[0]
        if added["photos"] != len(files):
            raise ValueError(f"{added['photos']} of {len(files)} photos, {added['failed'][:1]}")
    task = None
    for search in searches:
        sampling = (search.description, DEFAULT_K, DEFAULT_TAU, search.seed)
        if sampling != task:
            time.sleep(THINK_SECONDS)
            with log.timed("adapt"):
                caller.get(f"{API}/file={call('adapt', *sampling, None, None, 'whole', '')[1]['path']}").raise_for_status()
            task = sampling
        time.sleep(THINK_SECONDS)
        with log.timed("search"):
            answer = call("search", search.query, *sampling, None, 10, None, None, "", "", "", "")[0]
            check(answer, search, {path.name for path in files})


def prepared(
    engine: SGLora, folder: Path, address: str, visitors: int
) -> Iterator[tuple[Stranger, Sequence[Path], Sequence[Search]]]:
    """What each ``visit`` needs: the visitor, its photos and its questions."""
    for number in range(visitors):
        files = blurred(folder / f"{number}", [f"{number}-{i}.jpg" for i in range(PHOTOS)], number)
        caller = Stranger(address, headers={"x-forwarded-for": f"198.51.100.{number}"})
        yield caller, files, prepare(engine, files, number)


def measure(visitors: int) -> int:
    """Print the figures of one visit by each visitor. Returns the number of errors."""
    engine, log = load_engine(), Log()
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as (address, process):
        visits = [*prepared(engine, Path(name), address, visitors)]
        values(visits[0][0].call("route", "a photo", DEFAULT_K, DEFAULT_TAU, None))  # the models are loaded
        memory = [psutil.Process(process.pid).memory_info().rss]
        begin = time.perf_counter()
        with ThreadPoolExecutor(visitors) as pool:
            for done in [pool.submit(visit, *each, log) for each in visits]:
                done.result()
        seconds = time.perf_counter() - begin
        memory.append(psutil.Process(process.pid).memory_info().rss)
    rows = [
        [name, str(len(times)), *(f"{figure:.2f} s" for figure in (*np.percentile(times, [50, 95]), max(times)))]
        for name, times in log.seconds.items()
    ]
    print(markdown.table(["call", "calls", "median", "95 %", "longest"], rows))
    print(f"{visitors} visitors in {seconds:.0f} s. Memory before and after: {[round(m / 2**20) for m in memory]} MB")
    print(f"Errors: {len(log.errors)} {dict(Counter(log.errors).most_common(20)) or ''}")
    return len(log.errors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=30)
    return min(1, measure(parser.parse_args().visitors))


if __name__ == "__main__":
    sys.exit(main())
