"""Runs the command line in this process or in others, for tests that interrupt and kill it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner, Result

from actsr_cli.app import app

SMALL = ("--preset", "demo", "--threads", "1", "--set", "model.hidden_size=16", "--set", "model.layers=1")


def call(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == exit_code, result.output
    return result


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


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def epochs_of(run: Path) -> int:
    history = run / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0
