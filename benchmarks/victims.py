"""Runs actsr commands in forked processes, and kills them at a moment or just before they change a file.

A forked process has its libraries already, which saves the seconds that each start would take.
"""

from __future__ import annotations

import importlib
import mmap
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from actsr_cli.attention.kernels import first_call

_HANGS = 300.0
"""Seconds after which a command counts as hanging, and is killed."""
_POLL = 0.005
_LIBRARIES = (
    *("actsr_cli.api", "actsr_cli.app", "actsr_cli.tuning.planning", "actsr_cli.tuning.worker", "optuna.samplers"),
    *("pandas", "pyarrow.parquet", "torch._dynamo", "torch.utils.tensorboard"),
)
_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Moment:
    """When to kill a command: after some seconds, or just before it changes a file for the n-th time; or never."""

    seconds: float | None = None
    event: int | None = None


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        exit_code: None if it was killed.
        output: what it printed.
        seconds: how long it took.
        events: how often it changed a file.
    """

    exit_code: int | None
    output: str
    seconds: float
    events: int


def load_libraries() -> None:
    """Import what the commands use, and read the attention's machine code, so that forked processes need not."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    torch.set_num_threads(1)
    first_call.main()


def carry_out(arguments: Sequence[str], folder: Path, moment: Moment | None = None, processes: int = 1) -> Ended:
    """Carry out a command, and kill all its processes at a moment.

    Args:
        arguments: of `actsr`.
        folder: where its data and runs are; its output goes to a file beside it.
        moment: when to kill it.
        processes: number of processes that share a training.
    """
    moment = moment or Moment()
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    counter = mmap.mmap(-1, 8)  # shared with the forked processes
    port = _free_port()
    started = time.monotonic()
    group = 0
    for rank in range(processes):
        own = os.fork()
        if not own:
            shared = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank, "MASTER_PORT": port}
            environment = {name: str(value) for name, value in shared.items()} if processes > 1 else {}
            _become(arguments, folder, log, environment, lambda: _count_changes(folder, counter, moment.event), group)
        group = group or own
        os.setpgid(own, group)  # the process does so, too: whoever comes first
    codes = _wait(group, processes, started, moment.seconds or _HANGS)
    seconds = time.monotonic() - started
    output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    killed = -signal.SIGKILL in codes
    if killed and moment == Moment():
        return Ended(1, f"{output}\nit hangs: killed after {_HANGS:.0f} s", seconds, 0)
    return Ended(None if killed else max(map(abs, codes)), output, seconds, int.from_bytes(counter[:8], "little"))


def _wait(group: int, processes: int, started: float, seconds: float) -> list[int]:
    """Exit codes of the processes of a group, which is killed after some time."""
    codes: list[int] = []
    while len(codes) < processes:
        try:
            ended, status = os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:  # pragma: no cover (someone else has waited for them)
            break
        if ended:
            codes.append(os.waitstatus_to_exitcode(status))
            if codes[-1] == -signal.SIGKILL:
                _kill(group)
        elif time.monotonic() - started > seconds:
            _kill(group)
            seconds = float("inf")
        else:
            time.sleep(_POLL)
    _kill(group)  # what its processes have started
    return codes


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _become(
    arguments: Sequence[str],
    folder: Path,
    log: Path,
    environment: dict[str, str],
    watch: Callable[[], None],
    group: int,
) -> None:
    """Turn this forked process into a command; never returns."""
    code = 1
    try:
        os.setpgid(0, group)
        sys.stdout = sys.stderr = log.open("a", encoding="utf-8", buffering=1)
        os.environ |= {"ACTSR_DATA": str(folder / "data"), "ACTSR_RUNS": str(folder / "runs"), "COLUMNS": "200"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1"} | environment
        _start_trials_by_fork()
        from actsr_cli.app import main

        watch()
        sys.argv = ["actsr", *arguments]
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # noqa: BLE001 (the benchmark shows it)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _start_trials_by_fork() -> None:
    """Trials of `tune` are forked, too, and no pictures are drawn: they would take most of the time."""
    from actsr_cli.tuning import output, worker

    vars(worker)["get_context"] = lambda _: multiprocessing.get_context("fork")
    vars(output)["_draw"] = lambda *_: None


def _count_changes(folder: Path, counter: mmap.mmap, last: int | None) -> None:
    """Count each change of a file below `folder` in `counter`; kill the group of this process before the `last`."""

    def changes(path: object) -> None:
        if not str(os.fsdecode(path) if isinstance(path, bytes) else path).startswith(str(folder)):
            return
        count = int.from_bytes(counter[:8], "little") + 1
        counter[:8] = count.to_bytes(8, "little")
        if count == last:
            os.killpg(0, signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES):
            changes(arguments[0])

    fsync = os.fsync

    def watched_fsync(file: Any) -> None:
        changes(folder)
        fsync(file)

    vars(os)["fsync"] = watched_fsync
    sys.addaudithook(hook)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def mirror(archive: bytes) -> Iterator[str]:
    """The address of a slow server, in a process of its own, that has this archive at every path."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Archive)
    _Archive.archive = archive
    process = os.fork()
    if not process:
        server.serve_forever()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        server.server_close()


class _Archive(BaseHTTPRequestHandler):
    """Sends the archive or the end of it, in pieces."""

    archive = b""
    pieces = 20
    pause = 0.02

    def do_GET(self) -> None:
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        body, last = self.archive[first:], len(self.archive) - 1
        self.send_response(206 if first else 200)
        self.send_header("Etag", '"one"')
        self.send_header("Content-Length", str(len(body)))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{last}/{last + 1}")
        self.end_headers()
        size = max(1, len(self.archive) // self.pieces)
        try:
            for start in range(0, len(body), size):
                self.wfile.write(body[start : start + size])
                time.sleep(self.pause)
        except OSError:  # the client was killed
            return

    def log_message(self, *args: object) -> None:
        """Do nothing."""
