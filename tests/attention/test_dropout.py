"""Dropout from packed random bits: shares, scales and gradients."""

from __future__ import annotations

import pytest
import torch

from actsr_cli.attention import Dropout, dropout


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_share_and_scale(probability: float) -> None:
    torch.manual_seed(0)
    n = 400_001
    dropped = dropout(torch.ones(n), probability, training=True)
    kept = dropped[dropped != 0]
    assert kept.min() == kept.max()
    assert kept[0].item() == pytest.approx(1 / (1 - probability), rel=1e-4)
    deviation = (probability * (1 - probability) / n) ** 0.5
    assert len(kept) / n == pytest.approx(1 - probability, abs=4 * deviation)


def test_neighbours_are_dropped_independently() -> None:
    """Four entries share a 64-bit draw: both entries of each pair are kept in a quarter of the cases."""
    torch.manual_seed(1)
    kept = (dropout(torch.ones(200_000, 4), 0.5, training=True) != 0).double()
    together = kept.T @ kept / len(kept)
    torch.testing.assert_close(together, torch.full((4, 4), 0.25).double() + 0.25 * torch.eye(4), rtol=0, atol=0.006)


def test_the_gradient_meets_the_same_entries() -> None:
    values = torch.randn(7, 3, requires_grad=True)
    dropped = dropout(values, 0.5, training=True)
    torch.autograd.backward(dropped.sum())
    assert values.grad is not None
    torch.testing.assert_close(values.grad * values.detach(), dropped.detach())


def test_nothing_happens_in_evaluation_or_at_probability_0() -> None:
    values = torch.randn(5)
    module = Dropout(0.5).eval()
    assert module(values) is values
    assert dropout(values, 0.0, training=True) is values


def test_the_seed_repeats_it() -> None:
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(dropout(torch.ones(1000), 0.5, training=True))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
