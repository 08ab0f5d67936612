"""What the arithmetic alone would take: multiply-adds that cannot be saved, at the machine's own rate."""

from __future__ import annotations

import time

import torch
from torch import nn

from actsr_cli.attention import split_parameters
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.models.base import EncoderModel

SIZES = (256, 1024, 2048)
"""Rows of the matrices whose product is timed: the last of them, unless a smaller one takes long enough."""
_LONG_ENOUGH = 0.1


def matrix_rate(device: torch.device, dtype: torch.dtype, repeats: int = 5) -> float:
    """Multiply-adds per second of a large matrix product: the best of some.

    A CPU without instructions for bfloat16 would take minutes for the largest one.
    """
    seconds, size = [0.0], 0
    for size in SIZES:
        matrix = torch.randn(size, size, device=device).to(dtype)
        seconds = [_seconds_of_a_product(matrix) for _ in range(repeats)]
        if min(seconds) > _LONG_ENOUGH:
            break
    return size**3 / min(seconds)


def _seconds_of_a_product(matrix: torch.Tensor) -> float:
    started = now(matrix.device)
    matrix @ matrix
    return now(matrix.device) - started


def now(device: torch.device) -> float:
    """The time in seconds, when the device has done all it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def epoch_multiply_adds(model: EncoderModel, batches: TrainingBatches) -> float:
    """Multiply-adds that the losses of an epoch and their gradients need, nothing spent on padding.

    Each real token meets each weight once forward and twice backward, each allowed pair the scores and the values
    likewise; each target meets the catalogue once per loss forward, once backward for its hidden state, and once for
    the item vectors, which the adversary's loss does not train. What the perturbed stream and the adversary's backward
    pass add within the layers is left out, so that the bound is a little too low.
    """
    lengths = batches.windows.lengths.astype(float)
    adversarial = bool(split_parameters(model).adversary)
    items, width = model.item_vectors().shape
    catalogue = batches.n_targets * items * width * (5 if adversarial else 3)
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    pairs = float((lengths * (lengths + 1) / 2 if model.causal else lengths**2).sum())
    products = 3 if adversarial else 2  # scores, values, and the mask's scores
    attention = pairs * model.config.hidden_size * products * model.config.layers
    return catalogue + 3 * (float(lengths.sum()) * weights + attention)
