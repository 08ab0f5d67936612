"""Probability and rank that a model gives to the target of a history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.batch import Batch
from actsr_cli.data.batches import history_batches
from actsr_cli.data.histories import Histories
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.splits import SplitName
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.evaluation.ranker import Ranker, Ranking
from actsr_cli.inspection.trace import in_evaluation
from actsr_cli.models.base import Model

PROTOCOL = Protocol("rank")
"""The protocol of all ranks here. Measurements add and remove items of histories: if the items of a history were
excluded, these changes would also change what the target competes with."""
Explain = Literal["target", "recommended"]
"""Whose score is explained: that of the target, or that of the best item outside the history."""


@dataclass(frozen=True)
class Case:
    """A history and its target.

    Attributes:
        items: (length,) int64 item ids in time order, at least one.
        target: the next item.
        user: index of the user in the data set; -1 if the user is unknown.
        times: (length,) seconds, or None.
    """

    items: NDArray[np.int64]
    target: int
    user: int = -1
    times: NDArray[np.float64] | None = None

    def at(self, places: NDArray[np.int64]) -> Self:
        """The same case with only the items at the given positions, in the given order."""
        return replace(self, items=self.items[places], times=None if self.times is None else self.times[places])

    def latest(self, n_items: int) -> Self:
        """The same case with only the latest `n_items` of its history."""
        return self.at(np.arange(max(0, len(self.items) - n_items), len(self.items)))


@dataclass(frozen=True)
class Answers:
    """A model's results for some cases.

    Attributes:
        log_probability: (cases,) log-probability of the target by the softmax over all items of the catalogue.
        rank: (cases,) expected rank of the target, from 1; ties count half.
    """

    log_probability: NDArray[np.float64]
    rank: NDArray[np.float64]


def split_cases(data: SequenceData, split: SplitName, rows: NDArray[np.int64] | None = None) -> list[Case]:
    """One case with the whole history per target of a split; `rows` selects rows of `data.held_out(split)`."""
    held_out = data.held_out(split)
    cases = []
    for row in np.arange(len(held_out)) if rows is None else rows:
        place = slice(held_out.starts[row], held_out.ends[row])
        times = None if data.timestamps is None else np.asarray(data.timestamps[place])
        items = data.items[place].astype(np.int64)
        cases.append(Case(items, int(held_out.targets[row]), int(held_out.users[row]), times))
    return cases


def histories_of(cases: Sequence[Case]) -> Histories:
    """Cases as input of a ranker; with times only if all cases have them."""
    times = [case.times for case in cases if case.times is not None]
    return Histories.of(
        [case.items for case in cases],
        targets=[case.target for case in cases],
        users=[case.user for case in cases],
        timestamps=times if len(times) == len(cases) else None,
    )


def answers(model: Model, cases: Sequence[Case], *, device: torch.device) -> Answers:
    """Compute log-probability and rank of the targets of some cases, ranks by `PROTOCOL`.

    Args:
        model: the model, on `device`.
        cases: histories of any length; the latest `max_length` items are read.
        device: where the model is.
    """
    with in_evaluation(model):
        ranker = Ranker(model, device=device, protocol=PROTOCOL)
        ranking = ranker.rank(histories_of(cases), log_probability=True)
    return Answers(ranking.log_probability, ranking.ranks)


def recommend(model: Model, cases: Sequence[Case], count: int, *, device: torch.device) -> Ranking:
    """The best `count` items outside the history of each case, with their log-probabilities."""
    with in_evaluation(model):
        ranker = Ranker(model, device=device, protocol=Protocol("exclude"))
        return ranker.rank(histories_of([replace(case, target=0) for case in cases]), top=count, log_probability=True)


def explained_cases(model: Model, cases: Sequence[Case], explain: Explain, *, device: torch.device) -> list[Case]:
    """The cases with the explained item as the target; those whose history holds the whole catalogue are left out."""
    if explain == "target":
        return list(cases)
    best = recommend(model, cases, 1, device=device).top_items[:, 0].tolist()
    return [replace(case, target=item) for case, item in zip(cases, best, strict=True) if item]


def target_log_probability(scores: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target among all items, (batch,); scores are (batch, n_items + 1) with padding."""
    items = scores[:, 1:].float()
    return items.gather(1, targets.unsqueeze(1) - 1).squeeze(1) - items.logsumexp(dim=1)


def case_batches(
    cases: Sequence[Case], max_length: int, device: torch.device, batch_size: int = 128
) -> Iterator[tuple[NDArray[np.int64], Batch, Tensor]]:
    """Batches of the latest `max_length` items of each case; histories of similar length are batched together.

    Yields:
        Indices into `cases`, their histories as a batch, and their targets, (batch,).
    """
    histories = histories_of(cases)
    for rows, batch in history_batches(histories, max_length, batch_size, device):
        yield rows, batch, torch.from_numpy(histories.targets[rows]).to(device)
