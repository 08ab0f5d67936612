"""Evaluation over the whole catalogue: time against the bound of its matrix products, and peak memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from actsr_cli.config import EvaluationConfig, RunConfig
from actsr_cli.evaluation.judging import configured_measures, judge
from actsr_cli.evaluation.protocol import Protocol, Seen
from actsr_cli.evaluation.ranker import Ranker
from benchmarks.beauty import ITEMS, USERS, beauty, generated, items_for
from benchmarks.bound import matrix_rate
from benchmarks.models import built
from benchmarks.options import Record, Threads, Users
from benchmarks.output import new_table, remember, show, significant
from benchmarks.process import in_a_new_process, peak_megabytes

_DEFAULTS = EvaluationConfig()


@dataclass(frozen=True)
class Case:
    """A case to evaluate.

    Attributes:
        seen: whether items of the history are ranked.
        users: number of users of generated data; None: Beauty.
        items: number of items of generated data; None: in the same ratio to users as Beauty.
    """

    seen: Seen
    users: int | None = None
    items: int | None = None


@dataclass(frozen=True)
class Ranked:
    """Result of one evaluation.

    Attributes:
        users: number of users.
        items: number of items in the catalogue.
        seconds: time of forward pass, ranks and all metrics.
        bound: seconds that the products with the catalogue take at the rate of a large matrix product.
        megabytes: peak memory of the process.
        own_megabytes: increase of the peak memory by the evaluation.
    """

    users: int
    items: int
    seconds: float
    bound: float
    megabytes: float
    own_megabytes: float


def evaluation(threads: Threads = 2, users: Users = None, record: Record = None) -> None:
    """Evaluate Beauty by both protocols, four times its users, and a million items (not with --users)."""
    table = new_table(
        f"Evaluation of plain SASRec, 2 layers, width 64, all metrics, {threads} threads",
        *("data", "seen", "users", "items", "seconds", "bound s", "peak MB", "increase MB"),
        texts=2,
    )
    for case in cases(users):
        data, ranked = in_a_new_process(measure, case, threads)
        table.add_row(
            data,
            case.seen,
            f"{ranked.users:,}",
            f"{ranked.items:,}",
            significant(ranked.seconds),
            significant(ranked.bound),
            f"{ranked.megabytes:,.0f}",
            f"{ranked.own_megabytes:,.0f}",
        )
        remember(record, "evaluation", ranked, data=data, seen=case.seen, threads=threads)
    show(table)


def cases(users: int | None) -> list[Case]:
    """The cases to evaluate; small generated data if `users` is given."""
    if users is not None:
        return [Case("rank", users), Case("exclude", users), Case("rank", 4 * users, items_for(users))]
    return [
        Case("rank"),
        Case("exclude"),
        Case("rank", USERS, ITEMS),
        Case("rank", 4 * USERS, ITEMS),
        Case("rank", 2_000, 1_000_000),
    ]


def measure(case: Case, threads: int) -> tuple[str, Ranked]:
    """Evaluate a case in this process; returns the name of the data and the result."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    data = generated(case.users, case.items) if case.users and case.items else beauty(case.users)
    n_items = case.items or data.n_items
    model = built(RunConfig(), n_items).eval()
    cpu = torch.device("cpu")
    rate = matrix_rate(cpu, torch.float32)
    before, started = peak_megabytes(), time.perf_counter()
    ranker = Ranker(model, device=cpu, protocol=Protocol(case.seen), batch_size=_DEFAULTS.batch_size)
    found = judge(ranker, data, "test", configured_measures(_DEFAULTS))
    seconds = time.perf_counter() - started
    products = len(found.judged.ranking.histories) * n_items * model.item_vectors().shape[1]
    bound = products / max(rate, matrix_rate(cpu, torch.float32))
    return data.name, Ranked(data.n_users, n_items, seconds, bound, peak_megabytes(), peak_megabytes() - before)
