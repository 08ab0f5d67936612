"""Adds up the losses of an epoch, and notices numbers that are not finite, without waiting for the device."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from actsr_cli.distributed import Workers
from actsr_cli.errors import RunError
from actsr_cli.training.state import PartialEpoch

_GRADIENT = "gradient"
_MEANING = {
    "calibrated": "the prediction loss",
    "perturbed": "the prediction loss of the adversary",
    "penalty": "the mask penalty",
    _GRADIENT: "the norm of the gradient",
}


class NotFiniteError(RunError):
    """A loss, the gradient or a weight is not a finite number.

    Args:
        epoch: number of the epoch.
        batch: number of the batch within it.
        problem: what is not finite.
    """

    def __init__(self, epoch: int, batch: int, problem: str) -> None:
        super().__init__(
            f"epoch {epoch}, batch {batch}: {problem}",
            hint="Lower training.learning_rate, set training.gradient_clip, or train in float32.",
        )


class Tally:
    """The sum of each loss over the batches of an epoch, and the first batch in which one was not finite.

    The sums stay on the device; only `means` and `partial` wait for it. Every process must call these two.

    Args:
        epoch: number of the epoch, for errors.
        losses: names of the losses.
        device: where the losses are.
        workers: the processes that share the batches; each has its own sums.
        begun: the batches that were trained before the training was stopped.
    """

    def __init__(
        self,
        epoch: int,
        losses: Sequence[str],
        device: torch.device,
        workers: Workers,
        begun: PartialEpoch | None = None,
    ) -> None:
        self.epoch = epoch
        self.losses = losses
        self.workers = workers
        self.batches = begun.batches if begun else 0
        before = begun.sums[workers.rank] if begun else [0.0] * (len(losses) + 1)
        self._started = time.perf_counter() - (begun.seconds if begun else 0.0)
        exact = torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
        self._sums = torch.tensor(before, dtype=exact, device=device)
        self._first = torch.zeros(len(before), dtype=torch.int64, device=device)
        self._value = torch.zeros_like(self._sums)

    @property
    def seconds(self) -> float:
        """Seconds that the epoch has been trained, also before a stop."""
        return time.perf_counter() - self._started

    def add(self, step: Sequence[Tensor]) -> None:
        """Add the losses of the next batch and, last, the norm of its gradient."""
        self.batches += 1
        values = torch.stack(list(step)).to(self._sums.dtype)
        self._sums = self._sums + values
        new = ~values.isfinite() & (self._first == 0)
        self._first = torch.where(new, self.batches, self._first)
        self._value = torch.where(new, values, self._value)

    def means(self) -> dict[str, float]:
        """The mean of each loss over the batches so far.

        Raises:
            NotFiniteError: a loss or the gradient was not finite.
        """
        means: list[float] = (self.workers.sum(self._sums.clone()) / self.batches).tolist()
        if not all(map(math.isfinite, means)):
            raise self._problem()
        return dict(zip(self.losses, means, strict=False))  # without the gradient

    def partial(self) -> PartialEpoch:
        """What a checkpoint needs to continue after the latest batch."""
        return PartialEpoch(self.batches, self._of_each_process(self._sums).tolist(), self.seconds)

    def _problem(self) -> NotFiniteError:
        """The first value that was not finite, in any process."""
        firsts, values = (self._of_each_process(each.cpu().double()) for each in (self._first, self._value))
        found = [
            (int(first), place, float(value))
            for row in zip(firsts, values, strict=True)
            for place, (first, value) in enumerate(zip(*row, strict=True))
            if first
        ]
        if not found:
            return NotFiniteError(self.epoch, self.batches, "the sum of the losses is too large")
        batch, place, value = min(found, key=lambda each: each[:2])
        return NotFiniteError(self.epoch, batch, f"{_MEANING[[*self.losses, _GRADIENT][place]]} is {value}")

    def _of_each_process(self, own: Tensor) -> Tensor:
        """(processes, values) the values of every process."""
        rows = own.new_zeros(self.workers.count, len(own))
        rows[self.workers.rank] = own
        return self.workers.sum(rows)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all floating-point values are finite; waits for the device."""
    ends = [torch.stack(each.aminmax()) for each in tensors if each.is_floating_point() and each.numel()]
    return all(bool(each.isfinite().all()) for each in ends)
