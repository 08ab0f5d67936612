"""Mutated inputs to everything that reads: only errors that actsr raises on purpose may come out."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from actsr_cli.errors import ActsrError
from benchmarks.fuzz_targets import build_base, targets
from benchmarks.mutations import mutated
from benchmarks.options import Record
from benchmarks.output import new_table, remember, show
from benchmarks.process import in_a_new_process

SECONDS, GIGABYTES = 20, 2
"""Limits of one input: processor time and memory."""
_BATCH = 500
"""Inputs of one process."""


@dataclass
class Outcome:
    """What came of the inputs of a target.

    Attributes:
        inputs: number of inputs.
        opened: how many were read.
        refused: how many ended in an ActsrError.
        failures: how many ended in anything else, by what and where.
        slowest: seconds of the slowest input.
    """

    inputs: int = 0
    opened: int = 0
    refused: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


@dataclass(frozen=True)
class Fuzzed:
    """The sum over all targets, for the record."""

    inputs: int
    opened: int
    refused: int
    failed: int
    slowest: float


def fuzz(
    inputs: Annotated[int, typer.Option(min=1, help="Number of inputs over all targets.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed gives the same inputs.")] = 0,
    only: Annotated[
        str | None, typer.Option(help="Only targets whose names begin with this.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    failures: Annotated[Path, typer.Option(help="Folder for inputs that fail.")] = Path("fuzz-failures"),
    record: Record = None,
) -> None:
    """Give mutated inputs to every reader, with a limit of time and memory for each."""
    with TemporaryDirectory() as folder:
        base = Path(folder)
        in_a_new_process(build_base, base)
        names = [name for name in targets(base) if only is None or name.startswith(only)]
        share = -(-inputs // len(names))
        batches = [(name, start, min(start + _BATCH, share)) for name in names for start in range(0, share, _BATCH)]
        outcomes = {name: Outcome() for name in names}
        _run_all(batches, outcomes, base, seed, failures, workers)
    table = new_table(
        f"Mutated inputs, seed {seed}", "target", "inputs", "opened", "refused", "failed", "slowest s", texts=1
    )
    for name, each in outcomes.items():
        numbers = (each.inputs, each.opened, each.refused, each.failures.total())
        table.add_row(name, *(f"{number:,}" for number in numbers), f"{each.slowest:.1f}")
    show(table)
    for name, each in outcomes.items():
        for what, count in each.failures.most_common():
            print(f"{name}: {count} times {what}")
    every = outcomes.values()
    total = Fuzzed(
        sum(each.inputs for each in every),
        sum(each.opened for each in every),
        sum(each.refused for each in every),
        sum(each.failures.total() for each in every),
        max(each.slowest for each in every),
    )
    print(f"{total.inputs:,} inputs, {total.failed:,} failed")
    remember(record, "fuzz", total, seed=seed)
    if total.failed:
        raise typer.Exit(1)


def _run_all(
    batches: list[tuple[str, int, int]],
    outcomes: dict[str, Outcome],
    base: Path,
    seed: int,
    failures: Path,
    workers: int,
) -> None:
    """Run batches in processes; one that dies or hangs costs the input that it was reading."""
    context = get_context("fork")
    waiting, running = batches[::-1], list[tuple[ForkProcess, Connection, str, int, int]]()
    while waiting or running:
        while waiting and len(running) < workers:
            name, start, end = waiting.pop()
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(theirs, base, name, seed, start, end))
            process.start()
            theirs.close()
            running.append((process, ours, name, start, end))
        process, pipe, name, start, end = running.pop(0)
        done = start
        try:
            while done < end and pipe.poll(30 * SECONDS):
                kind, what, seconds = pipe.recv()
                _count(outcomes[name], kind, what, seconds)
                if kind == "failed":
                    _keep(failures, base, name, seed, done, what)
                done += 1
        except EOFError:
            pass
        process.kill()
        process.join()
        if done < end:
            how = f"the process {'hung' if process.exitcode == -signal.SIGKILL else f'died with {process.exitcode}'}"
            _count(outcomes[name], "failed", how, 0.0)
            _keep(failures, base, name, seed, done, how)
            waiting.append((name, done + 1, end))


def _work(pipe: Connection, base: Path, name: str, seed: int, start: int, end: int) -> None:
    """Read inputs of a target, and send what became of each."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    target = targets(base)[name]
    used = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if sys.platform == "linux" else 0
    )
    resource.setrlimit(resource.RLIMIT_AS, (used + GIGABYTES * 2**30, resource.RLIM_INFINITY))
    for index in range(start, end):
        content = _content(base, name, seed, index)
        folder = Path(f"{base}/work-{os.getpid()}")
        folder.mkdir()
        started = time.perf_counter()
        kind, what = "opened", ""
        try:
            with _limit():
                target.read(folder, content)
        except ActsrError as error:
            kind, what = (
                ("refused", "") if _is_one_line(error) else ("failed", f"message of several lines: {error!r:.80}")
            )
        except BaseException as error:  # noqa: BLE001 (that is what is looked for)
            place = traceback.extract_tb(error.__traceback__)
            ours = [each for each in place if "actsr_cli" in each.filename] or place
            kind, what = "failed", f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].name}"
        pipe.send((kind, what, time.perf_counter() - started))
        shutil.rmtree(folder, ignore_errors=True)


def _content(base: Path, name: str, seed: int, index: int) -> bytes:
    return mutated(random.Random(f"{seed}/{name}/{index}"), targets(base)[name].valid)  # noqa: S311 (no secret)


def _is_one_line(error: ActsrError) -> bool:
    return bool(error.message) and "\n" not in error.message and len(error.message) < 2_000


def _count(outcome: Outcome, kind: str, what: str, seconds: float) -> None:
    outcome.inputs += 1
    outcome.slowest = max(outcome.slowest, seconds)
    if kind == "failed":
        outcome.failures[what] += 1
    else:
        setattr(outcome, kind, getattr(outcome, kind) + 1)


def _keep(folder: Path, base: Path, name: str, seed: int, index: int, what: str) -> None:
    """Save an input that failed, at most one of a kind for each target."""
    kind = "".join(each if each.isalnum() else "-" for each in f"{name} {what}")[:100]
    file = folder / f"{kind}-{seed}-{index}"
    if not list(folder.glob(f"{kind}-*")):
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_content(base, name, seed, index))


@contextmanager
def _limit() -> Iterator[None]:
    """Raise TimeoutError within this context after the processor time of an input."""

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
