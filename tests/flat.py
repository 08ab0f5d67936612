"""Batches for tests, from lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from actsr_cli.batch import Batch, PaddedBatch, TrainingBatch
from actsr_cli.packing import Packing


def packed(lengths: Sequence[int]) -> Packing:
    """Sequences of these lengths, on the CPU."""
    return Packing(np.array(lengths, dtype=np.int64), torch.device("cpu"))


def batch_of(
    histories: Sequence[Sequence[int]],
    users: Sequence[int] | None = None,
    times: Sequence[Sequence[float]] | None = None,
) -> Batch:
    """A batch of histories."""
    return Batch(
        item_ids=torch.tensor([item for history in histories for item in history]),
        packing=packed([len(history) for history in histories]),
        user_ids=None if users is None else torch.tensor(users),
        timestamps=None
        if times is None
        else torch.tensor([time for row in times for time in row], dtype=torch.float64),
    )


def trained(batch: Batch, targets: Sequence[Sequence[int]]) -> TrainingBatch:
    """A batch with the target of each item, 0 where none is trained."""
    flat = torch.tensor([target for row in targets for target in row])
    rows = flat.nonzero().squeeze(1)
    return TrainingBatch(**vars(batch), rows=rows, targets=flat[rows])


def per_history(batch: Batch, values: Tensor) -> list[list[int]]:
    """Values per token, (tokens,), as a list for each history."""
    return [part.tolist() for part in torch.split(values, batch.packing.host_lengths.tolist())]


def targets_of(batch: TrainingBatch) -> list[list[int]]:
    """The target of each item as a list for each history, 0 where none is trained."""
    return per_history(batch, torch.zeros_like(batch.item_ids).index_copy(0, batch.rows, batch.targets))


def unpadded(item_ids: Tensor, lengths: Tensor, user_ids: Tensor | None = None, times: Tensor | None = None) -> Batch:
    """A batch of padded histories."""
    return Batch.of(PaddedBatch(item_ids, lengths, user_ids, times))
