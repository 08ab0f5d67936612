"""Preparation of data of growing size: time, peak memory, and the time of reading and parsing alone."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
import typer

from actsr_cli.config import DataConfig
from actsr_cli.data.prepare import prepare
from actsr_cli.data.sources import Source
from benchmarks.options import Record
from benchmarks.output import new_table, remember, show, significant
from benchmarks.process import in_a_new_process, peak_megabytes

_AT_ONCE = 5_000_000
"""Number of interactions that are generated at once; a Parquet part holds so many."""


@dataclass(frozen=True)
class Preparation:
    """Result for one file, or for a folder of parts.

    Attributes:
        seconds: time from the file to opened arrays.
        cpu_seconds: time of all cores, in the program and in the system.
        parsing: seconds that Arrow takes only to parse the file's columns as text, or to read the parts.
        megabytes: peak memory of the process.
    """

    seconds: float
    cpu_seconds: float
    parsing: float
    megabytes: float


def preparation(
    sizes: Annotated[str, typer.Option(help="Numbers of interactions, comma-separated.")] = "200000,2000000,20000000",
    per_user: Annotated[int, typer.Option(min=1, help="Interactions of each user, on average.")] = 100,
    per_item: Annotated[int, typer.Option(min=1, help="Interactions of each item, on average.")] = 200,
    parquet_parts: Annotated[
        bool, typer.Option("--parquet", help="Prepare a folder of Parquet parts, not an atomic file.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the growth to this image file.", show_default=False)] = None,
    record: Record = None,
) -> None:
    """Prepare a 5-core of generated interactions."""
    what = "a folder of Parquet parts" if parquet_parts else "an atomic file"
    table = new_table(
        f"Preparation of {what}: 5-core, sorting by user and time, saving, opening",
        *("interactions", "seconds", "CPU seconds", "µs each", "of parsing alone", "peak MB"),
    )
    results: dict[int, Preparation] = {}
    for size in map(int, sizes.split(",")):
        with TemporaryDirectory() as folder:
            in_a_new_process(
                generate, Path(folder), size, max(1, size // per_user), max(1, size // per_item), parquet_parts
            )
            results[size] = result = in_a_new_process(measure, Path(folder))
        table.add_row(
            f"{size:,}",
            significant(result.seconds),
            significant(result.cpu_seconds),
            significant(result.seconds / size * 1e6),
            f"{result.seconds / result.parsing:.1f} times",
            f"{result.megabytes:,.0f}",
        )
        settings = {
            "users": size // per_user,
            "items": size // per_item,
            "format": "parquet" if parquet_parts else "atomic",
        }
        remember(record, "preparation", result, interactions=size, **settings)
    show(table)
    if plot is not None:
        draw(results, plot)


def generate(folder: Path, size: int, users: int, items: int, parquet_parts: bool = False) -> None:
    """Write `size` random interactions to raw.inter in the folder, or to Parquet parts in its folder raw."""
    random = np.random.default_rng(0)
    up_to = np.cumsum(1 / np.arange(1, items + 1) ** 0.8)  # popularity of the items
    (folder / "raw").mkdir()
    with (folder / "raw.inter").open("wb") as file:
        file.write(b"user_id:token\titem_id:token\ttimestamp:float\n")
        for part, start in enumerate(range(0, size, _AT_ONCE)):
            some = min(_AT_ONCE, size - start)
            columns = {
                "user_id": random.integers(0, users, some),
                "item_id": np.searchsorted(up_to, random.random(some) * up_to[-1]),
                "timestamp": random.integers(1_000_000_000, 1_700_000_000, some),
            }
            if parquet_parts:
                parquet.write_table(pa.table(columns), folder / "raw" / f"part-{part}.parquet")
            else:
                options = arrow_csv.WriteOptions(include_header=False, delimiter="\t")
                arrow_csv.write_csv(pa.table(columns), file, options)


def measure(folder: Path) -> Preparation:
    """Prepare what `generate` wrote into the folder, in this process."""
    in_parts = any((folder / "raw").iterdir())
    file, form = (folder / "raw", "parquet") if in_parts else (folder / "raw.inter", "atomic")
    source = Source(name="generated", folder=folder, file=file, format=form)
    before, started = os.times(), time.perf_counter()
    prepared = prepare(source, DataConfig(user_core=5, item_core=5))
    seconds, after = time.perf_counter() - started, os.times()
    if not prepared.data.n_interactions:
        raise typer.BadParameter("the 5-core is empty: give larger --sizes")
    megabytes, started = peak_megabytes(), time.perf_counter()
    parse(file)
    cpu_seconds = after.user + after.system - before.user - before.system
    return Preparation(seconds, cpu_seconds, time.perf_counter() - started, megabytes)


def parse(file: Path) -> None:
    """Parse a file or a folder of parts with Arrow alone, on one core."""
    if file.is_dir():
        for part in sorted(file.iterdir()):
            parquet.read_table(part, use_threads=False)
        return
    with arrow_csv.open_csv(
        file,
        arrow_csv.ReadOptions(use_threads=False),
        arrow_csv.ParseOptions(delimiter="\t"),
        arrow_csv.ConvertOptions(column_types=dict.fromkeys(("user_id:token", "item_id:token"), pa.string())),
    ) as reader:
        for _ in reader:
            pass


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
