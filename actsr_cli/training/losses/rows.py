"""How the rows of a batch are divided, where each is compared with all items."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

_SCORES_AT_A_TIME = {"cpu": 2**21, "cuda": 2**27}
"""Scores per chunk: on the CPU a chunk should stay in the cache, on CUDA it should fill the device."""
_ROWS_AT_LEAST = 32
"""Smallest number of rows per chunk: each chunk reads all item vectors, which is slow for a large catalogue."""
_ROWS_OF_A_THREAD = 64
"""Rows below which a thread of its own gains nothing: each reads all item vectors."""


def row_parts(n_rows: int, device: torch.device) -> list[slice]:
    """The rows of each thread; all on a GPU, and if they are few."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    n_parts = max(1, min(threads, n_rows // _ROWS_OF_A_THREAD))
    bounds = [n_rows * part // n_parts for part in range(n_parts + 1)]
    return [slice(begin, end) for begin, end in pairwise(bounds)]


def rows_at_a_time(n_rows: int, items: Tensor) -> int:
    """Rows of a chunk whose scores of all `items`, (columns, width), exist at once in the type of `items`."""
    scores = _SCORES_AT_A_TIME.get(items.device.type, 2**24) * 4 // items.element_size()
    return min(n_rows, max(_ROWS_AT_LEAST, scores // len(items)))
