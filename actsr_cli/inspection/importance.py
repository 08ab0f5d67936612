"""How much each item of a history matters: measured on the model itself, or claimed by its attention.

Every measure is a (cases, longest) array, the items of each history from the first on, NaN behind the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import reduce
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.batch import Batch
from actsr_cli.inspection.answers import Answers, Case, answers, case_batches, target_log_probability
from actsr_cli.inspection.trace import in_evaluation, trace
from actsr_cli.models.base import EncoderModel, Model, SequentialModel

Importance = NDArray[np.float64]

PATH_STEPS = 32
"""Points of the path that integrated gradients are summed over."""


@dataclass(frozen=True)
class LeftOut:
    """What leaving out each item of each history changes.

    Attributes:
        log_probability: (cases, longest) by how much the target's log-probability falls; negative where it grows.
        rank: (cases, longest) by how many places the target falls; negative where it rises.
    """

    log_probability: Importance
    rank: Importance


def leave_one_out(model: Model, cases: Sequence[Case], whole: Answers, device: torch.device) -> LeftOut:
    """Ask again without each item in turn.

    Args:
        model: the model, on `device`.
        cases: histories of at least two and at most `max_length` items.
        whole: its answers to the whole histories.
        device: where the model is.
    """
    owners = [row for row, case in enumerate(cases) for _ in case.items]
    left_out = [place for case in cases for place in range(len(case.items))]
    without = [
        cases[row].at(np.delete(np.arange(len(cases[row].items)), place))
        for row, place in zip(owners, left_out, strict=True)
    ]
    answered = answers(model, without, device=device)
    log_probability, rank = _nothing(cases), _nothing(cases)
    log_probability[owners, left_out] = whole.log_probability[owners] - answered.log_probability
    rank[owners, left_out] = answered.rank - whole.rank[owners]
    return LeftOut(log_probability, rank)


def by_gradients(model: EncoderModel, cases: Sequence[Case], device: torch.device) -> dict[str, Importance]:
    """Gradient × input, and integrated gradients, of the target's log-probability.

    The input is what the encoder reads at each item's place, after normalisation: the embedding before it may be scaled
    at will without any change, so that its gradient says nothing. Integrated gradients (Sundararajan et al., ICML 2017)
    go to it from the mean input of all these histories' items; near zero vectors, the usual start, layer normalisation
    jumps.

    Args:
        model: the model, on `device`.
        cases: histories of at most `max_length` items.
        device: where the model is.
    """
    simple, integrated = _nothing(cases), _nothing(cases)
    path = [(step + 0.5) / PATH_STEPS for step in range(PATH_STEPS)]
    with in_evaluation(model):
        mean = mean_input(model, cases, device)
        for rows, batch, targets in case_batches(cases, model.config.max_length, device):
            _fill(simple, rows, batch, _path_products(model, batch, targets, torch.zeros_like(mean), [1.0]))
            _fill(integrated, rows, batch, _path_products(model, batch, targets, mean, path))
    return {"gradient x input": simple, "integrated gradients": integrated}


def mean_input(model: EncoderModel, cases: Sequence[Case], device: torch.device) -> Tensor:
    """(hidden,) what the encoder reads at an item's place, mean over all items of some histories."""
    total, count = torch.zeros(model.config.hidden_size, device=device), 0
    with torch.no_grad():
        for _, batch, _ in case_batches(cases, model.config.max_length, device):
            hidden = model.embed(model.scoring_inputs(batch)).hidden
            total = total + hidden[_item_places(batch, hidden.shape[1])].sum(dim=0)
            count += int(batch.lengths.sum())
    return total / count


def _path_products(model: EncoderModel, batch: Batch, targets: Tensor, start: Tensor, path: Sequence[float]) -> Tensor:
    """(batch, length): way from a start to the input, times the mean gradient at the shares of it that a path names."""
    inputs = model.scoring_inputs(batch)
    with torch.no_grad():
        embedded = model.embed(inputs)
        items = model.compared(model.item_vectors())
    way = (embedded.hidden - start) * _item_places(batch, embedded.hidden.shape[1]).unsqueeze(2)
    total = torch.zeros_like(way)
    for share in path:
        hidden = (embedded.hidden - (1 - share) * way).requires_grad_()
        represented = model.represent_embedded(replace(embedded, hidden=hidden), inputs.lengths)
        log_probability = target_log_probability(model.compared(represented) @ items.T, targets).sum()
        (gradient,) = torch.autograd.grad(log_probability, hidden)
        total += gradient
    return reduce(total * way, "b l d -> b l", "sum") / len(path)


def _item_places(batch: Batch, length: int) -> Tensor:
    """(batch, length) bool: places of real items, without padding and a cloze model's mask."""
    return torch.arange(length, device=batch.lengths.device) < batch.lengths.unsqueeze(1)


def by_attention(model: SequentialModel, cases: Sequence[Case], device: torch.device) -> dict[str, Importance]:
    """What each stage of the attention points at: the prediction's own row, mean over heads.

    Of each stage there are the last layer's weights and the rollout over all layers. The adversarial mask is small
    where attention matters, so that 1 - M of the last layer is what it points at.

    Args:
        model: the model, on `device`.
        cases: histories of at most `max_length` items.
        device: where the model is.
    """
    found: dict[str, Importance] = {}
    for rows, batch, _ in case_batches(cases, model.config.max_length, device):
        traced = trace(model, batch)
        for stage, last in traced.prediction_rows(layer=-1).items():
            views = {"1 - mask": 1 - last} if stage == "mask" else {stage: last}
            if stage != "mask":
                views[f"{stage}, rollout"] = traced.rollout(stage)
            for name, weights in views.items():
                _fill(found.setdefault(name, _nothing(cases)), rows, batch, weights)
    return found


def by_position(cases: Sequence[Case], of_length: Callable[[int], NDArray[np.float64]]) -> Importance:
    """An importance that looks at places alone, such as the later, the more."""
    found = _nothing(cases)
    for row, case in enumerate(cases):
        found[row, : len(case.items)] = of_length(len(case.items))
    return found


def _nothing(cases: Sequence[Case]) -> Importance:
    return np.full((len(cases), max((len(case.items) for case in cases), default=0)), np.nan)


def _fill(found: Importance, rows: NDArray[np.int64], batch: Batch, values: Tensor) -> None:
    """Put the items' part of (batch, length) values into their rows."""
    length = batch.item_ids.shape[1]
    real = _item_places(batch, length).cpu().numpy()
    numbers = values[:, :length].cpu().double().numpy()
    found[rows, :length] = np.where(real, numbers, np.nan)
