"""Soft targets are compared with torch's cross-entropy for probabilities, teachers with the scores of their models."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from flat import batch_of
from samples import built, prediction_loss, run_config
from torch import Tensor

from actsr_cli.batch import PADDING, TrainingBatch
from actsr_cli.models.base import SequentialModel
from actsr_cli.training.losses import rows
from actsr_cli.training.losses.soft_targets import SoftTargets, soft_target_loss
from actsr_cli.training.objective import Objective
from actsr_cli.training.teachers import Teachers

N_ITEMS = 9
HISTORIES = [[1, 2, 3, 4], [5, 6]]
TARGETS = [2, 3, 4, 7, 6, 8]


def probabilities(scores: Tensor) -> Tensor:
    """softmax without padding, which no teacher expects."""
    columns = torch.arange(scores.shape[1])
    return scores.masked_fill(columns == PADDING, -math.inf).softmax(dim=1)


def model(seed: int, **options: Any) -> SequentialModel:
    torch.manual_seed(seed)
    made = built(run_config(hidden_size=8, max_length=6, **options), N_ITEMS)
    assert isinstance(made, SequentialModel)
    return made


def training_batch() -> TrainingBatch:
    batch = batch_of(HISTORIES)
    return TrainingBatch(batch.item_ids, batch.packing, rows=torch.arange(6), targets=torch.tensor(TARGETS))


@pytest.mark.parametrize("scores_at_a_time", [1, 100, 10_000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_target_moves_to_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, scores_at_a_time: int, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(rows, "_SCORES_AT_A_TIME", {"cpu": scores_at_a_time})
    monkeypatch.setattr(rows, "_ROWS_AT_LEAST", 1)
    torch.manual_seed(0)
    hidden, items = (torch.randn(size, 8, dtype=torch.float64, requires_grad=True) for size in (23, 12))
    targets = torch.randint(1, 12, (23,))
    soft = SoftTargets(torch.randn(23, 5, dtype=torch.float64), torch.randn(12, 5, dtype=torch.float64))
    logits = hidden @ items.T
    wanted = F.cross_entropy(logits, probabilities(soft.hidden @ soft.items.T)) - F.cross_entropy(logits, targets)
    expected = wanted, *torch.autograd.grad(3 * wanted, (hidden, items))
    given = [each.detach().to(dtype).requires_grad_() for each in (hidden, items)]
    ours = soft_target_loss(given[0], given[1], targets, SoftTargets(soft.hidden.to(dtype), soft.items.to(dtype)))
    found = ours, *torch.autograd.grad(3 * ours, given)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.to(dtype))


def test_threads_share_the_rows_of_soft_targets() -> None:
    torch.manual_seed(0)
    hidden, items, targets = torch.randn(200, 8), torch.randn(300, 8), torch.randint(1, 300, (200,))
    soft, found = SoftTargets(torch.randn(200, 6), torch.randn(300, 6)), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        given = [each.clone().requires_grad_() for each in (hidden, items)]
        loss = soft_target_loss(given[0], given[1], targets, soft)
        found.append((loss.detach(), *torch.autograd.grad(loss, given)))
    for one, several in zip(*found, strict=True):
        torch.testing.assert_close(one, several)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_teachers_expect_what_their_mean_scores_say(similarity: str) -> None:
    """They score as in evaluation: dropout is off, and each prefix sees what came before it only."""
    teachers = [model(1, similarity=similarity), model(2, similarity=similarity, layers=1, calibration="full")]
    teachers.append(model(3, similarity=similarity, learn_repeats=True))
    batch = training_batch()
    prefixes = [history[:end] for history in HISTORIES for end in range(1, len(history) + 1)]
    mean = torch.stack([teacher.eval().score(batch_of(prefixes)) for teacher in teachers]).mean(dim=0)
    for teacher in teachers:
        teacher.train()
    teachers[2].get_parameter("repeat_bonus.scaled").data.fill_(-0.5)  # no part of what they expect
    soft = Teachers(teachers, 0.5).expected(batch)
    torch.testing.assert_close(soft.hidden @ soft.items.T, mean, rtol=1e-4, atol=1e-5)
    assert not any(parameter.requires_grad for teacher in teachers for parameter in teacher.parameters())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_taught_model_learns_a_mixture(smoothing: float) -> None:
    """The target keeps what smoothing and teachers leave; the loss and its gradients are those of the mixture."""
    learner, batch, share = model(3).eval(), training_batch(), 0.3
    teachers = Teachers([model(1), model(2)], share)
    objective = Objective(learner, prediction_loss(n_items=N_ITEMS, label_smoothing=smoothing), teachers=teachers)
    losses = objective.losses(batch)
    soft = teachers.expected(batch)
    target = F.one_hot(batch.targets, N_ITEMS + 1).float()
    mixture = (1 - smoothing - share) * target + smoothing / (N_ITEMS + 1)
    mixture = mixture + share * probabilities(soft.hidden @ soft.items.T)
    prefixes = [history[:end] for history in HISTORIES for end in range(1, len(history) + 1)]
    expected = F.cross_entropy(learner.score(batch_of(prefixes)), mixture)
    torch.testing.assert_close(losses.calibrated, expected)
    names, parameters = zip(*learner.named_parameters(), strict=True)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    objective.backward(losses)
    for name, parameter, gradient in zip(names, parameters, wanted, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6, msg=name)
