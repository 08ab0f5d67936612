"""Training in two processes, by torchrun or --processes: equal numbers, one writer, and a report if a process dies."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import pytest
import torch.distributed as dist
from filelock import FileLock
from processes import SMALL, call, epochs_of, made_once, start, wait_until
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig

from actsr_cli import sessions
from actsr_cli.data.synthetic import generate_demo
from actsr_cli.distributed import ALONE, Workers, failures_reported, joined_workers, told_to_end
from actsr_cli.errors import ConfigError, RunError

EXACT = ("--set", "model.hidden_dropout=0", "--set", "model.attention_dropout=0")


SEVERAL = """
import os, shlex, sys
from functools import partial
import torch.distributed as dist
from actsr_cli.app import main

store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
process = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
join = dist.init_process_group
for number, command in enumerate(sys.argv[1:]):
    if number:  # torchrun expects to be joined once: where the processes met before, there are old addresses
        dist.init_process_group = partial(join, store=dist.PrefixStore(str(number), store), **process)
    sys.argv = ["actsr", *shlex.split(command)]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
"""


class Launch(NamedTuple):
    """What is left of processes that `torchrun` has started."""

    exit_code: int
    output: str
    messages: str


def torchrun(folder: Path, *commands: tuple[str, ...]) -> subprocess.Popen[str]:
    """Two processes that carry out several commands, one after the other, until one fails."""
    (folder / "several.py").write_text(SEVERAL)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, str(folder / "several.py"), *map(shlex.join, commands)]
    environment = {**os.environ, "ACTSR_DATA": str(folder / "data"), "ACTSR_RUNS": str(folder / "runs")}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ended(process: subprocess.Popen[str]) -> Launch:
    output, messages = process.communicate(timeout=200)
    return Launch(process.returncode, output, messages)


def forked(folder: Path, *command: str) -> Launch:
    """Two processes that `torchrun` could have started: they carry out a command, without the time of imports."""
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as free:
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
        places = {"ACTSR_DATA": str(folder / "data"), "ACTSR_RUNS": str(folder / "runs")}
        for name, value in (shared | places).items():
            patch.setenv(name, value)
        free.close()
        processes = []
        for rank in ("0", "1"):
            patch.setenv("RANK", rank)
            patch.setenv("LOCAL_RANK", rank)
            processes.append(start(*command))
    outputs, messages = zip(*(process.communicate() for process in processes), strict=True)
    failed = [process.returncode for process in processes if process.returncode]
    return Launch(failed[0] if failed else 0, "".join(outputs), "".join(messages))


def process_of(launcher: int, rank: int) -> int:
    """The process id of a rank among the children of a process."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError(f"no rank {rank} among {children}")


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as lines:
        return list(csv.DictReader(lines))


TRAIN = ("train", *SMALL, "--epochs")
PLAIN = (*TRAIN, "2", *EXACT, "--model", "sasrec", "--calibration", "spatial", "--name")


