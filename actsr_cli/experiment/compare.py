"""Runs and series side by side: ranked over the same users, by the same protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actsr_cli.data.sequences import HeldOut, SequenceData, Split
from actsr_cli.errors import RunError
from actsr_cli.evaluation.comparison import Contender, Difference, Slice, differences, slices
from actsr_cli.evaluation.ranking import Seen
from actsr_cli.experiment.evaluate import rank_run
from actsr_cli.experiment.run import Run
from actsr_cli.experiment.series import Group, find_group


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        split: which held-out items were ranked.
        seen: by which protocol.
        contenders: the baseline first.
        differences: each contender against the baseline, by each metric.
        slices: the same by one metric for users of short and long histories, of popular and rare items.
        sliced: that metric.
    """

    split: Split
    seen: Seen
    contenders: list[Contender]
    differences: list[Difference]
    slices: list[Slice]
    sliced: str


def find_groups(runs_dir: Path, names: Sequence[str]) -> list[Group]:
    """What is to be compared; the first is the baseline.

    Raises:
        RunError: there are fewer than two, one is named twice, or they were trained on different data.
    """
    if len(names) < 2:
        raise RunError("a comparison needs two runs or series", hint="The first is what the others are compared with.")
    groups = [find_group(runs_dir, name) for name in names]
    for index, group in enumerate(groups):
        if group.name in {other.name for other in groups[:index]}:
            raise RunError(f"{group.name} is named twice")
    first, *others = (run for group in groups for run in group.runs)
    for run in others:
        if run.record.fingerprint != first.record.fingerprint:
            raise RunError(
                f"{run.name} was trained on other data than {first.name} "
                f"(fingerprints {run.record.fingerprint} and {first.record.fingerprint})",
                hint="Metrics on different data cannot be compared.",
            )
    return groups


def common_protocol(groups: Sequence[Group]) -> Seen:
    """The protocol that all runs were validated by.

    Raises:
        RunError: they have different ones.
    """
    protocols = {run.config.evaluation.seen: run for group in groups for run in group.runs}
    if len(protocols) > 1:
        said = ", ".join(f"{run.name}: {seen}" for seen, run in protocols.items())
        raise RunError(f"the runs have different protocols ({said})", hint="Choose one: --seen rank or --seen exclude.")
    return next(iter(protocols))


def compare(
    groups: Sequence[Group],
    data: SequenceData,
    *,
    split: Split,
    seen: Seen,
    metrics: Sequence[str],
    sliced: str,
    device: str = "auto",
    on_run: Callable[[Run], None] | None = None,
) -> Comparison:
    """Rank the split by every run, and compare all groups with the first.

    Args:
        groups: what `find_groups` returns.
        data: the data that all were trained on.
        split: `valid` or `test`.
        seen: rank the items of a user's own history, or exclude them.
        metrics: such as hit@10, or `rank`.
        sliced: the metric that is shown for parts of the users.
        device: where to score, as in `training.device`.
        on_run: hears which run is ranked next.
    """
    contenders = []
    for group in groups:
        ranks = []
        for run in group.runs:
            if on_run is not None:
                on_run(run)
            batch_size = run.config.evaluation.batch_size
            ranked, _ = rank_run(run, data, split=split, seen=seen, batch_size=batch_size, device=device)
            ranks.append(ranked.ranks)
        seeds = tuple(run.config.training.seed for run in group.runs)
        contenders.append(Contender(group.name, np.stack(ranks), seeds))
    return Comparison(
        split,
        seen,
        contenders,
        differences(contenders, metrics),
        _slices(contenders, data, data.held_out(split), sliced),
        sliced,
    )


def _slices(contenders: Sequence[Contender], data: SequenceData, held_out: HeldOut, metric: str) -> list[Slice]:
    items, _ = data.training_part()
    popularity = np.bincount(items, minlength=data.n_items + 1)[held_out.targets]
    return [
        *slices(contenders, metric, "history length", held_out.ends - held_out.starts),
        *slices(contenders, metric, "item popularity", popularity),
    ]
