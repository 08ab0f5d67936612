"""Runs functions at once, as many as PyTorch uses threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from threading import Event, Lock
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Value = TypeVar("Value")

_COST_OF_A_THREAD = 2_000
"""Pairs below which a part is not worth a thread of its own."""
_POOLS: dict[int, tuple[int, ThreadPoolExecutor]] = {}
"""The pool of this process and its size, by process."""


def equal_parts(costs: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut histories into consecutive parts of about equal cost, at most one for each thread of PyTorch."""
    threads = torch.get_num_threads()
    if threads == 1 or not len(costs):
        return [(0, len(costs))] if len(costs) else []
    total = np.cumsum(costs)
    n = max(1, min(threads, int(total[-1]) // _COST_OF_A_THREAD))
    cuts = np.searchsorted(total, np.arange(1, n) * total[-1] / n) + 1
    bounds = np.unique(np.concatenate([[0], cuts, [len(costs)]]))
    return [(begin, end) for begin, end in pairwise(bounds.tolist())]


def run_parts(work: Callable[[int, int, int], None], parts: list[tuple[int, int]]) -> None:
    """Call work(number of the part, begin, end) for each part; the calling thread takes the first one."""
    if len(parts) < 2:
        for begin, end in parts:
            work(0, begin, end)
        return
    pool = _pool(os.getpid(), len(parts))
    others = [pool.submit(work, number, *parts[number]) for number in range(1, len(parts))]
    try:
        work(0, *parts[0])
    finally:
        wait(others)
    for other in others:
        other.result()


def run_single_threaded(works: Sequence[Callable[[], None]]) -> None:
    """Run functions at once, each with one thread of PyTorch.

    Products of moderate size gain more by this than if threads share each of them. PyTorch has one number of threads
    for the whole process, so nothing else may run meanwhile. Gradients are off.
    """
    if len(works) < 2:
        for work in works:
            work()
        return

    def run(number: int, _begin: int, _end: int) -> None:
        with torch.no_grad():  # it is a setting of each thread
            works[number]()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run_parts(run, [(number, number + 1) for number in range(len(works))])
    finally:
        torch.set_num_threads(threads)


def run_on_each(work: Callable[[Value], None], values: Iterable[Value], threads: int) -> None:
    """Call work on each value, in several threads, each of which takes the next value; see `run_single_threaded`.

    After an error no thread takes another value. `values` may be a generator: one thread at a time asks it.
    """
    left, taking, failed = ((value,) for value in values), Lock(), Event()

    def take_all() -> None:
        try:
            while not failed.is_set():
                with taking:
                    taken = next(left, None)
                if taken is None:
                    return
                work(*taken)
        except BaseException:
            failed.set()
            raise

    run_single_threaded([take_all] * threads)


def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The threads of this process, at least as many as asked for; they do not survive a fork."""
    kept = _POOLS.get(process)
    if kept is None or kept[0] < threads:
        _POOLS.clear()
        kept = _POOLS[process] = (threads, ThreadPoolExecutor(threads, thread_name_prefix="actsr"))
    return kept[1]
