"""The faster precision of this machine."""

from __future__ import annotations

import time
from functools import cache

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
    A process measures once, so its runs have the same.

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
    ratio = _ratio(*items.shape)
    reason = f"the loss over the catalogue takes {ratio:.2g} times as long in bfloat16 as in float32 here"
    return ("bf16" if ratio <= _WORTHWHILE else "float32"), reason


@cache
def _ratio(columns: int, width: int) -> float:
    """Seconds of the loss in bfloat16, divided by those in float32, for a catalogue of so many columns."""
    sizes = min(columns, _ITEMS), width
    return _best_seconds(*sizes, torch.bfloat16) / _best_seconds(*sizes, torch.float32)


def _best_seconds(columns: int, width: int, products: torch.dtype, repeats: int = 5) -> float:
    """Seconds of the loss of some rows and its gradients, the best of `repeats` after a first time."""
    hidden, items = _wave(_ROWS, width).requires_grad_(), (_wave(columns, width) / 10).requires_grad_()
    targets = torch.arange(_ROWS) % columns
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        with torch.autocast("cpu", products, enabled=products != torch.float32):
            cross_entropy(hidden, items, targets)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def _wave(rows: int, width: int) -> Tensor:
    """(rows, width) numbers of mean 0 and standard deviation 1, as after a normalisation of layers."""
    return 2**0.5 * torch.arange(rows * width, dtype=torch.float32).view(rows, width).sin()
