"""TiSASRec's interval terms: projecting queries on the interval table, against one vector per pair."""

from __future__ import annotations

import statistics
import time
from typing import Annotated

import torch
import typer
from einops import einsum, rearrange
from torch import Tensor

from actsr_cli.attention import CalibratedSelfAttention, Relations, allowed_pairs
from benchmarks.options import Threads
from benchmarks.output import new_table, show, significant
from benchmarks.process import in_a_new_process, peak_megabytes

BATCH, WIDTH, HEADS = 32, 64, 2


class VectorsPerPair(Relations):
    """The plain way: interval vectors of shape (batch, queries, keys, hidden), for keys and for values."""

    def scores(self, queries: Tensor) -> Tensor:
        return einsum(queries, self._pairs(self.key_intervals), "b h q d, b h q k d -> b h q k")

    def values(self, attention: Tensor) -> Tensor:
        return einsum(attention, self._pairs(self.value_intervals), "b h q k, b h q k d -> b h q d")

    def _pairs(self, table: Tensor) -> Tensor:
        return rearrange(table[self.intervals], "b q k (h d) -> b h q k d", h=HEADS)


def intervals(
    lengths: Annotated[str, typer.Option(help="History lengths, comma-separated.")] = "50,100,200",
    span: Annotated[int, typer.Option(min=1, help="Largest time interval; the table has one row more.")] = 256,
    repeats: Annotated[int, typer.Option(min=1, help="Number of timed passes.")] = 5,
    threads: Threads = 1,
) -> None:
    """Peak memory and time of one attention layer, forward and backward, in both ways."""
    table = new_table(
        f"One attention of TiSASRec: batch {BATCH}, width {WIDTH}, {HEADS} heads, time_span {span}",
        *("length", "table MB", "per pair MB", "memory ratio", "table ms", "per pair ms", "time ratio"),
    )
    for length in map(int, lengths.split(",")):
        megabytes, milliseconds = zip(
            *(in_a_new_process(measure, way, length, span, repeats, threads) for way in (Relations, VectorsPerPair)),
            strict=True,
        )
        table.add_row(
            str(length),
            *(f"{value:,.0f}" for value in megabytes),
            f"{megabytes[1] / megabytes[0]:.1f}" if megabytes[0] else "",  # 0: no new memory
            *map(significant, milliseconds),
            f"{milliseconds[1] / milliseconds[0]:.1f}",
        )
    show(table)


def measure(way: type[Relations], length: int, span: int, repeats: int, threads: int) -> tuple[float, float]:
    """Increase of the peak memory in megabytes, and median milliseconds per pass."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    attention = CalibratedSelfAttention(WIDTH, HEADS)
    relations = way(
        key_positions=_vectors(length),
        value_positions=_vectors(length),
        key_intervals=_vectors(span + 1),
        value_intervals=_vectors(span + 1),
        intervals=torch.randint(0, span + 1, (BATCH, length, length)),
    )
    hidden = torch.randn(BATCH, length, WIDTH)
    allowed = allowed_pairs(torch.full((BATCH,), length), length, causal=True)
    before = peak_megabytes()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        attention(hidden, allowed, relations=relations).attended.sum().backward()
        seconds.append(time.perf_counter() - started)
    return peak_megabytes() - before, 1000 * statistics.median(seconds)


def _vectors(rows: int) -> Tensor:
    return torch.randn(rows, WIDTH, requires_grad=True)
