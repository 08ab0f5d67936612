"""Builds batches from prepared sequences, with index arithmetic on flat tensors instead of loops over users."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.batch import Batch, TrainingBatch
from actsr_cli.data.histories import Histories, Items
from actsr_cli.data.sequences import SequenceData
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.packing import Packing


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
    """Shuffled batches, each drawn uniformly from all windows.

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

    def epoch(self, generator: torch.Generator, done: int = 0) -> Iterator[TrainingBatch | None]:
        """Yield the batches of an epoch, in an order drawn from a CPU generator. Every target occurs once.

        All processes draw the same order. If a batch is small, some processes may get nothing of it: None.

        Args:
            generator: draws the order.
            done: number of batches to leave out at the start, which were trained before a stop.
        """
        order = torch.randperm(len(self.windows), generator=generator).numpy()
        for batch in self._cut(order)[done:]:
            by_length = batch[np.argsort(self.windows.lengths[batch], kind="stable")]  # every process gets all lengths
            own = self.workers.share(by_length)
            yield self._collate(own) if len(own) else None

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
        packing = history.packing
        tokens = packing.latest(Packing(windows.n_targets[rows], packing.device))
        nexts = self._flat.items_at(windows.starts[rows] + 1, packing)
        return TrainingBatch(**vars(history), rows=tokens, targets=nexts[tokens])


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

    def items_at(self, starts: NDArray[np.int64], packing: Packing) -> Tensor:
        """(tokens,) the items from each start on, as many as each sequence has."""
        return self.items[self._indices(starts, packing)].long()

    def batch(self, users: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batch:
        """A batch with `lengths` items from each start."""
        packing = Packing(lengths, self.device)
        indices = self._indices(starts, packing)
        return Batch(
            item_ids=self.items[indices].long(),
            packing=packing,
            user_ids=torch.from_numpy(users).to(self.device, non_blocking=True),
            timestamps=None if self.times is None else self.times[indices],
        )

    def _indices(self, starts: NDArray[np.int64], packing: Packing) -> Tensor:
        first = torch.from_numpy(starts).to(self.device, non_blocking=True)
        return first[packing.sequences] + packing.positions


def _as_tensor(array: NDArray[np.generic]) -> Tensor:
    """A read-only tensor that shares the array's memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
