"""What the calibrators have learned, as curves over distance and position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.inspection.answers import Case, case_batches
from actsr_cli.inspection.trace import AttentionTrace, trace
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.filters import SequenceFilter

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class LayerCurves:
    """The curves of one layer, each a mean over the pairs of positions that are not padded or masked.

    Attributes:
        weights: per stage, (heads, distances) mean weight of a key at distance |i - j| from its query.
        order: (heads, distances) probability of the true order of the pair by the order term; None without this term.
        distance: (heads, distances) |i - j| as predicted by the distance term, from the mean of the predicted
            logarithms; None without this term.
        gate: (positions,) mean share of the uncalibrated weights in the row of the predicting position, by distance
            from the latest position; None without a gate.
    """

    weights: dict[str, Curve]
    order: Curve | None
    distance: Curve | None
    gate: Curve | None


def learned_curves(model: SequentialModel, cases: Sequence[Case], *, device: torch.device) -> list[LayerCurves]:
    """The curves of each layer, averaged over the histories of some cases.

    Args:
        model: the model, on `device`.
        cases: histories of any length; the latest `max_length` items are read.
        device: where the model is.
    """
    sums: list[dict[str, _Sums]] = []
    for _, batch, _ in case_batches(cases, model.config.max_length, device):
        traced = trace(model, batch)
        sums = sums or [{} for _ in traced.layers]
        for layer, found in enumerate(sums):
            _add(found, traced, layer)
    return [_curves(found) for found in sums]


def filter_shares(model: SequentialModel) -> list[float]:
    """The share of each layer's filter in the values that the layer attends to; empty without filters."""
    return [float(module.share.detach()) for module in model.modules() if isinstance(module, SequenceFilter)]


class _Sums:
    """Running sums and counts by distance; the arrays grow as needed."""

    def __init__(self) -> None:
        self.total = np.zeros((0, 0))
        self.count = np.zeros(0)

    def add(self, values: Tensor, distances: Tensor) -> None:
        """Add (heads, pairs) values of pairs with (pairs,) distances."""
        values, distances = values.cpu().double(), distances.cpu()
        heads, size = len(values), int(distances.max()) + 1
        total = torch.zeros(heads, size, dtype=torch.float64).index_add_(1, distances, values)
        grown = max(size, len(self.count))
        self.total = _padded(self.total, (heads, grown)) + _padded(total.numpy(), (heads, grown))
        counts = torch.bincount(distances).numpy().astype(np.float64)
        self.count = _padded(self.count, (grown,)) + _padded(counts, (grown,))

    @property
    def mean(self) -> Curve:
        return self.total / np.maximum(self.count, 1)


def _add(found: dict[str, _Sums], traced: AttentionTrace, layer: int) -> None:
    stages = traced.layers[layer]
    places = torch.arange(traced.item_ids.shape[1], device=traced.lengths.device)
    real = places < traced.lengths.unsqueeze(1)
    used = stages.calibrated.amax(dim=1) > 0  # a pair that is not masked has a weight above 0 in some head
    pairs = real.unsqueeze(1) & real.unsqueeze(2) & used
    distances = (places.unsqueeze(1) - places).abs().expand_as(pairs)[pairs]
    later = (places > places.unsqueeze(1)).expand_as(pairs)[pairs]
    for stage in traced.stages:
        found.setdefault(stage, _Sums()).add(_of_pairs(getattr(stages, stage), pairs), distances)
    if stages.order is not None:
        order = _of_pairs(stages.order, pairs)
        found.setdefault("order", _Sums()).add(torch.where(later, order, 1 - order), distances)
    if stages.distance is not None:
        found.setdefault("distance", _Sums()).add(_of_pairs(stages.distance, pairs), distances)
    if stages.gate is not None:
        last = stages.gate[torch.arange(len(real), device=real.device), 0, traced.lengths - 1]
        back = (traced.lengths.unsqueeze(1) - 1 - places)[real]
        found.setdefault("gate", _Sums()).add(last[real].unsqueeze(0), back)


def _of_pairs(values: Tensor, pairs: Tensor) -> Tensor:
    """Select pairs: (batch, heads, queries, keys) to (heads, pairs)."""
    return rearrange(values, "b h q k -> h b q k")[:, pairs]


def _curves(found: dict[str, _Sums]) -> LayerCurves:
    means = {name: sums.mean for name, sums in found.items()}
    order, distance, gate = (means.pop(name, None) for name in ("order", "distance", "gate"))
    return LayerCurves(
        weights=means,
        order=order,
        distance=None if distance is None else np.expm1(distance),
        gate=None if gate is None else gate[0],
    )


def _padded(values: Curve, shape: tuple[int, ...]) -> Curve:
    return np.pad(values, [(0, wanted - have) for have, wanted in zip(values.shape, shape, strict=True)])
