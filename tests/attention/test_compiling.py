"""Other processes compile, once, and say so."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actsr_cli.attention.kernels import compiling
from actsr_cli.attention.kernels.compiling import compile_elsewhere, compiled

FUNCTIONS = [SimpleNamespace(__name__=name) for name in ("forward", "backward", "kept")]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Module and function of the processes that were started; each leaves the machine code of its function."""
    processes: list[tuple[str, str]] = []

    def start(command: list[str], env: dict[str, str], **_: object) -> SimpleNamespace:
        processes.append((command[-1], env["ACTSR_COMPILES"]))
        return SimpleNamespace(wait=lambda: 0)

    def on_disk(function: Any) -> bool:
        return function.__name__ in {"kept", *(name for _, name in processes)}

    monkeypatch.setattr(compiling, "_place", lambda: tmp_path)
    monkeypatch.setattr(compiling, "_on_disk", on_disk)
    monkeypatch.setattr(subprocess, "Popen", start)
    return processes


def test_it_is_said_and_done_once(started: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="actsr"):
        compile_elsewhere(FUNCTIONS, "some.module")
        compile_elsewhere(FUNCTIONS, "some.module")
    assert started == [("some.module", "forward"), ("some.module", "backward")]
    assert [record.message for record in caplog.records] == [
        "Compiling the attention: this takes up to a minute, once on this machine"
    ]


def test_a_process_that_compiles_starts_no_other(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTSR_COMPILES", "forward")
    compile_elsewhere(FUNCTIONS, "some.module")
    assert started == []


def test_it_compiles_its_function_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def two() -> int:
        return 2

    def three() -> int:
        return 3

    monkeypatch.setattr(compiling, "_place", lambda: None)
    monkeypatch.setenv("ACTSR_COMPILES", "two")
    assert [compiled(function)() for function in (two, three)] == [2, None]


def test_where_nothing_can_be_kept_the_first_call_compiles(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_place", lambda: None)
    compile_elsewhere(FUNCTIONS, "some.module")
    assert started == []
