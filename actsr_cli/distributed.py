"""The processes that share a training, as `torchrun` starts them; usually there is only one."""

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
"""How long processes wait for one another, for example while one of them prepares data."""
_FAREWELL = 0.2
"""Seconds for Gloo's threads to release the last tensors; they abort a process whose interpreter has ended
(discussed in pytorch/pytorch#179291)."""


@dataclass(frozen=True)
class Workers:
    """The rank of this process, and the number of processes.

    Attributes:
        rank: number of this process, from 0; only the first process writes and prints.
        count: number of processes.
        local_rank: number of this process on its machine, from 0.
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
        """The device of this process: with several processes, `cuda` becomes the GPU at `local_rank`."""
        if self.count > 1 and device.type == "cuda" and device.index is None:
            return torch.device("cuda", self.local_rank)
        return device

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all processes, in place; every process must call it.

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

    def gather(self, rows: Tensor) -> Tensor:
        """(rows, …) the rows of all processes, one process after another; each may have another number of them."""
        if self.count == 1:
            return rows
        counts = torch.zeros(self.count, dtype=torch.int64, device=rows.device)
        counts[self.rank] = len(rows)
        lengths = self.sum(counts).tolist()
        own = rows.new_zeros(max(lengths), *rows.shape[1:])
        own[: len(rows)] = rows
        gathered = [torch.empty_like(own) for _ in lengths]
        with _others_reached():
            dist.all_gather(gathered, own)
        return torch.cat([each[:length] for each, length in zip(gathered, lengths, strict=True)])

    def unite(self, model: nn.Module) -> None:
        """Combine the boolean buffers of a model over all processes (logical or)."""
        for buffer in model.buffers() if self.count > 1 else ():
            if buffer.dtype == torch.bool:
                buffer.copy_(self.sum(buffer.int()) > 0)

    def in_turn(self, work: Callable[[], _T]) -> _T:
        """Call `work` in the first process, then in the first of each machine, then in the others; return its result.

        Later processes find the files that earlier ones have written.
        """
        turn = 0 if self.leads else 1 if self.local_rank == 0 else 2
        results: list[_T] = []
        for now in range(3):
            if turn == now:
                results.append(work())
            self.sum(torch.zeros(1))  # a barrier
        return results[0]

    def from_leader(self, make: Callable[[], _T]) -> _T:
        """Call `make` in the first process only, and return its result in every process."""
        made: list[Any] = [make() if self.leads else None]
        if self.count > 1:
            with _others_reached():
                dist.broadcast_object_list(made)
        result: _T = made[0]
        return result

    def agree_on(self, fingerprint: str) -> None:
        """Raise a DataError if the processes have prepared different data."""
        if self.from_leader(lambda: fingerprint) != fingerprint:
            raise DataError(
                "the processes of this training have prepared different data",
                hint="Copy the data set to every machine, or set ACTSR_DATA to a folder that all machines share.",
            )


ALONE = Workers()


@contextmanager
def joined_workers() -> Iterator[Workers]:
    """Within this context, connect the processes that `torchrun` has started; without it, yield this process alone.

    Raises:
        RunError: another process cannot be reached.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    with _others_reached():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    workers = Workers(dist.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")))
    # torchrun ends the others when one has failed. They notice it themselves, and report it before they end.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield workers
    workers.sum(torch.zeros(1))  # a process that ends first breaks the connections
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
            hint="Its own message says why. To continue, start train --resume RUN with the same torchrun options.",
        ) from error
