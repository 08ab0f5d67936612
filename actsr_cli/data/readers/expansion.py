"""Tables whose rows hold a list of items each: they become tables with one interaction per row.

RecBole's session files are such tables: `session_id:token item_id_list:token_seq item_id:token`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from actsr_cli.data.readers.columns import FILE_ORDER, Columns
from actsr_cli.data.readers.delimited import Table
from actsr_cli.data.readers.interactions import BadLines, Interactions, find_column
from actsr_cli.data.readers.tables import USUAL_NAMES, Roles, find_roles, read_table
from actsr_cli.errors import DataError
from actsr_cli.words import counted

_SESSION = "session_id"


@dataclass(frozen=True)
class Layout:
    """Where a table has its interactions.

    Attributes:
        roles: the columns of users, items, times and ratings.
        lists: the column with a list of items per row; None: each row is one interaction.
        last: whether the column `roles.item` holds the item that follows the list.
        times: whether the column `roles.timestamp` holds a time for each item of the list.
    """

    roles: Roles
    lists: str | None = None
    last: bool = False
    times: bool = False

    @property
    def used(self) -> list[str]:
        """All columns that are read, without duplicates."""
        return list(dict.fromkeys([*self.roles.used, *([self.lists] if self.lists else [])]))


def find_layout(
    names: Sequence[str], lists: Collection[str], columns: Columns, wanted: Collection[str], path: Path
) -> Layout:
    """Find the columns to read, in tables of interactions and in tables of lists.

    Lists are read if the column of items is a list, or if it has a list beside it: `item_id_list` beside `item_id`.

    Args:
        names: all columns.
        lists: those that hold a list per row.
        columns: names that the user gives.
        wanted: further numeric columns that filters use.
        path: the file, for errors.

    Raises:
        DataError: a column that is given or required does not exist, or holds lists.
    """
    item = columns.item or find_column(names, None, USUAL_NAMES["item"], "item", path)
    item = item or _listed("item", lists)
    before = f"{item}_list"
    if item not in lists and before not in lists:
        if columns.item is None and (other := next((name for name in lists if "item" in name.casefold()), None)):
            raise DataError(
                f"{path} has items in the column '{item}' and lists in the column '{other}'",
                hint=f"Say which to read: --item-column {item}, or --item-column {other}.",
            )
        return _checked(Layout(find_roles(names, columns, wanted, path)), lists, path)
    time = columns.timestamp or find_column(names, None, USUAL_NAMES["timestamp"], "timestamp", path)
    time = time or _listed("timestamp", lists) or FILE_ORDER
    user = columns.user or find_column(names, None, (*USUAL_NAMES["user"], _SESSION), "user", path)
    roles = find_roles(names, replace(columns, user=user, item=item, timestamp=time), wanted, path)
    lone = item in lists
    return _checked(Layout(roles, item if lone else before, not lone, roles.timestamp in lists), lists, path)


def read_layout(table: Table, layout: Layout, path: Path, bad_lines: BadLines) -> Interactions:
    """Convert a table to interactions; a row with a list becomes one interaction per item, in the order of the list.

    In the column of lists, the table has lists, or None for a missing one.

    Raises:
        DataError: it holds no interactions, or a user has several rows of lists.
    """
    if layout.lists is None:
        return read_table(table, layout.roles, path, bad_lines)
    raw = read_table(_expanded(table, layout, path), layout.roles, path, bad_lines)
    return replace(raw, from_lists=True)


def with_words(table: Table, layout: Layout) -> Table:
    """The same table of texts, with lists of words instead of the texts of lists; blanks separate words."""
    of_lists = [layout.lists, layout.roles.timestamp if layout.times else None]
    lists = {
        name: pd.Series([list(filter(None, text.split(" "))) for text in table.frame[name].fillna("")], dtype=object)
        for name in of_lists
        if name is not None
    }
    return replace(table, frame=table.frame.assign(**lists))


def _listed(role: str, lists: Collection[str]) -> str | None:
    """The column of lists that has a usual name: items, item_ids, item_id_list …"""
    names = [f"{role}s", *(f"{name}{end}" for name in USUAL_NAMES[role] for end in ("s", "_list"))]
    return next((name for name in names if name in lists), None)


def _checked(layout: Layout, lists: Collection[str], path: Path) -> Layout:
    """The same layout, if no other column that it uses holds lists."""
    allowed = {layout.lists, layout.roles.timestamp if layout.lists is not None else None}
    if odd := next((name for name in layout.used if name in lists and name not in allowed), None):
        raise DataError(
            f"{path}: the column '{odd}' holds lists, one value is needed",
            hint="Choose another column, such as --rating-column NAME; --timestamp-column none reads no times.",
        )
    return layout


def _expanded(table: Table, layout: Layout, path: Path) -> Table:
    """One row per item; rows without a user or an item stay, so that they are reported."""
    roles, lists = layout.roles, str(layout.lists)
    frame = table.frame.reset_index(drop=True)
    sequences = [list(each) if isinstance(each, list | np.ndarray) else [] for each in frame[lists]]
    if layout.last:
        last = frame[roles.item].fillna("")
        sequences = [[*each, item] if item else [] for each, item in zip(sequences, last, strict=True)]
    malformed = list(table.malformed)
    exploded = [roles.item]
    kept = np.ones(len(frame), dtype=bool)
    if layout.times:
        exploded.append(str(roles.timestamp))
        times = [len(each) if isinstance(each, list | np.ndarray) else 0 for each in frame[roles.timestamp]]
        for row, (items, n_times) in enumerate(zip(sequences, times, strict=True)):
            if len(items) != n_times:
                kept[row] = False
                malformed.append(
                    (int(table.places()[row]), f"{counted(len(items), 'item')}, but {counted(n_times, 'time')}")
                )
    _check_users(frame[roles.user], table, path)
    if layout.last:
        _check_prefixes(sequences, path)
    frame[roles.item] = pd.Series(sequences, dtype=object)
    frame = frame[kept][roles.used].explode(exploded)
    rows = frame.index.to_numpy()
    return Table(frame.infer_objects(), lambda: table.places()[rows], table.unit, malformed)


def _check_users(users: pd.Series, table: Table, path: Path) -> None:
    """Raise DataError if a user has several rows: they may be sessions, or the same one several times."""
    again = (users.duplicated() & users.notna()).to_numpy()
    if again.any():
        row = int(np.argmax(again))
        raise DataError(
            f"{path}, {table.unit} {table.places()[row]}: '{users.iloc[row]}' has another row of items before",
            hint="Give each user or session one row with all its items. Of rows for each beginning of a session, keep "
            "the longest.",
        )


def _check_prefixes(sequences: Sequence[list[str]], path: Path) -> None:
    """Raise DataError if most rows are the beginning of the next row or of the one before."""
    pairs = list(pairwise(sequences))
    nested = sum(one == other[:-1] or other == one[:-1] for one, other in pairs if one and other)
    if 2 * nested > len(pairs):
        raise DataError(
            f"{path} has a row for each beginning of a session: its items would count several times",
            hint="Keep the longest row of each session.",
        )
