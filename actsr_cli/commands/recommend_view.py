"""Recommendations in the terminal: tables, and counts of lists and unknown items."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from actsr_cli import console
from actsr_cli.errors import DataError

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
    table = Table()
    table.add_column("", justify="right")
    table.add_column("item", overflow="fold")
    if titled:
        table.add_column("title", overflow="fold")
    table.add_column("interactions" if popular else "score", justify="right", no_wrap=True)
    for place, item in enumerate(found, start=1):
        cells = [Text(item.item), *([Text(item.title)] if titled else [])]
        table.add_row(str(place), *cells, f"{item.score:,.0f}" if popular else f"{item.score:#.4g}")
    console.results.print(Text(title, style="bold"), soft_wrap=True)
    console.results.print(table)
    if popular:
        console.results.print("No item of the history is known: these are the most popular items.", style="dim")


class Tally:
    """Counts lists and unknown items.

    Attributes:
        n_lists: number of lists so far.
    """

    def __init__(self) -> None:
        self.n_lists = 0
        self._n_popular = 0
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
        self._n_unknown += found.n_unknown
        self._with_unknown += sum(map(bool, found.unknown))
        self._example = self._example or next((ids[0] for ids in found.unknown if ids), "")
        return found

    def check_any(self) -> None:
        """Raise DataError if there was no history."""
        if not self.n_lists:
            raise DataError("there is no history to recommend to")

    def report(self) -> None:
        """Warn about unknown items, and about histories without a known item."""
        self.check_any()
        if self._n_unknown:
            items = "1 item" if self._n_unknown == 1 else f"{self._n_unknown:,} items"
            histories = "1 history" if self._with_unknown == 1 else f"{self._with_unknown:,} histories"
            console.warn(f"{items} of {histories} not used, as the model does not know them, such as {self._example}")
        if self._n_popular:
            histories = "1 history has" if self._n_popular == 1 else f"{self._n_popular:,} histories have"
            console.warn(f"{histories} no known item: the list holds the most popular items")
