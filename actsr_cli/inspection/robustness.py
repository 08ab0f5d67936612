"""The effect of noise in histories on the ranking and on the attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from actsr_cli.attention import attending_with
from actsr_cli.evaluation.metrics import hit, ndcg
from actsr_cli.evaluation.ranker import Ranker
from actsr_cli.evaluation.significance import Interval, mean_interval
from actsr_cli.inspection.answers import PROTOCOL, Case, case_batches, histories_of
from actsr_cli.inspection.trace import in_evaluation, trace
from actsr_cli.models.base import SequentialModel

Noise = Literal["insert", "shuffle", "drop"]
KINDS: tuple[Noise, ...] = ("insert", "shuffle", "drop")


@dataclass(frozen=True)
class NoisyCase:
    """A history with noise.

    Attributes:
        case: the noisy history, as the model gets it.
        injected: (length,) bool, True for inserted items.
    """

    case: Case
    injected: NDArray[np.bool_]


@dataclass(frozen=True)
class Ranked:
    """Ranking quality: Hit@10 and NDCG@10, means over users."""

    hit: Interval
    ndcg: Interval


@dataclass(frozen=True)
class Mass:
    """Attention on marked items: row of the predicting position, last layer, mean over heads.

    Attributes:
        stages: the share of the attention on marked items at each stage, mean over users with marked items.
        expected: the share under uniform attention, that is the share of marked items among all positions.
    """

    stages: dict[str, Interval]
    expected: Interval


@dataclass(frozen=True)
class Disturbed:
    """The effect of one share of one kind of noise.

    Attributes:
        kind: kind of noise; `none` is the original history.
        share: share of the items of a history, on average over histories.
        changed: number of histories in which the model reads other items, or another order of them.
        calibrated: metrics of the model as trained.
        plain: metrics of the same model with its plain attention; equal if the model is not calibrated.
        injected: the attention on injected items; None if nothing is injected.
    """

    kind: Literal["none", "insert", "shuffle", "drop"]
    share: float
    changed: int
    calibrated: Ranked
    plain: Ranked
    injected: Mass | None


def robustness(
    model: SequentialModel,
    cases: Sequence[Case],
    shares: Sequence[float],
    *,
    device: torch.device,
    seed: int = 0,
    on_step: Callable[[str], None] | None = None,
) -> list[Disturbed]:
    """Rank the targets of some histories with and without noise.

    Args:
        model: the model, on `device`.
        cases: histories with targets; noise is added to the latest `max_length` items.
        shares: shares of the items of a history to insert, shuffle or drop, each between 0 and 1.
        device: where the model is.
        seed: random seed of the noise (the same for every model) and of the bootstrap.
        on_step: called with a description of each step.
    """
    used = [case.latest(model.config.max_length) for case in cases]
    clean = [NoisyCase(case, np.zeros(len(case.items), dtype=bool)) for case in used]
    found = [_measure(model, "none", 0.0, clean, used, device, seed)]
    for kind in KINDS:
        for share in shares:
            if on_step is not None:
                on_step(f"{kind} {share:g}")
            rng = np.random.default_rng(seed)
            noisy = [disturb(case, kind, share, model.n_items, rng) for case in used]
            found.append(_measure(model, kind, share, noisy, used, device, seed))
    return found


def disturb(case: Case, kind: Noise, share: float, n_items: int, rng: np.random.Generator) -> NoisyCase:
    """Add noise to one history; the expected number of affected items is `share` times its length.

    A product that is not a whole number is rounded up or down at random, so that short histories get their share, too.
    `insert` inserts items at random positions, drawn uniformly from the catalogue without the target and the items of
    the history; each gets the time of the item before it. `shuffle` moves the items of randomly chosen positions round
    among these positions, at least two of them; times stay in order. `drop` removes random items, but never all.
    """
    length = len(case.items)
    if kind == "shuffle":
        return _shuffle(case, share * length, rng)
    count = _rounded(share * length, 1, rng)
    if kind == "insert":
        return _insert(case, count, n_items, rng)
    kept = np.sort(rng.permutation(length)[min(count, length - 1) :])
    return NoisyCase(case.at(kept), np.zeros(len(kept), dtype=bool))


def attention_mass(
    model: SequentialModel,
    cases: Sequence[Case],
    marked: Sequence[NDArray[np.bool_]],
    *,
    device: torch.device,
    seed: int = 0,
) -> Mass | None:
    """The attention on marked items of histories of at most `max_length` items; None if no item is marked."""
    users = [row for row, marks in enumerate(marked) if marks.any()]
    if not users:
        return None
    found: dict[str, NDArray[np.float64]] = {}
    uniform = np.zeros(len(users))
    chosen = [cases[row] for row in users]
    for rows, batch, _ in case_batches(chosen, model.config.max_length, device):
        marks = np.zeros((len(batch), batch.packing.longest), dtype=bool)
        for place, row in enumerate(rows):
            encoded = marked[users[row]][model.unread_items :]
            marks[place, : len(encoded)] = encoded
        traced = trace(model, batch)
        uniform[rows] = marks.sum(axis=1) / traced.lengths.cpu().numpy()  # the mask of a cloze model is a position, too
        for stage, weights in traced.prediction_rows(layer=-1).items():
            mass = (weights[:, : marks.shape[1]].cpu().double().numpy() * marks).sum(axis=1)
            found.setdefault(stage, np.zeros(len(users)))[rows] = mass
    return Mass({stage: mean_interval(mass, seed) for stage, mass in found.items()}, mean_interval(uniform, seed))


def _rounded(number: float, smallest: int, rng: np.random.Generator) -> int:
    """A random whole number with the given mean: one of its two neighbours among 0, `smallest`, `smallest` + 1, …"""
    low = 0 if number < smallest else math.floor(number)
    step = smallest if number < smallest else 1
    return low + step * bool(rng.random() < (number - low) / step)


def _shuffle(case: Case, expected: float, rng: np.random.Generator) -> NoisyCase:
    """Move about `expected` items of a history round: each gets the place of another one."""
    length = len(case.items)
    places = rng.permutation(length)[: _rounded(expected, 2, rng) if length > 1 else 0]
    order = np.arange(length)
    order[places] = np.roll(places, 1)
    shuffled = Case(case.items[order], case.target, case.user, case.times)
    return NoisyCase(shuffled, np.zeros(length, dtype=bool))


def _insert(case: Case, count: int, n_items: int, rng: np.random.Generator) -> NoisyCase:
    length = len(case.items)
    known = {case.target, *case.items.tolist()}
    drawn: list[int] = []
    while len(drawn) < min(count, n_items):
        item = int(rng.integers(1, n_items + 1))
        if item not in known or len(known) >= n_items:  # a catalogue may have no other item left
            known.add(item)
            drawn.append(item)
    before = np.sort(rng.integers(0, length + 1, len(drawn)))
    times = None
    if case.times is not None:
        times = np.insert(case.times, before, case.times[np.maximum(before - 1, 0)])
    noisy = Case(np.insert(case.items, before, drawn), case.target, case.user, times)
    return NoisyCase(noisy, np.insert(np.zeros(length, dtype=bool), before, True))


def _measure(
    model: SequentialModel,
    kind: Literal["none", "insert", "shuffle", "drop"],
    share: float,
    noisy: Sequence[NoisyCase],
    clean: Sequence[Case],
    device: torch.device,
    seed: int,
) -> Disturbed:
    limit = model.config.max_length
    cases = [each.case.latest(limit) for each in noisy]
    changed = sum(not np.array_equal(a.items, b.items) for a, b in zip(cases, clean, strict=True))
    calibrated = _ranked(model, cases, device, seed)
    with attending_with(model, "plain"):
        plain = _ranked(model, cases, device, seed)
    injected = attention_mass(model, cases, [each.injected[-limit:] for each in noisy], device=device, seed=seed)
    return Disturbed(kind, share, changed, calibrated, plain, injected)


def _ranked(model: SequentialModel, cases: Sequence[Case], device: torch.device, seed: int) -> Ranked:
    with in_evaluation(model):
        ranking = Ranker(model, device=device, protocol=PROTOCOL).rank(histories_of(cases))
    return Ranked(mean_interval(hit(ranking, 10), seed), mean_interval(ndcg(ranking, 10), seed))
