"""Compares runs and series, ranked on the same users by the same protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.splits import SplitName
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.evaluation.comparison import Contender, Difference, Slice, differences, slices
from actsr_cli.evaluation.metrics import Measure, per_user
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.experiment.evaluate import Request, judge_run
from actsr_cli.experiment.run import Run
from actsr_cli.experiment.series import Group, find_group


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison.

    Attributes:
        request: what was measured.
        users: number of ranked users.
        contenders: all contenders, the baseline first.
        differences: differences between each contender and the baseline in each measure.
        slices: differences in one measure by history length and by item popularity.
        sliced: the measure of the slices.
    """

    request: Request
    users: int
    contenders: list[Contender]
    differences: list[Difference]
    slices: list[Slice]
    sliced: Measure


def find_groups(runs_dir: Path, names: Sequence[str]) -> list[Group]:
    """Find the runs and series to compare; the first is the baseline.

    Runs with the same name in different folders are numbered: demo/sasrec/a, demo/sasrec/a (2).

    Raises:
        RunError: there are fewer than two, one is given twice, or they were trained on different data.
    """
    if len(names) < 2:
        raise RunError("a comparison needs two runs or series", hint="The first one is the baseline of the others.")
    groups = _told_apart([find_group(runs_dir, name) for name in names])
    first, *others = (run for group in groups for run in group.runs)
    for run in others:
        if run.record.fingerprint != first.record.fingerprint:
            raise RunError(
                f"{run.name} was trained on other data than {first.name} "
                f"(fingerprints {run.record.fingerprint} and {first.record.fingerprint})",
                hint="Metrics on different data cannot be compared.",
            )
    return groups


def _told_apart(groups: Sequence[Group]) -> list[Group]:
    """The groups with unique names.

    Raises:
        RunError: a group is given twice.
    """
    folders: set[tuple[Path, ...]] = set()
    same: Counter[str] = Counter()
    named = []
    for group in groups:
        own = tuple(run.path for run in group.runs)
        if own in folders:
            raise RunError(f"{group.name} is given twice")
        folders.add(own)
        same[group.name] += 1
        number = same[group.name]
        named.append(group if number == 1 else replace(group, name=f"{group.name} ({number})"))
    return named


def common_protocol(groups: Sequence[Group]) -> Protocol:
    """The protocol by which all runs were validated.

    Raises:
        RunError: the runs have different protocols.
    """
    runs = [run for group in groups for run in group.runs]
    protocols = {Protocol.of(run.config.evaluation).key: run for run in runs}
    if len(protocols) > 1:
        said = ", ".join(f"{run.name}: {key}" for key, run in protocols.items())
        raise RunError(f"the runs have different protocols ({said})", hint="Choose one: --seen rank or --seen exclude.")
    return Protocol.of(runs[0].config.evaluation)


def compare(
    groups: Sequence[Group],
    data: SequenceData,
    request: Request,
    sliced: Measure,
    on_run: Callable[[Run], None] | None = None,
) -> Comparison:
    """Evaluate every run on a split, and compare all groups with the first.

    Args:
        groups: the result of `find_groups`.
        data: the data that all runs were trained on, with the same split.
        request: what is measured; it must contain `sliced`.
        sliced: the measure of the slices.
        on_run: called with each run before it is evaluated.

    Raises:
        ConfigError: `sliced` has no value per user.
    """
    if sliced.metric.of_catalogue:
        raise ConfigError(f"{sliced.name} is one number for all users, so it cannot be shown for parts of the users")
    contenders = []
    for group in groups:
        rows: dict[str, list[NDArray[np.float64]]] = {measure.name: [] for measure in request.wanted}
        for run in group.runs:
            if on_run is not None:
                on_run(run)
            judgement, _ = judge_run(run, data, request)
            for measure in request.wanted:
                rows[measure.name].append(measure.of(judgement.judged))
        seeds = tuple(run.config.training.seed for run in group.runs)
        contenders.append(Contender(group.name, {name: np.stack(values) for name, values in rows.items()}, seeds))
    return Comparison(
        request=request,
        users=contenders[0].values[sliced.name].shape[1],
        contenders=contenders,
        differences=differences(contenders, request.wanted),
        slices=_slices(contenders, data, request.split, sliced),
        sliced=sliced,
    )


def _slices(contenders: Sequence[Contender], data: SequenceData, split: SplitName, measure: Measure) -> list[Slice]:
    """Slices by history length and by popularity of the target, each averaged over a user's targets."""
    held_out = data.held_out(split)

    def of_users(quantity: NDArray[np.int64]) -> NDArray[np.int64]:
        return per_user(quantity.astype(np.float64), held_out.users).astype(np.int64)

    return [
        *slices(contenders, measure, "history length", of_users(held_out.lengths)),
        *slices(contenders, measure, "item popularity", of_users(data.item_counts[held_out.targets])),
    ]
