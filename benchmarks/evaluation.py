"""Ranking every held-out item over the whole catalogue: time beside its products alone, and what memory grows with."""

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
    """What is ranked.

    Attributes:
        seen: whether items of the history are ranked.
        users: of generated data; None: Beauty.
        items: the catalogue of generated data; None: as many as Beauty has for its users.
    """

    seen: Seen
    users: int | None = None
    items: int | None = None


@dataclass(frozen=True)
class Ranked:
    """One evaluation.

    Attributes:
        users: in the data.
        items: of the catalogue.
        seconds: forward pass, ranks and all metrics.
        bound: seconds that the products with the catalogue take at the rate of a large matrix product.
        megabytes: peak memory of the process.
        own_megabytes: of it, what was not there before the evaluation.
    """

    users: int
    items: int
    seconds: float
    bound: float
    megabytes: float
    own_megabytes: float


def evaluation(threads: Threads = 2, users: Users = None, record: Record = None) -> None:
    """Beauty by both protocols; four times its users; a catalogue of a million items (not with --users)."""
    table = new_table(
        f"Evaluation of plain SASRec, 2 layers, width 64, all metrics, {threads} threads",
        *("data", "seen", "users", "items", "seconds", "bound s", "peak MB", "of it own"),
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
    """What is ranked: small generated data where `users` are given."""
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
    """The name of the data and an evaluation in this process."""
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
