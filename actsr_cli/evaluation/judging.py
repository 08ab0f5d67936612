"""Evaluates a scorer on a split: its ranking of every target, and the measures of that ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from actsr_cli.config import EvaluationConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.splits import SplitName
from actsr_cli.distributed import ALONE, Workers
from actsr_cli.errors import ConfigError, DataError
from actsr_cli.evaluation.metrics import Catalogue, Judged, Measure, list_length, measures, parse_measure, summarize
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.evaluation.ranker import Ranker, Scorer


@dataclass(frozen=True)
class Judgement:
    """How a scorer ranks the targets of a split.

    Attributes:
        judged: the ranking, and the facts about its items.
        values: each measure by name, the mean over users.
    """

    judged: Judged
    values: dict[str, float]


@dataclass(frozen=True)
class SplitFacts:
    """What a split contains, and what it leaves out.

    Attributes:
        targets: number of items to predict.
        users: number of users with a target.
        users_without_history: number of users with items after the cut and none before it; they are left out.
        untrained_targets: number of targets whose item has no training interaction; they are ranked like all others.
    """

    targets: int
    users: int
    users_without_history: int
    untrained_targets: int


def split_facts(data: SequenceData, split: SplitName) -> SplitFacts:
    """Count what a split contains."""
    found = data.targets(split)
    return SplitFacts(
        targets=len(found.places),
        users=len(np.unique(found.users)),
        users_without_history=found.users_without_history,
        untrained_targets=int((data.item_counts[data.items[found.places]] == 0).sum()),
    )


def catalogue_of(data: SequenceData) -> Catalogue:
    """The facts that metrics use about the items of prepared data, from its training part."""
    return Catalogue(data.item_counts, data.categories)


def configured_measures(config: EvaluationConfig, *further: str) -> list[Measure]:
    """The measures of a configuration, and further ones such as the one that a training monitors.

    Raises:
        ConfigError: a metric is unknown.
    """
    wanted = measures(config.metrics, config.k, "evaluation.metrics")
    known = {measure.name for measure in wanted}
    return wanted + [parse_measure(text, "training.monitor") for text in further if text not in known]


def ranker_for(
    model: Scorer,
    data: SequenceData,
    protocol: Protocol,
    *,
    device: torch.device,
    batch_size: int = 256,
    workers: Workers = ALONE,
) -> Ranker:
    """The ranker of prepared data under a protocol; see `Ranker`."""
    counts = data.item_counts if protocol.sampled else None
    return Ranker(model, device=device, protocol=protocol, batch_size=batch_size, item_counts=counts, workers=workers)


def check_measures(wanted: Sequence[Measure], data: SequenceData) -> None:
    """Check that data have what the measures need.

    Raises:
        ConfigError: a measure needs categories of items, and there are none.
    """
    for measure in wanted:
        if "categories" in measure.metric.needs and data.categories is None:
            raise ConfigError(
                f"{measure.name} needs categories of items, and '{data.name}' has none",
                hint="Categories come from a column such as `category` or `genre` of the .item file.",
            )


def judge(
    ranker: Ranker,
    data: SequenceData,
    split: SplitName,
    wanted: Sequence[Measure],
    on_batch: Callable[[int, int], None] | None = None,
) -> Judgement:
    """Rank every target of a split and measure the ranking.

    Args:
        ranker: the ranker to use.
        data: prepared data, split.
        split: `valid` or `test`.
        wanted: the measures to compute.
        on_batch: called with (done, total) targets.

    Raises:
        DataError: no items are held out.
        ConfigError: a measure needs categories of items, and there are none.
        RunError: a score is not a number.
    """
    check_measures(wanted, data)
    held_out = data.held_out(split)
    if not len(held_out):
        raise DataError(nothing_held_out(data))
    ranking = ranker.rank(held_out, top=list_length(wanted), on_batch=on_batch)
    judged = Judged(ranking, catalogue_of(data))
    return Judgement(judged, summarize(judged, wanted))


def nothing_held_out(data: SequenceData) -> str:
    """Why there is nothing to rank, in one line."""
    match data.split.by:
        case "none":
            return f"split.by is none: all of '{data.name}' is training data, and no items are held out"
        case "last":
            return f"'{data.name}' has no user with three or more interactions: there is nothing to evaluate on"
        case _:
            return f"'{data.name}' has no user with a history before the cut and an item after it"
