"""Measures whether attention is faithful: whether it weights the items that the prediction depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from actsr_cli.errors import DataError
from actsr_cli.evaluation.significance import Interval, mean_interval
from actsr_cli.inspection.answers import Answers, Case, Explain, answers, explained_cases
from actsr_cli.inspection.importance import (
    Importance,
    LeftOut,
    by_attention,
    by_fixed_attention,
    by_gradients,
    by_position,
    by_relevance,
    leave_one_out,
)
from actsr_cli.models.base import EncoderModel, SequentialModel

SHARES = tuple(round(0.1 * step, 1) for step in range(11))
"""Shares of the removable items at which deletion and insertion curves are measured."""
LEAVE_ONE_OUT = "leave one out"
RELEVANCE, FIXED = "relevance", "fixed attention"
CHARTED = ("plain", "spatial", "1 - mask", "calibrated", LEAVE_ONE_OUT, "latest first", "chance", FIXED)
"""The explanations that figures show."""
SHORTEST = 3
"""Minimum number of items in a history, so that an order of its items is meaningful."""


@dataclass(frozen=True)
class Agreement:
    """How well one explanation agrees with a measured importance, over users.

    Attributes:
        kendall: Kendall's τ-b between the two orders of a history's items.
        spearman: Spearman's ρ between them.
        top: overlap of the k most important items, over users with more than k items; None if there are none.
    """

    kendall: Interval
    spearman: Interval
    top: Interval | None


@dataclass(frozen=True)
class Curve:
    """Loss of the target's log-probability against the whole history, at each of `SHARES`.

    Attributes:
        points: one interval per share.
        area: area under the curve (trapezoidal rule), mean over users.
    """

    points: tuple[Interval, ...]
    area: Interval


@dataclass(frozen=True)
class Explanation:
    """The faithfulness of one explanation, that is of one importance of the items.

    Attributes:
        agreement: agreement with each measured importance, by its name.
        deletion: the most important items are removed first; a higher curve is better.
        insertion: only the most important items are kept; a lower curve is better. At share 0 one item is kept.
        without_top: without the most important item: share of users whose target gets more likely, and share of users
            whose target gets a better rank.
    """

    agreement: dict[str, Agreement]
    deletion: Curve
    insertion: Curve
    without_top: dict[str, Interval]


@dataclass(frozen=True)
class Faithfulness:
    """The faithfulness of all explanations of a model's predictions.

    Attributes:
        explain: the predictions that are explained. "Target" in an `Explanation` means the explained item.
        users: number of users.
        top_k: the k of the overlaps.
        shares: shares of the removable items at which the curves were measured.
        explanations: by name: attention stages, gradients, leave-one-out, latest first, and chance.
    """

    explain: Explain
    users: int
    top_k: int
    shares: tuple[float, ...]
    explanations: dict[str, Explanation]


def faithfulness(
    model: SequentialModel,
    cases: Sequence[Case],
    *,
    device: torch.device,
    explain: Explain = "target",
    top_k: int = 3,
    seed: int = 0,
    on_step: Callable[[str], None] | None = None,
) -> Faithfulness:
    """Measure the importance of the items of some histories, and how well the attention agrees with it.

    Importance is measured by leave-one-out and, for an `EncoderModel`, by gradient × input and integrated gradients.
    A positive importance means that the item raises the log-probability of the target.

    Args:
        model: the model, on `device`.
        cases: histories with targets; those with fewer than three items are skipped.
        device: where the model is.
        explain: whose log-probability the importance is about.
        top_k: number of items that the overlaps compare.
        seed: random seed of the explanation "chance" and of the bootstrap.
        on_step: called with a description of each step.

    Raises:
        DataError: no history is long enough.
    """
    say = on_step or (lambda _: None)
    used = [case.latest(model.config.max_length) for case in explained_cases(model, cases, explain, device=device)]
    used = [case for case in used if len(case.items) >= SHORTEST]
    if not used:
        raise DataError(f"no history has {SHORTEST} items or more, so faithfulness cannot be measured")
    say("leaving items out")
    whole = answers(model, used, device=device)
    left_out = leave_one_out(model, used, whole, device)
    measured = {LEAVE_ONE_OUT: left_out.log_probability}
    if isinstance(model, EncoderModel):
        say("gradients")
        measured |= by_gradients(model, used, device)
    explanations = by_attention(model, used, device) | measured | _by_nothing(used, seed)
    if isinstance(model, EncoderModel):
        explanations[RELEVANCE] = by_relevance(model, used, device)
        explanations[FIXED] = by_fixed_attention(model, used, device)
    found = {}
    for name, importance in explanations.items():
        say(name)
        deletion, insertion = _curves(model, used, whole, importance, device, seed)
        found[name] = Explanation(
            agreement={
                other: _agreement(importance, truth, top_k, seed) for other, truth in measured.items() if other != name
            },
            deletion=deletion,
            insertion=insertion,
            without_top=_without_top(importance, left_out, seed),
        )
    return Faithfulness(explain, len(used), top_k, SHARES, found)


def _by_nothing(cases: Sequence[Case], seed: int) -> dict[str, Importance]:
    """Baselines for explanations: later items are more important (latest first), and random importance (chance)."""
    rng = np.random.default_rng(seed)
    return {
        "latest first": by_position(cases, lambda length: np.arange(length, dtype=np.float64)),
        "chance": by_position(cases, lambda length: rng.random(length)),
    }


def _agreement(importance: Importance, truth: Importance, top_k: int, seed: int) -> Agreement:
    pairs = [(a[~np.isnan(b)], b[~np.isnan(b)]) for a, b in zip(importance, truth, strict=True)]
    # Equal importance of all items gives no order: its correlation counts as 0, like that of chance.
    varied = [(a, b) if np.ptp(a) and np.ptp(b) else None for a, b in pairs]
    kendall = [0.0 if pair is None else stats.kendalltau(*pair).statistic for pair in varied]
    spearman = [0.0 if pair is None else stats.spearmanr(*pair).statistic for pair in varied]
    overlaps = [
        len(np.intersect1d(first_places(a)[:top_k], first_places(b)[:top_k])) / top_k
        for a, b in pairs
        if len(a) > top_k
    ]
    return Agreement(
        mean_interval(np.array(kendall), seed),
        mean_interval(np.array(spearman), seed),
        mean_interval(np.array(overlaps), seed) if overlaps else None,
    )


def first_places(importance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions of a history from the most to the least important; ties: the later first; NaNs are ignored."""
    known = importance[~np.isnan(importance)]
    return len(known) - 1 - np.argsort(-known[::-1], kind="stable")


