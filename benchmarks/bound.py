"""What the arithmetic alone would take: multiply-adds that cannot be saved, at the machine's own rate."""

from __future__ import annotations

import time

import torch
from torch import nn

from actsr_cli.attention import split_parameters
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.models.base import SequentialModel

_SIZE = 2048


def matrix_rate(device: torch.device, dtype: torch.dtype, repeats: int = 5) -> float:
    """Multiply-adds per second of a large matrix product: the best of some."""
    matrix = torch.randn(_SIZE, _SIZE, device=device).to(dtype)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return float(_SIZE**3 / min(seconds))


def epoch_multiply_adds(model: SequentialModel, batches: TrainingBatches) -> float:
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
