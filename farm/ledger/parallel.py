"""Many small reads at once: what an object store needs to be quick, and a disk does not mind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

NUM_THREADS = 16


def map_in_order(call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The calls' results in the order of the items; a bounded number of them wait, however many items there are."""
    remaining = iter(items)
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        waiting: list[Future[Result]] = [pool.submit(call, item) for item in islice(remaining, 4 * NUM_THREADS)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(call, item) for item in islice(remaining, 1)]
