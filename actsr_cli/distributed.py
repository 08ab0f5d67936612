"""The processes that share a training, as `torchrun` or `--processes` starts them; usually there is only one."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from actsr_cli.errors import ActsrError, DataError, RunError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

_T = TypeVar("_T")
_PATIENCE = timedelta(minutes=30)
"""How long processes wait for one another, for example while one of them prepares data."""
_FAREWELL = 0.2
"""Seconds for Gloo's threads to release the last tensors; they abort a process whose interpreter has ended
(discussed in pytorch/pytorch#179291)."""
_LEAVE = "300"
"""Seconds that processes have to end after Ctrl-C, or after another one has failed; torch's default is 30."""
_OURS = "actsr-"
"""Start of the launcher's id in processes that `start_processes` has started."""
_INTERRUPTED = 130
"""Exit code of a process that Ctrl-C has stopped."""
_MISSED = "another process of this training has ended or cannot be reached"
_LAUNCHER = os.getppid()
"""The process that has started this one."""
_told_to_end: list[int] = []
"""Signals that came while no training listened to them."""


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
    """Within this context, connect the processes that were started together; if there is only one, yield it.

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
    # The launcher ends the others when one has failed. They notice it themselves, and report it before they end.
    before = signal.signal(signal.SIGTERM, lambda number, _: _told_to_end.append(number))
    yield workers
    workers.sum(torch.zeros(1))  # a process that ends first breaks the connections
    time.sleep(_FAREWELL)
    dist.destroy_process_group()
    time.sleep(_FAREWELL)
    signal.signal(signal.SIGTERM, before)
    _told_to_end.clear()


@contextmanager
def _others_reached() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise RunError(
            f"{_MISSED} ({str(error).splitlines()[0]})",
            hint="Its own message says why. To continue, start train --resume RUN with as many processes.",
        ) from error


def started_here() -> bool:
    """Whether `start_processes` has started this process."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(_OURS)


def told_to_end() -> bool:
    """Whether this process is to end: by a signal that no training has listened to, or as its launcher is gone."""
    return bool(_told_to_end) or (started_here() and os.getppid() != _LAUNCHER)


def start_processes(count: int) -> int:
    """Carry out the command of this process in `count` processes, as `torchrun --standalone` does; wait for their end.

    They share the threads that this process would use.

    Returns:
        0, or 130 if they were interrupted.

    Raises:
        RunError: a process has failed or was killed; the others have ended, too.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // count))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", _LEAVE)
    with TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=f"{_OURS}{uuid.uuid4()}",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        logging.disable()  # the launcher's words on each process; an error says all that users need
        try:
            elastic_launch(config, sys.executable)("-m", "actsr_cli", *sys.argv[1:])
        except SignalException:
            return _INTERRUPTED
        except ChildFailedError as failed:
            if any(each.exitcode == _INTERRUPTED for each in failed.failures.values()):
                return _INTERRUPTED
            raise _cause(failed.failures) from None
        finally:
            logging.disable(logging.NOTSET)
    return 0


def _cause(failures: Mapping[int, ProcessFailure]) -> RunError:
    """The error of the process that failed first: what it has said, or that it was killed; not that others miss it."""
    said = {rank: each.error_file_data["message"] for rank, each in failures.items()}
    told = [rank for rank, text in said.items() if isinstance(text, dict) and not text["message"].startswith(_MISSED)]
    killed = [rank for rank, each in failures.items() if each.exitcode < 0]
    first = min(told or killed or failures, key=lambda rank: failures[rank].timestamp)
    code = failures[first].exitcode
    if isinstance(said[first], dict):
        return RunError(said[first]["message"], said[first]["hint"])
    if code >= 0:
        return RunError(f"process {first} of this training has failed with exit code {code}")
    return RunError(
        f"process {first} of this training was killed ({signal.Signals(-code).name})",
        hint="To continue, start train --resume RUN with as many processes.",
    )


@contextmanager
def failures_reported() -> Iterator[None]:
    """Leave an error of this context to `start_processes`, which shows that of one process.

    Raises:
        SystemExit: there was an error, and `start_processes` has started this process.
    """
    try:
        yield
    except (ActsrError, OSError) as error:
        if not started_here():
            raise
        said = {"message": str(error), "hint": getattr(error, "hint", None)}
        told = {"message": {**said, "extraInfo": {"timestamp": str(int(time.time()))}}}
        Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(told), encoding="utf-8")
        raise SystemExit(getattr(error, "exit_code", 1)) from None
