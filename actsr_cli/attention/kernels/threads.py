"""Runs compiled functions on parts of a batch, as many at once as PyTorch uses threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

_COST_OF_A_THREAD = 2_000
"""Pairs below which a part is not worth a thread of its own."""


def equal_parts(costs: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut histories into consecutive parts of about equal cost, at most one for each thread of PyTorch."""
    total = np.cumsum(costs)
    n = max(1, min(torch.get_num_threads(), int(total[-1]) // _COST_OF_A_THREAD)) if len(costs) else 1
    cuts = np.searchsorted(total, np.arange(1, n) * total[-1] / n) + 1 if n > 1 else np.zeros(0, dtype=np.int64)
    bounds = np.unique(np.concatenate([[0], cuts, [len(costs)]]))
    return [(begin, end) for begin, end in pairwise(bounds.tolist())]


def run_parts(work: Callable[[int, int, int], None], parts: list[tuple[int, int]]) -> None:
    """Call work(number of the part, begin, end) for each part; the calling thread takes the first one."""
    others = [
        _pool(os.getpid(), len(parts) - 1).submit(work, number, *part) for number, part in enumerate(parts) if number
    ]
    if parts:
        work(0, *parts[0])
    for other in others:
        other.result()


@lru_cache(maxsize=4)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:  # threads do not survive a fork: a pool per process
    return ThreadPoolExecutor(threads, thread_name_prefix="attention")