def _curves(
    model: SequentialModel,
    cases: Sequence[Case],
    whole: Answers,
    importance: Importance,
    device: torch.device,
    seed: int,
) -> tuple[Curve, Curve]:
    """Deletion and insertion curves. At most n - 1 of n items are removed, because a history cannot be empty."""
    orders = [first_places(row) for row in importance]
    counts = [[round(share * (len(order) - 1)) for share in SHARES] for order in orders]
    deleted = [{n: np.sort(order[n:]) for n in set(row)} for order, row in zip(orders, counts, strict=True)]
    inserted = [{n: np.sort(order[: n + 1]) for n in set(row)} for order, row in zip(orders, counts, strict=True)]
    return (
        _curve(model, cases, whole, counts, deleted, device, seed),
        _curve(model, cases, whole, counts, inserted, device, seed),
    )


def _curve(
    model: SequentialModel,
    cases: Sequence[Case],
    whole: Answers,
    counts: Sequence[Sequence[int]],
    kept: Sequence[Mapping[int, NDArray[np.int64]]],
    device: torch.device,
    seed: int,
) -> Curve:
    """The curve for the positions of each case that are kept at each count."""
    keys = [(row, n) for row, places in enumerate(kept) for n in places]
    answered = answers(model, [cases[row].at(kept[row][n]) for row, n in keys], device=device).log_probability
    lost = {key: whole.log_probability[key[0]] - value for key, value in zip(keys, answered, strict=True)}
    values = np.array([[lost[row, n] for n in of_row] for row, of_row in enumerate(counts)])  # (cases, shares)
    return Curve(
        points=tuple(mean_interval(column, seed) for column in values.T),
        area=mean_interval(np.trapezoid(values, SHARES, axis=1), seed),
    )


def _without_top(importance: Importance, left_out: LeftOut, seed: int) -> dict[str, Interval]:
    rows = np.arange(len(importance))
    top = np.array([first_places(row)[0] for row in importance])
    return {
        "more likely": mean_interval((left_out.log_probability[rows, top] < 0).astype(np.float64), seed),
        "better rank": mean_interval((left_out.rank[rows, top] < 0).astype(np.float64), seed),
    }
