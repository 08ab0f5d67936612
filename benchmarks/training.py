"""An epoch of each model beside the time that its multiply-adds alone would take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from actsr_cli.config import RunConfig
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.experiment.train import batches_for
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.registry import build_model, parse_name
from actsr_cli.presets import resolve
from actsr_cli.training.losses import build_loss
from actsr_cli.training.trainer import Observer, Trainer
from benchmarks.beauty import beauty
from benchmarks.bound import epoch_multiply_adds, matrix_rate
from benchmarks.history import remember
from benchmarks.process import in_a_new_process, peak_megabytes

MODELS = "sasrec,ac-sasrec,bert4rec,ac-bert4rec,sse-pt,ac-sse-pt,tisasrec,ac-tisasrec"
_WARM_UP = 5


@dataclass(frozen=True)
class Epoch:
    """An epoch of training.

    Attributes:
        seconds: extrapolated from the batches that were timed.
        bound: seconds that its multiply-adds take at the rate of a large matrix product.
        targets: trained per epoch.
        megabytes: peak memory of the process; of the GPU, where there is one.
    """

    seconds: float
    bound: float
    targets: int
    megabytes: float


def training(
    models: Annotated[str, typer.Option(help="Models, comma-separated.")] = MODELS,
    threads: Annotated[str, typer.Option(help="Numbers of CPU threads, comma-separated.")] = "1,2",
    precisions: Annotated[str, typer.Option(help="float32, bf16 or both, comma-separated.")] = "float32,bf16",
    layers: Annotated[int, typer.Option(help="Layers; 3 is the published number.")] = 3,
    heads: Annotated[int, typer.Option(help="Heads; 4 is the published number.")] = 4,
    batches: Annotated[int, typer.Option(help="Batches that are timed.")] = 60,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    record: Annotated[Path | None, typer.Option(help="Append the results to this JSON file.")] = None,
) -> None:
    """Seconds per epoch on Beauty (or data of its shape), and how near they are to the bound of the arithmetic."""
    table = Table(title=f"An epoch on {beauty().name}: {layers} layers, {heads} heads, width 64, 512 targets per batch")
    for column in ("model", "precision", "threads", "epoch s", "bound s", "efficiency", "targets/s", "peak MB"):
        table.add_column(column, justify="right" if column != "model" else "left", no_wrap=True)
    for model in models.split(","):
        for precision in precisions.split(","):
            for count in map(int, threads.split(",")):
                epoch = in_a_new_process(measure, model, precision, count, layers, heads, batches, device)
                table.add_row(
                    model,
                    precision,
                    str(count),
                    f"{epoch.seconds:.1f}",
                    f"{epoch.bound:.1f}",
                    f"{epoch.bound / epoch.seconds:.0%}",
                    f"{epoch.targets / epoch.seconds:,.0f}",
                    f"{epoch.megabytes:,.0f}",
                )
                remember(record, "training", epoch, model=model, precision=precision, threads=count, layers=layers)
    Console().print(table)


def measure(model: str, precision: str, threads: int, layers: int, heads: int, timed: int, device: str) -> Epoch:
    """An epoch in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    name, calibration = parse_name(model)
    weight = {"calibration.mask_weight": 0.03} if calibration in ("adversarial", "full") else {}
    settings = {"model.name": name, "calibration.kind": calibration, "model.layers": layers, "model.heads": heads}
    config = resolve(options=settings | weight | {"training.batch_size": 512, "training.precision": precision}).config
    where = torch.device(device)
    trainer, batches = _trainer(config, where)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    source = (parts for _ in iter(int, 1) for parts in batches.epoch(trainer.generator))
    for parts in islice(source, _WARM_UP):
        trainer._step(parts)
    rate = matrix_rate(where, dtype)
    started, targets = _now(where), 0
    for parts in islice(source, timed):
        trainer._step(parts)
        targets += sum(part.n_targets or 0 for part in parts)
    seconds = _now(where) - started
    rate = max(rate, matrix_rate(where, dtype))
    megabytes = torch.cuda.max_memory_allocated() / 2**20 if where.type == "cuda" else peak_megabytes()
    return Epoch(
        seconds=seconds * batches.n_targets / targets,
        bound=epoch_multiply_adds(trainer.model, batches) / rate,
        targets=batches.n_targets,
        megabytes=megabytes,
    )


def _trainer(config: RunConfig, device: torch.device) -> tuple[Trainer, TrainingBatches]:
    data = beauty()
    model = build_model(config.model, config.calibration, data.n_items, data.n_users).to(device).train()
    if not isinstance(model, SequentialModel):
        raise typer.BadParameter(f"{config.model.name} is not trained by gradients")
    batches = batches_for(config, data, model.causal, device)
    counts = torch.from_numpy(np.bincount(data.training_part()[0], minlength=data.n_items + 1)).to(device)
    trainer = Trainer(
        model,
        config.training,
        batches,
        build_loss(config.loss, data.n_items, counts),
        validate=dict,
        save_best=lambda _: None,
        save_checkpoint=lambda: None,
        observer=Observer(),
        should_stop=lambda: False,
    )
    return trainer, batches


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
