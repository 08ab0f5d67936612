"""Recommendations in the terminal: tables, and counts of lists and unknown items."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.text import Text

from actsr_cli import console
from actsr_cli.commands.tables import print_rows
from actsr_cli.errors import DataError
from actsr_cli.words import counted

if TYPE_CHECKING:
    from actsr_cli.recommending.histories import KnownHistories
    from actsr_cli.recommending.recommendations import ItemList, Recommendations

_LATEST = 3
"""Number of items of a history shown above its list."""


def print_lists(name: str, known: KnownHistories, found: Recommendations) -> None:
    """One table per history.

    Args:
        name: name of the run.
        known: the histories.
        found: their lists.
    """
    for row, each in enumerate(found):
        latest = known.histories.items[known.histories.starts[row] : known.histories.ends[row]][-_LATEST:]
        after = ", ".join(found.vocabulary.display_name(int(item)) for item in latest)
        whose = f": user {each.user}" if each.user else ""
        print_list(f"{name}{whose}{f', after {after}' if after else ''}", each)


def print_list(title: str, found: ItemList) -> None:
    """Print a table of items: rank, raw id, title if there is one, score."""
    titled = any(item.title for item in found)
    popular = found.by == "popularity"
    value = "interactions" if popular else "score"
    console.results.print(Text(title, style="bold"), soft_wrap=True)
    if not found:
        console.results.print("no item is left to recommend\n")
        return
    rows = [
        [
            str(place),
            item.item,
            *([item.title] if titled else []),
            f"{item.score:,.0f}" if popular else f"{item.score:#.4g}",
        ]
        for place, item in enumerate(found, start=1)
    ]
    print_rows(("", "item", *(["title"] if titled else []), value), rows, right=("", value))
    console.results.print()


class Tally:
    """Counts lists and unknown items.

    Attributes:
        n_lists: number of lists so far.
    """

    def __init__(self) -> None:
        self.n_lists = 0
        self._n_popular = 0
        self._n_empty = 0
        self._n_unknown = 0
        self._with_unknown = 0
        self._example = ""
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    @property
    def per_second(self) -> float:
        """Lists made per second."""
        return self.n_lists / self.seconds

    def counted(self, found: Recommendations) -> Recommendations:
        """Count lists, and return them."""
        self.n_lists += len(found)
        self._n_popular += int(found.popular.sum())
        self._n_empty += int((found.item_ids[:, 0] == 0).sum())
        self._n_unknown += found.n_unknown
        self._with_unknown += sum(map(bool, found.unknown))
        self._example = self._example or next((ids[0] for ids in found.unknown if ids), "")
        return found

    def check_any(self) -> None:
        """Raise DataError if there was no history."""
        if not self.n_lists:
            raise DataError("there is no history to recommend to")

    def report(self) -> None:
        """Warn about unknown items, histories without a known item, and empty lists."""
        self.check_any()
        if self._n_unknown:
            items, histories = counted(self._n_unknown, "item"), counted(self._with_unknown, "history", "histories")
            console.warn(f"{items} of {histories} unknown to the model and not used, such as '{self._example}'")
        if self._n_popular:
            histories = counted(self._n_popular, "history", "histories")
            console.warn(f"no known item in {histories}: the most popular items are recommended there")
        if self._n_empty:
            histories = counted(self._n_empty, "history", "histories")
            console.warn(f"no item is left to recommend in {histories}; --seen rank keeps the items of a history")
