"""Indexing on a Ray cluster gives the same library as one process, even if the cluster loses a machine meanwhile."""

import os
from pathlib import Path

import pytest
import torch
from made_up_photos import blurred

from core.backbones import load_backbone
from core.common.errors import LibraryError
from core.common.paths import ROOT
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary

PHOTOS = 192


def rows(library: Path) -> dict[bytes, dict]:
    return {row["id"]: row for row in PhotoLibrary.open(library).photos().to_table().to_pylist()}


@pytest.mark.slow
def test_a_cluster_makes_the_same_library_and_may_lose_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray  # here, since it takes seconds
    from ray.cluster_utils import Cluster

    from core.retrieval import ray_engine

    monkeypatch.setattr(ray_engine, "FILES_A_TASK", 8)
    monkeypatch.setattr(ray_engine, "BATCH", 8)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    folder = tmp_path / "photos"
    blurred(folder, [f"{i:03}.jpg" for i in range(PHOTOS)], 1)
    (folder / "broken.jpg").write_text("no photo")
    backbone = load_backbone()
    index_folders(PhotoLibrary.create(tmp_path / "here", backbone), [folder], backbone)
    # Ray notices a lost machine after five checks. With its usual niceness, its workers get 3% of a core beside a busy program.
    config = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "worker_niceness": 0}
    options = {"num_cpus": 1, "include_dashboard": False, "_system_config": config}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    second = cluster.add_node(num_cpus=1)
    killed = []

    def kill(progress: object) -> None:
        both = ray.available_resources().get("CPU", 0) < 1  # an actor uses the only core of each machine
        if not killed and getattr(progress, "step", "") == "encoding" and both:
            cluster.remove_node(second, allow_graceful=False)
            killed.append(second)

    try:
        engine = ray_engine.ray_engine(backbone, cluster.address)
        library = PhotoLibrary.create(tmp_path / "there", backbone)
        report = index_folders(library, [folder], backbone, kill, engine=engine)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert killed and (report.photos, report.added, len(report.failed)) == (PHOTOS, PHOTOS, 1)
    here, there = rows(tmp_path / "here"), rows(tmp_path / "there")
    assert here.keys() == there.keys()
    for id, row in here.items():
        assert (row["thumbnail"], row["taken"]) == (there[id]["thumbnail"], there[id]["taken"])
        own, other = (torch.tensor(part[id]["vector"]) for part in (here, there))
        assert torch.nn.functional.cosine_similarity(own, other, 0) > 1 - 1e-4


def test_without_ray_or_a_cluster_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from core.retrieval.ray_engine import ray_engine

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LibraryError, match=r"requirements-scale\.txt"):
        ray_engine(object())  # type: ignore[arg-type]
