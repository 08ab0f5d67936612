"""Importance of each item of a history: measured on the model, or taken from its attention.

An importance is a (cases, longest) array: a row has the values of the items in order, then NaN as padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from einops import reduce
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.batch import Batch
from actsr_cli.inspection.answers import Answers, Case, answers, case_batches, target_log_probability
from actsr_cli.inspection.trace import in_evaluation, trace
from actsr_cli.models.base import EncoderModel, Model, SequentialModel
from actsr_cli.models.encoder import Pass

Importance = NDArray[np.float64]

PATH_STEPS = 128
"""Number of points on the path of integrated gradients. The sum of the values is then off by .002 or less."""


@dataclass(frozen=True)
class LeftOut:
    """The effect of leaving out each item of each history.

    Attributes:
        log_probability: (cases, longest) decrease of the target's log-probability; negative if it increases.
        rank: (cases, longest) increase of the target's rank number; negative if the rank gets better.
    """

    log_probability: Importance
    rank: Importance


def leave_one_out(model: Model, cases: Sequence[Case], whole: Answers, device: torch.device) -> LeftOut:
    """Leave out each item in turn and compare the results with those of the whole history.

    Args:
        model: the model, on `device`.
        cases: histories of at least two and at most `max_length` items.
        whole: its results for the whole histories.
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
    """Gradient × input, and integrated gradients from the mean input of these cases.

    Args:
        model: the model, on `device`.
        cases: histories of at most `max_length` items.
        device: where the model is.
    """
    mean = mean_input(model, cases, device)
    return {
        "gradient x input": _along_path(model, cases, torch.zeros_like(mean), [1.0]),
        "integrated gradients": integrated_gradients(model, cases, mean),
    }


def by_fixed_attention(model: EncoderModel, cases: Sequence[Case], device: torch.device) -> Importance:
    """Gradient × input with the attention weights held fixed: what the attention, as it is, carries from each item.

    Without the gradients of the weights, each layer's attention is a weighted sum of its values, so a score is followed
    back to the items along the weights, the filters and the residual connections (Ali et al., XAI for Transformers:
    Better Explanations through Conservative Propagation, ICML 2022: their rule for attention, without that for layer
    normalisation).

    Args:
        model: the model, on `device`.
        cases: histories of at most `max_length` items.
        device: where the model is.
    """
    start = torch.zeros(model.config.hidden_size, device=device)
    return _along_path(model, cases, start, [1.0], fixed_attention=True)


def integrated_gradients(model: EncoderModel, cases: Sequence[Case], start: Tensor) -> Importance:
    """What each item adds to the log-probability of the target (Sundararajan et al., ICML 2017).

    The values of a history add up to the difference between its log-probability and that of a history of nothing but
    `start`. The path leads from there to the encoder's input after normalisation. (Before normalisation the scale of an
    embedding has no effect, so its gradient is not informative; and layer normalisation is not smooth near zero, the
    usual start.)

    Args:
        model: the model.
        cases: histories of at most `max_length` items.
        start: (hidden,) input of every item at the start of the path, such as `mean_input`.
    """
    return _along_path(model, cases, start, [(step + 0.5) / PATH_STEPS for step in range(PATH_STEPS)])


def mean_input(model: EncoderModel, cases: Sequence[Case], device: torch.device) -> Tensor:
    """The mean encoder input over all items of some histories, (hidden,)."""
    total, count = torch.zeros(model.config.hidden_size, device=device), 0
    with torch.no_grad():
        for _, batch, _ in case_batches(cases, model.config.max_length, device):
            hidden = model.embed(model.scoring_inputs(batch)).hidden[_item_tokens(model, batch)]
            total = total + hidden.sum(dim=0)
            count += len(hidden)
    return total / count


def _along_path(
    model: EncoderModel, cases: Sequence[Case], start: Tensor, path: Sequence[float], *, fixed_attention: bool = False
) -> Importance:
    """(input - start) × mean gradient over the points of `path`; point 0 is start, 1 is input."""
    found = _nothing(cases)
    with in_evaluation(model):
        for rows, batch, targets in case_batches(cases, model.config.max_length, start.device):
            products = _path_products(model, batch, targets, start, path, fixed_attention=fixed_attention)
            _fill(found, rows, batch, products, model.unread_items)
    return found


