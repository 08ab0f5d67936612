"""Real servers of small trained runs, and clients that behave badly."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from processes import Command, start, wait_until
from samples import sequence_data
from trainings import Listener, small_config

from actsr_cli.experiment.run import Run, new_run
from actsr_cli.experiment.train import train_run
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.serving import answers
from actsr_cli.serving.schema import ForMany, ForOne

N_ITEMS = 11
NAMES = tuple(f"i{item:03}" for item in range(1, N_ITEMS + 1))
_PLAIN = sequence_data([[1 + (user + step) % N_ITEMS for step in range(8)] for user in range(32)])
DATA = replace(_PLAIN, item_names=("", *NAMES), titles=("", *(f"Title <b>{name}</b>" for name in NAMES)))
JSON = {"Content-Type": "application/json"}
ASKED = json.dumps({"history": ["i001", "i002"], "k": 3}).encode()


def trained(runs: Path, name: str) -> Run:
    """A new run of AC-SASRec on `DATA`, trained for a moment."""
    config = small_config({"name": "sasrec"}, calibration={"kind": "full"})
    with new_run(runs, config, DATA, name=name) as run:
        train_run(run, DATA, Listener())
    return run


def slow_recommendations(recommender: Recommender, asked: Sequence[ForOne | ForMany]) -> list[bytes | Exception]:
    """The answers of a model that takes its time."""
    time.sleep(0.2)
    return _recommendations(recommender, asked)


_recommendations = answers.recommendations


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    process: Command
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=20)

    def raw(self) -> socket.socket:
        """A connection for bytes that no client sends."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = JSON) -> tuple[int, Any]:
        """The status and the JSON of an answer; texts of `/metrics` as they are."""
        connection = self.connection()
        connection.request(method, path, None if body is None else json.dumps(body), dict(headers))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text.decode() if path == "/metrics" else json.loads(text)

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        found = re.search(rf"^{name} (\S+)$", self.ask("GET", "/metrics")[1], re.MULTILINE)
        assert found is not None
        return float(found[1])

    @property
    def peak_megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def stop(self, number: int = signal.SIGTERM) -> tuple[int | None, str]:
        """The exit code after a signal, and what the server has said."""
        os.kill(self.process.pid, number)
        _, said = self.process.communicate(30)
        return self.process.returncode, said


@contextmanager
def serving(runs: Path, *options: str, changed: Mapping[str, Any] | None = None) -> Iterator[Server]:
    """A server on a free port; it is killed at the end if it still runs.

    Args:
        runs: root of the runs.
        options: of `actsr serve`.
        changed: see `processes.start`.
    """
    process = start("serve", *options, "--port", "0", "--threads", "1", "--runs-dir", str(runs), changed=changed or {})
    try:
        wait_until(lambda: " on http://" in process.messages, process)
        found = re.search(r" on http://127\.0\.0\.1:(\d+)$", process.messages, re.MULTILINE)
        assert found is not None, process.messages
        yield Server(process, int(found[1]))
    finally:
        process.kill()
