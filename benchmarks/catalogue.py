"""Time and memory of a training step with a sampled loss, for catalogues of several sizes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated

import numpy as np
import torch
import typer

from actsr_cli.config import RunConfig
from actsr_cli.experiment.train import batches_for
from actsr_cli.training.losses import build_loss
from actsr_cli.training.trainer import Hooks, Trainer
from benchmarks.beauty import generated
from benchmarks.models import built, configured
from benchmarks.options import Record, Threads
from benchmarks.output import new_table, remember, show, significant
from benchmarks.process import in_a_new_process, peak_megabytes
from benchmarks.training import TimedBatches

_USERS = 5_000
_UPDATES = {"all": 2, "touched": 100}
"""Batches before the timed ones: with `touched`, rows that come again have then missed many steps."""


@dataclass(frozen=True)
class Step:
    """Result for the steps of a training.

    Attributes:
        milliseconds: mean time of a step.
        cpu_milliseconds: the same as time of all threads on a processor, which other work hardly lengthens.
        megabytes: peak memory of the process.
        own_megabytes: increase of the peak memory by model and training.
    """

    milliseconds: float
    cpu_milliseconds: float
    megabytes: float
    own_megabytes: float


def catalogue(
    items: Annotated[str, typer.Option(help="Numbers of items, comma-separated.")] = "10000,100000,1000000,5000000",
    models: Annotated[str, typer.Option(help="Names of models, comma-separated.")] = "sasrec,ac-sasrec",
    negatives: Annotated[int, typer.Option(min=1, help="Negative items per batch.")] = 256,
    batches: Annotated[int, typer.Option(min=1, help="Number of timed batches.")] = 10,
    threads: Threads = 1,
    record: Record = None,
) -> None:
    """Milliseconds of a step with sampled softmax, if all rows of the item table are updated, or those it touches."""
    table = new_table(
        f"A step with {negatives} negatives: 2 layers, width 64, 512 targets, {threads} threads, generated data",
        *("items", "model", "item_updates", "ms per step", "CPU ms", "peak MB", "increase MB"),
        texts=3,
    )
    for count, model, updates in product(map(int, items.split(",")), models.split(","), _UPDATES):
        settings = {"loss.name": "sampled", "loss.negatives": negatives, "training.item_updates": updates}
        step = in_a_new_process(measure, configured(model, settings | {"training.threads": threads}), count, batches)
        table.add_row(
            f"{count:,}",
            model,
            updates,
            significant(step.milliseconds),
            significant(step.cpu_milliseconds),
            f"{step.megabytes:,.0f}",
            f"{step.own_megabytes:,.0f}",
        )
        remember(record, "catalogue", step, items=count, model=model, item_updates=updates, threads=threads)
    show(table)


def measure(config: RunConfig, items: int, timed: int) -> Step:
    """Time steps in this process."""
    torch.set_num_threads(config.training.threads or 1)
    torch.manual_seed(config.training.seed)
    data, device = generated(_USERS, items), torch.device("cpu")
    counts = torch.from_numpy(np.bincount(data.items, minlength=items + 1))
    before = peak_megabytes()
    model = built(config, items, data.n_users)
    batches = batches_for(config, data, model.causal, device)
    some = TimedBatches(batches, timed, device, _UPDATES[config.training.item_updates])
    one_epoch = config.training.model_copy(update={"stop_after": 1})
    Trainer(model, one_epoch, some, build_loss(config.loss, items, counts), Hooks()).fit()
    milliseconds, on_cpu = (1000 * seconds / timed for seconds in (some.seconds, some.cpu_seconds))
    return Step(milliseconds, on_cpu, peak_megabytes(), peak_megabytes() - before)
