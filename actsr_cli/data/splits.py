"""Splits: where each user's parts begin and which items are targets. Leave-one-out, by time, or by files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actsr_cli.config import FileSplit, LastSplit, Moment, NoSplit, SplitConfig, Target, TimeSplit
from actsr_cli.data.intervals import start_of
from actsr_cli.errors import DataError

SplitName = Literal["valid", "test"]
MIN_SPLIT_LENGTH = 3
"""Leave-one-out needs this many items, because two are held out. Users with fewer items are only for training."""
_VALIDATION, _TEST = 1, 2


@dataclass(frozen=True)
class Bounds:
    """Where the parts of each user begin, as indices into the flat array of items.

    A user's training part ends where validation begins, and validation ends where test begins.

    Attributes:
        valid: (users,) int64.
        test: (users,) int64.
    """

    valid: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """The targets of a split: the items to be predicted.

    Attributes:
        users: (targets,) int64 user of each target.
        places: (targets,) int64 index into the flat array of items; the user's items before it are the history.
        users_without_history: number of users left out because they have no items before the start of the part.
    """

    users: NDArray[np.int64]
    places: NDArray[np.int64]
    users_without_history: int


def check_split(
    split: SplitConfig, name: str, timestamps: NDArray[np.float64] | None, parts: NDArray[np.uint8] | None
) -> None:
    """Check that data can be split this way.

    Raises:
        DataError: a split by time has no timestamps, a split by files has no files, or data that are split into files
            have another split.
    """
    if isinstance(split, FileSplit) and parts is None:
        raise DataError(
            f"'{name}' is not split into files: split.by files needs {name}.train.inter, .valid.inter, .test.inter",
            hint="Choose another split: --set split=last or --set split=time.",
        )
    if isinstance(split, LastSplit | TimeSplit) and parts is not None:
        raise DataError(f"'{name}' is split into files, but split.by is {split.by}", hint="Give --set split=files.")
    if isinstance(split, TimeSplit) and timestamps is None:
        raise DataError(
            f"'{name}' has no timestamps: it cannot be split by time", hint="Use leave-one-out: --set split=last."
        )


def bounds_of(
    split: SplitConfig,
    offsets: NDArray[np.int64],
    timestamps: NDArray[np.float64] | None,
    parts: NDArray[np.uint8] | None,
    times: str,
) -> Bounds:
    """The bounds of each user's parts; the data must have passed `check_split`.

    Args:
        split: how to split.
        offsets: (users + 1,) where each user's items begin; they are in order of time (by files: of part, then time).
        timestamps: (interactions,) seconds.
        parts: (interactions,) 0 training, 1 validation, 2 test.
        times: how the times were written, see `readers.times`.

    Raises:
        DataError: a split by time leaves no interactions for training, validation or test.
    """
    starts, ends = offsets[:-1], offsets[1:]
    if isinstance(split, NoSplit):
        return Bounds(ends, ends)
    if isinstance(split, FileSplit) and parts is not None:
        return Bounds(starts + _count(parts < _VALIDATION, offsets), starts + _count(parts < _TEST, offsets))
    if isinstance(split, TimeSplit) and timestamps is not None:
        first, second = moments(split, timestamps, times)
        return Bounds(starts + _count(timestamps < first, offsets), starts + _count(timestamps < second, offsets))
    long_enough = ends - starts >= MIN_SPLIT_LENGTH
    return Bounds(ends - 2 * long_enough, ends - long_enough)


def moments(split: TimeSplit, timestamps: NDArray[np.float64], times: str) -> tuple[float, float]:
    """Start of validation and of test, in seconds; numbers have the unit in which the times were written.

    Raises:
        DataError: they do not fit the times, or do not cut the log into three parts.
    """
    ordered = np.sort(timestamps)
    first = _moment("split.valid_from", split.valid_from, ordered, times)
    second = _moment("split.test_from", split.test_from, ordered, times)
    if not ordered[0] < first < second <= ordered[-1]:
        raise DataError(
            f"split.valid_from {split.valid_from} and split.test_from {split.test_from} do not cut the log into three "
            f"parts: it goes from {_written(ordered[0])} to {_written(ordered[-1])}, validation would begin at "
            f"{_written(first)}, test at {_written(second)}",
            hint="Give two points in time inside the log, the earlier one first.",
        )
    return first, second


def targets_of(split: SplitConfig, bounds: Bounds, offsets: NDArray[np.int64], name: SplitName) -> Targets:
    """The targets of validation or test.

    Args:
        split: how the data are split; its `target` says which of a user's items in the part are targets.
        bounds: the bounds of its parts.
        offsets: (users + 1,) where each user's items begin.
        name: `valid` or `test`.
    """
    begin, end = (bounds.valid, bounds.test) if name == "valid" else (bounds.test, offsets[1:])
    present = end > begin
    users = np.flatnonzero(present & (begin > offsets[:-1]))
    left_out = int(present.sum()) - len(users)
    chosen = split if isinstance(split, TimeSplit | FileSplit) else None
    target: Target = chosen.target if chosen is not None else "last"
    first, counts = begin[users], end[users] - begin[users]
    if target == "all":
        rows = np.repeat(np.arange(len(users)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return Targets(users[rows], first[rows] + within, left_out)
    if target == "first":
        return Targets(users, first, left_out)
    if target == "random":
        drawn = np.random.default_rng(chosen.seed if chosen is not None else 0).integers(0, counts)
        return Targets(users, first + drawn, left_out)
    return Targets(users, end[users] - 1, left_out)


def _count(marks: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """(users,) number of each user's marked interactions."""
    total = np.concatenate([[0], np.cumsum(marks)])
    counts: NDArray[np.int64] = (total[offsets[1:]] - total[offsets[:-1]]).astype(np.int64)
    return counts


def _moment(what: str, moment: Moment, ordered: NDArray[np.float64], times: str) -> float:
    """A point in time in seconds; a share means the time of the first interaction after that share."""
    if not isinstance(moment, str) and moment < 1:
        return float(ordered[int(round(moment * len(ordered), 9))])  # 0.29 * 100 is 28.999… in floating point
    return start_of(what, moment, times, float(ordered[0]))


def _written(seconds: float) -> str:
    """A point in time as a readable text."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # not a valid number of seconds since 1970
        return f"{seconds:g}"
