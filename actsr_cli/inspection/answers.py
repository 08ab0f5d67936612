"""What a model answers to a history: how likely the item is that came next, and its rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.batch import PADDING, Batch
from actsr_cli.data.sequences import SequenceData, Split
from actsr_cli.evaluation.ranking import Seen, doubled_ranks
from actsr_cli.inspection.trace import in_evaluation
from actsr_cli.models.base import SequentialModel

_SCORES_AT_A_TIME = 2**24


@dataclass(frozen=True)
class Case:
    """A history, and the item that came after it.

    Attributes:
        items: (length,) int64 item ids in time order, at least one.
        target: the item that came next.
        user: the data set's user; -1 is a stranger.
        times: (length,) seconds, or None.
    """

    items: NDArray[np.int64]
    target: int
    user: int = -1
    times: NDArray[np.float64] | None = None

    def at(self, places: NDArray[np.int64]) -> Self:
        """The same case with the items at some places alone, in the given order."""
        return replace(self, items=self.items[places], times=None if self.times is None else self.times[places])

    def latest(self, n_items: int) -> Self:
        """The same case with the latest `n_items` of its history."""
        return self.at(np.arange(max(0, len(self.items) - n_items), len(self.items)))


@dataclass(frozen=True)
class Answers:
    """What a model makes of some cases.

    Attributes:
        log_probability: (cases,) of the target, by the softmax over all items of the catalogue.
        rank: (cases,) expected rank of the target, from 1; ties count half.
    """

    log_probability: NDArray[np.float64]
    rank: NDArray[np.float64]


def split_cases(data: SequenceData, split: Split, users: NDArray[np.int64] | None = None) -> list[Case]:
    """One case with the whole history per user of a split; `users` picks some, all of whom must be in it."""
    held_out = data.held_out(split)
    rows = np.arange(len(held_out.users)) if users is None else np.searchsorted(held_out.users, users)
    cases = []
    for row in rows:
        place = slice(held_out.starts[row], held_out.ends[row])
        times = None if data.timestamps is None else np.asarray(data.timestamps[place])
        items = data.items[place].astype(np.int64)
        cases.append(Case(items, int(held_out.targets[row]), int(held_out.users[row]), times))
    return cases


def answers(
    model: SequentialModel,
    cases: Sequence[Case],
    *,
    device: torch.device,
    seen: Seen = "rank",
    batch_size: int = 256,
) -> Answers:
    """Ask a model for the targets of some cases.

    Args:
        model: the model, on `device`.
        cases: histories of any length; the latest `max_length` items are read.
        device: where the model is.
        seen: whether items of the history are ranked too (protocol A) or left out of the rank (protocol B).
        batch_size: histories at a time; fewer where the catalogue is large.
    """
    log_probability, rank = np.zeros(len(cases)), np.zeros(len(cases))
    at_a_time = max(1, min(batch_size, _SCORES_AT_A_TIME // model.n_items))
    with torch.inference_mode(), in_evaluation(model):
        for rows, batch, targets in case_batches(cases, model.config.max_length, device, at_a_time):
            scores = model.score(batch)
            excluded = _collate([cases[row] for row in rows]).item_ids.to(device) if seen == "exclude" else None
            rank[rows] = doubled_ranks(scores, targets, excluded).cpu().numpy() / 2
            log_probability[rows] = target_log_probability(scores, targets).cpu().double().numpy()
    return Answers(log_probability, rank)


def target_log_probability(scores: Tensor, targets: Tensor) -> Tensor:
    """(batch,) log-probability of each target among all items; scores are (batch, n_items + 1), padding left out."""
    items = scores[:, 1:].float()
    return items.gather(1, targets.unsqueeze(1) - 1).squeeze(1) - items.logsumexp(dim=1)


def case_batches(
    cases: Sequence[Case], max_length: int, device: torch.device, batch_size: int = 128
) -> Iterator[tuple[NDArray[np.int64], Batch, Tensor]]:
    """The latest `max_length` items of each case, those of like length together.

    Yields:
        Indices into `cases`, their histories as a batch, and their targets, (batch,).
    """
    lengths = np.array([min(len(case.items), max_length) for case in cases], dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        chosen = [cases[row].latest(max_length) for row in rows]
        targets = torch.tensor([case.target for case in chosen], device=device)
        batch = _collate(chosen)
        if batch.timestamps is not None and device.type == "mps":  # has no float64
            batch = replace(batch, timestamps=batch.timestamps.float())
        yield rows, batch.to(device), targets


def _collate(cases: Sequence[Case]) -> Batch:
    lengths = [len(case.items) for case in cases]
    times = [case.times for case in cases if case.times is not None]
    item_ids = np.full((len(cases), max(lengths)), PADDING, dtype=np.int64)
    seconds = np.zeros(item_ids.shape)
    for row, case in enumerate(cases):
        item_ids[row, : lengths[row]] = case.items
        if case.times is not None:
            seconds[row, : lengths[row]] = case.times
    return Batch(
        item_ids=torch.from_numpy(item_ids),
        lengths=torch.tensor(lengths),
        user_ids=torch.tensor([case.user for case in cases]),
        timestamps=torch.from_numpy(seconds) if len(times) == len(cases) else None,
    )