def _path_products(
    model: EncoderModel,
    batch: Batch,
    targets: Tensor,
    start: Tensor,
    path: Sequence[float],
    *,
    fixed_attention: bool,
) -> Tensor:
    """`_along_path` of one batch, (batch, length)."""
    inputs = model.scoring_inputs(batch)
    with torch.no_grad():
        embedded = model.embed(inputs)
    way = (embedded.hidden - start) * _item_tokens(model, batch).unsqueeze(1)
    total = torch.zeros_like(way)
    for share in path:
        hidden = (embedded.hidden - (1 - share) * way).requires_grad_()
        wanted = Pass(rows=inputs.packing.last, keep_stages=fixed_attention)
        encoded = model.encode_embedded(replace(embedded, hidden=hidden), wanted)
        for layer in encoded.layers:
            if layer.stages is not None:  # its weights have no gradient from here on
                layer.stages.calibrated.register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]
        scores = model.scores_after(batch, encoded.hidden)
        (gradient,) = torch.autograd.grad(target_log_probability(scores, targets).sum(), hidden)
        total += gradient
    return inputs.packing.pad(reduce(total * way, "t d -> t", "sum") / len(path))


def _item_tokens(model: EncoderModel, batch: Batch) -> Tensor:
    """(tokens,) bool of the batch that is encoded for ranking: False for the masks of a cloze model."""
    packing = model.scoring_inputs(batch).packing
    return packing.positions < batch.lengths[packing.sequences] - model.unread_items


def by_attention(model: SequentialModel, cases: Sequence[Case], device: torch.device) -> dict[str, Importance]:
    """Importance by each attention stage: the row of the predicting position, mean over heads.

    Each stage gives the weights of the last layer and the rollout over all layers. The adversarial mask M is small
    where attention matters, so its importance is 1 - M of the last layer, without rollout.

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
                _fill(found.setdefault(name, _nothing(cases)), rows, batch, weights, model.unread_items)
    return found


def by_relevance(model: EncoderModel, cases: Sequence[Case], device: torch.device) -> Importance:
    """What the attention of all layers carries from each item to the target's log-probability.

    The relevance R starts as the identity. Each layer, with the attention A that it attends with, adds
    (Σ over heads of A ⊙ ∂ log-probability / ∂A) · R; the row of the predicting position is the importance (Chefer, Gur
    and Wolf, Generic Attention-model Explainability, ICCV 2021, equations 5 and 6). They replace negative products by
    0; here these stay, because an item can speak against the target.

    Args:
        model: the model, on `device`.
        cases: histories of at most `max_length` items.
        device: where the model is.
    """
    found = _nothing(cases)
    with in_evaluation(model):
        for rows, batch, targets in case_batches(cases, model.config.max_length, device):
            _fill(found, rows, batch, _relevance(model, batch, targets), model.unread_items)
    return found


def _relevance(model: EncoderModel, batch: Batch, targets: Tensor) -> Tensor:
    """(batch, length) relevance of each position."""
    inputs = model.scoring_inputs(batch)
    embedded = model.embed(inputs)
    encoded = model.encode_embedded(
        replace(embedded, hidden=embedded.hidden.detach().requires_grad_()), Pass(keep_stages=True)
    )
    scores = model.scores_after(batch, encoded.hidden[inputs.packing.last])
    attention = [layer.stages.calibrated for layer in encoded.layers if layer.stages is not None]
    gradients = torch.autograd.grad(target_log_probability(scores, targets).sum(), attention)
    relevance = torch.eye(inputs.packing.longest).to(attention[0]).expand(len(targets), -1, -1)
    for weights, gradient in zip(attention, gradients, strict=True):
        carried = reduce(weights.detach() * gradient, "b h q k -> b q k", "sum")
        relevance = relevance + carried @ relevance
    return relevance[torch.arange(len(targets), device=targets.device), inputs.lengths - 1]


def by_position(cases: Sequence[Case], of_length: Callable[[int], NDArray[np.float64]]) -> Importance:
    """An importance that depends only on the positions, such as latest first."""
    found = _nothing(cases)
    for row, case in enumerate(cases):
        found[row, : len(case.items)] = of_length(len(case.items))
    return found


def _nothing(cases: Sequence[Case]) -> Importance:
    return np.full((len(cases), max((len(case.items) for case in cases), default=0)), np.nan)


def _fill(found: Importance, rows: NDArray[np.int64], batch: Batch, values: Tensor, unread: int) -> None:
    """Copy the values of real items, from (batch, length), into the given rows; the first `unread` items have 0."""
    length = batch.packing.longest
    real = np.arange(length) < batch.packing.host_lengths[:, None]
    numbers = F.pad(values, (unread, 0))[:, :length].cpu().double().numpy()
    found[rows, :length] = np.where(real, numbers, np.nan)
