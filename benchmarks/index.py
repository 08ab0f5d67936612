"""Lists by an approximate index of item vectors, beside the exact ranking: recall, speed, and time to build."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from actsr_cli.config import RunConfig
from actsr_cli.data.histories import Histories
from actsr_cli.data.sequences import SequenceData
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.evaluation.ranker import Ranker
from actsr_cli.experiment.train import batches_for, target_counts
from actsr_cli.models.base import SequentialModel
from actsr_cli.recommending.choice import Choice
from actsr_cli.recommending.index import ItemIndex
from actsr_cli.training.losses import build_loss
from actsr_cli.training.trainer import Hooks, Trainer
from benchmarks.beauty import generated
from benchmarks.models import built, configured
from benchmarks.options import Record, Threads
from benchmarks.output import new_table, remember, show, significant
from benchmarks.process import in_a_new_process, peak_megabytes

_K = 10
_OF_A_CLUSTER = 100
_ITEMS_PER_USER = 5
"""Of the catalogue, in the data that a model is trained on."""


@dataclass(frozen=True)
class Found:
    """Lists of one way.

    Attributes:
        recall: mean share of the exact list that is in the list.
        users: lists per second.
        build: seconds to build the index; 0 for the exact ranking.
        megabytes: increase of the peak memory by it.
        exact: share of the lists that were ranked exactly.
    """

    recall: float
    users: float
    build: float
    megabytes: float
    exact: float


def index(
    items: Annotated[str, typer.Option(help="Numbers of items, comma-separated.")] = "10000,100000,1000000",
    trained: Annotated[str, typer.Option(help="Numbers of items of trained models.")] = "10000,100000",
    searches: Annotated[str, typer.Option(help="Widths of the search, comma-separated.")] = "32,128,512",
    users: Annotated[int, typer.Option(min=1, help="Number of histories.")] = 2_000,
    threads: Threads = 2,
    record: Record = None,
) -> None:
    """Recall@10 of lists by an index against the exact lists, and users per second of both, from histories to lists."""
    table = new_table(
        f"Lists of 10, SASRec, width 64, {threads} threads, generated data",
        *("vectors", "items", "way", "recall@10", "users/s", "build s", "increase MB", "ranked exactly"),
        texts=3,
    )
    cases = [("clustered", int(count)) for count in items.split(",") if count]
    cases += [("trained", int(count)) for count in trained.split(",") if count]
    widths = [int(width) for width in searches.split(",")]
    for vectors, count in cases:
        found = in_a_new_process(measure, vectors, count, widths, users, threads)
        for way, each in zip(["exact", *(f"search {width}" for width in widths)], found, strict=True):
            table.add_row(
                *(vectors, f"{count:,}", way, f"{each.recall:.4f}", significant(each.users)),
                *(significant(each.build), f"{each.megabytes:,.0f}", f"{each.exact:.1%}"),
            )
            remember(record, "index", each, vectors=vectors, items=count, way=way, threads=threads)
    show(table)


def measure(vectors: str, count: int, widths: list[int], users: int, threads: int) -> list[Found]:
    """Make the lists in this process, exactly and with each width."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    trained = vectors == "trained"
    data = generated(max(users, count // _ITEMS_PER_USER) if trained else users, count)
    model = trained_model(data) if trained else clustered(count)
    histories = chosen(data, users)
    ranker = Ranker(model, device=torch.device("cpu"), protocol=Protocol("exclude"))
    ranker.rank(histories.take(np.arange(8)), top=_K)
    before = peak_megabytes()
    started = time.perf_counter()
    expected = ranker.rank(histories, top=_K).top_items
    speed = len(histories) / (time.perf_counter() - started)
    found = [Found(1.0, speed, 0.0, peak_megabytes() - before, 1.0)]
    before, started = peak_megabytes(), time.perf_counter()
    made = ItemIndex(model)
    build, memory = time.perf_counter() - started, peak_megabytes() - before
    for width in widths:
        made.search, made.lists, made.exact = width, 0, 0
        started = time.perf_counter()
        items, _ = made.best(ranker, histories, _K, Choice(_K, "exclude"))
        speed = len(histories) / (time.perf_counter() - started)
        found.append(Found(recall(items, expected), speed, build, memory, made.exact / made.lists))
    return found


def recall(items: NDArray[np.int64], expected: NDArray[np.int64]) -> float:
    """Mean share of the expected items that are in the lists."""
    return float(np.mean([np.isin(right, mine).mean() for mine, right in zip(items, expected, strict=True)]))


def clustered(count: int) -> SequentialModel:
    """A model with item vectors of different lengths in clusters of a hundred, with which its histories are read."""
    model = built(RunConfig(), count).eval()
    random = torch.Generator().manual_seed(0)
    weight = model.item_vectors()
    centres = torch.randn(max(2, count // _OF_A_CLUSTER), weight.shape[1], generator=random)
    of_items = torch.randint(len(centres), (len(weight),), generator=random)
    lengths = torch.exp(0.3 * torch.randn(len(weight), 1, generator=random))
    noise = 0.7 * torch.randn(weight.shape, generator=random)
    with torch.no_grad():
        weight.copy_(0.3 * lengths * (centres[of_items] + noise))
    return model


def trained_model(data: SequenceData) -> SequentialModel:
    """A model after an epoch of sampled softmax."""
    settings = {"loss.name": "sampled", "loss.negatives": 256, "training.item_updates": "touched"}
    config = configured("sasrec", {**settings, "training.threads": torch.get_num_threads()})
    model, device = built(config, data.n_items), torch.device("cpu")
    one_epoch = config.training.model_copy(update={"stop_after": 1})
    loss = build_loss(config.loss, data.n_items, target_counts(data, model.causal, device))
    Trainer(model, one_epoch, batches_for(config, data, model.causal, device), loss, Hooks()).fit()
    return model.eval()


def chosen(data: SequenceData, users: int) -> Histories:
    """The whole histories of the first users."""
    starts = data.offsets[:-1][:users]
    return Histories(
        items=data.items,
        starts=starts,
        ends=data.offsets[1:][:users],
        users=np.arange(len(starts)),
        targets=np.zeros(len(starts), dtype=np.int64),
        timestamps=None,
    )
