"""Time until plain SASRec ranks well, in other libraries and in actsr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from actsr_cli.batch import TrainingBatch
from actsr_cli.config import RunConfig
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.evaluation.judging import judge
from actsr_cli.evaluation.metrics import measures
from actsr_cli.evaluation.ranker import Ranker
from actsr_cli.experiment.train import batches_for, target_counts
from actsr_cli.training.losses import build_loss
from actsr_cli.training.trainer import Hooks, Trainer
from benchmarks.beauty import beauty, data_name
from benchmarks.models import built, configured
from benchmarks.options import Threads, Users
from benchmarks.output import new_table, show, significant
from benchmarks.peer_runners import PLAIN, Reached, Task
from benchmarks.peers import PEERS, is_there, run_peer, task_of
from benchmarks.process import in_a_new_process

_CPU = torch.device("cpu")


def reaching(
    environments: Annotated[Path, typer.Option(help="Folder with an environment for each library.")] = Path("peers"),
    names: Annotated[str, typer.Option(help="Libraries, comma-separated.")] = ",".join(PLAIN),
    goal: Annotated[float, typer.Option(help="NDCG@10 on validation, protocol A, that ends a training.")] = 0.03,
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs that ends a training without it.")] = 8,
    layers: Annotated[int, typer.Option(help="Number of layers.")] = 2,
    heads: Annotated[int, typer.Option(help="Number of heads.")] = 1,
    threads: Threads = 1,
    users: Users = None,
) -> None:
    """Seconds until plain SASRec with width 64 reaches an NDCG@10 on validation, by Adam with a learning rate of 0.001.

    Each library trains in a process of its own, with about 512 targets per batch. Validation is not timed.
    """
    progress = Console(stderr=True)
    asked = names.split(",") if names else []
    if unknown := [name for name in asked if name not in PLAIN]:
        raise typer.BadParameter(f"'{unknown[0]}' is not one of {', '.join(PLAIN)}")
    of_training = {"training.threads": threads, "training.epochs": epochs, "training.patience": epochs}
    settings = {"model.layers": layers, "model.heads": heads, "training.monitor": "ndcg@10", **of_training}
    config = configured("sasrec", {**settings, "training.learning_rate": 1e-3})
    task = validated(task_of(config, 0, users), goal, epochs, users)
    found = {"actsr": in_a_new_process(reach, config, goal, users)}
    for name in asked:
        if is_there(name, environments, progress):
            found[PEERS[name].title] = Reached(**run_peer(environments, name, task))
            progress.print(f"{name}: {[round(value, 4) for value in found[PEERS[name].title].curve]}")
    table = new_table(
        f"Plain SASRec on {data_name(users)} to a validation NDCG@10 of {goal:g}: {layers} layers, {threads} threads",
        *("library", "epochs", "NDCG@10", "seconds", "CPU s", "times actsr"),
        texts=1,
    )
    for title, reached in found.items():
        times = reached.cpu_seconds / found["actsr"].cpu_seconds
        seconds = (significant(each) for each in (reached.seconds, reached.cpu_seconds, times))
        table.add_row(title, str(len(reached.curve)), f"{reached.curve[-1]:.4f}", *seconds)
    show(table)


def validated(task: Task, goal: float, epochs: int, users: int | None) -> Task:
    """The task of training users who have a validation item, up to a goal."""
    data = beauty(users)
    starts, ends = data.training_spans()
    kept = [(start, end) for start, end in zip(starts, ends, strict=True) if end - start > 1]
    return task._replace(wanted=[int(data.items[end]) for _, end in kept], goal=goal, epochs=epochs)


class Stopwatch:
    """The batches of a training, and the time that their steps take.

    Args:
        batches: the batches.

    Attributes:
        seconds: wall time of all epochs so far, without what comes between them.
        cpu_seconds: time of all threads on a processor in it.
    """

    def __init__(self, batches: TrainingBatches) -> None:
        self.batches, self.seconds, self.cpu_seconds = batches, 0.0, 0.0

    @property
    def n_batches(self) -> int:
        return self.batches.n_batches

    def epoch(self, generator: torch.Generator, done: int = 0) -> Iterator[TrainingBatch | None]:
        started, on_cpu = time.perf_counter(), time.process_time()
        yield from self.batches.epoch(generator, done)
        self.seconds += time.perf_counter() - started
        self.cpu_seconds += time.process_time() - on_cpu


def reach(config: RunConfig, goal: float, users: int | None) -> Reached:
    """Train actsr in this process until validation reaches the goal."""
    torch.set_num_threads(config.training.threads or 1)
    torch.manual_seed(config.training.seed)
    data = beauty(users)
    model = built(config, data.n_items)
    batches = Stopwatch(batches_for(config, data, model.causal, _CPU))
    curve: list[float] = []

    def validate() -> dict[str, float]:
        model.eval()
        values = judge(Ranker(model, device=_CPU), data, "valid", measures(["ndcg"], [10])).values
        curve.append(values["ndcg@10"])
        return values

    hooks = Hooks(validate=validate, should_stop=lambda: bool(curve) and curve[-1] >= goal)
    Trainer(
        model,
        config.training,
        batches,
        build_loss(config.loss, data.n_items, target_counts(data, model.causal, _CPU)),
        hooks,
    ).fit()
    return Reached(batches.seconds, batches.cpu_seconds, curve)
