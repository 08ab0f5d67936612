"""The spatial calibrator is compared with its definition, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch

from actsr_cli.attention.spatial import PairAffine, SpatialCalibrator


def test_pair_affine_is_the_affine_map_of_every_concatenated_pair() -> None:
    torch.manual_seed(0)
    affine = PairAffine(width=3)
    queries, keys = torch.randn(2, 4, 5, 3), torch.randn(2, 4, 6, 3)
    pairs = torch.cat(
        [queries.unsqueeze(3).expand(-1, -1, -1, 6, -1), keys.unsqueeze(2).expand(-1, -1, 5, -1, -1)], dim=-1
    )
    expected = (pairs @ affine.weight[0]) + affine.bias
    torch.testing.assert_close(affine(queries, keys), expected)


@pytest.mark.parametrize("saturating", [False, True])
def test_terms_by_hand(saturating: bool) -> None:
    """One head of width 1, query at position 1: keys before, at and after it."""
    calibrator = SpatialCalibrator(1, saturating=saturating)
    assert calibrator.order is not None and calibrator.distance is not None and calibrator.sharpness is not None
    with torch.no_grad():
        calibrator.order.weight.copy_(torch.tensor([[0.5, -1.0]]))
        calibrator.order.bias.fill_(0.25)
        calibrator.distance.weight.copy_(torch.tensor([[1.0, 2.0]]))
        calibrator.distance.bias.fill_(-0.5)
        calibrator.sharpness.fill_(3.0)
    query, keys = 2.0, [1.0, -1.0, 0.5]
    result = calibrator(
        torch.zeros(1, 1, 3, 3),
        torch.full((1, 1, 3, 1), query),
        torch.tensor(keys).reshape(1, 1, 3, 1),
        scale=0.5,
    )
    for position, key in enumerate(keys):
        z = 0.5 * query - 1.0 * key + 0.25
        sigma = 1 / (1 + math.exp(-z))
        order = math.log(sigma) if position > 1 else math.log(1 - sigma)
        p = 1.0 * query + 2.0 * key - 0.5
        distance = -((math.log(abs(position - 1) + 1) - p) ** 2) * 3.0**2 / 2
        assert result[0, 0, 1, position].item() == pytest.approx(0.5 * (order + distance), rel=1e-5)


def test_order_term_stays_exact_where_the_published_one_saturates() -> None:
    """At z = 40, log(1 - σ(z)) is -40; float32 arithmetic on σ gives log(1e-24) and no gradient."""
    queries, keys = torch.full((1, 1, 1, 1), 40.0, requires_grad=True), torch.zeros(1, 1, 1, 1)
    for saturating, expected, gradient in ((False, -40.0, -1.0), (True, math.log(1e-24), 0.0)):
        calibrator = SpatialCalibrator(1, use_distance=False, saturating=saturating)
        assert calibrator.order is not None
        with torch.no_grad():
            calibrator.order.weight.copy_(torch.tensor([[1.0, 0.0]]))
            calibrator.order.bias.zero_()
        queries.grad = None
        result = calibrator(torch.zeros(1, 1, 1, 1), queries, keys, scale=1.0)
        result.sum().backward()
        assert result.item() == pytest.approx(expected, rel=1e-6)
        assert queries.grad is not None
        assert queries.grad.item() == pytest.approx(gradient, abs=1e-6)


def test_terms_can_be_left_out() -> None:
    scores = torch.randn(1, 2, 4, 4)
    queries = keys = torch.randn(1, 2, 4, 8)
    neither = SpatialCalibrator(8, use_order=False, use_distance=False)
    assert not list(neither.parameters())
    assert torch.equal(neither(scores, queries, keys, 0.3), scores)
