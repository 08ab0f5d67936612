"""Ranking each user's held-out item among the whole catalogue, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.batch import PADDING, Batch
from actsr_cli.data.batches import history_batches
from actsr_cli.data.sequences import HeldOut, SequenceData, Split
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.errors import DataError, RunError

Seen = Literal["rank", "exclude"]
_SCORES_AT_A_TIME = 2**25
"""Of a catalogue of a million items, 33 users' scores at a time: 128 MiB."""


def protocol(seen: Seen) -> str:
    """The protocol's name, which every table of metrics shows."""
    return "A, seen items ranked" if seen == "rank" else "B, seen items excluded"


@dataclass(frozen=True)
class RankedSplit:
    """The rank of every held-out item of a split.

    Attributes:
        held_out: users and targets.
        ranks: (users,) expected rank of each target, from 1.
    """

    held_out: HeldOut
    ranks: NDArray[np.float64]


def doubled_ranks(scores: Tensor, targets: Tensor, seen: Tensor | None = None) -> Tensor:
    """Twice the expected rank of each target: 1 + items that score higher + half of the others that score the same.

    Args:
        scores: (batch, n_items + 1); column 0 is padding and never counts.
        targets: (batch,) item ids.
        seen: (batch, any) item ids to leave out, padded with 0; a target among them stays. None ranks every item.

    Returns:
        (batch,) int64; doubled, a tie is a whole number and exact on every device.

    Raises:
        RunError: a score is not a number.
    """
    if bool(torch.isnan(scores[:, 1:].amax(dim=1)).any()):  # a row with a NaN has it as its maximum
        raise RunError("the model scores an item with NaN: it cannot be ranked", hint="Train again in float32.")
    columns = targets.unsqueeze(1)
    of_target = scores.gather(1, columns)
    # Comparisons are written as numbers, whose sums are vectorised where those of bool are not; float32 counts to 2²⁴.
    exact = torch.float32 if scores.shape[1] <= 2**24 else torch.float64
    marks = torch.empty_like(scores, dtype=exact)
    doubled = torch.full_like(targets, 2)
    for compare in (torch.gt, torch.ge):  # higher items count in both, equal ones in the second alone
        compare(scores, of_target, out=marks)
        if seen is not None:
            marks.scatter_(1, seen, 0.0)
        marks[:, PADDING] = 0.0
        marks.scatter_(1, columns, 0.0)
        doubled += marks.sum(dim=1).long()
    return doubled


def evaluate(
    score: Callable[[Batch], Tensor],
    data: SequenceData,
    split: Split,
    *,
    max_length: int,
    seen: Seen,
    batch_size: int,
    device: torch.device,
    on_batch: Callable[[int, int], None] | None = None,
    workers: Workers = ALONE,
) -> RankedSplit:
    """Rank every held-out item of a split; memory is bounded by the batch, and no rank depends on its size.

    Args:
        score: histories to (batch, n_items + 1) scores, such as `SequentialModel.score`.
        data: the prepared data.
        split: `valid` or `test`.
        max_length: latest items of a history that the scorer reads.
        seen: rank the items of a user's whole history too, or exclude them.
        batch_size: users at a time; fewer where the catalogue is so large that their scores would need gigabytes.
        device: where to score.
        on_batch: hears (done, total) users.
        workers: the processes that share the users; each gets all ranks.

    Raises:
        DataError: no user is long enough to hold an item out.
        RunError: a score is not a number.
    """
    held_out = data.held_out(split)
    if not len(held_out.users):
        raise DataError(f"'{data.name}' has no user with three interactions: there is nothing to evaluate on")
    doubled = np.zeros(len(held_out.users), dtype=np.int64)
    targets = torch.from_numpy(held_out.targets).to(device)
    at_a_time = max(1, min(batch_size, _SCORES_AT_A_TIME // data.n_items))
    done = 0
    with torch.inference_mode():
        for rows, batch in history_batches(data, held_out, max_length, at_a_time, device, workers):
            excluded = _whole_histories(data, held_out, rows, device) if seen == "exclude" else None
            doubled[rows] = doubled_ranks(score(batch), targets[torch.from_numpy(rows)], excluded).cpu().numpy()
            done = min(done + workers.count * len(rows), len(doubled))
            if on_batch is not None:
                on_batch(done, len(doubled))
    everybody = workers.sum(torch.from_numpy(doubled).to(device)).cpu().numpy()
    return RankedSplit(held_out, everybody / 2)


def _whole_histories(data: SequenceData, held_out: HeldOut, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """(rows, longest) ids of everything that each user had before the held-out item, padded with 0."""
    starts, lengths = held_out.starts[rows], held_out.ends[rows] - held_out.starts[rows]
    columns = np.arange(lengths.max())
    indices = np.minimum(starts[:, None] + columns, len(data.items) - 1)
    items = np.where(columns < lengths[:, None], data.items[indices], PADDING)
    return torch.from_numpy(items.astype(np.int64)).to(device)
