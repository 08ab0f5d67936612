"""Metrics are compared with fractions computed by hand."""

from __future__ import annotations

import re
from math import log2
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scorers import CPU, By, fixed, judged, ranking

from actsr_cli.batch import Batch
from actsr_cli.data.histories import Histories
from actsr_cli.errors import ConfigError
from actsr_cli.evaluation.metrics import (
    Metric,
    all_metrics,
    find_metric,
    hit,
    list_length,
    measures,
    mrr,
    ndcg,
    parse_measure,
    register,
    summarize,
)
from actsr_cli.evaluation.metrics.accuracy import precision
from actsr_cli.evaluation.metrics.lists import in_tail
from actsr_cli.evaluation.ranker import Ranker, Ranking


def one(name: str, found: Ranking, **about: list[int] | list[list[str]]) -> float:
    return summarize(judged(found, **about), [parse_measure(name)])[name]  # type: ignore[arg-type]


def test_without_ties() -> None:
    found = ranking([0, 1, 2, 9, 10])
    assert hit(found, 10).tolist() == [1, 1, 1, 1, 0]
    assert ndcg(found, 10).tolist() == [1, 1 / log2(3), 1 / log2(4), 1 / log2(11), 0]
    assert mrr(found, 3).tolist() == [1, 1 / 2, 1 / 3, 0, 0]
    assert precision(found, 4).tolist() == [1 / 4, 1 / 4, 1 / 4, 0, 0]
    assert found.ranks.tolist() == [1, 2, 3, 10, 11]


def test_one_score_for_19_items_gives_chance_at_every_cutoff() -> None:
    found = Ranker(fixed([0.0] * 20), device=CPU).rank(Histories.of([np.array([1])], targets=[7]))
    for k in range(1, 20):
        assert hit(found, k)[0] == pytest.approx(k / 19, abs=1e-15)
    assert one("hit@9", found) == pytest.approx(9 / 19)
    assert one("hit@10", found) == pytest.approx(10 / 19)
    assert one("ndcg@3", found) == pytest.approx((1 + 1 / log2(3) + 1 / 2) / 19)
    assert one("mrr@3", found) == pytest.approx((1 + 1 / 2 + 1 / 3) / 19)
    assert one("rank", found) == 10


def test_a_tie_across_the_cutoff() -> None:
    found = ranking([8], [3])  # ranks 9, 10, 11 and 12 are equally likely
    assert hit(found, 10).tolist() == [2 / 4]
    assert ndcg(found, 10)[0] == pytest.approx((1 / log2(10) + 1 / log2(11)) / 4)
    assert mrr(found, 10)[0] == pytest.approx((1 / 9 + 1 / 10) / 4)
    assert hit(found, 8).tolist() == [0] and hit(found, 12).tolist() == [1]


def test_a_perfect_and_a_worst_ranking() -> None:
    history = Histories.of([np.array([1])] * 2, targets=[3, 3])
    best, worst = fixed([0, 1, 2, 9, 1, 1, 1]), fixed([0, 1, 2, -9, 1, 1, 1])
    for name in ("hit@1", "ndcg@1", "mrr@1", "recall@1", "map@1", "precision@1", "rank"):
        assert one(name, Ranker(best, device=CPU).rank(history)) == 1
    assert one("hit@5", Ranker(worst, device=CPU).rank(history)) == 0
    assert one("rank", Ranker(worst, device=CPU).rank(history)) == 6


def test_a_random_ranking_is_near_chance() -> None:
    generator = torch.Generator().manual_seed(0)

    def score(batch: Batch) -> torch.Tensor:
        return torch.rand(len(batch.lengths), 101, generator=generator)

    users = 4000
    found = Ranker(By(score, 100), device=CPU).rank(Histories.of([np.array([1])] * users, targets=[5] * users))
    assert one("hit@10", found) == pytest.approx(0.1, abs=0.02)
    assert one("mrr@100", found) == pytest.approx(sum(1 / place for place in range(1, 101)) / 100, abs=0.01)
    assert one("rank", found) == pytest.approx(50.5, abs=1.5)


def test_a_user_with_several_targets_counts_once() -> None:
    found = ranking([0, 99, 0], users=[7, 7, 2])
    assert one("recall@10", found) == pytest.approx((1 / 2 + 1) / 2)
    assert one("hit@10", found) == one("recall@10", found)
    assert one("precision@10", found) == pytest.approx((1 / 20 + 1 / 10) / 2)
    assert one("map@10", found) == one("mrr@10", found) == pytest.approx((1 / 2 + 1) / 2)
    strangers = ranking([0, 99, 0], users=[-1, -1, -1])
    assert one("hit@10", strangers) == pytest.approx(2 / 3)


LISTS = [[1, 2], [1, 3], [1, 0]]
COUNTS = [10, 4, 2, 2, 2]  # counts of items 1 to 5


