"""A lower bound of run time: the necessary multiply-adds, at the rate of a large matrix product."""

from __future__ import annotations

import time

import torch
from torch import nn

from actsr_cli.attention import split_parameters
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.models.base import EncoderModel

SIZES = (256, 1024, 2048)
"""Sizes of the timed square matrices; the first that takes longer than `_LONG_ENOUGH` seconds counts, else the last."""
_LONG_ENOUGH = 0.1


def matrix_rate(device: torch.device, dtype: torch.dtype, repeats: int = 5) -> float:
    """Multiply-adds per second of a large matrix product, the best of `repeats`.

    Starts with small sizes: a CPU without bfloat16 instructions would take minutes for the largest one.
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
    """The time in seconds, after waiting for all pending work of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def epoch_multiply_adds(model: EncoderModel, batches: TrainingBatches) -> float:
    """Multiply-adds of the losses of an epoch and their gradients, without padding.

    Each real token uses each weight once forward and twice backward; each allowed pair uses scores and values likewise.
    Each target uses the catalogue once forward per loss, once backward for its hidden state, and once for the item
    vectors, which the adversary's loss does not train. The work of the perturbed stream and of the adversary's backward
    pass within the layers is ignored, so the bound is slightly too low.
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
