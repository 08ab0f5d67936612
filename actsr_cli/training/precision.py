"""The faster precision of this machine."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from actsr_cli.config.training import FixedPrecision
from actsr_cli.training.losses.base import PredictionLoss
from actsr_cli.training.losses.cross_entropy import CrossEntropy, cross_entropy

_WORTHWHILE = 0.9
"""bfloat16 is chosen if it takes at most this share of the time of float32."""
_ROWS, _ITEMS = 128, 4096
"""Size of the measured loss: large enough for full speed, small enough for a CPU without instructions for bfloat16."""


def faster_precision(items: Tensor, loss: PredictionLoss) -> tuple[FixedPrecision, str]:
    """The precision with which a training takes less time on this machine, and why.

    On a CPU the loss over the catalogue is measured in both, which takes less than a second; no random number is drawn.

    Args:
        items: (n_items + 1, width) item vectors of the model.
        loss: the prediction loss.

    Returns:
        The precision, and the reason in a few words.
    """
    device = items.device.type
    if device == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bf16", "this GPU supports it") if supported else ("float32", "this GPU does not support bfloat16")
    if device != "cpu":
        return "float32", "bfloat16 is for CUDA and CPUs"
    if not isinstance(loss, CrossEntropy):
        return "float32", "on a CPU bfloat16 is for the loss over the whole catalogue"
    ratio = _best_seconds(items, torch.bfloat16) / _best_seconds(items, torch.float32)
    reason = f"the loss over the catalogue takes {ratio:.2g} times as long in bfloat16 as in float32 here"
    return ("bf16" if ratio <= _WORTHWHILE else "float32"), reason


def _best_seconds(items: Tensor, products: torch.dtype, repeats: int = 5) -> float:
    """Seconds of the loss of some rows and its gradients, the best of `repeats` after a first time."""
    some = items[:_ITEMS].detach().requires_grad_()
    hidden, targets = some[:_ROWS].detach().requires_grad_(), torch.arange(len(some[:_ROWS]), device=items.device)
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        with torch.autocast(items.device.type, products, enabled=products != torch.float32):
            cross_entropy(hidden, some, targets)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
