"""`index --engine ray` on one machine and on two, each with one core, beside the same work without Ray."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from core.common import markdown
from core.common.errors import LibraryError
from core.common.paths import ROOT
from core.experiments.bench.context import BenchmarkContext
from core.experiments.bench.sample_jpegs import jpegs
from core.retrieval import ray_engine
from core.retrieval.indexing import Engine, local_engine

PHOTOS, WARM_UP = 800, 128  # the first ones wait for the actors to start
FILES_A_TASK = 64


def run(context: BenchmarkContext) -> dict[str, Any]:
    """{"photos", "rates": [{"engine", "nodes", "start" in seconds, "photos a second" once all have started}, …]}.

    Raises:
        LibraryError: Ray is not installed.
    """
    backbone: Any = context.engine.backbone
    number = WARM_UP + min(PHOTOS, context.largest)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, content in jpegs(number):
            path = Path(folder, name)
            path.write_bytes(content)
            files.append((str(path), len(content)))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        rows.append({"engine": "local", "nodes": 1, **_rate(local_engine(backbone), files)})
        torch.set_num_threads(threads)
        for nodes in (1, 2):
            context.log(f"cluster: {nodes} nodes")
            with _cluster(nodes) as address:
                rows.append({"engine": "ray", "nodes": nodes, **_rate(ray_engine.ray_engine(backbone, address), files)})
    return {"photos": number - WARM_UP, "rates": rows}


def _rate(engine: Engine, files: Sequence[tuple[str, int]]) -> dict[str, float]:
    started, done, first, before = time.perf_counter(), 0, 0.0, 0
    for batch in engine(files, frozenset()):
        done += len(batch)
        if not first and done >= WARM_UP:
            first, before = time.perf_counter(), done
    return {
        "start": round(first - started, 2),
        "photos a second": round((done - before) / (time.perf_counter() - first), 1),
    }


@contextmanager
def _cluster(nodes: int) -> Iterator[str | None]:
    try:
        import ray
        from ray.cluster_utils import Cluster
    except ImportError:
        raise LibraryError(f"`bench cluster` needs Ray: {ray_engine.INSTALL}.") from None
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    size, ray_engine.FILES_A_TASK = ray_engine.FILES_A_TASK, FILES_A_TASK
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        ray_engine.FILES_A_TASK = size
        ray.shutdown()
        cluster.shutdown()


def findings(result: Mapping[str, Any]) -> list[str]:
    """What a second machine brings, and what Ray takes."""
    local, one, two = (row["photos a second"] for row in result["rates"])
    return [
        f"On one core Ray encodes {one:.0f} photos a second, {one / local:.2f} of what the same core does without it "
        f"({local:.0f}); two nodes of one core each encode {two:.0f}, {two / one:.2f} times one node."
    ]


def table(result: Mapping[str, Any]) -> str:
    """Photos a second by engine and nodes."""
    rows = [[r["engine"], str(r["nodes"]), f"{r['start']:.1f}", f"{r['photos a second']:.1f}"] for r in result["rates"]]
    return markdown.table(["engine", "nodes of one core", "s until it runs", "photos a second"], rows)
