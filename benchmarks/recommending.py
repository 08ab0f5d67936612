"""Recommending from a file to a file: users per second and memory, beside a straightforward loop."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from actsr_cli.batch import Batch
from actsr_cli.config import RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.models.base import Model
from actsr_cli.packing import Packing
from actsr_cli.recommending.choice import choose
from actsr_cli.recommending.histories import known_histories
from actsr_cli.recommending.reading import read_histories
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.recommending.writing import writing
from benchmarks.beauty import beauty
from benchmarks.models import built
from benchmarks.options import Record, Threads, Users
from benchmarks.output import new_table, remember, show, significant
from benchmarks.process import in_a_new_process, peak_megabytes

_K = 10
_BATCH = 256
_WAYS = ("actsr", "loop over batches", "loop over users")


@dataclass(frozen=True)
class Recommended:
    """Result of one way to recommend.

    Attributes:
        users: number of histories.
        seconds: from the file of histories to the file of lists.
        megabytes: increase of the peak memory.
    """

    users: int
    seconds: float
    megabytes: float


def recommending(
    threads: Threads = 2,
    users: Users = None,
    histories: Annotated[
        int, typer.Option(min=1, help="Number of histories; the loops take at most 20,000.")
    ] = 100_000,
    record: Record = None,
) -> None:
    """Recommend 10 items to each history of a JSON lines file, and write them to Parquet."""
    table = new_table(
        f"Recommending 10 of Beauty's items, plain SASRec, 2 layers, width 64, {threads} threads",
        *("way", "users", "seconds", "users/s", "increase MB"),
        texts=1,
    )
    for way in _WAYS:
        count = histories if way == _WAYS[0] else min(histories, 20_000)
        found = in_a_new_process(measure, way, count, users, threads)
        speed = significant(found.users / found.seconds)
        table.add_row(way, f"{found.users:,}", significant(found.seconds), speed, f"{found.megabytes:,.0f}")
        remember(record, "recommending", found, way=way, threads=threads)
    show(table)


def measure(way: str, count: int, users: int | None, threads: int) -> Recommended:
    """Recommend to generated histories in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    data = beauty(users)
    model = built(RunConfig(), data.n_items).eval()
    vocabulary = Vocabulary.of(data, users=False)
    with tempfile.TemporaryDirectory() as folder:
        file, output = Path(folder) / "histories.jsonl", Path(folder) / "lists.parquet"
        write_histories(file, data, count)
        before, started = peak_megabytes(), time.perf_counter()
        if way == _WAYS[0]:
            stream(file, output, Recommender(model, vocabulary, name="sasrec", device=torch.device("cpu")))
        else:
            loop(file, output, model, vocabulary, _BATCH if way == _WAYS[1] else 1)
        return Recommended(count, time.perf_counter() - started, peak_megabytes() - before)


def write_histories(file: Path, data: SequenceData, count: int) -> None:
    """Write the histories of Beauty's users, over and over, as JSON lines."""
    with file.open("w", encoding="utf-8") as lines:
        for row in range(count):
            user = row % data.n_users
            items = data.items[data.offsets[user] : data.offsets[user + 1]]
            names = [data.item_names[item] for item in items]
            lines.write(json.dumps({"user": str(row), "items": names}) + "\n")


def stream(file: Path, output: Path, recommender: Recommender) -> None:
    """Recommend as `actsr recommend --histories` does."""
    choice = choose(recommender.vocabulary, _K)
    with writing(output, recommender.vocabulary) as write:
        for raw in read_histories(file):
            write(recommender.lists(known_histories(raw, recommender.vocabulary), choice))


def loop(file: Path, output: Path, model: Model, vocabulary: Vocabulary, batch_size: int) -> None:
    """Recommend as a script would: look ids up one by one, and keep all lists."""
    ids = {name: item for item, name in enumerate(vocabulary.item_names)}
    rows = []
    with file.open(encoding="utf-8") as lines, torch.inference_mode():
        while batch := [json.loads(line) for line in islice(lines, batch_size)]:
            histories = [[ids[name] for name in each["items"]] for each in batch]
            latest = [history[-model.max_length :] for history in histories]
            packing = Packing(np.array([len(history) for history in latest]), torch.device("cpu"))
            scores = model.score(Batch(torch.tensor([item for history in latest for item in history]), packing))
            scores[:, 0] = -torch.inf
            for row, history in enumerate(histories):
                scores[row, history] = -torch.inf
            values, items = scores.topk(_K)
            for row, each in enumerate(batch):
                for rank in range(_K):
                    name = vocabulary.item_names[int(items[row, rank])]
                    rows.append((each["user"], rank + 1, name, float(values[row, rank])))
    pd.DataFrame(rows, columns=["user", "rank", "item", "score"]).to_parquet(output)
