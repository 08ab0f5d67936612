"""Recommended lists of items: raw ids, titles and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import Literal, NamedTuple, overload

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.words import counted

By = Literal["model", "popularity"]
_SHOWN = 5
"""Number of lists that a notebook shows."""


class ScoredItem(NamedTuple):
    """An item of a list: its raw id, its title ("" if unknown) and its score."""

    item: str
    title: str
    score: float


@dataclass(frozen=True, repr=False)
class ItemList(Sequence[ScoredItem]):
    """Items in order, the best first.

    Attributes:
        items: the items.
        user: the name of the history behind the list; "" without one.
        by: `model`, or `popularity` for a history without any known item.
        unknown: raw ids of the history that the model does not know and did not use.
        ranked: whether the items are in the order of their scores, best first.
    """

    items: tuple[ScoredItem, ...]
    user: str = ""
    by: By = "model"
    unknown: tuple[str, ...] = ()
    ranked: bool = True

    @overload
    def __getitem__(self, place: int) -> ScoredItem: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[ScoredItem, ...]: ...
    def __getitem__(self, place: int | slice) -> ScoredItem | tuple[ScoredItem, ...]:
        return self.items[place]

    def __len__(self) -> int:
        return len(self.items)

    def first(self, k: int) -> ItemList:
        """The list with its first k items only."""
        return self if len(self.items) <= k else replace(self, items=self.items[:k])

    @property
    def ids(self) -> list[str]:
        """The raw ids."""
        return [item.item for item in self.items]

    def to_frame(self) -> pd.DataFrame:
        """A table with the columns rank (if the items are ranked), item, title and score."""
        frame = pd.DataFrame(self.items, columns=list(ScoredItem._fields))
        if self.ranked:
            frame.insert(0, "rank", np.arange(1, len(frame) + 1))
        return frame

    @property
    def notes(self) -> list[str]:
        """Notes about this list, in sentences."""
        notes = []
        if self.by == "popularity":
            notes.append("The history has no known item: these are the most popular items.")
        if self.unknown:
            notes.append(f"Unknown and not used: {', '.join(self.unknown)}.")
        return notes

    def __repr__(self) -> str:
        return "\n".join([self.to_frame().to_string(index=False), *self.notes])

    def _repr_html_(self) -> str:
        frame: str = self.to_frame().to_html(index=False)
        return frame + "".join(f"<p>{escape(note)}</p>" for note in self.notes)


@dataclass(frozen=True, repr=False)
class Recommendations(Sequence[ItemList]):
    """A list of items for each history.

    Attributes:
        vocabulary: the items.
        users: the name of each history.
        item_ids: (histories, k) int64 item ids, the best first, 0 where a list is shorter.
        scores: (histories, k) float32.
        popular: (histories,) bool, lists of popular items, for histories without any known item. Their scores are
            numbers of training interactions.
        unknown: raw ids of each history that the model does not know and did not use.
    """

    vocabulary: Vocabulary
    users: Sequence[str]
    item_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    popular: NDArray[np.bool_]
    unknown: Sequence[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.item_ids)

    @overload
    def __getitem__(self, place: int) -> ItemList: ...
    @overload
    def __getitem__(self, place: slice) -> list[ItemList]: ...
    def __getitem__(self, place: int | slice) -> ItemList | list[ItemList]:
        if isinstance(place, slice):
            return [self[row] for row in range(*place.indices(len(self)))]
        names, titles = self.vocabulary.item_names, self.vocabulary.titles
        ids = self.item_ids[place]
        ids = ids[ids > 0].tolist()
        scores = self.scores[place][: len(ids)].tolist()
        return ItemList(
            items=tuple(
                ScoredItem(names[item], titles[item] if titles else "", score)
                for item, score in zip(ids, scores, strict=True)
            ),
            user=self.users[place],
            by="popularity" if self.popular[place] else "model",
            unknown=self.unknown[place],
        )

    def __iter__(self) -> Iterator[ItemList]:
        return (self[row] for row in range(len(self)))

    @cached_property
    def n_unknown(self) -> int:
        """Number of unknown items in all histories."""
        return sum(map(len, self.unknown))

    def to_arrow(self) -> pa.Table:
        """One row per listed item: user, rank, item, title (if items have titles), score, by."""
        listed = self.item_ids > 0
        rows, places = np.nonzero(listed)
        items = pa.array(self.item_ids[listed])
        columns = {
            "user": pa.array(self.users, type=pa.string()).take(pa.array(rows)),
            "rank": pa.array(places + 1, type=pa.int32()),
            "item": self.vocabulary.arrow_names.take(items),
            "title": None if self.vocabulary.arrow_titles is None else self.vocabulary.arrow_titles.take(items),
            "score": pa.array(self.scores[listed]),
            "by": pa.array(np.where(self.popular, "popularity", "model")[rows], type=pa.string()),
        }
        return pa.table({name: column for name, column in columns.items() if column is not None})

    def to_frame(self) -> pd.DataFrame:
        """The lists as a pandas table."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def __repr__(self) -> str:
        shown = [f"{each.user}\n{each!r}" for each in self[:_SHOWN]]
        return "\n\n".join([*shown, self._counted])

    def _repr_html_(self) -> str:
        shown = "".join(f"<h4>{escape(each.user)}</h4>{each._repr_html_()}" for each in self[:_SHOWN])
        return f"{shown}<p>{escape(self._counted)}</p>"

    @property
    def _counted(self) -> str:
        counts = counted(len(self), "list")
        if len(self) > _SHOWN:
            counts += f", the first {_SHOWN} shown"
        if self.popular.any():
            counts += f"; {int(self.popular.sum()):,} of popular items, for histories without any known item"
        if self.n_unknown:
            counts += f"; {self.n_unknown:,} unknown items not used"
        return f"{counts}."


def no_recommendations(vocabulary: Vocabulary) -> Recommendations:
    """Empty recommendations."""
    nothing = np.zeros((0, 1), dtype=np.int64)
    return Recommendations(vocabulary, [], nothing, nothing.astype(np.float32), np.zeros(0, dtype=np.bool_), [])
