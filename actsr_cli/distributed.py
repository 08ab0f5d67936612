"""The processes that share a training, as `torchrun` starts them; one process alone is the usual case."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from actsr_cli.errors import DataError, RunError

_T = TypeVar("_T")
_PATIENCE = timedelta(minutes=30)
"""How long processes wait for one another: a preparation of data may take its time."""
_FAREWELL = 0.2
"""Seconds in which Gloo's threads may let go of the last tensors; they abort a process whose interpreter has ended
(discussed in pytorch/pytorch#179291)."""


@dataclass(frozen=True)
class Workers:
    """Which of how many processes this is.

    Attributes:
        rank: this process, from 0; the first alone writes and prints.
        count: all of them.
        local_rank: this process among those on its machine, from 0.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def share(self, rows: Any) -> Any:
        """This process's rows of an array, every `count`-th, so that sorted rows are spread evenly."""
        return rows[self.rank :: self.count]

    def own_device(self, device: torch.device) -> torch.device:
        """The GPU of this process, where several processes of a machine are to use `cuda`."""
        if self.count > 1 and device.type == "cuda" and device.index is None:
            return torch.device("cuda", self.local_rank)
        return device

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in the place of `tensor`; every process must call it.

        Raises:
            RunError: another process has ended.
        """
        if self.count > 1:
            with _others_reached():
                dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes, in one message; a missing one counts as 0."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        summed = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(summed, [gradient.numel() for gradient in gradients])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def unite(self, model: nn.Module) -> None:
        """Combine the boolean buffers of a model over all processes (logical or)."""
        for buffer in model.buffers() if self.count > 1 else ():
            if buffer.dtype == torch.bool:
                buffer.copy_(self.sum(buffer.int()) > 0)

    def in_turn(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, done by the first process, then by the first of each machine, then by the others.

        What the first ones leave on disk, the others find there.
        """
        turn = 0 if self.leads else 1 if self.local_rank == 0 else 2
        results: list[_T] = []
        for now in range(3):
            if turn == now:
                results.append(work())
            self.sum(torch.zeros(1))  # a barrier
        return results[0]

    def from_leader(self, make: Callable[[], _T]) -> _T:
        """What `make` returns in the first process, which alone calls it."""
        made: list[Any] = [make() if self.leads else None]
        if self.count > 1:
            with _others_reached():
                dist.broadcast_object_list(made)
        result: _T = made[0]
        return result

    def agree_on(self, fingerprint: str) -> None:
        """DataError where the processes have not prepared the same data."""
        if self.from_leader(lambda: fingerprint) != fingerprint:
            raise DataError(
                "the processes of this training have prepared different data",
                hint="Copy the data set to every machine, or let all see one folder: ACTSR_DATA.",
            )


ALONE = Workers()


@contextmanager
def joined_workers() -> Iterator[Workers]:
    """The processes that `torchrun` has started with this one, connected while the context lasts; or this one alone.

    Raises:
        RunError: the others cannot be reached.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    with _others_reached():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    workers = Workers(dist.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")))
    # torchrun ends the others when one has failed: they notice it themselves, and are to say so before they end.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield workers
    workers.sum(torch.zeros(1))  # whoever leaves before the others breaks their connections
    time.sleep(_FAREWELL)
    dist.destroy_process_group()
    time.sleep(_FAREWELL)
    signal.signal(signal.SIGTERM, before)


@contextmanager
def _others_reached() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise RunError(
            f"another process of this training has ended or cannot be reached ({str(error).splitlines()[0]})",
            hint="Its own message says why. With the same torchrun command, --resume RUN goes on.",
        ) from error
