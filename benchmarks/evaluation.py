"""Ranking every held-out item over the whole catalogue: time beside its products alone, and what memory grows with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from actsr_cli.config import EvaluationConfig, NoCalibration
from actsr_cli.config.models import SASRecOptions
from actsr_cli.evaluation.metrics import summarize
from actsr_cli.evaluation.ranking import Seen, evaluate
from actsr_cli.models.registry import build_model
from benchmarks.beauty import beauty, generated
from benchmarks.bound import matrix_rate
from benchmarks.history import remember
from benchmarks.process import in_a_new_process, peak_megabytes

_DEFAULTS = EvaluationConfig()


@dataclass(frozen=True)
class Ranking:
    """One evaluation.

    Attributes:
        seconds: forward pass, ranks and all metrics.
        bound: seconds that the products with the catalogue take at the rate of a large matrix product.
        megabytes: peak memory of the process.
        own_megabytes: of it, what was not there before the evaluation.
    """

    seconds: float
    bound: float
    megabytes: float
    own_megabytes: float


def evaluation(
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    record: Annotated[Path | None, typer.Option(help="Append the results to this JSON file.")] = None,
) -> None:
    """Beauty by both protocols; four times its users; a catalogue of a million items."""
    table = Table(title=f"Evaluation of plain SASRec, 2 layers, width 64, all metrics, {threads} threads")
    for column in ("data", "seen", "users", "items", "seconds", "bound s", "peak MB", "of it own"):
        table.add_column(column, justify="left" if column == "data" else "right", no_wrap=True)
    name = beauty().name
    cases: list[tuple[str, Seen, int, int]] = [
        (name, "rank", 0, 0),
        (name, "exclude", 0, 0),
        ("generated", "rank", 22_363, 12_101),
        ("generated", "rank", 4 * 22_363, 12_101),
        ("generated", "rank", 2_000, 1_000_000),
    ]
    for data, seen, users, items in cases:
        n_users, n_items, ranking = in_a_new_process(measure, seen, users, items, threads)
        table.add_row(
            data,
            seen,
            f"{n_users:,}",
            f"{n_items:,}",
            f"{ranking.seconds:.2f}",
            f"{ranking.bound:.2f}",
            f"{ranking.megabytes:,.0f}",
            f"{ranking.own_megabytes:,.0f}",
        )
        remember(record, "evaluation", ranking, data=data, seen=seen, users=n_users, items=n_items, threads=threads)
    Console().print(table)


def measure(seen: Seen, users: int, items: int, threads: int) -> tuple[int, int, Ranking]:
    """Users, items and an evaluation in this process; of Beauty where `users` is 0."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    data = generated(users, items, mean_length=8.88) if users else beauty()
    n_items = items or data.n_items
    model = build_model(SASRecOptions(), NoCalibration(), n_items).eval()
    cpu = torch.device("cpu")
    rate = matrix_rate(cpu, torch.float32)
    before, started = peak_megabytes(), time.perf_counter()
    ranked = evaluate(model.score, data, "test", max_length=50, seen=seen, batch_size=_DEFAULTS.batch_size, device=cpu)
    summarize(ranked.ranks, _DEFAULTS.k)
    seconds = time.perf_counter() - started
    bound = len(ranked.ranks) * n_items * 64 / max(rate, matrix_rate(cpu, torch.float32))
    return data.n_users, n_items, Ranking(seconds, bound, peak_megabytes(), peak_megabytes() - before)
