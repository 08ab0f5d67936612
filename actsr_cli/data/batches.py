"""From prepared sequences to padded batches, by index arithmetic on flat tensors: no loop over users, no waiting."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.batch import PADDING, Batch, TrainingBatch
from actsr_cli.data.histories import Histories, Items
from actsr_cli.data.sequences import SequenceData
from actsr_cli.distributed import ALONE, Workers

_HALVINGS = 2
"""A batch comes in parts: windows longer than half its longest, those longer than a quarter, and the rest."""
_PAIRS_PER_PART = {"cpu": 2**16}
"""(query, key) pairs of a part at most: on the CPU a part's attention should stay in the cache."""


@dataclass(frozen=True)
class Windows:
    """Stretches of the users' training items that a model reads in one pass.

    A window of length n reads items[start:start + n], and its row i predicts items[start + i + 1].

    Attributes:
        users: (windows,) the user of each.
        starts: (windows,) first item, an index into `SequenceData.items`.
        lengths: (windows,) items read.
        first_trained: (windows,) rows before it give context only.
    """

    users: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    first_trained: NDArray[np.int64]

    @property
    def n_targets(self) -> NDArray[np.int64]:
        """(windows,) trained rows of each."""
        return self.lengths - self.first_trained

    def __len__(self) -> int:
        return len(self.users)


