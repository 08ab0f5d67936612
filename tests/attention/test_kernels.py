"""The compiled attention is compared with the readable one: every option, values and gradients, the same draws."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from typing import Any

import numba
import numpy as np
import pytest
import torch
from flat import packed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from actsr_cli.attention import CalibratedSelfAttention, Pairs, Relations, attend_packed, calibrated_self_attention
from actsr_cli.attention.kernels import cpu, rows
from actsr_cli.attention.packed import covered, draw, in_padded_form
from actsr_cli.packing import Packing
from actsr_cli.threads import equal_parts, run_parts

WIDTH, SPAN = 16, 9
exp = numba.njit("float32(float32)")(lambda x: rows.exp(x))
softplus = numba.njit("float32(float32)")(lambda x: rows.softplus(x))
OPTIONS: list[dict[str, Any]] = [
    {"calibration": "none"},
    {"calibration": "spatial", "use_order": False},
    {"calibration": "spatial", "use_distance": False},
    {"calibration": "spatial", "published_faults": True},
    *(
        {"calibration": calibration, "combine": combine, "renorm": renorm}
        for calibration, combine, renorm in product(
            ("adversarial", "full"), ("gate", "fixed", "annealing"), ("softmax", "sum", "none")
        )
    ),
    {"calibration": "full", "two_level": False},
    {
        "calibration": "full",
        "two_level": False,
        "rich_combine": "trainable",
        "combine": "annealing",
        "renorm": "softmax",
    },
]


def attention_of(dropout: float = 0.0, heads: int = 2, **options: Any) -> CalibratedSelfAttention:
    """An attention with parameters that are no small numbers."""
    made = calibrated_self_attention(WIDTH, heads, max_length=200, dropout=dropout, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.3)
    if made.adversarial is not None:
        made.adversarial.step.fill_(40_000)
    return made


def relations_of(lengths: Sequence[int]) -> Relations:
    longest = max(lengths)
    keys, values, key_intervals, value_intervals = (
        torch.randn(rows, WIDTH).mul(0.3).requires_grad_() for rows in (longest, longest, SPAN, SPAN)
    )
    intervals = torch.randint(0, SPAN, (len(lengths), longest, longest))
    return Relations(keys, values, key_intervals, value_intervals, intervals)


def outcome(
    attention: CalibratedSelfAttention, hidden: Tensor, pairs: Pairs, relations: Relations | None, *, by_kernel: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """What comes out in training, and the gradients of a weighted sum of it, with draws from one seed."""
    torch.manual_seed(7)
    perturb = not pairs.only_rows
    if by_kernel:
        assert covered(attention, hidden)
        output = attend_packed(attention, hidden, pairs, relations=relations, perturb=perturb)
    else:
        draws = draw(attention, hidden, pairs, perturb=perturb)
        output = in_padded_form(attention, hidden, pairs, relations, draws, perturb=perturb)
    streams = [each for each in (output.attended, output.perturbed, output.squares) if each is not None]
    weights = torch.Generator().manual_seed(3)
    total = sum((each * torch.randn(each.shape, generator=weights)).sum() for each in streams)
    assert isinstance(total, Tensor)
    sources = [hidden, *attention.parameters()]
    if relations is not None:
        tables = vars(relations)
        sources += [tables[name] for name in ("key_positions", "value_positions", "key_intervals", "value_intervals")]
    found = torch.autograd.grad(total, sources, allow_unused=True)
    return streams, [torch.zeros(()) if each is None else each for each in found]


def compare(attention: CalibratedSelfAttention, pairs: Pairs, relations: Relations | None = None) -> None:
    """Every number to within 1e-4 of the largest one of its tensor; gradients also to 1e-5 of the largest of all.

    Some gradients are 0 by definition, such as those of the keys' biases: there both forms have rounding errors.
    """
    hidden = torch.randn(pairs.packing.n_tokens, WIDTH, requires_grad=True)
    streams, gradients = outcome(attention, hidden, pairs, relations, by_kernel=True)
    expected, expected_gradients = outcome(attention, hidden, pairs, relations, by_kernel=False)
    floor = 1e-5 * max(float(each.abs().max()) for each in expected_gradients)
    for found, wanted, least in ((streams, expected, 1e-12), (gradients, expected_gradients, floor)):
        for ours, theirs in zip(found, wanted, strict=True):
            assert torch.isfinite(ours).all()
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.detach().abs().max()) + least)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    lengths = packed([1, 4, 17, 3])
    some = torch.tensor([0, 3, 4, 9, 20])
    for causal, dropout in ((True, 0.5), (False, 0.0)):
        attention = attention_of(dropout, **options)
        compare(attention, Pairs(lengths, causal))
        compare(attention, Pairs(lengths, causal, some))
        compare(attention, Pairs(lengths, causal, lengths.last, only_rows=True))


@pytest.mark.parametrize("options", [OPTIONS[0], {"calibration": "full"}, OPTIONS[-1]], ids=str)
def test_relations(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    lengths = [2, 12, 1]
    pairs = Pairs(packed(lengths), causal=True)
    compare(attention_of(0.3, **options), pairs, relations_of(lengths))
    last = Pairs(pairs.packing, causal=True, rows=pairs.packing.last, only_rows=True)
    compare(attention_of(**options), last, relations_of(lengths))


def test_the_kernels_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    attention = calibrated_self_attention(8, 2, max_length=4).eval()
    pairs = Pairs(Packing(np.array([2, 4]), torch.device("cpu")), causal=True)
    hidden = torch.randn(6, 8)
    by_kernel = attend_packed(attention, hidden, pairs).attended
    monkeypatch.setenv("ACTSR_KERNELS", "0")
    monkeypatch.setattr(cpu, "attend", None)
    torch.testing.assert_close(attend_packed(attention, hidden, pairs).attended, by_kernel)


@settings(max_examples=15)
@given(
    lengths=st.lists(st.sampled_from([1, 2, 7, 8, 9, 50, 200]), min_size=1, max_size=4),
    heads=st.sampled_from([1, 2, 4]),
    causal=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_lengths_and_heads(lengths: list[int], heads: int, causal: bool, seed: int) -> None:
    torch.manual_seed(seed)
    compare(attention_of(0.2, heads, calibration="full"), Pairs(packed(lengths), causal))


def test_threads_change_nothing_but_the_order_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    attention, pairs = attention_of(0.2, calibration="full", two_level=False), Pairs(packed([90, 3, 60, 70]), True)
    hidden = torch.randn(pairs.packing.n_tokens, WIDTH, requires_grad=True)
    one = outcome(attention, hidden, pairs, None, by_kernel=True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert len(equal_parts(pairs.host_costs)) == 3
    three = outcome(attention, hidden, pairs, None, by_kernel=True)
    for alone, shared in zip(one[0], three[0], strict=True):
        assert torch.equal(alone, shared)
    for alone, shared in zip(one[1], three[1], strict=True):
        torch.testing.assert_close(alone, shared, rtol=1e-4, atol=1e-4)


def test_parts_cover_all_histories_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    for costs in ([], [1], [10**6], [10**6, 1, 1], [5_000] * 11, [1, 10**6, 1]):
        parts = equal_parts(np.array(costs, dtype=np.int64))
        assert [index for begin, end in parts for index in range(begin, end)] == list(range(len(costs)))
        assert len(parts) <= 4
    assert len(equal_parts(np.array([5_000] * 11))) == 4


def test_an_error_of_a_thread_is_raised() -> None:
    def fail(part: int, begin: int, end: int) -> None:
        if part == 1:
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        run_parts(fail, [(0, 1), (1, 2)])


def test_threads_of_a_forked_process() -> None:
    """Threads do not survive a fork: the child makes its own."""
    done: list[int] = []
    run_parts(lambda part, begin, end: done.append(part), [(0, 1), (1, 2)])
    child = os.fork()
    if child == 0:
        run_parts(lambda part, begin, end: done.append(part), [(0, 1), (1, 2)])
        os._exit(len(done))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4


@given(x=st.floats(-80, 80, width=32))
def test_functions_are_exact_to_a_few_units(x: float) -> None:
    assert exp(np.float32(x)) == pytest.approx(np.exp(np.float64(x)), rel=5e-7)
    assert softplus(np.float32(x)) == pytest.approx(np.logaddexp(0, np.float64(x)), rel=1e-6, abs=1e-30)


def test_what_is_no_number_stays_none() -> None:
    assert np.isnan(exp(np.float32("nan"))) and np.isnan(softplus(np.float32("nan")))
    attention, pairs = attention_of(calibration="full"), Pairs(packed([3, 2]), True)
    hidden = torch.randn(5, WIDTH)
    hidden[1, 0] = torch.nan
    attended = attend_packed(attention, hidden, pairs).attended
    assert torch.isnan(attended[1:3]).all(dim=1).tolist() == [True, True]
    assert torch.isfinite(attended[[0, 3, 4]]).all(), "the first query does not see it, the other history neither"
