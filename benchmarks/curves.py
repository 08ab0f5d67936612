"""Validation curves of the fast path and of a plain one: one padded row per prefix, all logits, torch's dropout."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from actsr_cli.attention import Dropout, calibrated
from actsr_cli.batch import TrainingBatch
from actsr_cli.config import RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.evaluation.judging import judge
from actsr_cli.evaluation.metrics import measures
from actsr_cli.evaluation.ranker import Ranker
from actsr_cli.experiment.train import batches_for, target_counts
from actsr_cli.models.base import SequentialModel
from actsr_cli.packing import Packing
from actsr_cli.training.losses import PredictionLoss, build_loss
from actsr_cli.training.trainer import Batches, EpochRecord, Hooks, Trainer
from benchmarks.beauty import beauty
from benchmarks.models import built, configured
from benchmarks.options import Threads, Users
from benchmarks.output import new_table, show, significant

_CPU = torch.device("cpu")
_PATHS = ("fast", "plain")
Curves = Mapping[str, Sequence[Sequence[EpochRecord]]]
"""The epochs of each seed, by name of the path."""


def curves(
    model: Annotated[str, typer.Option(help="Name of a causal model.")] = "sasrec",
    seeds: Annotated[int, typer.Option(min=1, help="Number of trainings per path, with seeds 0, 1, …")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs per training.")] = 4,
    layers: Annotated[int, typer.Option(help="Number of layers.")] = 2,
    threads: Threads = 1,
    users: Users = None,
    output: Annotated[Path | None, typer.Option(help="Write the curves to this JSON file.", show_default=False)] = None,
) -> None:
    """Validation NDCG@10 after each epoch (mean and range over seeds) and seconds per epoch, for both paths."""
    torch.set_num_threads(threads)
    data, progress = beauty(users), Console(stderr=True)
    found: dict[str, list[list[EpochRecord]]] = {path: [] for path in _PATHS}
    of_training = {"training.epochs": epochs, "training.patience": epochs, "training.monitor": "ndcg@10"}
    for seed in range(seeds):
        config = configured(model, {"model.layers": layers, **of_training, "training.seed": seed})
        for path in _PATHS:
            found[path].append(train(config, data, plain=path == "plain"))
            progress.print(f"seed {seed}, {path}: {_values(found[path][-1])}")
    if output is not None:
        output.write_text(json.dumps({"model": model, **_recorded(found)}) + "\n", encoding="utf-8")
    show(_table(f"{model} on {data.name}: validation NDCG@10 (protocol A), mean and range over seeds", found))


def train(config: RunConfig, data: SequenceData, *, plain: bool) -> list[EpochRecord]:
    """Train a model by one of the paths; returns its epochs.

    Raises:
        typer.BadParameter: the model does not train prefixes.
    """
    torch.manual_seed(config.training.seed)
    model = built(config, data.n_items, data.n_users)
    if not model.causal:
        raise typer.BadParameter(f"{config.model.name} does not train prefixes: choose a causal model")
    counts = target_counts(data, model.causal, _CPU)
    batches: Batches
    if plain:
        batches = PrefixBatches(data, config.model.max_length, config.training.batch_size)
        loss: PredictionLoss = PlainCrossEntropy(config.loss, data.n_items, counts)
    else:
        batches = batches_for(config, data, model.causal, _CPU)
        loss = build_loss(config.loss, data.n_items, counts)
    with _dropout_of_torch() if plain else nullcontext():
        trainer = Trainer(model, config.training, batches, loss, Hooks(validate=lambda: _validate(model, data)))
        trainer.fit()
    return trainer.state.history


class PlainCrossEntropy(PredictionLoss):
    """Cross-entropy over all logits at once."""

    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        return F.cross_entropy(hidden @ items.T, targets)


class PrefixBatches:
    """Batches as published: each prefix is a sequence of its own.

    Args:
        data: the prepared data.
        max_length: number of latest items kept of a prefix.
        batch_size: number of prefixes per batch.
    """

    def __init__(self, data: SequenceData, max_length: int, batch_size: int) -> None:
        starts, ends = data.training_spans()
        inner = np.maximum(ends - starts - 1, 0)
        first = np.repeat(starts, inner)
        self.users = np.repeat(np.arange(data.n_users), inner)
        self.targets = first + 1 + np.arange(inner.sum()) - np.repeat(np.cumsum(inner) - inner, inner)
        self.lengths = np.minimum(self.targets - first, max_length)
        self.data, self.max_length, self.batch_size = data, max_length, batch_size

    @property
    def n_batches(self) -> int:
        return -(-len(self.targets) // self.batch_size)

    def epoch(self, generator: torch.Generator, done: int = 0) -> Iterator[TrainingBatch]:
        order = torch.randperm(len(self.targets), generator=generator).numpy()
        for start in range(done * self.batch_size, len(order), self.batch_size):
            yield self._batch(order[start : start + self.batch_size])

    def _batch(self, rows: NDArray[np.int64]) -> TrainingBatch:
        items, times = self.data.items, self.data.timestamps
        packing = Packing(self.lengths[rows], _CPU)
        starts = torch.from_numpy(self.targets[rows] - self.lengths[rows])
        at = (starts[packing.sequences] + packing.positions).numpy()
        return TrainingBatch(
            item_ids=torch.from_numpy(items[at].astype(np.int64)),
            packing=packing,
            user_ids=torch.from_numpy(self.users[rows]),
            timestamps=None if times is None else torch.from_numpy(times[at]),
            rows=packing.last,
            targets=torch.from_numpy(items[self.targets[rows]].astype(np.int64)),
        )


@contextmanager
def _dropout_of_torch() -> Iterator[None]:
    """Replace the package's dropout with that of torch within this context."""

    def forward(module: Dropout, values: Tensor) -> Tensor:
        return F.dropout(values, module.probability, module.training)

    with mock.patch.object(Dropout, "forward", forward), mock.patch.object(calibrated, "dropout", F.dropout):
        yield


def _validate(model: SequentialModel, data: SequenceData) -> dict[str, float]:
    model.eval()
    return judge(Ranker(model, device=_CPU), data, "valid", measures(["ndcg"], [10])).values


def _values(epochs: Sequence[EpochRecord]) -> list[float]:
    return [epoch.metrics["ndcg@10"] for epoch in epochs]


def _seconds(trainings: Sequence[Sequence[EpochRecord]]) -> list[float]:
    return [epoch.train_seconds for epochs in trainings for epoch in epochs]


def _recorded(found: Curves) -> dict[str, dict[str, object]]:
    return {
        "ndcg@10": {path: [_values(epochs) for epochs in trainings] for path, trainings in found.items()},
        "seconds": {path: _seconds(trainings) for path, trainings in found.items()},
    }


def _table(title: str, found: Curves) -> Table:
    table = new_table(title, "epoch", *found)
    curves = [[_values(epochs) for epochs in trainings] for trainings in found.values()]
    for epoch in range(len(curves[0][0])):
        of_paths = [[curve[epoch] for curve in path] for path in curves]
        cells = [f"{statistics.mean(each):.4f} ({min(each):.4f} to {max(each):.4f})" for each in of_paths]
        table.add_row(str(epoch + 1), *cells)
    table.add_row("s per epoch", *(significant(statistics.median(_seconds(path))) for path in found.values()))
    return table
