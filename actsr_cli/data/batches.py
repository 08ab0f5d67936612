"""Builds padded batches from prepared sequences, with index arithmetic on flat tensors instead of loops over users."""

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
"""A batch has parts: windows longer than half of the longest, windows longer than a quarter, and the rest."""
_PAIRS_PER_PART = {"cpu": 2**16}
"""Maximum (query, key) pairs of a part. On the CPU, the attention of a part should fit in the cache."""


@dataclass(frozen=True)
class Windows:
    """Sections of the users' training items that a model reads in one pass.

    A window of length n reads items[start:start + n], and its row i predicts items[start + i + 1].

    Attributes:
        users: (windows,) user of each window.
        starts: (windows,) first item, an index into `SequenceData.items`.
        lengths: (windows,) number of items read.
        first_trained: (windows,) first row that is trained; earlier rows only give context.
    """

    users: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    first_trained: NDArray[np.int64]

    @property
    def n_targets(self) -> NDArray[np.int64]:
        """(windows,) number of trained rows."""
        return self.lengths - self.first_trained

    def __len__(self) -> int:
        return len(self.users)


def training_windows(data: SequenceData, max_length: int, stride: int) -> Windows:
    """Windows in which each training item except a user's first is a target exactly once.

    A user with at most `max_length` inputs has one window with all of them; one pass of a causal model over it trains
    every prefix. Longer users have several windows. The first one trains all its rows, and each further one trains the
    next `stride` targets. With a stride of 1, each target sees exactly the latest `max_length` items before it. The
    stride is at most `max_length`.
    """
    starts, ends = data.training_spans()
    inputs = np.maximum(ends - starts - 1, 0)
    further = -(-np.maximum(inputs - max_length, 0) // stride)  # windows after the first, rounded up
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
    """Shuffled batches. Each batch has parts of similar length, padded to the longest window of the part.

    A batch is drawn uniformly from all windows; its parts only save padding.

    Args:
        data: the prepared data.
        max_length: length of the longest window.
        batch_size: targets per batch; exceeded only by a single window with more targets.
        stride: see `training_windows`.
        whole: all rows of a window are trained, and `batch_size` counts all of them instead of the targets.
        device: device that holds the flat data and the batches.
        workers: the processes that share each batch; this process builds only its own windows.
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
        """Number of targets in an epoch."""
        return int(self.windows.n_targets.sum())

    @property
    def n_batches(self) -> int:
        """Number of batches in an epoch; may differ by a few, depending on the order."""
        return self._expected_batches

    def epoch(self, generator: torch.Generator, done: int = 0) -> Iterator[list[TrainingBatch]]:
        """Yield the parts of each batch of an epoch, in an order drawn from a CPU generator. Every target occurs once.

        All processes draw the same order. If a batch is small, some processes may get no part of it.

        Args:
            generator: draws the order.
            done: number of batches to leave out at the start, which were trained before a stop.
        """
        order = torch.randperm(len(self.windows), generator=generator).numpy()
        for batch in self._cut(order)[done:]:
            by_length = batch[np.argsort(self.windows.lengths[batch], kind="stable")]
            own = self.workers.share(by_length)
            goes_on = self.windows.first_trained[own] > 0  # the last layer skips the first rows of these
            yield [self._collate(part) for rows in (own[~goes_on], own[goes_on]) for part in self._parts(rows)]

    def _parts(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut windows, sorted by length, into parts so that neither padding nor attention size gets too large."""
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
        """Cut `order` into batches with at most `batch_size` trained rows, but at least one window."""
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
    """Yield batches with the latest `max_length` items of each history; histories of similar length are together.

    With several processes, each one gets its share of the histories.

    Yields:
        Indices into `histories`, and the batch of these histories.
    """
    flat = _FlatData(histories.items, histories.timestamps, device)
    lengths = np.minimum(histories.lengths, max_length)
    order = workers.share(np.argsort(lengths, kind="stable"))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, flat.batch(histories.users[rows], histories.ends[rows] - lengths[rows], lengths[rows])


class _FlatData:
    """All interactions as tensors on a device, from which batches are gathered.

    On the CPU nothing is copied: memory-mapped arrays stay on disk until a batch needs them.
    """

    def __init__(self, items: Items, timestamps: NDArray[np.float64] | None, device: torch.device) -> None:
        self.items = _as_tensor(items).to(device)
        times = None if timestamps is None else _as_tensor(timestamps)
        if times is not None and device.type == "mps":  # has no float64; float32 times are exact to two minutes
            times = times.float()
        self.times = None if times is None else times.to(device)
        self.device = device

    def items_at(self, starts: NDArray[np.int64], length: int) -> Tensor:
        """(batch, length) items from each start, regardless of user."""
        return self.items[self._indices(starts, length)].long()

    def batch(self, users: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batch:
        """A batch with `lengths` items from each start, padded to the longest."""
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
    """A read-only tensor that shares the array's memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
