"""Runs the command line in this process or in others, for tests that interrupt and kill it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner, Result

from actsr_cli.app import app, main
from actsr_cli.tuning import worker
from actsr_cli.tuning.study import Plan

Stopping = Callable[[], bool]
SMALL = ("--preset", "demo", "--threads", "1", "--set", "model.hidden_size=16", "--set", "model.layers=1")

SEVERAL = """
import shlex, sys
from actsr_cli.app import app

for command in sys.argv[1:]:
    assert not app(shlex.split(command), standalone_mode=False)
"""
"""Code for `python -c` that carries out commands one after the other, which saves all but the first their imports."""


def call(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == exit_code, result.output
    return result


def completions(line: str, shown: str = "", **environment: str) -> list[str]:
    """What bash offers for the last word of `line`; the expression `shown` is evaluated last, in the same process."""
    asked = {"_ACTSR_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    code = f"import atexit, sys; atexit.register(lambda: {shown or None})\n"
    code += "from actsr_cli.app import app; app(prog_name='actsr')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **asked, **environment},
    )
    assert not done.stderr
    return done.stdout.split()


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


_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        *("actsr_cli.api", "actsr_cli.app", "actsr_cli.recommending.writing", "actsr_cli.tuning.planning"),
        *("optuna.samplers", "pandas", "pyarrow.parquet", "torch.utils.tensorboard", "warmed"),
    ]
)


def warm() -> ForkServerContext:
    """Forks processes from one that has imported their libraries, which takes each of them seconds otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # where it finds the modules of tests, too
        forkserver.ensure_running()
    return _FORKING


class Command:
    """A command of actsr in a process of its own; its methods are those of `subprocess.Popen`."""

    def __init__(
        self, arguments: Sequence[str], stdin: Path, trials: str, held: int | None, changed: Mapping[str, Any]
    ) -> None:
        self._said = TemporaryDirectory()
        surroundings = (Path.cwd(), dict(os.environ), trials, held, changed)
        self._process = warm().Process(target=_carry_out, args=(arguments, stdin, Path(self._said.name), *surroundings))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    @property
    def messages(self) -> str:
        """Standard error so far."""
        file = Path(self._said.name, "err")
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def communicate(self, timeout: float = 200) -> tuple[str, str]:
        """Standard output and standard error of the whole process."""
        self._process.join(timeout)
        assert self.poll() is not None, "it does not end"
        out, err = (Path(self._said.name, name) for name in ("out", "err"))
        return out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")


def _carry_out(
    arguments: Sequence[str],
    stdin: Path,
    said: Path,
    folder: Path,
    environment: dict[str, str],
    trials: str,
    held: int | None,
    changed: Mapping[str, Any],
) -> None:
    """Turn this process into the command. It does not wait for the disk, as the tests themselves do not."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate((stdin, said / "out", said / "err")):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    vars(os)["fsync"] = os.fstat
    vars(worker)["get_context"] = lambda _: multiprocessing.get_context(trials)
    if held is not None:
        _hold(held)
    for name, value in changed.items():
        module, _, attribute = name.rpartition(".")
        setattr(import_module(module), attribute, value)
    sys.argv = ["actsr", *arguments]
    main()


def _hold(number: int) -> None:
    """Let a trial of a study wait after its first epoch until it is to stop, however slow the one is who stops it."""
    run_trial = worker.run_trial

    def run_held(plan: Plan, study: Any, trial: Any, base: Any, data: Any, origin: Any, stopping: Stopping) -> bool:
        def told() -> bool:
            begun = any(plan.runs_dir.glob(f"*/*/{plan.name}-t{number:03}/history.csv"))
            while begun and trial.number == number and not stopping():
                time.sleep(0.02)
            return stopping()

        return run_trial(plan, study, trial, base, data, origin, told)

    vars(worker)["run_trial"] = run_held


def start(
    *arguments: str,
    stdin: Path = Path(os.devnull),
    trials: str = "fork",
    held: int | None = None,
    changed: Mapping[str, Any] = MappingProxyType({}),
) -> Command:
    """Start actsr in a new session, as in a terminal: a signal to its group reaches all processes that it starts.

    Args:
        arguments: of `actsr`.
        stdin: its standard input.
        trials: how `tune` starts its processes. They are forked unless it matters that they import their libraries.
        held: number of a trial of `tune` that goes no further than its first epoch, unless it is stopped.
        changed: values in the process by their dotted names, which are others here.
    """
    return Command(arguments, stdin, trials, held, dict(changed))


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


def wait_until(condition: Callable[[], bool], process: Command | subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def epochs_of(run: Path) -> int:
    history = run / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0
