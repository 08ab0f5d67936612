"""Exponentials of logits over the catalogue and their sums, in one pass over memory that is still in the cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from actsr_cli.attention.kernels.ready import make_ready
from actsr_cli.threads import equal_parts, run_parts


def add_exponentials(logits: Tensor, sums: Tensor) -> None:
    """Replace logits by their exponentials, and add the sum of each row.

    In float32 on a CPU a compiled function does both at once, in less than half the time of `torch.exp`.

    Args:
        logits: (rows, columns), none beyond ±87 in float32.
        sums: (rows,) what is added to.
    """
    if logits.device.type != "cpu" or not logits.dtype == sums.dtype == torch.float32:
        sums += logits.exp_().sum(dim=1, dtype=sums.dtype)
        return
    make_ready()
    from actsr_cli.attention.kernels.rows import exponentials  # importing the compiler takes half a second

    rows, totals = logits.numpy(), sums.numpy()
    parts = equal_parts(np.full(len(rows), rows.shape[1]))
    run_parts(lambda _, begin, end: exponentials(rows[begin:end], totals[begin:end]), parts)