def _launch(folder: Path) -> None:
    """All that is trained below: processes that import torch are dear, commands are not."""
    (folder / "data" / "demo").mkdir(parents=True)
    generate_demo(folder / "data" / "demo", users=300)
    runs = folder / "runs" / "demo" / "ac-sasrec"
    straight, parts = ((*TRAIN, epochs, "--name", name) for epochs, name in (("3", "straight"), ("1", "parts")))
    endless = (*TRAIN, "200", "--patience", "200", "--name", "dead")
    first = torchrun(folder, (*PLAIN, "two"), straight, parts, endless)
    wait_until(lambda: epochs_of(runs / "dead") >= 2, first, seconds=200)
    os.kill(process_of(first.pid, rank=1), signal.SIGKILL)
    launches = {"torchrun": ended(first)}
    resume = ("train", "--resume")
    launches["parts"] = forked(folder, *resume, "parts", "--epochs", "3")
    launches["dead"] = forked(folder, *resume, "dead", "--epochs", str(epochs_of(runs / "dead") + 1))
    launches["counted"] = forked(folder, "train", "--preset", "demo", "--model", "popularity")
    (folder / "launches.json").write_text(json.dumps(launches))


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the launches have left there; ACTSR_DATA and ACTSR_RUNS point into it."""
    if not Path("/proc").exists():
        pytest.skip("needs /proc to find a rank")
    folder = made_once(tmp_path_factory, "launches", _launch)
    monkeypatch.setenv("ACTSR_DATA", str(folder / "data"))
    monkeypatch.setenv("ACTSR_RUNS", str(folder / "runs"))
    return folder


@pytest.fixture
def launches(place: Path) -> dict[str, Launch]:
    return {name: Launch(*values) for name, values in json.loads((place / "launches.json").read_text()).items()}


def test_two_processes_train_as_one_does(place: Path, launches: dict[str, Launch]) -> None:
    """No dropout and no noise: loss of each epoch and all metrics equal those of one process."""
    call(*PLAIN, "one")
    shared = launches["torchrun"]
    assert shared.output.count("Protocol") == 3 and shared.messages.count("epoch   2") == 3, "one process speaks"
    runs = place / "runs" / "demo" / "sasrec-spatial"
    for one, two in zip(history(runs / "one"), history(runs / "two"), strict=True):
        for name in set(one) - {"train_seconds", "validation_seconds"}:
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-5), name
    call("evaluate", "two")


def test_a_killed_process_ends_the_run_and_leaves_a_checkpoint(place: Path, launches: dict[str, Launch]) -> None:
    exit_code, _, messages = launches["torchrun"]
    assert exit_code != 0
    assert "error: another process of this training has ended" in messages, messages
    assert "Traceback" not in messages.partition("another process of this training has ended")[2].partition("\n")[0]
    done = json.loads((place / "runs" / "demo" / "ac-sasrec" / "dead" / "run.json").read_text())
    assert (done["status"], done["processes"]) == ("finished", 2), launches["dead"].messages
    alone = " ".join(call("train", "--resume", "dead", "--epochs", "200", exit_code=1).stderr.split())
    assert "dead was trained by 2 processes: it cannot be resumed by 1" in alone


def test_one_process_tries_the_locks_for_all(place: Path) -> None:
    """Two that try a lock at the same moment would take each other for the process that trains the run."""
    run = place / "runs" / "demo" / "sasrec-spatial" / "two"
    refit = shutil.copytree(run, run.with_name("two-refit"))  # another lock that is tried
    passed = RunError("all locks are free")
    with pytest.MonkeyPatch.context() as patch, FileLock(run / "run.lock"), FileLock(refit / "run.lock"):
        patch.setattr(sessions, "joined_workers", lambda: nullcontext(Workers(rank=1, count=2)))
        patch.setattr(Workers, "from_leader", lambda *_: None)
        patch.setattr(Workers, "in_turn", Mock(side_effect=passed))
        with pytest.raises(RunError, match=passed.message):
            sessions.continue_run(str(run), settings={"training.epochs": 9}, final=True)
    shutil.rmtree(refit)


def test_a_shared_run_goes_on_shared_bit_for_bit(place: Path, launches: dict[str, Launch]) -> None:
    """Dropout and noise are seeded per process and epoch, so stopping after an epoch changes nothing."""
    runs = place / "runs" / "demo" / "ac-sasrec"
    columns = ("loss/calibrated", "loss/perturbed", "hit@10")
    straight, parts = ([[row[c] for c in columns] for row in history(runs / name)] for name in ("straight", "parts"))
    assert len(straight) == 3, launches["torchrun"].messages
    assert straight == parts, launches["parts"].messages


def test_an_interrupted_process_leaves_together_with_the_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = []

    @contextmanager
    def joined() -> Iterator[Workers]:
        yield ALONE
        left.append("together")

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("actsr_cli.sessions.joined_workers", joined)
    monkeypatch.setattr("actsr_cli.progress.TrainingProgress.epoch_finished", interrupted)
    said = call("train", "--model", "sasrec", *SMALL, "--epochs", "3", "--refit", "--name", "one", exit_code=130).stderr
    assert left == ["together"]
    assert "Continue: actsr train --resume demo/sasrec/one" in " ".join(said.split())
    assert not (place / "runs/demo/sasrec/one-refit").exists()


def test_a_counted_model_needs_no_company(launches: dict[str, Launch]) -> None:
    exit_code, _, messages = launches["counted"]
    assert exit_code != 0
    assert "not trained by gradients" in messages


def test_the_option_starts_processes_that_train_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one dies, all end, and one line says which."""
    if not Path("/proc").exists():
        pytest.skip("needs /proc to find a rank")
    (tmp_path / "data" / "demo").mkdir(parents=True)
    generate_demo(tmp_path / "data" / "demo", users=300)
    monkeypatch.setenv("ACTSR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ACTSR_RUNS", str(tmp_path / "runs"))
    together = start(*PLAIN, "killed", "--epochs", "200", "--patience", "200", "--processes", "2")
    runs = tmp_path / "runs" / "demo" / "sasrec-spatial"
    wait_until(lambda: epochs_of(runs / "killed") >= 2, together, seconds=200)
    os.kill(process_of(together.pid, rank=1), signal.SIGKILL)
    _, messages = together.communicate()
    assert together.returncode == 1
    assert messages.count("error:") == 1 and "Traceback" not in messages, messages
    assert "error: process 1 of this training was killed (SIGKILL)" in messages, messages
    record = json.loads((runs / "killed" / "run.json").read_text())
    assert (record["status"], record["processes"]) == ("failed", 2)
    call(*PLAIN, "one")
    for one, two in zip(history(runs / "one"), history(runs / "killed"), strict=False):
        for name in set(one) - {"train_seconds", "validation_seconds"}:
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-5), name