def test_lists_by_hand() -> None:
    found = ranking([0, 0, 0], top=LISTS)

    def value(name: str) -> float:
        return one(name, found, counts=COUNTS)

    assert value("coverage@2") == 3 / 5
    assert value("coverage@1") == 1 / 5
    # shown 3, 1, 1, 0, 0 times: sorted 0 0 1 1 3, Gini = 2 (1·0 + 2·0 + 3·1 + 4·1 + 5·3) / (5 · 5) - 6 / 5
    assert value("gini@2") == pytest.approx(2 * 22 / 25 - 6 / 5)
    assert value("popularity@2") == pytest.approx((14 / 2 + 12 / 2 + 10) / 3)
    assert value("novelty@2") == pytest.approx(((1 + log2(5)) / 2 + (1 + log2(10)) / 2 + 1) / 3)
    # the head has 16 of 20 interactions: items 1 (10), 2 (4) and 3 (2)
    assert in_tail(judged(found, COUNTS).catalogue).tolist() == [False, False, False, False, True, True]
    assert one("tail@2", ranking([0], top=[[1, 4]]), counts=COUNTS) == 1 / 2


def test_gini_of_even_and_of_single_lists() -> None:
    assert one("gini@1", ranking([0] * 4, top=[[1], [2], [3], [4]]), counts=[1] * 4) == pytest.approx(0)
    assert one("gini@1", ranking([0] * 4, top=[[1], [1], [1], [1]]), counts=[1] * 4) == pytest.approx(3 / 4)


def test_diversity_is_the_jaccard_distance_of_pairs() -> None:
    categories = [["tea", "hot"], ["tea"], ["ski"], [], ["tea"]]
    found = ranking([0, 0, 0], top=[[1, 2, 3], [2, 5, 0], [4, 0, 0]])
    # list 1: items 1 and 2 share one of two categories, 1-3 and 2-3 none; list 2: equal; list 3: no categories
    assert one("diversity@3", found, counts=[1] * 5, categories=categories) == pytest.approx(
        ((1 / 2 + 1 + 1) / 3 + 0) / 2
    )


@given(better=st.integers(0, 300), equal=st.integers(0, 100), k=st.integers(1, 200))
def test_metrics_lie_between_0_and_hit_and_grow_with_k(better: int, equal: int, k: int) -> None:
    found = ranking([better], [equal])
    for metric in (ndcg, mrr):
        assert 0 <= metric(found, k)[0] <= hit(found, k)[0] + 1e-12
        assert metric(found, k + 1)[0] >= metric(found, k)[0] - 1e-12
    by_hand = [1 / log2(1 + place) if place <= k else 0 for place in range(better + 1, better + equal + 2)]
    assert ndcg(found, k)[0] == pytest.approx(np.mean(by_hand), abs=1e-12)


def test_names_and_cutoffs() -> None:
    assert [each.name for each in measures(["ndcg", "rank", "hit"], [10, 1])] == [
        "ndcg@1",
        "ndcg@10",
        "rank",
        "hit@1",
        "hit@10",
    ]
    assert parse_measure("ndcg@10").label == "NDCG@10"
    assert list_length(measures(["hit", "rank"], [10])) == 0
    assert list_length(measures(["hit", "coverage"], [10, 50])) == 50
    assert [each.name for each in measures(["diversity"], [1, 2])] == ["diversity@2"]
    assert {metric.name for metric in all_metrics()} >= {"hit", "ndcg", "mrr", "precision", "recall", "map", "rank"}
    for name in ("hit", "ndcg", "mrr", "precision", "recall", "map", "coverage", "novelty", "tail", "diversity"):
        assert find_metric(name).better == "higher"
    assert all(find_metric(name).better == "lower" for name in ("rank", "gini", "popularity"))
    assert [parse_measure(name).decimals for name in ("rank", "gini@10")] == [1, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ndgc@10", r"unknown metric 'ndgc' \(metrics\); did you mean 'ndcg'\?"),
        ("all@10", r"'all' \(metrics\) is no metric: it stands alone"),
        ("ndcg", "ndcg needs a cut-off, such as ndcg@10"),
        ("ndcg@0", "needs a cut-off"),
        ("rank@10", "rank has no cut-off"),
        ("diversity@1", "diversity needs a cut-off of 2 or more, not 1"),
    ],
)
def test_wrong_names(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_measure(text)


def test_no_ranks_are_an_error() -> None:
    with pytest.raises(ValueError, match="no ranks"):
        summarize(judged(ranking([])), [parse_measure("hit@1")])


def test_a_metric_has_a_name_of_its_own() -> None:
    for name in ("hit", "Hit@10", ""):
        with pytest.raises(ValueError, match="cannot be called"):
            register(Metric(name, "Hit", "higher", lambda each, _: each.ranking.ranks, "again"))


def test_the_page_lists_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z]+)` \| (higher|lower) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(metric.name, metric.better, metric.about) for metric in all_metrics()]


def test_texts_of_values() -> None:
    hit_at_10, mean_rank = parse_measure("hit@10"), parse_measure("rank")
    assert (hit_at_10.text(0.25), hit_at_10.text(0.25, "+"), mean_rank.text(3.25)) == ("0.2500", "+0.2500", "3.2")
    assert [hit_at_10.text(value, "+") for value in (None, float("nan"))] == ["-", "-"]
    assert hit_at_10.spread([0.25, 0.75]) == "0.5000 ± 0.3536"
    assert hit_at_10.spread([0.25, None, 0.75, float("nan")]) == "0.5000 ± 0.3536"
    assert [hit_at_10.spread(values) for values in ([0.25], [None, 0.25], [float("nan"), None])] == [
        "0.2500",
        "0.2500",
        "-",
    ]
