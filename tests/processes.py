"""Runs the command line in this process or in others, for tests that interrupt and kill it."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner, Result

from actsr_cli.app import app

SMALL = ("--preset", "demo", "--threads", "1", "--set", "model.hidden_size=16", "--set", "model.layers=1")


def call(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == exit_code, result.output
    return result


class ProcessHere:
    """Stands for a process of `multiprocessing`: runs in this one as it starts, which saves the other its imports.

    What goes to the other process is pickled all the same.
    """

    exitcode: int | None = None

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.sent = pickle.dumps((target, args))

    def start(self) -> None:
        target, arguments = pickle.loads(self.sent)  # noqa: S301
        target(*arguments)
        self.exitcode = 0

    def is_alive(self) -> bool:
        return False

    def join(self, timeout: float | None = None) -> None:
        """It has ended."""


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start actsr in a new session, as in a terminal: a signal to its group reaches all processes that it starts."""
    return subprocess.Popen(
        [sys.executable, "-m", "actsr_cli", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        start_new_session=True,
    )


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, once for all processes that share a run of the tests."""
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            begun = factory.mktemp(name)
            make(begun)
            shutil.copytree(begun, folder)
    return folder


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def epochs_of(run: Path) -> int:
    history = run / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0
