"""Metrics against fractions computed by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.evaluation.metrics import hit, mrr, ndcg, summarize

RANKS = np.array([1.0, 2.0, 3.5, 10.0, 11.0])


def test_per_user_values() -> None:
    assert hit(RANKS, 10).tolist() == [1, 1, 1, 1, 0]
    assert ndcg(RANKS, 10).tolist() == pytest.approx([1, 1 / log2(3), 1 / log2(4.5), 1 / log2(11), 0])
    assert mrr(RANKS, 3).tolist() == pytest.approx([1, 1 / 2, 0, 0, 0])


def test_means_in_order() -> None:
    means = summarize(RANKS, [1, 10])
    assert list(means) == ["hit@1", "hit@10", "ndcg@1", "ndcg@10", "mrr@1", "mrr@10"]
    assert means["hit@1"] == pytest.approx(1 / 5)
    assert means["hit@10"] == pytest.approx(4 / 5)
    assert means["mrr@10"] == pytest.approx((1 + 1 / 2 + 2 / 7 + 1 / 10) / 5)


def test_no_ranks_are_an_error() -> None:
    with pytest.raises(ValueError, match="no ranks"):
        summarize(np.array([]), [10])


@given(ranks=st.lists(st.integers(2, 400), min_size=1), k=st.integers(1, 200))
def test_metrics_lie_between_0_and_hit_and_grow_with_k(ranks: list[int], k: int) -> None:
    doubled = np.array(ranks) / 2
    for metric in (ndcg, mrr):
        assert (metric(doubled, k) >= 0).all() and (metric(doubled, k) <= hit(doubled, k)).all()
        assert (metric(doubled, k + 1) >= metric(doubled, k)).all()
