"""Masks and normalisations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.attention.masks import Renorm, allowed_pairs, masked_softmax, renormalise


def test_causal_pairs_by_hand() -> None:
    allowed = allowed_pairs(torch.tensor([2, 3]), 3, causal=True)
    assert allowed.int().tolist() == [
        [[[1, 0, 0], [1, 1, 0], [1, 1, 0]]],
        [[[1, 0, 0], [1, 1, 0], [1, 1, 1]]],
    ]


def test_bidirectional_pairs_by_hand() -> None:
    allowed = allowed_pairs(torch.tensor([2]), 3, causal=False)
    assert allowed.int().tolist() == [[[[1, 1, 0], [1, 1, 0], [1, 1, 0]]]]


@given(
    weights=st.lists(st.floats(0, 1), min_size=2, max_size=8),
    forbidden=st.integers(0, 6),
)
def test_renormalised_rows_are_distributions(weights: list[float], forbidden: int) -> None:
    row = torch.tensor(weights).reshape(1, 1, 1, -1)
    allowed = torch.arange(len(weights)).reshape(1, 1, 1, -1) < max(1, len(weights) - forbidden)
    for renorm in ("softmax", "sum"):
        result = renormalise(row, allowed, renorm, noisy=True)
        assert (result >= 0).all()
        assert not result[~allowed].any()
        if renorm == "softmax" or row[allowed].sum() > 1e-6:
            torch.testing.assert_close(result.sum(), torch.tensor(1.0))
    assert torch.equal(renormalise(row, allowed, "none", noisy=True), row * allowed)


def test_softmax_flattens_and_sum_does_not() -> None:
    """After the published renormalisation, two weights differ by at most a factor of e."""
    attention = torch.tensor([[[[0.98, 0.01, 0.01]]]])
    allowed = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    flat = renormalise(attention, allowed, "softmax")
    assert (flat.max() / flat.min()).item() < 2.7183
    torch.testing.assert_close(renormalise(attention, allowed, "sum"), attention)


def test_sum_cuts_off_negative_weights_and_survives_a_row_of_zeros() -> None:
    allowed = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    result = renormalise(torch.tensor([[[[-1.0, 0.5], [0.0, 0.0]]]]), allowed, "sum", noisy=True)
    assert result.tolist() == [[[[0.0, 1.0], [0.0, 0.0]]]]


def test_masked_softmax_gives_forbidden_keys_nothing() -> None:
    logits = torch.tensor([[[[1e4, 0.0, -1e4]]]])
    result = masked_softmax(logits, torch.tensor([[[[False, True, True]]]]))
    assert result.tolist() == [[[[0.0, 1.0, 0.0]]]]


@pytest.mark.parametrize("renorm", ["softmax", "sum", "none"])
def test_gradients_of_renormalised_weights(renorm: Renorm) -> None:
    torch.manual_seed(0)
    allowed = torch.ones(1, 1, 3, 4, dtype=torch.bool).tril(1)
    weights = (torch.rand(2, 2, 3, 4, dtype=torch.float64) + 0.1) * allowed
    assert torch.autograd.gradcheck(lambda w: renormalise(w * allowed, allowed, renorm), weights.requires_grad_())
