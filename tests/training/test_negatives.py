"""Sampled losses: computed by hand, compared with full cross-entropy, and the distribution of negatives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from samples import prediction_loss

from actsr_cli.errors import DataError
from actsr_cli.training.losses.binary import gbce
from actsr_cli.training.losses.negatives import NegativeSampler
from actsr_cli.training.losses.sampled import sampled_cross_entropy

COUNTS = torch.tensor([0, 5, 1, 0, 20, 3])


def test_shares_by_hand() -> None:
    uniform = NegativeSampler("uniform", 4, COUNTS)
    assert uniform.log_q[1:].exp().tolist() == pytest.approx([1 / 5] * 5)
    in_batch = NegativeSampler("in-batch", 4, COUNTS)
    assert in_batch.log_q[[1, 4]].exp().tolist() == pytest.approx([5 / 29, 20 / 29])
    ranked = NegativeSampler("log-uniform", 4, COUNTS)
    assert ranked.by_popularity.tolist() == [4, 1, 5, 2, 3]
    expected = {item: math.log((rank + 2) / (rank + 1)) / math.log(6) for rank, item in enumerate([4, 1, 5, 2, 3])}
    assert {item: ranked.log_q[item].exp().item() for item in expected} == pytest.approx(expected)
    assert ranked.log_q[1:].exp().sum().item() == pytest.approx(1)


@pytest.mark.parametrize("sampling", ["uniform", "log-uniform"])
def test_draws_have_these_shares(sampling: str) -> None:
    torch.manual_seed(0)
    sampler = NegativeSampler(sampling, 200_000, COUNTS)  # type: ignore[arg-type]
    drawn = torch.bincount(sampler.draw(torch.tensor([1])), minlength=6) / 200_000
    assert drawn[0] == 0
    torch.testing.assert_close(drawn[1:], sampler.log_q[1:].exp(), rtol=0, atol=0.005)


def test_in_batch_negatives_are_the_targets() -> None:
    targets = torch.tensor([3, 1, 3])
    assert torch.equal(NegativeSampler("in-batch", 7, COUNTS).draw(targets), targets)


def test_every_item_drawn_once_is_full_cross_entropy() -> None:
    torch.manual_seed(0)
    hidden, items, targets = torch.randn(6, 4), torch.randn(6, 4), torch.tensor([1, 2, 3, 4, 5, 1])
    log_q = torch.full((6,), -math.log(5))
    loss = sampled_cross_entropy(hidden, items, targets, torch.arange(1, 6), log_q)
    torch.testing.assert_close(loss, F.cross_entropy(hidden @ items[1:].T, targets - 1))


@pytest.mark.parametrize("sampling", ["uniform", "log-uniform"])
def test_many_draws_approach_full_cross_entropy(sampling: str) -> None:
    """The loss converges, but only with the correct sampling probabilities."""
    torch.manual_seed(0)
    sampler = NegativeSampler(sampling, 400_000, COUNTS)  # type: ignore[arg-type]
    hidden, items, targets = torch.randn(3, 4), torch.randn(6, 4), torch.tensor([3, 4, 1])
    negatives = sampler.draw(targets)
    full = F.cross_entropy(hidden @ items[1:].T, targets - 1).item()
    assert sampled_cross_entropy(hidden, items, targets, negatives, sampler.log_q).item() == pytest.approx(
        full, rel=0.005
    )
    other = NegativeSampler("uniform" if sampling == "log-uniform" else "log-uniform", 1, COUNTS)
    wrong = sampled_cross_entropy(hidden, items, targets, negatives, other.log_q).item()
    assert wrong != pytest.approx(full, rel=0.01)


def test_a_negative_that_is_the_target_does_not_count() -> None:
    hidden, items = torch.tensor([[1.0, 2.0]]), torch.randn(4, 2)
    targets = torch.tensor([2])
    alone = sampled_cross_entropy(hidden, items, targets, torch.tensor([2, 2]), torch.zeros(4))
    assert alone.item() == 0
    assert gbce(hidden, items, targets, torch.tensor([2, 1]), 0.5) < gbce(
        hidden, items, targets, torch.tensor([1, 1]), 0.5
    )


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_by_hand(calibration: float) -> None:
    """Eleven items, two of ten others drawn: α = 0.2, β = 0.2 · (t · (1 - 5) + 5) = 1 - 0.8 t."""
    items = torch.zeros(12, 1)
    items[3], items[5], items[7] = 2.0, -1.0, 0.5
    loss = gbce(torch.ones(1, 1), items, torch.tensor([3]), torch.tensor([5, 7]), calibration)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    power = 1 - 0.8 * calibration
    positive, *negatives = (sigmoid(logit - math.log(2 / power)) for logit in (2.0, -1.0, 0.5))
    expected = -(math.log(positive**power) + sum(math.log(1 - negative) for negative in negatives)) / 3
    assert loss.item() == pytest.approx(expected)


def test_bpr_draws_every_item_but_the_target() -> None:
    targets = torch.tensor([1, 2, 3] * 60)
    drawn = prediction_loss("bpr", n_items=3).draw(targets)
    assert drawn is not None
    pairs = set(zip(targets.tolist(), drawn.tolist(), strict=True))
    assert pairs == {(target, other) for target in (1, 2, 3) for other in (1, 2, 3) if target != other}


def test_a_single_item_has_no_other() -> None:
    with pytest.raises(DataError, match="the catalogue has a single item"):
        prediction_loss("bpr", n_items=1)
