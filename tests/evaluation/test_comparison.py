"""Comparing contenders: means, directions, verdicts and user groups, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from actsr_cli.evaluation.comparison import Contender, Difference, differences, slices
from actsr_cli.evaluation.metrics import parse_measure

HIT, NDCG, RANK, COVERAGE = (parse_measure(name) for name in ("hit@10", "ndcg@10", "rank", "coverage@10"))


def contender(name: str, ranks: NDArray[np.float64], seeds: tuple[int, ...]) -> Contender:
    """A contender whose runs have these ranks, (runs, users)."""
    within = ranks <= 10
    values = {"rank": ranks, "hit@10": within * 1.0, "ndcg@10": np.where(within, 1 / np.log2(1 + np.abs(ranks)), 0.0)}
    return Contender(name, values, seeds)


def p_of(found: Difference) -> float:
    assert found.users is not None
    return found.users.p


RANKS = np.array([[1.0, 20.0, 3.0, 50.0], [1.0, 4.0, 30.0, 50.0]])  # two runs, four users


def test_means_and_differences() -> None:
    baseline = contender("one", RANKS, (0, 1))
    other = contender("two", np.array([[1.0, 2.0, 3.0, 50.0], [1.0, 4.0, 3.0, 5.0]]), (0, 1))
    hit, rank = differences([baseline, other], [HIT, RANK])
    assert hit.of_baseline == (0.5, 0.5)
    assert hit.of_contender == (0.75, 1.0)
    assert hit.difference.mean == pytest.approx(3 / 8)  # users: 0, 1/2, 1/2, 1/2
    assert hit.seeds is not None and hit.seeds.effect == pytest.approx(0.375 / (0.25 / np.sqrt(2)))
    assert rank.difference.mean == pytest.approx((0 - 9 - 13.5 - 22.5) / 4)
    assert rank.of_contender == (14.0, 3.25)
    assert hit.verdict == rank.verdict == "open"  # four users are not enough


@pytest.mark.parametrize(("metric", "shift", "verdict"), [("rank", 1.0, "worse"), ("rank", -1.0, "better")])
def test_less_of_a_rank_is_better(metric: str, shift: float, verdict: str) -> None:
    ranks = np.arange(2.0, 102.0).reshape(1, -1)
    (found,) = differences([contender("a", ranks, (0,)), contender("b", ranks + shift, (0,))], [parse_measure(metric)])
    assert found.verdict == verdict
    assert found.seeds is None and found.seeds_holm is None


def test_seeds_have_a_say_where_there_are_some() -> None:
    """Every user gains on average, but the seeds contradict each other: the verdict is open."""
    ranks = np.full((2, 200), 10.0)
    torn = np.stack([np.full(200, 1.0), np.full(200, 18.0)])
    (found,) = differences([contender("a", ranks, (0, 1)), contender("b", torn, (0, 1))], [RANK])
    assert found.users_holm is not None and found.users_holm < 0.001
    assert found.seeds_holm is not None and found.seeds_holm > 0.5
    assert found.verdict == "open"


@pytest.mark.parametrize(("few", "metric"), [(500.0, "rank"), (1.0, "ndcg@10")])
def test_a_mean_that_a_few_users_made_is_no_verdict(few: float, metric: str) -> None:
    """Four of five users lose a little, one gains much: mean and signed ranks have opposite signs."""
    before = np.concatenate([np.full(800, 8.0), np.full(200, 600.0 if metric == "rank" else 8.0)]).reshape(1, -1)
    after = np.concatenate([np.full(800, 9.0), np.full(200, few)]).reshape(1, -1)
    (found,) = differences([contender("a", before, (0,)), contender("b", after, (0,))], [parse_measure(metric)])
    assert found.users_holm is not None and found.users_holm < 0.001
    gains = found.difference.mean < 0 if metric == "rank" else found.difference.mean > 0
    assert gains and found.verdict == "open"


@pytest.mark.parametrize("metric", ["rank", "ndcg@10"])
def test_a_mean_of_zero_is_no_verdict(metric: str) -> None:
    """80 users lose a sixteenth, 10 gain a half: the mean is 0, the signed ranks are not."""
    values = np.concatenate([np.full(80, -1 / 16), np.full(10, 0.5)]).reshape(1, -1)
    sides = [Contender(name, {metric: sign * values / 2}, (0,)) for name, sign in (("a", -1), ("b", 1))]
    for pair in (sides, sides[::-1]):
        (found,) = differences(pair, [parse_measure(metric)])
        assert found.difference.mean == 0 and p_of(found) < 0.001 and found.verdict == "open"


def test_models_without_chance_are_compared_over_users_alone() -> None:
    """All runs of each model are alike; what differs from seed to seed by chance has a test, also if it is equal."""
    ranks = np.tile(np.arange(2.0, 102.0), (3, 1))
    seeds = (0, 1, 2)
    (found,) = differences([contender("a", ranks, seeds), contender("b", ranks - 1, seeds)], [RANK])
    assert found.seeds is None and found.verdict == "better"
    chance = ranks + np.array([[0.0], [5.0], [9.0]])
    (found,) = differences([contender("a", chance, seeds), contender("b", chance - 1, seeds)], [RANK])
    assert found.seeds is not None and found.seeds.p == 1 and found.verdict == "open"


def test_thirds_of_several_seeds_are_ties() -> None:
    """One user falls from 1 to 2/3, another rises from 0 to 1/3: a tie, although the floats differ."""
    assert 1 - 2 / 3 != 1 / 3
    of_baseline, of_other = (np.array(hits) for hits in ([[1, 0], [1, 0], [1, 0]], [[1, 0], [1, 0], [0, 1]]))
    one, other = (
        contender(name, np.where(hits, 1.0, 50.0), (0, 1, 2))
        for name, hits in zip("ab", (of_baseline, of_other), strict=True)
    )
    (found,) = differences([one, other], [HIT])
    assert found.users is not None and found.users.effect == 0.0


def test_runs_are_paired_by_their_seed() -> None:
    of_seed = {0: np.full(5, 9.0), 1: np.full(5, 4.0), 2: np.full(5, 2.0)}
    one = contender("a", np.stack([of_seed[0], of_seed[1]]), (0, 1))
    shuffled = contender("b", np.stack([of_seed[1] - 1, of_seed[2], of_seed[0] - 2]), (1, 2, 0))
    (found,) = differences([one, shuffled], [RANK])
    assert found.seeds is not None
    assert found.seeds.effect == pytest.approx(-1.5 / np.std([-1, -2], ddof=1))
    apart = contender("c", np.stack([of_seed[2], of_seed[2]]), (7, 8))
    assert differences([one, apart], [RANK])[0].seeds is None


def test_p_values_are_corrected_over_all_contenders_and_metrics() -> None:
    generator = np.random.default_rng(0)
    ranks = generator.integers(1, 30, (1, 300)).astype(float)
    others = [contender(name, ranks + generator.normal(0.3, 2, (1, 300)), (0,)) for name in "bcd"]
    found = differences([contender("a", ranks, (0,)), *others], [RANK, HIT])
    smallest = min(found, key=lambda each: p_of(each))
    assert smallest.users_holm == pytest.approx(min(1.0, 6 * p_of(smallest)))
    alone = differences([contender("a", ranks, (0,)), others[0]], [RANK])[0]
    assert alone.users_holm == p_of(alone)


def test_parts_of_the_users() -> None:
    one = contender("a", np.array([[1.0, 2.0, 30.0, 4.0, 5.0, 60.0]]), (0,))
    other = contender("b", np.array([[1.0, 20.0, 3.0, 4.0, 5.0, 6.0]]), (0,))
    found = slices([one, other], HIT, "history length", np.array([3, 3, 3, 3, 8, 9]), parts=2)
    assert [(each.label, each.users, each.means) for each in found] == [
        ("3", 4, (0.75, 0.75)),
        ("8 to 9", 2, (0.5, 1.0)),
    ]
    assert found[1].differences[0].mean == 0.5
    everybody = slices([one, other], HIT, "history length", np.full(6, 4))
    assert [(each.label, each.users) for each in everybody] == [("4", 6)]


def test_one_number_for_all_users_is_told_apart_by_seeds_alone() -> None:
    one = Contender("a", {COVERAGE.name: np.array([0.2, 0.3, 0.25])}, (0, 1, 2))
    other = Contender("b", {COVERAGE.name: np.array([0.4, 0.51, 0.45])}, (0, 1, 2))
    (found,) = differences([one, other], [COVERAGE])
    assert found.users is None and found.users_holm is None
    assert found.difference.mean == pytest.approx(0.61 / 3)
    assert found.seeds is not None and found.verdict == "better"
    (single,) = differences([Contender("a", {COVERAGE.name: np.array([0.2])}, (0,)), one], [COVERAGE])
    assert single.verdict == "open"  # no test is possible


@pytest.mark.filterwarnings("error")
def test_a_measure_without_any_value_is_open() -> None:
    for seeds in ((0,), (0, 1)):
        nothing = {NDCG.name: np.full((len(seeds), 4), np.nan)}
        contenders = [Contender("a", nothing, seeds), Contender("b", nothing, seeds)]
        (found,) = differences(contenders, [NDCG])
        assert found.users is None and found.seeds is None
        assert found.verdict == "open" and np.isnan(found.difference.mean)
        (part,) = slices(contenders, NDCG, "history length", np.full(4, 3))
        assert part.differences[0].count == 0 and np.isnan(part.means).all()


def test_seeds_without_a_value_are_left_out_of_the_test() -> None:
    one = Contender("a", {NDCG.name: np.array([[0.1, 0.3], [0.2, 0.2], [np.nan, np.nan]])}, (0, 1, 2))
    other = Contender("b", {NDCG.name: np.array([[0.3, 0.5], [np.nan, 0.3], [0.9, 0.9]])}, (0, 1, 2))
    (found,) = differences([one, other], [NDCG])
    assert found.of_baseline[:2] == pytest.approx((0.2, 0.2)) and found.of_contender == pytest.approx((0.4, 0.3, 0.9))
    assert found.seeds is not None
    assert found.seeds.effect == pytest.approx(0.15 / np.std([0.2, 0.1], ddof=1))
