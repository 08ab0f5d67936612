"""Where each user's training part ends, and which items behind it are targets: leave one out, by time, or by files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actsr_cli.config import FileSplit, LastSplit, Moment, NoSplit, SplitConfig, Target, TimeSplit
from actsr_cli.errors import DataError

SplitName = Literal["valid", "test"]
MIN_SPLIT_LENGTH = 3
"""Leave one out: shorter users have nothing left to train on once two items are held out; they only train."""
_VALIDATION, _TEST = 1, 2


@dataclass(frozen=True)
class Bounds:
    """Where the parts of each user begin, as places in the flat array of items.

    A user's training part ends where validation begins, and validation ends where test begins.

    Attributes:
        valid: (users,) int64.
        test: (users,) int64.
    """

    valid: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """The items of a split that are to be predicted.

    Attributes:
        users: (targets,) int64 user of each.
        places: (targets,) int64 places in the flat array of items; all before it is the user's history.
        users_without_history: users with items behind the cut and none before it, who are left out.
    """

    users: NDArray[np.int64]
    places: NDArray[np.int64]
    users_without_history: int


def check_split(
    split: SplitConfig, name: str, timestamps: NDArray[np.float64] | None, parts: NDArray[np.uint8] | None
) -> None:
    """Raise where data cannot be split this way.

    Raises:
        DataError: a split by time lacks times, a split by files lacks files, or data came split and are to be split
            another way.
    """
    if isinstance(split, FileSplit) and parts is None:
        raise DataError(
            f"'{name}' did not come split in files: split.by files needs {name}.train.inter, .valid.inter, .test.inter",
            hint="Choose another split: --set split=last or --set split=time.",
        )
    if isinstance(split, LastSplit | TimeSplit) and parts is not None:
        raise DataError(f"'{name}' came split in files, and split.by is {split.by}", hint="Give --set split=files.")
    if isinstance(split, TimeSplit) and timestamps is None:
        raise DataError(
            f"'{name}' has no timestamps: it cannot be split by time", hint="Leave one out: --set split=last."
        )


def bounds_of(
    split: SplitConfig,
    offsets: NDArray[np.int64],
    timestamps: NDArray[np.float64] | None,
    parts: NDArray[np.uint8] | None,
) -> Bounds:
    """The bounds of each user's parts, of data that passed `check_split`.

    Args:
        split: how to split.
        offsets: (users + 1,) where each user's items begin; each user's are in time order (by files: part by part).
        timestamps: (interactions,) seconds.
        parts: (interactions,) 0 training, 1 validation, 2 test.

    Raises:
        DataError: the two moments of a split by time leave nothing to train on, to validate with or to test on.
    """
    starts, ends = offsets[:-1], offsets[1:]
    if isinstance(split, NoSplit):
        return Bounds(ends, ends)
    if isinstance(split, FileSplit) and parts is not None:
        return Bounds(starts + _count(parts < _VALIDATION, offsets), starts + _count(parts < _TEST, offsets))
    if isinstance(split, TimeSplit) and timestamps is not None:
        first, second = moments(split, timestamps)
        return Bounds(starts + _count(timestamps < first, offsets), starts + _count(timestamps < second, offsets))
    long_enough = ends - starts >= MIN_SPLIT_LENGTH
    return Bounds(ends - 2 * long_enough, ends - long_enough)


def moments(split: TimeSplit, timestamps: NDArray[np.float64]) -> tuple[float, float]:
    """First moment of validation and of test, in seconds.

    Raises:
        DataError: they do not cut the log into three parts.
    """
    ordered = np.sort(timestamps)
    first = _moment(split.valid_from, ordered)
    second = _moment(split.test_from, ordered)
    if not ordered[0] < first < second <= ordered[-1]:
        raise DataError(
            f"split.valid_from {split.valid_from} and split.test_from {split.test_from} do not cut the log into three "
            f"parts: it goes from {_written(ordered[0])} to {_written(ordered[-1])}, validation would begin at "
            f"{_written(first)}, test at {_written(second)}",
            hint="Give two moments inside it, the earlier one first.",
        )
    return first, second


def targets_of(split: SplitConfig, bounds: Bounds, offsets: NDArray[np.int64], name: SplitName) -> Targets:
    """The targets of validation or test.

    Args:
        split: how the data are split; its `target` says which of a user's items behind the cut are targets.
        bounds: of its parts.
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
    """(users,) how many of each user's interactions are marked."""
    total = np.concatenate([[0], np.cumsum(marks)])
    counts: NDArray[np.int64] = (total[offsets[1:]] - total[offsets[:-1]]).astype(np.int64)
    return counts


def _moment(moment: Moment, ordered: NDArray[np.float64]) -> float:
    """The seconds of a moment; a share of the interactions stands for the time of the first one behind it."""
    if isinstance(moment, str):
        date = datetime.fromisoformat(moment)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    return float(ordered[int(moment * len(ordered))]) if moment < 1 else float(moment)


def _written(seconds: float) -> str:
    """A moment for people."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # no seconds since 1970
        return f"{seconds:g}"
