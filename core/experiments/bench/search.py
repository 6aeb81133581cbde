"""Search: one query against more and more vectors, exact and approximate, with FAISS and with NumPy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from core.common import markdown
from core.experiments import figures
from core.experiments.bench.context import BenchmarkContext
from core.experiments.bench.timing import in_turn, repeated
from core.retrieval.index import APPROXIMATE_FROM, Index

TOP = 10
QUERIES = 100  # for recall
SIZES = (100, 1_000, 10_000, 50_000, 100_000, 1_000_000)
COMPRESSED_FROM = 10_000  # measured below the threshold too, so that the threshold can be judged
NAMES = {"exact": "FAISS, exact", "approximate": "FAISS, approximate", "numpy": "NumPy"}


def run(context: BenchmarkContext) -> dict[str, Any]:
    """{"dim", "threshold", "sizes": [{"vectors", "chosen", "megabytes", "build", "recall", "exact", "numpy", …}, …]}."""
    dim = context.engine.backbone.dim
    rows = []
    for n in context.sizes(*SIZES):
        context.log(f"search: {n:,} vectors")
        rows.append(_measured(n, dim, context.rounds))
    return {"dim": dim, "threshold": APPROXIMATE_FROM, "sizes": rows}


def findings(result: Mapping[str, Any]) -> list[str]:
    """The largest size, and where the approximate index begins."""
    last = result["sizes"][-1]
    chosen = last[last["chosen"]]
    said = [
        f"Among {last['vectors']:,} vectors a query takes {chosen['wall']:g} ms ({chosen['cpu']:g} ms of one core), NumPy "
        f"{last['numpy over chosen']['cpu']:g} times as much; the vectors take {last['megabytes']:,.0f} MB."
    ]
    if last["recall"] is not None:
        said.append(
            f"From {result['threshold']:,} vectors on the index is approximate: of the ten best it finds "
            f"{min(r['recall'] for r in result['sizes'] if r['recall'] is not None):.1f} % or more, and building it took "
            f"{last['build']:.1f} s for {last['vectors']:,}."
        )
    return said


def table(result: Mapping[str, Any]) -> str:
    """A line a size, milliseconds of processor time."""
    head = ["vectors", "MB", *(f"{name}, ms" for name in NAMES.values()), "recall@10, %", "build, s", "NumPy / chosen"]
    lines = []
    for r in result["sizes"]:
        times = [f"{r[name]['cpu']:g}" if name in r else "" for name in NAMES]
        times = [f"**{t}**" if name == r["chosen"] else t for name, t in zip(NAMES, times, strict=True)]
        recall = "" if r["recall"] is None else f"{r['recall']:.1f}"
        ratio = f"{r['numpy over chosen']['cpu']:.2g}"
        lines.append([f"{r['vectors']:,}", f"{r['megabytes']:,.1f}", *times, recall, f"{r['build']:.2f}", ratio])
    return markdown.table(head, lines)


def plot(result: Mapping[str, Any]) -> Figure:
    """Milliseconds over vectors, both on logarithmic axes."""
    figure, (axes,) = figures.panels(grid="both")
    for colour, (name, title) in zip(figures.COLOURS, NAMES.items(), strict=False):
        points = [(r["vectors"], r[name]["cpu"]) for r in result["sizes"] if name in r]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=title, markersize=4)
    axes.axvline(result["threshold"], color=figures.QUIET, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("vectors (dotted: approximate from here on)")
    axes.set_title("one query, ms of processor time")
    axes.legend()
    return figure


def _measured(n: int, dim: int, rounds: int) -> dict[str, Any]:
    """One size: all ways to search, in turn."""
    random = torch.Generator().manual_seed(n)
    queries = torch.nn.functional.normalize(torch.randn(QUERIES, dim, generator=random), dim=-1)
    vectors = torch.randn(n, dim, generator=random)
    compressed = n >= COMPRESSED_FROM
    begin = time.process_time()
    index = Index(vectors, approximate=compressed)
    build = time.process_time() - begin
    del vectors
    flat = index.rows.numpy()
    order = iter(range(10**9))

    def query() -> Tensor:
        return queries[next(order) % QUERIES]

    ways = {"exact": lambda: index.search(query(), TOP, exact=True), "numpy": lambda: _numpy(flat, query().numpy())}
    if compressed:
        ways["approximate"] = lambda: index.search(query(), TOP)
    runs = {name: repeated(way) for name, way in ways.items()}
    times = in_turn(runs, rounds, warm=False)
    best = {name: times[name].best(runs[name].times) for name in runs}
    chosen = "approximate" if n >= APPROXIMATE_FROM else "exact"
    share = runs["numpy"].times / runs[chosen].times
    return {
        "vectors": n,
        "chosen": chosen,
        "megabytes": round(index.nbytes / 1e6, 2),
        "build": round(build, 3),
        "recall": _recall(index, queries) if compressed else None,
        **best,
        "numpy over chosen": times["numpy"].over(times[chosen], share),
    }


def _numpy(rows: np.ndarray, query: np.ndarray) -> list[tuple[int, float]]:
    scores = rows @ query
    best = np.argpartition(scores, -min(TOP, len(scores)))[-TOP:]
    return sorted(zip(best.tolist(), scores[best].tolist(), strict=True), key=lambda hit: -hit[1])


def _recall(index: Index, queries: Tensor) -> float:
    """Of the exact ten best, the share in percent that the approximate search finds."""
    found = [({r for r, _ in index.search(q, TOP, exact=True)}, {r for r, _ in index.search(q, TOP)}) for q in queries]
    return round(100 * sum(len(a & b) for a, b in found) / (TOP * len(found)), 2)
