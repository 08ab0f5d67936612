"""Time intervals, and relation attention computed without a vector per pair."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actsr_cli.attention import CalibratedSelfAttention, Relations, allowed_pairs, time_intervals


def test_intervals_by_hand() -> None:
    """Gaps 0, 6, 3, 90. The smallest gap so far: none in rows 0 and 1, 6 in row 2, 3 in rows 3 and 4."""
    times = torch.tensor([[100.0, 100.0, 106.0, 109.0, 199.0, 0.0]], dtype=torch.float64)
    rows = time_intervals(times, span=20, scale="user")[0, :5, :5].tril()
    assert rows.tolist() == [[0] * 5, [0] * 5, [1, 1, 0, 0, 0], [3, 3, 1, 0, 0], [20, 20, 20, 20, 0]]
    raw = time_intervals(times, span=20, scale="raw")[0, :5, :5]
    assert raw.tolist()[2] == [6, 6, 0, 3, 20]
    assert torch.equal(raw, raw.T)


def test_dates_of_this_century_keep_their_seconds() -> None:
    times = torch.tensor([[1_700_000_000.0, 1_700_000_001.0, 1_700_000_003.0]], dtype=torch.float64)
    assert time_intervals(times, span=9, scale="raw")[0, 2].tolist() == [3, 2, 0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.sampled_from(["user", "raw"]), st.integers(1, 7))
def test_no_row_knows_the_future(gaps: list[int], scale: str, place: int) -> None:
    times = torch.tensor([gaps], dtype=torch.float64).cumsum(1) + 1e9
    place = min(place, len(gaps))
    whole = time_intervals(times, 100, scale)  # type: ignore[arg-type]
    prefix = time_intervals(times[:, :place], 100, scale)  # type: ignore[arg-type]
    assert torch.equal(whole[:, :place, :place].tril(), prefix.tril())
    assert whole.min() >= 0 and whole.max() <= 100


@pytest.fixture
def relations() -> Relations:
    torch.manual_seed(0)
    span, length, hidden = 6, 5, 8
    key_positions, value_positions, key_intervals, value_intervals = (
        torch.randn(rows, hidden, requires_grad=True) for rows in (length, length, span + 1, span + 1)
    )
    return Relations(
        key_positions,
        value_positions,
        key_intervals,
        value_intervals,
        intervals=torch.randint(0, span + 1, (3, length, length)),
    )


def test_terms_equal_those_of_vectors_per_pair(relations: Relations) -> None:
    queries, attention = torch.randn(3, 2, 5, 4), torch.rand(3, 2, 5, 5)
    per_pair_key = relations.key_intervals[relations.intervals].view(3, 5, 5, 2, 4)  # (batch, q, k, heads, width)
    per_pair_value = relations.value_intervals[relations.intervals].view(3, 5, 5, 2, 4)
    expected_scores = torch.einsum("bhqd,bqkhd->bhqk", queries, per_pair_key)
    expected_values = torch.einsum("bhqk,bqkhd->bhqd", attention, per_pair_value)
    scores, values = relations.scores(queries), relations.values(attention)
    torch.testing.assert_close(scores, expected_scores)
    torch.testing.assert_close(values, expected_values)
    tables = [relations.key_intervals, relations.value_intervals]
    weights = torch.randn_like(scores), torch.randn_like(values)
    ours = torch.autograd.grad((scores * weights[0]).sum() + (values * weights[1]).sum(), tables)
    plain = torch.autograd.grad((expected_scores * weights[0]).sum() + (expected_values * weights[1]).sum(), tables)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_attention_with_relations_by_its_formula(relations: Relations) -> None:
    """softmax((q·(k + p_j + r_ij)) / √d) (v + p'_j + r'_ij), one head at a time."""
    attention = CalibratedSelfAttention(8, 2)
    hidden, lengths = torch.randn(3, 5, 8), torch.tensor([5, 3, 1])
    allowed = allowed_pairs(lengths, 5, causal=True)
    ours = attention(hidden, allowed, relations=relations).attended
    queries, keys, values = attention.query(hidden), attention.key(hidden), attention.value(hidden)
    attended = []
    for head in (slice(0, 4), slice(4, 8)):
        key = (
            keys[:, None, :, head]
            + relations.key_positions[:, head]
            + relations.key_intervals[..., head][relations.intervals]
        )
        value = (
            values[:, None, :, head]
            + relations.value_positions[:, head]
            + relations.value_intervals[..., head][relations.intervals]
        )
        scores = torch.einsum("bqd,bqkd->bqk", queries[..., head], key) / 2
        weights = scores.masked_fill(~allowed[:, 0], -torch.inf).softmax(-1)
        attended.append(torch.einsum("bqk,bqkd->bqd", weights, value))
    torch.testing.assert_close(ours, attention.output(torch.cat(attended, -1)))
