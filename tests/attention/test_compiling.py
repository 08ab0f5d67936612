"""Another process compiles, once, and says so."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest

from actsr_cli.attention.kernels import compiling
from actsr_cli.attention.kernels.compiling import compile_elsewhere

FUNCTIONS = ["forward", "backward"]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that were started; each leaves the machine code of all functions."""
    processes: list[Any] = []
    monkeypatch.setattr(compiling, "_place", lambda: tmp_path)
    monkeypatch.setattr(compiling, "_on_disk", lambda function: function in FUNCTIONS and bool(processes))
    monkeypatch.setattr(subprocess, "run", lambda command, **_: processes.append(command))
    return processes


def test_it_is_said_and_done_once(started: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="actsr"):
        compile_elsewhere(FUNCTIONS, "some.module")
        compile_elsewhere(FUNCTIONS, "some.module")
    assert [command[1:] for command in started] == [["-m", "some.module"]]
    assert [record.message for record in caplog.records] == [
        "Compiling the attention: this takes about a minute, once on this machine"
    ]


def test_the_other_process_starts_no_third_one(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTSR_COMPILES", "1")
    compile_elsewhere(FUNCTIONS, "some.module")
    assert started == []


def test_where_nothing_can_be_kept_the_first_call_compiles(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_place", lambda: None)
    compile_elsewhere(FUNCTIONS, "some.module")
    assert started == []
