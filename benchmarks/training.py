"""Time of a training epoch of each model, against the time that its multiply-adds alone would take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import Annotated

import torch
import typer

from actsr_cli.batch import TrainingBatch
from actsr_cli.config import RunConfig
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.experiment.train import batches_for, target_counts
from actsr_cli.models.base import EncoderModel
from actsr_cli.training.device import choose_device
from actsr_cli.training.losses import build_loss
from actsr_cli.training.trainer import Hooks, Trainer
from benchmarks.beauty import beauty, data_name
from benchmarks.bound import epoch_multiply_adds, matrix_rate, now
from benchmarks.models import built, configured
from benchmarks.options import Record, Users
from benchmarks.output import new_table, remember, show, significant
from benchmarks.process import in_a_new_process, peak_megabytes

MODELS = "sasrec,ac-sasrec,bert4rec,ac-bert4rec,sse-pt,ac-sse-pt,tisasrec,ac-tisasrec"
_WARM_UP = 5


@dataclass(frozen=True)
class Epoch:
    """Result for an epoch of training.

    Attributes:
        seconds: time of the epoch, extrapolated from the timed batches.
        bound: seconds that its multiply-adds take at the rate of a large matrix product.
        targets: number of targets per epoch.
        megabytes: peak memory of the process or, with a GPU, of the GPU.
    """

    seconds: float
    bound: float
    targets: int
    megabytes: float


class TimedBatches:
    """A few batches as warm-up, then timed batches; if an epoch has too few batches, it is repeated.

    Args:
        batches: the batches of a training.
        timed: number of timed batches.
        device: the device of the training.
        warm_up: number of batches before them.

    Attributes:
        seconds: time from the end of the warm-up to the end of training.
        cpu_seconds: time of all threads on a processor, which other work on the machine hardly lengthens.
        targets: number of targets trained in that time.
    """

    def __init__(self, batches: TrainingBatches, timed: int, device: torch.device, warm_up: int = _WARM_UP) -> None:
        self.batches, self.timed, self.device, self.warm_up = batches, timed, device, warm_up
        self.seconds, self.cpu_seconds, self.targets = 0.0, 0.0, 0

    @property
    def n_batches(self) -> int:
        return self.warm_up + self.timed

    def epoch(self, generator: torch.Generator, done: int = 0) -> Iterator[TrainingBatch | None]:
        endless = (batch for _ in iter(int, 1) for batch in self.batches.epoch(generator))
        yield from islice(endless, done, self.warm_up)
        started, on_cpu = now(self.device), time.process_time()
        for batch in islice(endless, self.timed):
            self.targets += 0 if batch is None else len(batch.targets)
            yield batch
        self.seconds, self.cpu_seconds = now(self.device) - started, time.process_time() - on_cpu


def training(
    models: Annotated[str, typer.Option(help="Names of models, comma-separated.")] = MODELS,
    threads: Annotated[str, typer.Option(help="Numbers of CPU threads, comma-separated.")] = "1,2",
    precisions: Annotated[str, typer.Option(help="Precisions (float32, bf16), comma-separated.")] = "float32,bf16",
    layers: Annotated[int, typer.Option(help="Number of layers (published: 3).")] = 3,
    heads: Annotated[int, typer.Option(help="Number of heads (published: 4).")] = 4,
    batches: Annotated[int, typer.Option(min=1, help="Number of timed batches.")] = 60,
    device: Annotated[str, typer.Option(help="Device: cpu or cuda.")] = "cpu",
    users: Users = None,
    record: Record = None,
) -> None:
    """Seconds per epoch on Beauty (or generated data), and efficiency: the bound divided by the seconds."""
    table = new_table(
        f"An epoch on {data_name(users)}: {layers} layers, {heads} heads, width 64, 512 targets per batch",
        *("model", "precision", "threads", "epoch s", "bound s", "efficiency", "targets/s", "peak MB"),
        texts=2,
    )
    for model, precision, count in product(models.split(","), precisions.split(","), map(int, threads.split(","))):
        of_model = {"model.layers": layers, "model.heads": heads}
        of_training = {"training.precision": precision, "training.threads": count, "training.device": device}
        epoch = in_a_new_process(measure, configured(model, {**of_model, **of_training}), batches, users)
        table.add_row(
            model,
            precision,
            str(count),
            significant(epoch.seconds),
            significant(epoch.bound),
            f"{100 * epoch.bound / epoch.seconds:.2g}%",
            f"{epoch.targets / epoch.seconds:,.0f}",
            f"{epoch.megabytes:,.0f}",
        )
        remember(record, "training", epoch, model=model, precision=precision, threads=count, layers=layers)
    show(table)


def measure(config: RunConfig, timed: int, users: int | None) -> Epoch:
    """Time an epoch in this process."""
    torch.set_num_threads(config.training.threads or 1)
    torch.manual_seed(config.training.seed)
    data, device = beauty(users), choose_device(config.training.device)
    model = built(config, data.n_items, data.n_users).to(device)
    if not isinstance(model, EncoderModel):
        raise typer.BadParameter(f"the number of multiply-adds of {config.model.name} is unknown: choose another model")
    batches = batches_for(config, data, model.causal, device)
    some = TimedBatches(batches, timed, device)
    loss = build_loss(config.loss, data.n_items, target_counts(data, model.causal, device))
    dtype = torch.bfloat16 if config.training.precision == "bf16" else torch.float32
    rate = matrix_rate(device, dtype)
    one_epoch = config.training.model_copy(update={"stop_after": 1})
    Trainer(model, one_epoch, some, loss, Hooks()).fit()
    rate = max(rate, matrix_rate(device, dtype))
    megabytes = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else peak_megabytes()
    return Epoch(
        seconds=some.seconds * batches.n_targets / some.targets,
        bound=epoch_multiply_adds(model, batches) / rate,
        targets=batches.n_targets,
        megabytes=megabytes,
    )
