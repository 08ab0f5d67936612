"""Time of an epoch of plain SASRec in other libraries, each in an environment of its own, against that of actsr."""

from __future__ import annotations

import json
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from actsr_cli.config import RunConfig
from actsr_cli.experiment.train import batches_for, target_counts
from actsr_cli.training.losses import build_loss
from actsr_cli.training.trainer import Hooks, Trainer
from benchmarks import peer_runners
from benchmarks.beauty import beauty, data_name
from benchmarks.models import built, configured
from benchmarks.options import Record, Threads, Users
from benchmarks.output import new_table, remember, show, significant
from benchmarks.peer_runners import MARK, Task, Timed
from benchmarks.process import in_a_new_process
from benchmarks.training import TimedBatches

_CPU = torch.device("cpu")
_WARM_UP = 3


@dataclass(frozen=True)
class Peer:
    """A library to compare with.

    Attributes:
        title: name and version.
        environment: folder of its environment, within that of all.
        packages: what pip installs there; None if it cannot be had from a package index.
    """

    title: str
    environment: str
    packages: str | None


PEERS = {
    "recbole": Peer("RecBole 1.2.1", "recbole", 'recbole==1.2.1 "numpy<2" "pandas<2.3" "scipy<1.14" "setuptools<81"'),
    "rectools": Peer("RecTools 0.19", "rectools", '"rectools[torch]==0.19.0"'),
    "rectools-fast": Peer("RecTools 0.19, fast_transformers", "rectools", '"rectools[torch]==0.19.0"'),
    "replay": Peer("RePlay 0.22", "replay", '"replay-rec[torch]==0.22.0"'),
    "pmixer": Peer("pmixer/SASRec.pytorch", "pmixer", None),
}


@dataclass(frozen=True)
class Compared:
    """The epoch of a library.

    Attributes:
        seconds: wall time of an epoch, extrapolated from the timed batches; median over the rounds.
        cpu_seconds: the same on a processor, which other work on the machine hardly lengthens.
        times: cpu_seconds, divided by those of actsr in the same run.
    """

    seconds: float
    cpu_seconds: float
    times: float


def peers(
    environments: Annotated[Path, typer.Option(help="Folder with an environment for each library.")] = Path("peers"),
    names: Annotated[str, typer.Option(help="Libraries, comma-separated.")] = ",".join(PEERS),
    batches: Annotated[int, typer.Option(min=1, help="Number of timed batches; the epoch is extrapolated.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Number of times that each is measured, in turns.")] = 2,
    layers: Annotated[int, typer.Option(help="Number of layers.")] = 2,
    heads: Annotated[int, typer.Option(help="Number of heads.")] = 1,
    threads: Threads = 1,
    users: Users = None,
    record: Record = None,
) -> None:
    """Seconds per epoch of plain SASRec with width 64, in other libraries and in actsr, each in a process of its own.

    A batch has 512 targets; where a library makes batches of users, as many users as have 512 targets on average.
    """
    progress = Console(stderr=True)
    present = [name for name in names.split(",") if is_there(name, environments, progress)]
    config = configured("sasrec", {"model.layers": layers, "model.heads": heads, "training.threads": threads})
    task = task_of(config, batches, users)
    found: dict[str, list[Timed]] = {name: [] for name in ("actsr", *present)}
    for _ in range(rounds):
        for name, timed in found.items():
            if name == "actsr":
                timed.append(in_a_new_process(measure, config, batches, users))
            else:
                timed.append(Timed(**run_peer(environments, name, task)))
            progress.print(f"{name}: {epoch_of(timed[-1:]).seconds:.1f} s")
    ours = epoch_of(found["actsr"]).cpu_seconds
    result = new_table(
        f"An epoch of plain SASRec on {data_name(users)}: {layers} layers, width 64, {threads} threads",
        *("library", "epoch s", "epoch CPU s", "times actsr"),
        texts=1,
    )
    for name, timed in found.items():
        epoch = epoch_of(timed, ours)
        title = "actsr" if name == "actsr" else PEERS[name].title
        cells = (significant(each) for each in (epoch.seconds, epoch.cpu_seconds, epoch.times))
        result.add_row(title, *cells)
        remember(record, "peers", epoch, library=title, threads=threads, layers=layers, batches=batches)
    show(result)


def epoch_of(timed: list[Timed], ours: float = 1.0) -> Compared:
    """The epoch that some measurements give; `ours` are the seconds of actsr's on a processor."""
    seconds = statistics.median(each.seconds / each.batches * each.per_epoch for each in timed)
    on_cpu = statistics.median(each.cpu_seconds / each.batches * each.per_epoch for each in timed)
    return Compared(seconds, on_cpu, on_cpu / ours)


def task_of(config: RunConfig, batches: int, users: int | None) -> Task:
    """What the libraries train: the same data, sizes and batches as actsr."""
    data = beauty(users)
    starts, ends = data.training_spans()
    sequences = [data.items[start:end].tolist() for start, end in zip(starts, ends, strict=True) if end - start > 1]
    model = config.model.model_dump()
    return Task(
        sequences=sequences,
        width=model["hidden_size"],
        layers=model["layers"],
        heads=model["heads"],
        dropout=model["hidden_dropout"],
        length=model["max_length"],
        targets=config.training.batch_size,
        threads=config.training.threads or 1,
        batches=batches,
        warm_up=_WARM_UP,
        wanted=[],
        goal=None,
        epochs=1,
    )


def measure(config: RunConfig, timed: int, users: int | None) -> Timed:
    """Time batches of actsr in this process."""
    torch.set_num_threads(config.training.threads or 1)
    torch.manual_seed(config.training.seed)
    data = beauty(users)
    model = built(config, data.n_items)
    batches = batches_for(config, data, model.causal, _CPU)
    some = TimedBatches(batches, timed, _CPU, _WARM_UP)
    loss = build_loss(config.loss, data.n_items, target_counts(data, model.causal, _CPU))
    Trainer(model, config.training.model_copy(update={"stop_after": 1}), some, loss, Hooks()).fit()
    return Timed(some.seconds, some.cpu_seconds, timed, batches.n_batches)


def run_peer(environments: Path, name: str, task: Task) -> dict[str, Any]:
    """What a library measures in its environment.

    Raises:
        typer.BadParameter: it has failed.
    """
    command = [str(_python(environments, name)), peer_runners.__file__, name]
    ended = subprocess.run(command, input=json.dumps(task._asdict()), capture_output=True, text=True, check=False)  # noqa: S603
    found = [line.removeprefix(MARK) for line in ended.stdout.splitlines() if line.startswith(MARK)]
    if ended.returncode or len(found) != 1:
        last = (ended.stderr.strip() or "it has printed nothing").splitlines()[-1]
        raise typer.BadParameter(f"{name} has failed in its environment: {last}")
    result: dict[str, Any] = json.loads(found[0])
    return result


def _python(environments: Path, name: str) -> Path:
    return environments.absolute() / PEERS[name].environment / "bin" / "python"


def is_there(name: str, environments: Path, progress: Console) -> bool:
    """Whether a library has an environment; if not, say how to make it."""
    if name not in PEERS:
        raise typer.BadParameter(f"there is no library '{name}'; there are {', '.join(PEERS)}")
    peer, python = PEERS[name], _python(environments, name)
    if peer.packages is not None and python.exists():
        return True
    folder = environments / peer.environment
    how = (
        f"python3 -m venv {folder} && {folder}/bin/pip install torch=={torch.__version__.split('+')[0]} {peer.packages}"
    )
    progress.print(f"{peer.title} is left out: " + ("it is not in a package index" if peer.packages is None else how))
    return False
