"""One process writes at a time; the others learn which one, and a dead one's lock is taken over."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from actsr_cli import locks
from actsr_cli.errors import BusyError, DiskError
from actsr_cli.locks import held, holder

HOLDS = """
import sys, time
from pathlib import Path
from actsr_cli.locks import held
with held(Path(sys.argv[1]), "run x", "trained"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def another_process(file: Path, seconds: float = 60) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(file), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with process:
        yield process
        process.kill()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "run.lock"


@pytest.fixture
def notes(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "actsr")
    return caplog


def write_owner(file: Path, *, machine: str, seconds_ago: float) -> None:
    """A lock that is free here, and whose owner was last heard of some seconds ago."""
    file.parent.mkdir(exist_ok=True)
    file.touch()
    owner = file.with_name("run.owner")
    values = {"process": 4242, "host": "gpu1", "machine": machine, "since": "2026-01-31T10:15:00+00:00"}
    owner.write_text(json.dumps(values))
    os.utime(owner, (time.time() - seconds_ago,) * 2)


def test_the_message_names_the_owner(file: Path) -> None:
    assert holder(file) is None
    with another_process(file) as process:
        owner = f"process {process.pid} on host {platform.node()} since "
        since = time.strftime("%H:%M", time.localtime(file.with_name("run.owner").stat().st_mtime))
        with (
            pytest.raises(BusyError, match=rf"^run x is being trained by {owner}\d\d:\d\d$"),
            held(file, "run x", "trained"),
        ):
            raise AssertionError
        assert holder(file) == owner + since
    assert holder(file) is None


def test_a_released_lock_is_taken_quietly(file: Path, notes: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with held(file, "run x", "trained"):
            assert holder(file) is not None
    assert notes.messages == [] and sorted(path.name for path in file.parent.iterdir()) == ["run.lock"]


def test_the_lock_of_a_killed_process_is_taken_over_and_that_is_said(
    file: Path, notes: pytest.LogCaptureFixture
) -> None:
    with another_process(file) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert holder(file) is None
        with held(file, "run x", "trained"):
            assert str(os.getpid()) in str(holder(file))
    (note,) = notes.messages
    assert f"run x was being trained by process {process.pid} on host" in note and "has died: taking over" in note


def test_a_process_waits_for_another(file: Path, notes: pytest.LogCaptureFixture) -> None:
    with another_process(file, seconds=2) as process, held(file, "run x", "trained", waits=True):
        assert process.wait(10) == 0
    assert (
        notes.messages[0].startswith(f"Waiting: run x is being trained by process {process.pid}")
        and len(notes.messages) == 1
    )


def test_the_owner_on_another_machine_tells_where_locks_do_not_reach(
    file: Path, notes: pytest.LogCaptureFixture
) -> None:
    write_owner(file, machine="another", seconds_ago=locks._SILENCE / 2)
    assert str(holder(file)).startswith("process 4242 on host gpu1 since ")
    with (
        pytest.raises(BusyError, match="by process 4242 on host gpu1 since 2026-01-31"),
        held(file, "run x", "trained"),
    ):
        raise AssertionError
    write_owner(file, machine="another", seconds_ago=locks._SILENCE * 2)
    assert holder(file) is None
    with held(file, "run x", "trained"):
        pass
    assert len(notes.messages) == 1


def test_an_owner_gives_signs_of_life(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_BEAT", 0.01)
    owner = file.with_name("run.owner")
    with held(file, "run x", "trained"):
        os.utime(owner, (0, 0))
        deadline = time.monotonic() + 10
        while owner.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - owner.stat().st_mtime < 60


@pytest.mark.parametrize(("seconds_ago", "is_held"), [(1, True), (locks._SILENCE * 2, False)])
def test_a_lock_that_may_not_be_written_is_judged_by_its_owner(
    file: Path, monkeypatch: pytest.MonkeyPatch, seconds_ago: float, is_held: bool
) -> None:
    write_owner(file, machine=locks._machine(), seconds_ago=seconds_ago)
    monkeypatch.setattr(locks, "_can_be_tried", lambda _: False)
    assert (holder(file) is not None) == is_held


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"process": 1}', '{"process":1,"host":"a","machine":"b","since":"c"}']
)
def test_a_damaged_owner_hinders_nobody(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.touch()
    file.with_name("run.owner").write_text(text)
    with held(file, "run x", "trained"):
        assert holder(file)
    with FileLock(file):
        assert holder(file) == "another process"


def test_a_place_that_cannot_be_written_is_one_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.parent.mkdir()
    file.parent.joinpath("file").touch()
    with (
        pytest.raises(DiskError, match="cannot be written: "),
        held(file.parent / "file" / "run.lock", "run x", "trained"),
    ):
        raise AssertionError


def test_a_full_disk_does_not_weaken_a_lock(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DiskError("full")

    monkeypatch.setattr(locks, "write_text", full)
    with held(file, "run x", "trained"):
        assert holder(file) == "another process"