def training_windows(data: SequenceData, max_length: int, stride: int) -> Windows:
    """Windows in which each training item but a user's first is a target exactly once.

    A user with at most `max_length` inputs has one window with all of them: a causal model's pass over it trains every
    prefix. Of longer users the first window trains its every row, and each further one the `stride` targets behind the
    last: with a stride of 1 each target sees exactly the latest `max_length` items before it. The stride is at most
    `max_length`.
    """
    starts, ends = data.training_spans()
    inputs = np.maximum(ends - starts - 1, 0)
    further = -(-np.maximum(inputs - max_length, 0) // stride)  # windows behind the first, rounded up
    users = np.repeat(np.arange(data.n_users), np.where(inputs > 0, 1 + further, 0))
    first_of_user = np.concatenate([[0], np.cumsum(np.where(inputs > 0, 1 + further, 0))])[users]
    index = np.arange(len(users)) - first_of_user  # 0, 1, … within each user
    read = np.minimum(np.minimum(inputs[users], max_length) + index * stride, inputs[users])  # inputs read so far
    before = np.where(index > 0, np.minimum(max_length + (index - 1) * stride, inputs[users]), 0)
    lengths = np.minimum(read, max_length)
    return Windows(
        users=users, starts=starts[users] + read - lengths, lengths=lengths, first_trained=lengths - (read - before)
    )


class TrainingBatches:
    """Shuffled batches, each in parts of like length that are trimmed to their longest.

    A batch is drawn from all windows alike; its parts only save the padding.

    Args:
        data: the prepared data.
        max_length: longest window.
        batch_size: targets per batch; only a single window with more makes a batch exceed it.
        stride: see `training_windows`.
        whole: all rows of a window are trained, not its targets alone: `batch_size` counts them all.
        device: where the flat data lie and batches are made.
        workers: the processes that share each batch; this one makes its own windows of it alone.
    """

    def __init__(
        self,
        data: SequenceData,
        *,
        max_length: int,
        batch_size: int,
        stride: int = 1,
        whole: bool = False,
        device: torch.device | None = None,
        workers: Workers = ALONE,
    ) -> None:
        self.windows = training_windows(data, max_length, stride)
        self.batch_size = batch_size
        self.workers = workers
        self._flat = _FlatData(data.items, data.timestamps, device or torch.device("cpu"))
        self._costs = self.windows.lengths if whole else self.windows.n_targets
        self._expected_batches = len(self._cut(np.arange(len(self.windows))))

    @property
    def n_targets(self) -> int:
        """Targets of an epoch."""
        return int(self.windows.n_targets.sum())

    @property
    def n_batches(self) -> int:
        """Batches of an epoch, give or take a few that depend on the order."""
        return self._expected_batches

    def epoch(self, generator: torch.Generator) -> Iterator[list[TrainingBatch]]:
        """Batches in parts, every target once, in an order drawn from a CPU generator.

        All processes draw the same order. A small batch may leave some of them without a part.
        """
        order = torch.randperm(len(self.windows), generator=generator).numpy()
        for batch in self._cut(order):
            by_length = batch[np.argsort(self.windows.lengths[batch], kind="stable")]
            own = self.workers.share(by_length)
            goes_on = self.windows.first_trained[own] > 0  # of its first rows the last layer needs nothing
            yield [self._collate(part) for rows in (own[~goes_on], own[goes_on]) for part in self._parts(rows)]

    def _parts(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Windows in ascending order of length, cut where padding or the attention's size would be too large."""
        if not len(rows):
            return []
        lengths = self.windows.lengths[rows]
        halvings = np.minimum(np.log2(lengths[-1] / lengths).astype(np.int64), _HALVINGS)
        ranges = np.split(rows, np.flatnonzero(np.diff(halvings)) + 1)
        pairs = _PAIRS_PER_PART.get(self._flat.device.type)
        if pairs is None:
            return ranges
        sizes = [max(1, pairs // int(self.windows.lengths[part[-1]]) ** 2) for part in ranges]
        return [
            part[start : start + size]
            for part, size in zip(ranges, sizes, strict=True)
            for start in range(0, len(part), size)
        ]

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Consecutive parts of `order` with at most `batch_size` trained rows, but at least one window."""
        trained = np.concatenate([[0], np.cumsum(self._costs[order])])
        parts, start = [], 0
        while start < len(order):
            end = int(np.searchsorted(trained, trained[start] + self.batch_size, side="right")) - 1
            end = max(end, start + 1)
            parts.append(order[start:end])
            start = end
        return parts

    def _collate(self, rows: NDArray[np.int64]) -> TrainingBatch:
        windows = self.windows
        history = self._flat.batch(windows.users[rows], windows.starts[rows], windows.lengths[rows])
        length = history.item_ids.shape[1]
        position = torch.arange(length, device=history.item_ids.device)
        first = torch.from_numpy(windows.first_trained[rows]).to(position.device)
        trained = (position >= first.unsqueeze(1)) & (position < history.lengths.unsqueeze(1))
        targets = self._flat.items_at(windows.starts[rows] + 1, length).where(trained, PADDING)
        return TrainingBatch(
            **vars(history),
            targets=targets,
            n_targets=int(windows.n_targets[rows].sum()),
            first_trained=int(windows.first_trained[rows].min()),
        )


def history_batches(
    histories: Histories, max_length: int, batch_size: int, device: torch.device, workers: Workers = ALONE
) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """The latest `max_length` items of each history, those of like length together.

    Of several processes each gets its share of the histories.

    Yields:
        Indices into `histories`, and a batch of them.
    """
    flat = _FlatData(histories.items, histories.timestamps, device)
    lengths = np.minimum(histories.lengths, max_length)
    order = workers.share(np.argsort(lengths, kind="stable"))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, flat.batch(histories.users[rows], histories.ends[rows] - lengths[rows], lengths[rows])


class _FlatData:
    """All interactions as tensors on a device, from which batches are gathered.

    On the CPU nothing is copied: what the arrays map stays on disk until a batch needs it.
    """

    def __init__(self, items: Items, timestamps: NDArray[np.float64] | None, device: torch.device) -> None:
        self.items = _as_tensor(items).to(device)
        times = None if timestamps is None else _as_tensor(timestamps)
        if times is not None and device.type == "mps":  # has no float64: there, times are exact to two minutes
            times = times.float()
        self.times = None if times is None else times.to(device)
        self.device = device

    def items_at(self, starts: NDArray[np.int64], length: int) -> Tensor:
        """(batch, length) items from each start on, whatever user they are of."""
        return self.items[self._indices(starts, length)].long()

    def batch(self, users: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batch:
        """Items from each start on, as many as `lengths` says, padded to the longest."""
        length = int(lengths.max())
        indices = self._indices(starts, length)
        n_real = torch.from_numpy(lengths).to(self.device)
        real = torch.arange(length, device=self.device) < n_real.unsqueeze(1)
        return Batch(
            item_ids=self.items[indices].long().where(real, PADDING),
            lengths=n_real,
            user_ids=torch.from_numpy(users).to(self.device),
            timestamps=None if self.times is None else self.times[indices].where(real, 0.0),
        )

    def _indices(self, starts: NDArray[np.int64], length: int) -> Tensor:
        offsets = torch.arange(length, device=self.device)
        indices = torch.from_numpy(starts).to(self.device).unsqueeze(1) + offsets
        return indices.clamp_max(len(self.items) - 1)


def _as_tensor(array: NDArray[np.generic]) -> Tensor:
    """The array's own memory as a tensor, which nobody here writes to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
