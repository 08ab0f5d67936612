"""The learned bonus of items that the history already holds."""

from __future__ import annotations

import pytest
import torch
from flat import batch_of, trained
from samples import built, prediction_loss, run_config
from torch import Tensor

from actsr_cli.config import LOSSES
from actsr_cli.config.losses import CustomLoss
from actsr_cli.errors import ConfigError
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.repeats import LearnedBonus, Repeats
from actsr_cli.training.losses.base import PredictionLoss
from actsr_cli.training.objective import Objective

HISTORIES = batch_of([[3, 1, 3, 2], [4]])


def model(name: str = "sasrec") -> SequentialModel:
    torch.manual_seed(0)
    config = run_config(name, hidden_size=8, inner_size=8, max_length=6, learn_repeats=True, hidden_dropout=0.0)
    made = built(config, n_items=9)
    assert isinstance(made, SequentialModel) and made.repeat_bonus is not None
    return made


def seen(rows: list[int], *, causal: bool, n_items: int = 9) -> list[set[int]]:
    repeats = LearnedBonus()(HISTORIES, torch.tensor(rows), n_items, causal=causal)
    for row in repeats.items:
        assert len(row[row > 0].unique()) == len(row[row > 0])  # each item once
    return [set(row[row > 0].tolist()) for row in repeats.items]


def test_a_row_has_seen_the_items_up_to_itself() -> None:
    assert seen([0, 1, 2, 3, 4], causal=True) == [{3}, {3, 1}, {3, 1}, {3, 1, 2}, {4}]
    assert seen([0, 4], causal=False) == [{3, 1, 2}, {4}]
    assert seen([0, 4], causal=False, n_items=2) == [{1, 2}, set()]  # larger ids are masks


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "gru4rec"])
def test_scores_of_seen_items_are_raised_and_no_others(name: str) -> None:
    scorer = model(name).eval()
    before = scorer.score(HISTORIES)
    torch.nn.init.constant_(scorer.get_parameter("repeat_bonus.scaled"), -0.2)
    change = scorer.score(HISTORIES) - before
    expected = torch.zeros(2, 10)
    expected[0, [1, 2, 3]] = expected[1, 4] = -2.0
    torch.testing.assert_close(change, expected)


def test_the_bonus_falls_where_nobody_comes_back_and_rises_where_all_do() -> None:
    slopes = []
    for targets in ([[1, 4, 2, 5], [6]], [[3, 1, 3, 2], [4]]):
        learner = model()
        objective = Objective(learner, prediction_loss())
        objective.backward(objective.losses(trained(HISTORIES, targets)))
        slope = learner.get_parameter("repeat_bonus.scaled").grad
        assert slope is not None
        slopes.append(float(slope))
    assert slopes[0] > 0 > slopes[1]


@pytest.mark.parametrize("name", [name for name in LOSSES.by_name if name != "ce"])
def test_a_sampled_loss_is_the_one_of_scores_with_the_bonus(name: str) -> None:
    """The bonus as one more channel: 1 in a hidden state, and the bonus of each item in that of one row."""
    torch.manual_seed(0)
    loss = prediction_loss(name)
    hidden, items, targets = torch.randn(1, 4), torch.randn(10, 4), torch.tensor([3])
    negatives = loss.draw(targets)
    for seen in ([3, 5, 0], [1, 2, 7], [0, 0, 0]):
        repeats = Repeats(torch.tensor([seen]), torch.tensor(-1.5))
        bonus = repeats.added(torch.zeros(1, 10)).T
        wider = torch.cat([hidden, torch.ones(1, 1)], dim=1), torch.cat([items, bonus], dim=1)
        expected = loss(*wider, targets, negatives)
        torch.testing.assert_close(loss.raised(hidden, items, targets, negatives, repeats), expected)


@pytest.mark.parametrize("name", LOSSES.by_name)
def test_only_the_bonus_learns_otherwise_than_without_it(name: str) -> None:
    torch.manual_seed(0)
    loss, targets = prediction_loss(name), torch.tensor([3, 4])
    hidden, items = torch.randn(2, 4).requires_grad_(), torch.randn(10, 4).requires_grad_()
    bonus = torch.tensor(-1.5, requires_grad=True)
    repeats = Repeats(torch.tensor([[1, 3], [2, 0]]), bonus)
    negatives = loss.draw(targets)
    plain = loss(hidden, items, targets, negatives)
    ours = loss.with_repeats(hidden, items, targets, negatives, repeats)
    torch.testing.assert_close(ours, plain)
    expected = torch.autograd.grad(plain, [hidden, items])
    *of_operands, of_bonus = torch.autograd.grad(ours, [hidden, items, bonus])
    for found, wanted in zip(of_operands, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert of_bonus != 0


def test_a_loss_that_knows_no_repeats_is_refused() -> None:
    class Plain(PredictionLoss):
        def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
            return hidden.sum()

    loss = Plain(CustomLoss(name="mine:Plain"), 9, torch.ones(10))
    with pytest.raises(ConfigError, match=r"model\.learn_repeats cannot be used with loss mine:Plain"):
        Objective(model(), loss).losses(trained(HISTORIES, [[1, 4, 2, 5], [6]]))
