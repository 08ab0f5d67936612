"""Tests of paired differences are compared with fractions computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.evaluation.significance import PairedTest, holm, paired_t, signed_ranks


def test_wilcoxon_by_counting_signs() -> None:
    """Differences 1, 2, 3, 4, -5, 0. p is the share of the 2⁵ signs whose rank sum is at least as far from 7.5 as 5."""
    found = signed_ranks(np.array([1.0, 2.0, 3.0, 4.0, -5.0, 0.0]))
    sums = [sum(rank for rank in range(1, 6) if signs >> rank & 1) for signs in range(0, 64, 2)]
    as_far = sum(abs(each - 7.5) >= 2.5 for each in sums)
    assert found.p == pytest.approx(as_far / 32)
    assert found.effect == pytest.approx((1 + 2 + 3 + 4 - 5) / 15)


def test_equal_ranks_share_their_places() -> None:
    assert signed_ranks(np.array([1.0, 1.0, -1.0])).effect == pytest.approx(1 / 3)
    assert signed_ranks(np.zeros(4)).p == 1.0


def test_the_paired_t_test() -> None:
    """Differences 1, 2, 3: mean 2, standard deviation 1, t = 2√3 with two degrees of freedom."""
    found = paired_t(np.array([1.0, 2.0, 3.0]))
    t = 2 * math.sqrt(3)
    assert found.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))  # Student's distribution with 2 degrees of freedom
    assert found.effect == pytest.approx(2.0)
    assert paired_t(np.array([0.0, 0.0])).p == 1.0
    for equal in (-1.0, 0.1, 0.007):  # they may be chance; the standard deviation of some is a rounding error
        assert paired_t(np.full(3, equal)) == PairedTest(1.0, 0.0)
    with pytest.raises(ValueError, match="two pairs"):
        paired_t(np.array([1.0]))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_never_helps(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, adjusted, strict=True))
    by_size = [after for _, after in sorted(zip(p_values, adjusted, strict=True))]
    assert by_size == sorted(by_size)
    assert min(adjusted) == min(1.0, len(p_values) * min(p_values))