class Launcher:
    """Stands for torch's: keeps what it is given, and fails as it is told.

    Attributes:
        count: number of processes.
        command: what they carry out.
        threads: number of threads of each.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failure: Exception | None = None) -> None:
        self.failure, self.count, self.threads = failure, 0, 0
        self.command: tuple[str, ...] = ()
        monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", self._prepared)
        monkeypatch.setattr("torch.get_num_threads", lambda: 9)
        monkeypatch.setattr("sys.argv", ["actsr", "train", "--a"])
        monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def _prepared(self, config: LaunchConfig, *program: str) -> Callable[..., None]:
        def launched(*arguments: str) -> None:
            self.count, self.command = config.nproc_per_node, (*program, *arguments)
            self.threads = int(os.environ["OMP_NUM_THREADS"])
            if self.failure is not None:
                raise self.failure

        return launched


def failed(tmp_path: Path, *exit_codes: int) -> ChildFailedError:
    """Of processes that have ended so, each with what it has left in a file of its number, if there is one."""
    failures = {rank: ProcessFailure(rank, 0, code, str(tmp_path / str(rank))) for rank, code in enumerate(exit_codes)}
    return ChildFailedError("actsr", {rank: each for rank, each in failures.items() if each.exitcode})


def test_processes_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Launcher(monkeypatch)
    call("train", "--model", "sasrec", *SMALL, "--processes", "4")
    assert launcher.command == (sys.executable, "-m", "actsr_cli", "train", "--a")
    assert (launcher.count, launcher.threads) == (4, 2)


@pytest.mark.parametrize("how", ["the launcher gets it", "the processes get it first"])
def test_an_interrupt_of_all_processes_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str) -> None:
    of_launcher = SignalException("interrupted", signal.SIGINT)
    Launcher(monkeypatch, of_launcher if how.startswith("the launcher") else failed(tmp_path, 130, 130))
    said = call("train", "--model", "sasrec", *SMALL, "--processes", "2", exit_code=130).stderr
    assert said == ""


def test_the_error_of_a_process_is_that_of_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "actsr-1")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "1"))
    with pytest.raises(SystemExit) as ended, failures_reported():
        raise ConfigError("no", hint="Do it.")
    assert ended.value.code == 1
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    Launcher(monkeypatch, failed(tmp_path, 0, 1))
    assert call("train", *SMALL, "--processes", "2", exit_code=1).stderr == "error: no\nDo it.\n"
    Launcher(monkeypatch, failed(tmp_path, 3))
    said = call("train", *SMALL, "--processes", "2", exit_code=1).stderr
    assert said == "error: process 0 of this training has failed with exit code 3\n"


def test_what_a_process_has_said_comes_before_the_ends_that_it_caused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for rank, text in enumerate(("another process of this training has ended or cannot be reached (x)", "a full disk")):
        said = {"message": text, "hint": None, "extraInfo": {"timestamp": str(rank)}}
        (tmp_path / str(rank)).write_text(json.dumps({"message": said}))
    Launcher(monkeypatch, failed(tmp_path, 1, 1, -signal.SIGKILL))
    assert call("train", *SMALL, "--processes", "3", exit_code=1).stderr == "error: a full disk\n"
    (tmp_path / "1").unlink()
    Launcher(monkeypatch, failed(tmp_path, 1, 1, -signal.SIGKILL))
    messages = call("train", *SMALL, "--processes", "3", exit_code=1).stderr
    assert messages.startswith("error: process 2 of this training was killed (SIGKILL)")


def test_a_signal_that_no_training_has_listened_to_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("init_process_group", "all_reduce", "destroy_process_group", "get_rank"):
        monkeypatch.setattr(dist, name, lambda *_, **__: 0)
    with joined_workers():
        assert not told_to_end()
        signal.raise_signal(signal.SIGTERM)
        assert told_to_end()
    assert not told_to_end()


def test_a_process_whose_launcher_is_gone_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert not told_to_end()  # nobody is to tell it
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "actsr-1")
    assert told_to_end()


def test_an_error_without_processes_is_shown_as_always() -> None:
    with pytest.raises(ConfigError), failures_reported():
        raise ConfigError("no")


def test_processes_that_make_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Launcher(monkeypatch)

    def refused(*options: str, exit_code: int = 1) -> str:
        return " ".join(call("train", *SMALL, *options, exit_code=exit_code).stderr.split())

    assert "should be greater than or equal to 1" in refused("--processes", "0", exit_code=2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for device in ("auto", "cuda"):
        assert refused("--processes", "3", "--device", device) == (
            f"error: 3 processes need as many GPUs, and '{device}' is 2 GPUs"
        )
    assert "2 processes need as many GPUs, and 'cuda:1' is 1 GPU" in refused("--processes", "2", "--device", "cuda:1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert refused("--processes", "2") == (
        "error: --processes does not go with torchrun, which starts the processes itself"
    )
    assert launcher.count == 0
