"""Calls every compiled function once: `python -m actsr_cli.attention.kernels.first_call`."""

from __future__ import annotations

import numpy as np
import torch

from actsr_cli.attention.calibrated import calibrated_self_attention
from actsr_cli.attention.kernels.exponentials import add_exponentials
from actsr_cli.attention.packed import attend_packed
from actsr_cli.attention.pairs import Pairs
from actsr_cli.packing import Packing


def main() -> None:
    """Compile, and leave the machine code on disk."""
    attention = calibrated_self_attention(8, 1, max_length=2)
    pairs = Pairs(Packing(np.array([2]), torch.device("cpu")), causal=True)
    attended = attend_packed(attention, torch.zeros(2, 8), pairs, perturb=True).attended
    torch.autograd.backward(attended.sum())
    add_exponentials(torch.zeros(1, 2), torch.zeros(1))


if __name__ == "__main__":
    main()
