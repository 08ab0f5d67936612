"""Untrained recommenders of every model over a small catalogue, and lists by hand to compare theirs with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from flat import batch_of
from samples import built, run_config
from torch import Tensor

from actsr_cli.attention import CalibratedAttention
from actsr_cli.batch import PaddedBatch
from actsr_cli.config import MODELS, CalibrationOptions, CustomOptions
from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.models.base import CountingModel, CustomModel, Model
from actsr_cli.models.registry import all_models
from actsr_cli.recommending.recommender import Recommender

N_ITEMS, N_USERS, MAX_LENGTH = 9, 4, 6
CPU = torch.device("cpu")
COUNTS = np.array([0, 5, 3, 3, 9, 1, 1, 0, 3, 0])
BY_COUNT = [f"i{item}" for item in (4, 1, 2, 3, 8, 5, 6, 7, 9)]
"""The catalogue by training interactions, ties by id."""
ITEMS, OFFSETS = np.array([1, 2, 3, 4, 5, 6, 2, 7, 8, 9, 4, 2]), np.array([0, 6, 10, 12])
"""Histories that counting models are fitted to."""
ALL = [
    (name, calibration)
    for name, options in all_models().items()
    for calibration in (("none", "full") if options.calibrated else ("none",))
] + [("shelves:Own", "none"), ("shelves:Own", "full")]


class Own(CustomModel):
    """A custom model that never recommends item 7 and scores items 1 and 2 alike."""

    def __init__(self, options: CustomOptions, calibration: CalibrationOptions, n_items: int, n_users: int = 0) -> None:
        super().__init__(options, calibration, n_items, n_users)
        self.items = torch.nn.Embedding(n_items + 1, options.hidden_size)
        self.attention = CalibratedAttention(
            options.hidden_size,
            options.heads,
            batch_first=True,
            max_length=options.max_length,
            **calibration.attention_arguments(),
        )
        with torch.no_grad():
            self.items.weight[2] = self.items.weight[1]

    def forward(self, batch: PaddedBatch) -> Tensor:
        hidden = self.items(batch.item_ids)
        attended, _ = self.attention(hidden, hidden, hidden, is_causal=True, need_weights=False)
        together: Tensor = hidden + attended
        return together

    def item_vectors(self) -> Tensor:
        return self.items.weight

    def item_scores(self, hidden: Tensor) -> Tensor:
        scores = super().item_scores(hidden).clone()
        scores[..., 7] = -torch.inf
        return scores


def vocabulary(
    *, users: Sequence[str] | None = None, titles: bool = False, counts: Sequence[int] | None = None
) -> Vocabulary:
    numbers = range(1, N_ITEMS + 1)
    return Vocabulary(
        item_names=("", *(f"i{item}" for item in numbers)),
        counts=COUNTS if counts is None else np.array(counts),
        titles=("", *(f"Title <b>{item}</b>" for item in numbers)) if titles else None,
        user_names=None if users is None else tuple(users),
    )


@cache
def model(name: str, calibration: str = "none") -> Model:
    """A model with large initial weights; models that count are fitted."""
    torch.manual_seed(1)
    small = {"max_length": MAX_LENGTH, "hidden_size": 8, "inner_size": 8, "initializer_range": 0.5}
    own = {key: value for key, value in small.items() if key in MODELS.find(name).model_fields}
    made = built(run_config(name, calibration, **own), N_ITEMS, N_USERS).eval()
    if isinstance(made, CountingModel):
        made.fit(ITEMS, OFFSETS)
    return made


def shelf(name: str = "sasrec", calibration: str = "none", **keys: Any) -> Recommender:
    """A recommender of an untrained model; its users are called 0, 1, 2 and 3."""
    made = model(name, calibration)
    batch_size = keys.pop("batch_size", 256)
    if made.needs_users:
        keys.setdefault("users", [str(user) for user in range(N_USERS)])
    return Recommender(made, vocabulary(**keys), name=f"demo/{name}/one", device=CPU, batch_size=batch_size)


def scores_by_hand(
    made: Model, history: Sequence[int], user: int = -1, times: Sequence[float] | None = None
) -> list[float]:
    """The score of each item after a history, index 0 for padding, beside another history."""
    batch = batch_of([history, [3]], [user, -1], None if times is None else [times, [5.0]])
    with torch.inference_mode():
        found: list[float] = made.score(batch)[0].float().tolist()
    return found


def top_by_hand(scores: Sequence[float], k: int, not_listed: Collection[int] = ()) -> list[str]:
    """The raw ids of the best items; of equal scores the lowest id first, none of -inf."""
    left = [item for item in range(1, len(scores)) if item not in not_listed and scores[item] > -float("inf")]
    return [f"i{item}" for item in sorted(left, key=lambda item: (-scores[item], item))[:k]]


def names(history: Sequence[int]) -> list[str]:
    """The raw ids of some items."""
    return [f"i{item}" for item in history]


def times_of(history: Sequence[int]) -> list[float]:
    """Times for the items of a history, with gaps that grow."""
    return [1e9 + 3600.0 * place**2 for place in range(len(history))]
