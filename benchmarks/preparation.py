"""Preparation of data of growing size: time, peak memory, and the time of reading and parsing alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import typer

from actsr_cli.config import DataConfig
from actsr_cli.data.prepare import prepare
from actsr_cli.data.sources import Source
from benchmarks.options import Record
from benchmarks.output import new_table, remember, show, significant
from benchmarks.process import in_a_new_process, peak_megabytes


@dataclass(frozen=True)
class Preparation:
    """Result for one file.

    Attributes:
        seconds: time from the file to opened arrays.
        parsing: seconds that Arrow takes only to parse the file's columns as text.
        megabytes: peak memory of the process.
    """

    seconds: float
    parsing: float
    megabytes: float


def preparation(
    sizes: Annotated[str, typer.Option(help="Numbers of interactions, comma-separated.")] = "200000,2000000,20000000",
    plot: Annotated[Path | None, typer.Option(help="Draw the growth to this image file.", show_default=False)] = None,
    record: Record = None,
) -> None:
    """Prepare a 5-core of generated interactions, 100 per user and 200 per item on average."""
    table = new_table(
        "Preparation of an atomic file: 5-core, sorting by user and time, saving, opening",
        *("interactions", "seconds", "µs each", "of parsing alone", "peak MB"),
    )
    results: dict[int, Preparation] = {}
    for size in map(int, sizes.split(",")):
        with TemporaryDirectory() as folder:
            in_a_new_process(generate, Path(folder), size)
            results[size] = result = in_a_new_process(measure, Path(folder))
        table.add_row(
            f"{size:,}",
            significant(result.seconds),
            significant(result.seconds / size * 1e6),
            f"{result.seconds / result.parsing:.1f} times",
            f"{result.megabytes:,.0f}",
        )
        remember(record, "preparation", result, interactions=size)
    show(table)
    if plot is not None:
        draw(results, plot)


def generate(folder: Path, size: int) -> None:
    """Write `size` random interactions to raw.inter in the folder."""
    random = np.random.default_rng(0)
    users, items = max(1, size // 100), max(1, size // 200)
    popularity = 1 / np.arange(1, items + 1) ** 0.8
    columns = {
        "user_id:token": random.integers(0, users, size),
        "item_id:token": random.choice(items, size, p=popularity / popularity.sum()),
        "timestamp:float": random.integers(1_000_000_000, 1_700_000_000, size),
    }
    with (folder / "raw.inter").open("wb") as file:
        file.write(("\t".join(columns) + "\n").encode())
        options = arrow_csv.WriteOptions(include_header=False, delimiter="\t")
        arrow_csv.write_csv(pa.table(columns), file, options)


def measure(folder: Path) -> Preparation:
    """Prepare raw.inter of the folder in this process."""
    source = Source(name="generated", folder=folder, file=folder / "raw.inter", format="atomic")
    started = time.perf_counter()
    prepared = prepare(source, DataConfig(user_core=5, item_core=5))
    seconds = time.perf_counter() - started
    if not prepared.data.n_interactions:
        raise typer.BadParameter("the 5-core is empty: give larger --sizes")
    megabytes, started = peak_megabytes(), time.perf_counter()
    arrow_csv.read_csv(
        source.file,
        arrow_csv.ReadOptions(use_threads=False),
        arrow_csv.ParseOptions(delimiter="\t"),
        arrow_csv.ConvertOptions(column_types=dict.fromkeys(("user_id:token", "item_id:token"), pa.string())),
    )
    return Preparation(seconds, time.perf_counter() - started, megabytes)


def draw(results: dict[int, Preparation], path: Path) -> None:
    """Draw seconds and memory over interactions, with proportional growth for comparison."""
    sizes = sorted(results)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, title, values in (
        (axes[0], "seconds", [results[size].seconds for size in sizes]),
        (axes[1], "peak memory, MB", [results[size].megabytes for size in sizes]),
    ):
        axis.loglog(sizes, values, "o-", label="measured")
        axis.loglog(sizes, [values[-1] * size / sizes[-1] for size in sizes], ":", color="grey", label="proportional")
        for size, value in zip(sizes, values, strict=True):
            axis.annotate(
                f"{value:,.0f}" if value > 10 else f"{value:.1f}",
                (size, value),
                textcoords="offset points",
                xytext=(6, -10),
            )
        axis.set(title=title, xlabel="interactions", xlim=(sizes[0] / 2, sizes[-1] * 6))
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=150)
