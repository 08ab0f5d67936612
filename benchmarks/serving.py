"""Recommendations over HTTP: users per second and latency for several numbers of clients, beside simpler ways."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import typer

from actsr_cli.app import main
from actsr_cli.experiment.recommend import open_recommender
from actsr_cli.experiment.record import Status, now
from actsr_cli.experiment.run import new_run, open_run
from actsr_cli.training.checkpoint import save_model
from benchmarks.beauty import beauty
from benchmarks.models import built, configured
from benchmarks.options import Record, Threads, Users
from benchmarks.output import new_table, remember, show, significant
from benchmarks.process import in_a_new_process

_K = 10
_CLIENTS = (1, 8, 64)
_WAYS = {"actsr serve": (), "actsr serve --batch 1": ("--batch", "1")}
_LOOP = "loop of recommend"
_PATIENCE = 120.0
"""Seconds in which the server must be ready."""
_HISTORIES = 1_000
_HEAD = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


@dataclass(frozen=True)
class Served:
    """Result of one load.

    Attributes:
        users_per_second: answered histories.
        p50, p99: milliseconds from a request to its answer.
    """

    users_per_second: float
    p50: float
    p99: float


def serving(
    threads: Threads = 2,
    users: Users = None,
    seconds: Annotated[float, typer.Option(min=0.05, help="Duration of each load.")] = 5.0,
    record: Record = None,
) -> None:
    """Ask a server process for 10 of Beauty's items per history; each client asks again as soon as it is answered."""
    table = new_table(
        f"Recommending 10 of Beauty's items over HTTP, AC-SASRec, 2 layers, width 64, {threads} threads",
        *("way", "clients", "users/s", "p50 ms", "p99 ms"),
        texts=1,
    )

    def tell(way: str, clients: int, found: Served) -> None:
        table.add_row(way, str(clients), *map(significant, (found.users_per_second, found.p50, found.p99)))
        remember(record, "serving", found, way=way, clients=clients, threads=threads)

    with TemporaryDirectory() as folder:
        run, histories = make_run(Path(folder), users)
        for way, options in _WAYS.items():
            with server(run, *options, "--threads", str(threads)) as port:
                asyncio.run(load(port, histories, 1, min(1.0, seconds)))  # what comes first is slower
                for clients in _CLIENTS:
                    tell(way, clients, asyncio.run(load(port, histories, clients, seconds)))
        tell(_LOOP, 1, in_a_new_process(loop, run, histories, seconds, threads))
    show(table)


def make_run(runs: Path, users: int | None) -> tuple[Path, list[list[str]]]:
    """The folder of a run with an untrained model of Beauty, and histories of users."""
    torch.manual_seed(0)
    data, config = beauty(users), configured("ac-sasrec", {})
    with new_run(runs, config, data, name="served") as run:
        save_model(run.model_file, built(config, data.n_items), 0)
        run.update(status=Status.FINISHED, ended=now())
    bounds = zip(data.offsets[:_HISTORIES], data.offsets[1:], strict=False)
    return run.path, [[data.item_names[item] for item in data.items[begin:end]] for begin, end in bounds]


@contextmanager
def server(run: Path, *options: str) -> Iterator[int]:
    """A server process of a run; its port.

    Raises:
        RuntimeError: it does not become ready, or does not end as it should.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    process = get_context("spawn").Process(target=_serve, args=(str(run), "--port", str(port), *options))
    process.start()
    try:
        until = time.monotonic() + _PATIENCE
        while not _is_ready(port):
            if not process.is_alive() or time.monotonic() > until:
                raise RuntimeError("the server does not become ready")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.join()
    if process.exitcode:
        raise RuntimeError(f"the server has ended with {process.exitcode}")


def _serve(*arguments: str) -> None:
    sys.argv = ["actsr", "--quiet", "serve", *arguments]
    main()


def _is_ready(port: int) -> bool:
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False


def loop(run: Path, histories: Sequence[Sequence[str]], seconds: float, threads: int) -> Served:
    """Call `Recommender.recommend` again and again in this process."""
    torch.set_num_threads(threads)
    recommender = open_recommender(open_run(run), Path("dataset"), "cpu")
    recommender.recommend(histories[0], k=_K)
    took, begun = [], time.perf_counter()
    for history in cycle(histories):
        asked = time.perf_counter()
        recommender.recommend(history, k=_K)
        took.append(time.perf_counter() - asked)
        if time.perf_counter() > begun + seconds:
            break
    return _summary(took, time.perf_counter() - begun)


async def load(port: int, histories: Sequence[Sequence[str]], clients: int, seconds: float) -> Served:
    """Ask from several open connections at once."""
    bodies = [json.dumps({"history": history, "k": _K}) for history in histories]
    requests = cycle([(_HEAD.format(len(body)) + body).encode() for body in bodies])
    took: list[float] = []
    begun = time.perf_counter()
    await asyncio.gather(*(_client(port, requests, begun + seconds, took) for _ in range(clients)))
    return _summary(took, time.perf_counter() - begun)


async def _client(port: int, requests: Iterator[bytes], until: float, took: list[float]) -> None:
    """One client; a whole library for HTTP would take more of the CPU than the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        asked = time.perf_counter()
        writer.write(next(requests))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"the server has answered {head[:60]!r}")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        took.append(time.perf_counter() - asked)
        if time.perf_counter() > until:
            break
    writer.close()


def _summary(took: Sequence[float], seconds: float) -> Served:
    p50, p99 = np.percentile(took, [50, 99]) * 1_000
    return Served(len(took) / seconds, float(p50), float(p99))
