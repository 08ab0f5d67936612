"""The raw ids behind a model's items and users, so that the model works without its data.

FOLDER/
    items.parquet       per item id from 0 (padding): raw id, training interactions, title and categories where known
    users.parquet       per user id from 0: raw id; only if the model learns about users
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from actsr_cli.data.names import lists_of_texts, texts
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import DataError
from actsr_cli.files import replacing
from actsr_cli.sealed import check_files, checksums
from actsr_cli.words import shortened

_ITEMS, _USERS = "items.parquet", "users.parquet"
_TIMES = "times"
"""Name of the metadata of `items.parquet` that hold `Vocabulary.times`."""
_COMPARED = 20_000
"""Largest number of names that an unknown name is compared with."""


@dataclass(frozen=True)
class Vocabulary:
    """The items of a model, and its users if it learns about users.

    Attributes:
        item_names: the raw id of each item; index 0 is padding and the empty string.
        counts: (n_items + 1,) int64, training interactions of each item.
        titles: a title for each item id (empty where unknown), or None.
        categories: the categories of each item id (none where unknown), or None.
        user_names: the raw id of each user, or None if the model does not learn about users.
        times: how the times of the data were written, see `readers.times`; empty if unknown or without times.
    """

    item_names: tuple[str, ...]
    counts: NDArray[np.int64]
    titles: tuple[str, ...] | None = None
    categories: tuple[tuple[str, ...], ...] | None = None
    user_names: tuple[str, ...] | None = None
    times: str = ""

    @classmethod
    def of(cls, data: SequenceData, *, users: bool) -> Vocabulary:
        """The vocabulary of some data; it has users if the model learns about users."""
        return cls(
            item_names=data.item_names,
            counts=data.item_counts,
            titles=data.titles,
            categories=data.categories,
            user_names=data.user_names if users else None,
            times=data.times,
        )

    @property
    def n_items(self) -> int:
        """Items of the catalogue, padding not counted."""
        return len(self.item_names) - 1

    def display_name(self, item: int) -> str:
        """The title of an item, or its raw id if it has no title."""
        title = "" if self.titles is None else self.titles[item]
        return title or self.item_names[item]

    def display_name_of(self, name: str) -> str:
        """The title of a raw id, or the raw id itself if it has no title."""
        return self.display_name(int(self.item_ids([name])[0]))

    def known_ids(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The item ids of some raw ids; 0 for an unknown one."""
        ids = self._ids
        return np.fromiter((ids.get(name, 0) for name in names), dtype=np.int64, count=len(names))

    def item_ids(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The item ids of some raw ids.

        Raises:
            DataError: an item is unknown.
        """
        found = self.known_ids(names)
        if not found.all():
            raise self._unknown(names[int(np.argmin(found != 0))], "item", self.item_names[1:])
        return found

    def user_id(self, name: str) -> int:
        """The user id of a raw id.

        Raises:
            DataError: the user is unknown, or the vocabulary has no users.
        """
        if self.user_names is None:
            raise DataError("this model does not learn about users")
        user = self._user_ids.get(name)
        if user is None:
            raise self._unknown(name, "user", self.user_names)
        return user

    def known_user_ids(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The user ids of some raw ids; -1 for an unknown one."""
        ids = self._user_ids
        return np.fromiter((ids.get(name, -1) for name in names), dtype=np.int64, count=len(names))

    def save(self, folder: Path) -> dict[str, str]:
        """Write the vocabulary into a folder.

        Returns:
            The checksums of its files by name.
        """
        items = pd.DataFrame({"id": pd.Series(self.item_names, dtype="str"), "count": self.counts})
        items.attrs[_TIMES] = self.times
        if self.titles is not None:
            items["title"] = pd.Series(self.titles, dtype="str")
        if self.categories is not None:
            items["categories"] = [list(each) for each in self.categories]
        tables = {_ITEMS: items}
        if self.user_names is not None:
            tables[_USERS] = pd.DataFrame({"id": self.user_names}, dtype="str")
        for name, table in tables.items():
            with replacing(folder / name) as partial:
                table.to_parquet(partial)
        return checksums(folder / name for name in tables)

    @classmethod
    def load(cls, folder: Path, files: Mapping[str, str] | None = None) -> Vocabulary:
        """The vocabulary that `save` wrote into a folder.

        Args:
            folder: where it is.
            files: the checksums that `save` returned; None: not known, so not checked.

        Raises:
            DataError: its files are missing or damaged.
        """
        has_users = (folder / _USERS).exists() if files is None else _USERS in files
        try:
            check_files(folder, files or {})
            items = parquet.read_table(folder / _ITEMS)
            users = parquet.read_table(folder / _USERS) if has_users else None
            found = cls(
                item_names=texts(items, "id"),
                counts=items["count"].to_numpy().astype(np.int64, casting="safe"),
                titles=texts(items, "title") if "title" in items.column_names else None,
                categories=lists_of_texts(items, "categories") if "categories" in items.column_names else None,
                user_names=None if users is None else texts(users, "id"),
                times=_times_of(items),
            )
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged: {_line(error)}"
            raise DataError(f"the vocabulary in {folder} {reason}") from error
        if not found.item_names or found.item_names[0] != "" or (found.counts < 0).any():
            raise DataError(f"the vocabulary in {folder} is damaged: item 0 is not padding, or a count is below 0")
        return found

    @cached_property
    def arrow_names(self) -> pa.StringArray:
        """(n_items + 1,) raw ids of the items."""
        return pa.array(self.item_names, type=pa.string())

    @cached_property
    def arrow_titles(self) -> pa.StringArray | None:
        """(n_items + 1,) titles of the items, or None."""
        return None if self.titles is None else pa.array(self.titles, type=pa.string())

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {name: item for item, name in enumerate(self.item_names) if item}

    @cached_property
    def _user_ids(self) -> dict[str, int]:
        return {name: user for user, name in enumerate(self.user_names or ())}

    @staticmethod
    def _unknown(name: str, kind: str, names: tuple[str, ...]) -> DataError:
        """The error for an unknown raw id, with the nearest known ones."""
        begin_alike = [known for known in names if known[:2] == name[:2]] if len(names) > _COMPARED else names
        close = get_close_matches(name, begin_alike[:_COMPARED], n=3)
        said = f"did you mean {' or '.join(repr(each) for each in close)}?" if close else ""
        return DataError(
            f"unknown {kind} '{name}'" + (f"; {said}" if said else ""),
            hint=f"Known {kind}s look like {', '.join(names[:3])}. Preparation may have filtered rare {kind}s out.",
        )


def _times_of(items: pa.Table) -> str:
    """How the times of the data were written; pandas stores the attributes of a table as JSON."""
    attributes = json.loads((items.schema.metadata or {}).get(b"PANDAS_ATTRS", b"{}"))
    return str(attributes.get(_TIMES, ""))


def _line(error: Exception) -> str:
    return shortened(" ".join(str(error).split()), 300)
