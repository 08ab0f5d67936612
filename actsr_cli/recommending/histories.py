"""Converts histories of raw item ids in time order to histories that a model reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actsr_cli.data.histories import Histories
from actsr_cli.data.readers.tables import USUAL_NAMES
from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.errors import DataError
from actsr_cli.recommending.values import checked_times, listed, raw_id, raw_ids, seconds

_T = TypeVar("_T")
_LISTS = (list, tuple, np.ndarray, pd.Series)
RawId = str | int
History = Sequence[RawId] | NDArray[Any] | pd.Series
Times = Sequence[float] | Sequence[str] | Sequence[datetime] | NDArray[Any] | pd.Series
ManyHistories = (
    Mapping[str, History]
    | Mapping[int, History]
    | Mapping[RawId, History]
    | Sequence[History]
    | pd.Series
    | pd.DataFrame
)
ManyTimes = Mapping[str, Times] | Mapping[int, Times] | Mapping[RawId, Times] | Sequence[Times] | pd.Series


@dataclass(frozen=True)
class RawHistories:
    """Histories by raw ids.

    Attributes:
        users: a name for each history.
        items: raw item ids of each history, oldest first.
        timestamps: seconds of each item, or None. They never decrease within a history.
        strangers: whether the names are only numbers. Otherwise they are raw ids of users, which the model may know.
    """

    users: Sequence[str]
    items: Sequence[Sequence[str]]
    timestamps: Sequence[NDArray[np.float64]] | None = None
    strangers: bool = False

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class KnownHistories:
    """Histories by item ids, unknown items left out.

    Attributes:
        users: a name for each history.
        histories: the known items of each; may be empty.
        unknown: the raw ids that were left out of each.
    """

    users: Sequence[str]
    histories: Histories
    unknown: Sequence[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.users)

    def part(self, rows: slice) -> KnownHistories:
        """Some consecutive histories."""
        taken = np.arange(*rows.indices(len(self)))
        return KnownHistories(self.users[rows], self.histories.take(taken), self.unknown[rows])


def known_histories(raw: RawHistories, vocabulary: Vocabulary) -> KnownHistories:
    """Histories by the ids of a vocabulary. Items that are not in it are left out and reported as unknown."""
    names = list(chain.from_iterable(raw.items))
    lengths = np.fromiter(map(len, raw.items), dtype=np.int64, count=len(raw))
    rows = np.repeat(np.arange(len(raw)), lengths)
    ids = vocabulary.known_ids(names)
    known = ids > 0
    unknown: list[list[str]] = [[] for _ in range(len(raw))]
    for place in np.flatnonzero(~known).tolist():
        unknown[rows[place]].append(names[place])
    ends = np.cumsum(np.bincount(rows[known], minlength=len(raw)))
    times = None if raw.timestamps is None else np.concatenate([np.zeros(0), *raw.timestamps])[known]
    histories = Histories(
        items=ids[known],
        starts=np.concatenate([[0], ends[:-1]]).astype(np.int64)[: len(raw)],
        ends=ends,
        users=np.full(len(raw), -1) if raw.strangers else vocabulary.known_user_ids(raw.users),
        targets=np.zeros(len(raw), dtype=np.int64),
        timestamps=times,
    )
    return KnownHistories(raw.users, histories, list(map(tuple, unknown)))


def one_history(
    history: History, timestamps: Times | None = None, user: RawId | None = None, *, way: str = ""
) -> RawHistories:
    """A single history. It has no name unless `user` gives one; for `way` see `checked_times`.

    Raises:
        DataError: it is not a sequence of raw ids, or its timestamps do not match it.
    """
    several = isinstance(history, Mapping | pd.DataFrame)
    given = [] if several else _in_order(history, "the history")
    if several or any(isinstance(item, _LISTS) for item in given):
        raise DataError("these are several histories", hint="For several histories call recommend_many.")
    items = raw_ids(given, "the history")
    times = None if timestamps is None else [checked_times(timestamps, len(items), "the history", way)]
    return RawHistories(["" if user is None else raw_id(user, "user")], [items], times, strangers=user is None)


def many_histories(
    histories: ManyHistories,
    timestamps: ManyTimes | None = None,
    *,
    way: str = "",
) -> RawHistories:
    """Several histories.

    Args:
        histories: a mapping or a Series by user; a list of histories, which are named 0, 1, …; or a table with one
            interaction per row and columns for user, item and, optionally, time. Rows of a table are sorted by time.
        timestamps: the time of each item, in the form of `histories`; a table has its own column.
        way: see `checked_times`.

    Raises:
        DataError: a history is not a sequence of raw ids, timestamps do not match, the table lacks a column, or the
            index of a Series only counts.
    """
    if isinstance(histories, pd.DataFrame):
        if timestamps is not None:
            raise DataError("a table has its own column of timestamps: do not give timestamps")
        return table_histories(histories, way)
    by_name = _by_name(histories, "several histories")
    items = [raw_ids(_in_order(history, f"history {name}"), f"history {name}") for name, history in by_name.items()]
    strangers = not isinstance(histories, Mapping | pd.Series)
    if timestamps is None:
        return RawHistories(list(by_name), items, strangers=strangers)
    of_name = _by_name(timestamps, "timestamps of several histories")
    if of_name.keys() != by_name.keys():
        raise DataError(f"{len(of_name)} lists of timestamps do not belong to these {len(items)} histories")
    times = [
        checked_times(of_name[name], len(ids), f"history {name}", way) for name, ids in zip(by_name, items, strict=True)
    ]
    return RawHistories(list(by_name), items, times, strangers)


def _by_name(values: Mapping[Any, _T] | Sequence[_T] | pd.Series, what: str) -> dict[str, _T]:
    """The values by user, or by their number."""
    if isinstance(values, Mapping | pd.Series):
        named = list(values.items())
    else:
        named = list(enumerate(listed(values, what, "lists")))
    if not isinstance(values, Mapping):
        if named and (isinstance(named[0][1], str) or not isinstance(named[0][1], Iterable)):
            raise DataError(f"{what} are a list of lists", hint="For one history call recommend.")
        if isinstance(values, pd.Series) and isinstance(values.index, pd.RangeIndex):
            raise DataError(
                f"{what} are a Series whose index only counts its rows: it names no users",
                hint="Give users as its index, or its .tolist().",
            )
    found = {raw_id(name, "user"): value for name, value in named}
    if len(found) < len(named):
        raise DataError(f"{what} have a user twice, perhaps as a number and as a text with the same digits")
    return found


def _in_order(history: Any, where: str) -> list[Any]:
    """The items of a history, oldest first."""
    if isinstance(history, set | frozenset):
        raise DataError(f"{where} is a set, which has no order: give a list, oldest item first")
    return listed(history, where, "item ids")


def table_histories(table: pd.DataFrame, way: str = "") -> RawHistories:
    """The histories in a table with one interaction per row: users by first appearance, their rows by time.

    For `way` see `checked_times`.

    Raises:
        DataError: a column is missing, or a row has no user, item or time.
    """
    table = table.set_axis(list(map(str, table.columns)), axis=1)
    user, item = (_column(table, role) for role in ("user", "item"))
    time = _found(table, "timestamp")
    codes, users = pd.factorize(np.array(raw_ids(table[user], "the table", "user"), dtype=object))
    times = None if time is None else seconds(table[time], "the table", way)
    rows = rows_of_users(codes, times)
    ids = np.array(raw_ids(table[item], "the table"), dtype=object)
    return RawHistories(
        users=users.tolist(),
        items=[ids[each].tolist() for each in rows],
        timestamps=None if times is None else [times[each] for each in rows],
    )


def rows_of_users(users: NDArray[np.int64], times: NDArray[np.float64] | None) -> list[NDArray[np.int64]]:
    """The rows of each user, by user code from 0, in time order; rows with equal times keep their order."""
    order = np.argsort(users, kind="stable") if times is None else np.lexsort((times, users))
    return np.split(order, np.cumsum(np.bincount(users))[:-1]) if len(users) else []


def _column(table: pd.DataFrame, role: str) -> str:
    """The column of a role, by its usual names."""
    found = _found(table, role)
    if found is None:
        names = ", ".join(map(str, table.columns))
        raise DataError(f"the table has no column for the {role}; it has: {names}", hint=f"Call it {role}_id.")
    if table[found].isna().any():
        raise DataError(f"the table has a row without a value in its column '{found}'")
    return found


def _found(table: pd.DataFrame, role: str) -> str | None:
    """The column with a usual name of a role, or None."""
    found = next((name for name in USUAL_NAMES[role] if name in table), None)
    if found is not None and list(table.columns).count(found) > 1:
        raise DataError(f"the table has several columns '{found}'")
    return found
