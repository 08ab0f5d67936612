"""Lists by an index of item vectors, against those of the exact ranking."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from samples import built, run_config
from shelves import shelf

from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.recommending.recommendations import Recommendations
from actsr_cli.recommending.recommender import Recommender

N_ITEMS, LENGTH = 400, 6
WIDE = N_ITEMS
"""A search that looks at every item: its lists are exact."""
RANDOM = np.random.default_rng(0)
HISTORIES = [
    [f"i{item}" for item in RANDOM.integers(1, N_ITEMS + 1, length).tolist()] for length in (1, 2, 4, 6, 30, 1, 5, 6)
]
MODELS: dict[str, dict[str, Any]] = {
    "sasrec": {},
    "bert4rec": {"output_layer": True},
    "gru4rec": {},
    "tisasrec": {},
    "cosine": {"similarity": "cosine"},
    "repeats": {"learn_repeats": True},
    "malus": {"learn_repeats": True},
}


def recommender(name: str = "sasrec") -> Recommender:
    """An untrained model over 400 items, whose vectors have lengths of their own."""
    torch.manual_seed(3)
    backbone = name if name.endswith("rec") else "sasrec"
    small: dict[str, Any] = {"hidden_size": 8, "inner_size": 8, "layers": 1, "max_length": LENGTH}
    model = built(run_config(backbone, **small, **MODELS.get(name, {})), N_ITEMS).eval()
    with torch.no_grad():
        model.get_parameter("item_embedding.weight").normal_().mul_(torch.rand(1, 1) + 1)
        if name in ("repeats", "malus"):
            model.get_parameter("repeat_bonus.scaled").fill_(2.0 if name == "repeats" else -2.0)
        if name == "bert4rec":
            model.get_parameter("output_layer.bias").normal_(std=3)
    names = ("", *(f"i{item}" for item in range(1, N_ITEMS + 1)))
    vocabulary = Vocabulary(item_names=names, counts=np.arange(N_ITEMS + 1)[::-1].copy())
    return Recommender(model, vocabulary, name=name, device=torch.device("cpu"), batch_size=3)


def times() -> list[list[float]]:
    return [[1e9 + 60.0 * place for place in range(len(history))] for history in HISTORIES]


def lists(of: Recommender, histories: Sequence[Sequence[str]] = HISTORIES, **choice: Any) -> Recommendations:
    timed = times() if of.model.needs_timestamps else None
    return of.recommend_many(list(histories), timestamps=timed, **choice)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seen", ["exclude", "rank"])
def test_a_search_of_all_items_makes_the_exact_lists(name: str, seen: str) -> None:
    exact = recommender(name)
    indexed = exact.indexed(WIDE)
    assert exact.index is None and indexed.index is not None
    expected, found = lists(exact, seen=seen), lists(indexed, seen=seen)
    assert np.array_equal(found.item_ids, expected.item_ids)
    assert found.scores == pytest.approx(expected.scores, abs=1e-5)
    assert (indexed.index.lists, indexed.index.exact) == (len(HISTORIES), 0)


@pytest.mark.parametrize("choice", [{"without": ["i7", "i9"]}, {"only": [f"i{item}" for item in range(1, 201)]}])
def test_only_and_without_hold(choice: dict[str, list[str]]) -> None:
    exact = recommender()
    expected, found = lists(exact, k=5, **choice), lists(exact.indexed(WIDE), k=5, **choice)
    assert np.array_equal(found.item_ids, expected.item_ids)


def test_a_list_that_becomes_too_short_is_ranked_exactly_and_counted() -> None:
    exact = recommender()
    indexed = exact.indexed(1)
    few = [f"i{item}" for item in range(3, N_ITEMS, 40)]
    expected, found = lists(exact, k=4, only=few), lists(indexed, k=4, only=few)
    assert np.array_equal(found.item_ids, expected.item_ids)
    assert indexed.index is not None
    assert 0 < indexed.index.exact <= indexed.index.lists == len(HISTORIES)


def test_lists_that_cannot_be_longer_stay_short() -> None:
    found = lists(recommender().indexed(), k=4, only=["i1", "i2"])
    assert (found.item_ids[:, 2:] == 0).all()


def test_a_narrow_search_lists_no_wrong_score() -> None:
    exact = recommender()
    found = exact.indexed(10).recommend(HISTORIES[2], k=10)
    assert len(found) == 10
    names = [item for item, *_ in found]
    assert len(set(names)) == 10
    scores = [score for *_, score in exact.score(HISTORIES[2], names)]
    assert [score for *_, score in found] == pytest.approx(scores, abs=1e-5)
    assert scores == sorted(scores, reverse=True)


def test_the_scores_of_all_items_are_those_of_the_exact_ranking() -> None:
    exact = recommender()
    indexed = exact.indexed()
    assert list(indexed.score(HISTORIES[2])) == list(exact.score(HISTORIES[2]))
    assert indexed.index is not None and indexed.index.exact == 1


def test_a_history_without_a_known_item_gets_popular_items() -> None:
    found = recommender().indexed().recommend(["nobody knows it"], k=3)
    assert (found.by, list(found.ids)) == ("popularity", ["i1", "i2", "i3"])


@pytest.mark.parametrize("name", ["popularity", "item-knn", "shelves:Own"])
def test_models_that_score_in_another_way_are_refused_by_name(name: str) -> None:
    refused = shelf(name)
    with pytest.raises(RunError, match=f"{type(refused.model).__name__} does not score items by vectors"):
        refused.indexed()


def test_without_usearch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setattr("actsr_cli.recommending.index.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs usearch") as caught:
        recommender().indexed()
    assert "actsr[index]" in str(caught.value.hint)


def test_a_score_that_is_no_number_is_an_error() -> None:
    indexed = recommender().indexed()
    with torch.no_grad():
        indexed.model.get_parameter("norm.bias").fill_(torch.nan)
    with pytest.raises(RunError, match="NaN"):
        indexed.recommend(["i1"], k=3)
