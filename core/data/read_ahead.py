"""Process files in threads, ahead of the model that takes the results in batches."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH = 32
THREADS = min(4, os.cpu_count() or 1)


def read_ahead(
    items: Iterable[Item], work: Callable[[Item], Result], batch: int = BATCH
) -> Iterator[list[tuple[Item, Result]]]:
    """Yield batches of (item, ``work(item)``) in order, at most ``batch`` pairs each. Threads run ``work`` one batch ahead. An
    error that ``work`` raises is raised here, so ``work`` should return expected errors."""
    source = iter(items)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(THREADS, "read ahead")

    def fill() -> None:
        for item in islice(source, 2 * batch - len(waiting)):
            waiting.append((item, pool.submit(work, item)))

    try:
        fill()
        while waiting:
            taken = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
            results = [(item, future.result()) for item, future in taken]
            fill()
            yield results
    finally:  # the caller may stop early
        pool.shutdown(wait=True, cancel_futures=True)
