"""Validation curves of the fast path and of the plain one: a padded row per prefix, all logits, dropout as usual."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from actsr_cli.attention import Dropout, calibrated
from actsr_cli.batch import TrainingBatch
from actsr_cli.data.batches import TrainingBatches
from actsr_cli.data.sequences import SequenceData
from actsr_cli.evaluation.metrics import summarize
from actsr_cli.evaluation.ranking import evaluate
from actsr_cli.models.base import SequentialModel
from actsr_cli.models.registry import build_model, parse_name
from actsr_cli.presets import resolve
from actsr_cli.training.losses import PredictionLoss, build_loss
from actsr_cli.training.trainer import Observer, Trainer
from benchmarks.beauty import beauty


class PrefixBatches:
    """The published way: each prefix is a row of its own, padded to `max_length`, in an order without regard to length.

    Args:
        data: the prepared data.
        max_length: latest items of a prefix.
        batch_size: prefixes per batch.
    """

    def __init__(self, data: SequenceData, max_length: int, batch_size: int) -> None:
        starts, ends = data.training_spans()
        inner = np.maximum(ends - starts - 1, 0)
        first = np.repeat(starts, inner)
        self.targets = first + 1 + np.arange(inner.sum()) - np.repeat(np.cumsum(inner) - inner, inner)
        self.lengths = np.minimum(self.targets - first, max_length)
        self.items, self.max_length, self.batch_size = data.items, max_length, batch_size

    @property
    def n_batches(self) -> int:
        return -(-len(self.targets) // self.batch_size)

    def epoch(self, generator: torch.Generator) -> Iterator[list[TrainingBatch]]:
        order = torch.randperm(len(self.targets), generator=generator).numpy()
        for start in range(0, len(order), self.batch_size):
            yield [self._batch(order[start : start + self.batch_size])]

    def _batch(self, rows: np.ndarray) -> TrainingBatch:
        places, lengths = np.arange(self.max_length), self.lengths[rows, None]
        inside = places < lengths
        at = np.where(inside, self.targets[rows, None] - lengths + places, 0)
        targets = np.where(places == lengths - 1, self.items[self.targets[rows]][:, None], 0)
        return TrainingBatch(
            item_ids=torch.from_numpy(np.where(inside, self.items[at], 0).astype(np.int64)),
            lengths=torch.from_numpy(self.lengths[rows]),
            targets=torch.from_numpy(targets.astype(np.int64)),
        )


def curves(
    model: Annotated[str, typer.Option(help="A causal model.")] = "sasrec",
    seeds: Annotated[int, typer.Option(help="Seeds of each path.")] = 3,
    epochs: Annotated[int, typer.Option(help="Epochs of each training.")] = 4,
    layers: Annotated[int, typer.Option(help="Layers.")] = 2,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    record: Annotated[Path | None, typer.Option(help="Write the curves to this JSON file.")] = None,
) -> None:
    """NDCG@10 of validation after each epoch, mean and range over seeds, by both paths; seconds per epoch."""
    torch.set_num_threads(threads)
    results: dict[str, list[list[float]]] = {"fast": [], "plain": []}
    seconds: dict[str, list[float]] = {"fast": [], "plain": []}
    for seed in range(seeds):
        for path in results:
            with ExitStack() as patches:
                if path == "plain":
                    patches.enter_context(mock.patch.object(calibrated, "dropout", F.dropout))
                trained = _trained(model, path == "plain", seed, epochs, layers)
            results[path].append([record.metrics["ndcg@10"] for record in trained.state.history])
            seconds[path] += [record.train_seconds for record in trained.state.history]
            Console(stderr=True).print(f"seed {seed}, {path}: {results[path][-1]}")
    if record is not None:
        record.write_text(json.dumps({"model": model, "ndcg@10": results, "seconds": seconds}) + "\n", encoding="utf-8")
    Console().print(_table(model, results, seconds))


def _table(model: str, results: dict[str, list[list[float]]], seconds: dict[str, list[float]]) -> Table:
    table = Table(title=f"{model} on {beauty().name}: validation NDCG@10 (protocol A), mean and range over seeds")
    for column in ("epoch", *results):
        table.add_column(column, justify="right")
    for epoch in range(len(results["fast"][0])):
        values = [[curve[epoch] for curve in path] for path in results.values()]
        cells = [f"{statistics.mean(v):.4f} ({min(v):.4f} to {max(v):.4f})" for v in values]
        table.add_row(str(epoch + 1), *cells)
    table.add_row("s per epoch", *(f"{statistics.median(path):.0f}" for path in seconds.values()))
    return table


class AllLogits(PredictionLoss):
    """Cross-entropy over the catalogue whose logits all exist at a time."""

    def __call__(self, hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        return F.cross_entropy(hidden @ items.T, targets)


def _trained(model_name: str, plain: bool, seed: int, epochs: int, layers: int) -> Trainer:
    torch.manual_seed(seed)
    data, cpu = beauty(), torch.device("cpu")
    name, calibration = parse_name(model_name)
    settings = {"model.name": name, "calibration.kind": calibration, "model.layers": layers, "training.seed": seed}
    ending = {"training.epochs": epochs, "training.patience": epochs, "training.monitor": "ndcg@10"}
    weight = {"calibration.mask_weight": 0.03} if calibration in ("adversarial", "full") else {}
    config = resolve(options=settings | ending | weight).config
    model = build_model(config.model, config.calibration, data.n_items, data.n_users)
    if not isinstance(model, SequentialModel) or not model.causal:
        raise typer.BadParameter(f"{model_name} does not train prefixes")
    if plain:
        _use_dropout_of_the_library(model)
    counts = torch.ones(data.n_items + 1)
    loss = AllLogits(config.loss, data.n_items, counts) if plain else build_loss(config.loss, data.n_items, counts)
    make: Callable[..., PrefixBatches | TrainingBatches] = PrefixBatches if plain else TrainingBatches

    def validate() -> dict[str, float]:
        model.eval()
        ranked = evaluate(model.score, data, "valid", max_length=50, seen="rank", batch_size=256, device=cpu)
        return summarize(ranked.ranks, [10])

    trainer = Trainer(
        model,
        config.training,
        make(data, max_length=config.model.max_length, batch_size=config.training.batch_size),
        loss,
        validate=validate,
        save_best=lambda _: None,
        save_checkpoint=lambda: None,
        observer=Observer(),
        should_stop=lambda: False,
    )
    trainer.fit()
    return trainer


def _use_dropout_of_the_library(model: torch.nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, torch.nn.Dropout(child.probability))
