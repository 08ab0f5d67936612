"""Noise in histories."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tracing import HISTORIES, model

from actsr_cli.inspection.answers import Case
from actsr_cli.inspection.learned import learned_curves
from actsr_cli.inspection.robustness import KINDS, attention_mass, disturb, robustness
from actsr_cli.inspection.sharpness import effective_share
from actsr_cli.inspection.trace import trace

CPU = torch.device("cpu")
CASES = [Case(np.array(items), 8) for items in ([3, 1, 4, 1, 5], [9, 2, 6], [7])]


@given(
    items=st.lists(st.integers(1, 10), min_size=1, max_size=12),
    kind=st.sampled_from(KINDS),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_what_each_kind_of_noise_changes(items: list[int], kind: str, share: float, seed: int) -> None:
    times = np.cumsum(np.arange(len(items), dtype=np.float64))
    whole = Case(np.array(items), 11, times=times)
    noisy = disturb(whole, kind, share, 20, np.random.default_rng(seed))  # type: ignore[arg-type]
    count = round(share * len(items))
    seen, marks = noisy.case.items, noisy.injected
    assert noisy.case.target == 11 and len(seen) == len(marks)
    assert noisy.case.times is not None and (np.diff(noisy.case.times) >= 0).all()
    assert marks.sum() == (count if kind == "insert" else 0)
    if kind == "insert":
        assert seen[~marks].tolist() == items
        assert not {11, *items} & set(seen[marks].tolist()) and len(set(seen[marks].tolist())) == count
    elif kind == "shuffle":
        assert Counter(seen.tolist()) == Counter(items)
        assert (seen != np.array(items)).sum() <= count
    else:
        assert len(seen) == max(1, len(items) - count)
        left = iter(items)
        assert all(item in left for item in seen.tolist())  # a subsequence


def test_an_exhausted_catalogue_still_has_noise() -> None:
    noisy = disturb(Case(np.array([1, 2, 3]), 4), "insert", 1.0, 4, np.random.default_rng(0))
    assert len(noisy.case.items) == 6


def test_attention_on_marked_items() -> None:
    traced_model = model().eval()
    marks = [np.array([False, True, False, True, False]), np.array([True, False, False]), np.array([False])]
    mass = attention_mass(traced_model, CASES, marks, device=CPU)
    assert mass is not None
    row = trace(traced_model, HISTORIES).last_rows("calibrated")[-1].mean(dim=1)
    expected = (float(row[0, 1] + row[0, 3]) + float(row[1, 0])) / 2  # the third user has no marked item
    assert mass.stages["calibrated"].mean == pytest.approx(expected, abs=1e-6)
    assert mass.expected.mean == pytest.approx((2 / 5 + 1 / 3) / 2)
    assert attention_mass(traced_model, CASES, [~mark & False for mark in marks], device=CPU) is None


def test_noise_of_all_kinds() -> None:
    found = robustness(model().eval(), CASES, [0.5], device=CPU)
    assert [(each.kind, each.share) for each in found] == [
        ("none", 0),
        ("insert", 0.5),
        ("shuffle", 0.5),
        ("drop", 0.5),
    ]
    assert [each.injected is not None for each in found] == [False, True, False, False]
    assert found == robustness(model().eval(), CASES, [0.5], device=CPU)
    plain = robustness(model(calibration="none").eval(), CASES, [0.5], device=CPU)
    assert all(each.calibrated == each.plain for each in plain)


def test_learned_curves_by_loops() -> None:
    traced_model = model("bert4rec").eval()
    (first, second) = learned_curves(traced_model, CASES, device=CPU)
    traced = trace(traced_model, HISTORIES)
    lengths = traced.lengths.tolist()
    pairs = [(u, i, j) for u, n in enumerate(lengths) for i in range(n) for j in range(n)]
    for curves, stages in zip((first, second), traced.layers, strict=True):
        assert stages.order is not None and stages.distance is not None and stages.gate is not None
        assert stages.plain is not None and curves.order is not None and curves.distance is not None
        for distance in range(max(lengths)):
            here = [(u, i, j) for u, i, j in pairs if abs(i - j) == distance]
            order = [stages.order[u, 1, i, j] if j > i else 1 - stages.order[u, 1, i, j] for u, i, j in here]
            logarithm = np.mean([float(stages.distance[u, 0, i, j]) for u, i, j in here])
            assert curves.order[1, distance] == pytest.approx(float(np.mean(order)), abs=1e-5)
            assert curves.distance[0, distance] == pytest.approx(np.expm1(logarithm), abs=1e-5)
            weights = np.mean([float(stages.plain[u, 0, i, j]) for u, i, j in here])
            assert curves.weights["plain"][0, distance] == pytest.approx(weights, abs=1e-5)
        gates = [float(stages.gate[u, 0, n - 1, n - 2]) for u, n in enumerate(lengths) if n > 1]
        assert curves.gate is not None and curves.gate[1] == pytest.approx(np.mean(gates), abs=1e-5)
    (plain, _) = learned_curves(model(calibration="none").eval(), CASES, device=CPU)
    assert (plain.order, plain.distance, plain.gate) == (None, None, None)


def test_how_much_is_looked_at() -> None:
    looked_at = model("sasrec", "none").eval()
    row = trace(looked_at, HISTORIES).last_rows("plain")[-1].double()
    perplexities = [[float((-(r[:n] * r[:n].log()).sum()).exp()) / n for r in row[u]] for u, n in ((0, 5), (1, 3))]
    found = effective_share(looked_at, CASES, device=CPU)["plain"]
    assert found.mean == pytest.approx(np.mean(perplexities)) and found.count == 2  # histories of one item do not count
    with torch.no_grad():
        for layer in looked_at.encoder.layers:  # type: ignore[union-attr]
            layer.attention.query.weight.zero_()
            layer.attention.query.bias.zero_()
    assert effective_share(looked_at, CASES, device=CPU)["plain"].mean == pytest.approx(1.0)
