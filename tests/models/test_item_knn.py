"""Item-KNN, computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flat import batch_of

from actsr_cli.config import NoCalibration
from actsr_cli.config.models import ItemKNNOptions, PopularityOptions
from actsr_cli.models.item_knn import ItemKNN
from actsr_cli.models.popularity import Popularity

# Histories 1 2 3, 2 3 and 1 3 2: items have 2, 3 and 3 interactions.
ITEMS, OFFSETS = np.array([1, 2, 3, 2, 3, 1, 3, 2]), np.array([0, 3, 5, 8])


def fitted(**options: Any) -> ItemKNN:
    model = ItemKNN(ItemKNNOptions(**options), NoCalibration(), n_items=4)
    model.fit(ITEMS, OFFSETS)
    return model


def score(model: ItemKNN, *history: int) -> list[float]:
    return model.score(batch_of([history]))[0].tolist()


def test_followers_by_hand() -> None:
    model = fitted(neighbour_reach=2)
    one_two = (1 + 1 / 2) / (2 * 3) ** 0.5  # once at distance 1, once at distance 2
    one_three = (1 / 2 + 1) / (2 * 3) ** 0.5
    two_three = (1 + 1) / 3
    three_two = 1 / 3
    assert score(model, 1) == pytest.approx([0, 0, one_two, one_three, 0])
    assert score(model, 2) == pytest.approx([0, 0, 0, two_three, 0])
    assert score(model, 3) == pytest.approx([0, 0, three_two, 0, 0])
    assert score(model, 4) == [0] * 5


def test_later_items_of_a_history_weigh_more() -> None:
    model = fitted(neighbour_reach=2, neighbour_decay=0.5)
    assert score(model, 2, 1) == pytest.approx(
        [b + 0.5 * a for a, b in zip(score(model, 2), score(model, 1), strict=True)]
    )
    padded = model.score(batch_of([[2, 1], [3, 2, 1]]))[0].tolist()
    assert padded == pytest.approx(score(model, 2, 1))


def test_options() -> None:
    assert score(fitted(neighbour_reach=1), 1) == pytest.approx([0, 0, 1 / 6**0.5, 1 / 6**0.5, 0])
    assert score(fitted(neighbour_reach=1, neighbour_shrinkage=2.0), 2) == pytest.approx([0, 0, 0, 2 / 5, 0])
    assert sum(value > 0 for value in score(fitted(neighbours=1), 1)) == 1
    assert score(fitted(max_length=1, neighbour_reach=1), 2, 3) == score(fitted(neighbour_reach=1), 3)


def test_an_item_does_not_follow_itself() -> None:
    model = ItemKNN(ItemKNNOptions(), NoCalibration(), n_items=2)
    model.fit(np.array([1, 1, 2]), np.array([0, 3]))
    assert score(model, 1) == pytest.approx([0, 0, (1 + 1 / 2) / 2**0.5])


def test_no_user_follows_another() -> None:
    model = ItemKNN(ItemKNNOptions(), NoCalibration(), n_items=2)
    model.fit(np.array([1, 2]), np.array([0, 1, 2]))
    assert score(model, 1) == [0, 0, 0]


def test_popularity_counts() -> None:
    model = Popularity(PopularityOptions(), NoCalibration(), n_items=4)
    model.fit(ITEMS, OFFSETS)
    assert model.score(batch_of([[1], [2]])).tolist() == [[0, 2, 3, 3, 0]] * 2
