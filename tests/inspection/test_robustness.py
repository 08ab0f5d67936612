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
from actsr_cli.inspection.robustness import KINDS, Noise, attention_mass, disturb, robustness
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
def test_what_each_kind_of_noise_changes(items: list[int], kind: Noise, share: float, seed: int) -> None:
    times = np.cumsum(np.arange(len(items), dtype=np.float64))
    whole = Case(np.array(items), 11, times=times)
    noisy = disturb(whole, kind, share, 20, np.random.default_rng(seed))
    seen, marks = noisy.case.items, noisy.injected
    assert noisy.case.target == 11 and len(seen) == len(marks)
    assert noisy.case.times is not None and (np.diff(noisy.case.times) >= 0).all()
    expected = share * len(items)
    if kind == "insert":
        assert abs(marks.sum() - expected) < 1
        assert seen[~marks].tolist() == items
        assert not {11, *items} & set(seen[marks].tolist()) and len(set(seen[marks].tolist())) == marks.sum()
    elif kind == "shuffle":
        assert not marks.any() and Counter(seen.tolist()) == Counter(items)
        assert (seen != np.array(items)).sum() < max(expected + 1, 2.1)
    else:
        assert not marks.any()
        assert abs(len(items) - len(seen) - expected) < 1 or (len(seen) == 1 and expected > len(items) - 1)
        left = iter(items)
        assert all(item in left for item in seen.tolist())  # a subsequence


@pytest.mark.parametrize("length", [2, 3, 7, 10])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_share_holds_on_average_for_short_histories(kind: Noise, share: float, length: int) -> None:
    whole, rng = Case(np.arange(1, length + 1), length + 1), np.random.default_rng(0)
    drawn = [disturb(whole, kind, share, 500, rng) for _ in range(4000)]
    counts = {
        "insert": [each.injected.sum() for each in drawn],
        "shuffle": [(each.case.items != whole.items).sum() for each in drawn] if kind == "shuffle" else [],
        "drop": [length - len(each.case.items) for each in drawn],
    }[kind]
    assert np.mean(counts) / length == pytest.approx(share, abs=0.04)  # 4000 draws: about 4 standard errors


def test_it_says_how_many_histories_changed() -> None:
    cases = [Case(np.array([3, 1, 4, 2]), 8)] * 50 + [Case(np.array([7]), 8)] * 50
    found = {each.kind: each for each in robustness(model().eval(), cases, [0.5], device=CPU)}
    assert (found["none"].changed, found["shuffle"].changed, found["drop"].changed) == (0, 50, 50)
    assert 50 < found["insert"].changed < 100  # of the histories with one item about half
    all_of_it = robustness(model().eval(), cases, [1.0], device=CPU)
    assert [each.changed for each in all_of_it] == [0, 100, 50, 50]


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


def test_attention_is_a_share_also_where_its_rows_do_not_add_up() -> None:
    unscaled = model(renorm="none").eval()
    everything = attention_mass(unscaled, CASES, [np.ones(len(each.items), dtype=bool) for each in CASES], device=CPU)
    assert everything is not None
    assert all(each.mean == pytest.approx(1) for each in everything.stages.values())
    raw = trace(unscaled, HISTORIES).last_rows("calibrated")[-1][1]  # (heads, length) of the second history
    assert (raw.sum(dim=-1) - 1).abs().max() > 0.1
    mass = attention_mass(unscaled, CASES[1:2], [np.array([True, False, False])], device=CPU)
    assert mass is not None
    assert mass.stages["calibrated"].mean == pytest.approx(float((raw[:, 0] / raw.sum(dim=1)).mean()))


def test_uniform_attention_also_falls_on_the_mask() -> None:
    mass = attention_mass(
        model("bert4rec").eval(), CASES[:1], [np.array([True, False, True, False, False])], device=CPU
    )
    assert mass is not None and mass.expected.mean == pytest.approx(2 / 6)


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
