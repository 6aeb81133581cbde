"""Cores are shared among the computations that run at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch

from core.common import runtime


def test_each_gets_its_part_and_who_is_alone_gets_all() -> None:
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

        assert pool.submit(alone).result() == cores, "a thread that had one core before gets all again"
    assert torch.get_num_threads() == cores, "the number is the calling thread's own"
