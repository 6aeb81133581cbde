"""Computations that run at the same time share the cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch

from core.common import runtime


def test_computations_share_the_cores() -> None:
    cores = torch.get_num_threads()
    everyone = cores + 1
    began, ends = Barrier(everyone), Barrier(everyone)

    def compute(_: int) -> int:
        with runtime.shared_cores():
            mine = torch.get_num_threads()
            began.wait(120)
            ends.wait(120)
        return mine

    with ThreadPoolExecutor(everyone) as pool:
        parts = sorted(pool.map(compute, range(everyone)), reverse=True)
        assert parts == [max(1, cores // running) for running in range(1, everyone + 1)]

        def alone() -> int:
            with runtime.shared_cores():
                return torch.get_num_threads()

        assert pool.submit(alone).result() == cores, "a thread that had one core gets all cores when it runs alone"
    assert torch.get_num_threads() == cores, "the setting belongs to the calling thread"
