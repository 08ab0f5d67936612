"""The choice of items in recommendations: how many, which ones, and whether items of the history are allowed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.errors import ConfigError, DataError
from actsr_cli.evaluation.ordering import best_items
from actsr_cli.recommending.histories import RawId
from actsr_cli.recommending.values import raw_ids
from actsr_cli.words import counted

Seen = Literal["rank", "exclude"]


@dataclass(frozen=True)
class Choice:
    """The items that lists may contain.

    Attributes:
        k: length of the lists.
        seen: `exclude` leaves the items of a history out of its list, `rank` does not.
        listed: (n_items + 1,) bool, the items that lists may contain, or (histories, n_items + 1), those of each list;
            None allows all.
        unknown: raw ids among the chosen candidates that the model does not know.
    """

    k: int
    seen: Seen
    listed: NDArray[np.bool_] | None = None
    unknown: tuple[str, ...] = ()

    def of_rows(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """`listed` for some of the histories."""
        return self.listed if self.listed is None or self.listed.ndim == 1 else self.listed[rows]


def choose(
    vocabulary: Vocabulary,
    k: int,
    seen: Seen = "exclude",
    only: Sequence[RawId] | None = None,
    without: Sequence[RawId] = (),
) -> Choice:
    """The items that lists may contain, chosen by raw ids.

    Args:
        vocabulary: the items that the model knows.
        k: length of the lists.
        seen: see `Choice`.
        only: the items that lists may contain; None allows all.
        without: items that lists must not contain.

    Raises:
        ConfigError: k is not a whole number of at least 1, or `seen` is invalid.
        DataError: no item is left to list.
    """
    if seen not in ("rank", "exclude"):
        raise ConfigError(f"seen must be rank or exclude, not {seen!r}")
    only_names = None if only is None else raw_ids(only, "`only`")
    without_names = raw_ids(without, "`without`")
    if only_names is None and not without_names:
        return Choice(check_length(k), seen)
    listed = np.full(vocabulary.n_items + 1, only_names is None)
    unknown: list[str] = []
    for names, allowed in ((only_names or [], True), (without_names, False)):
        found = vocabulary.known_ids(names)
        listed[found] = allowed
        unknown += [name for name, item in zip(names, found, strict=True) if not item]
    listed[0] = False
    if not listed.any():
        none_known = only_names is not None and not vocabulary.known_ids(only_names).any()
        reason = "the model knows none of `only`" if none_known else "`without` excludes all that are allowed"
        raise DataError(f"no item is left to recommend: {reason}")
    return Choice(check_length(k), seen, listed, tuple(unknown))


def check_length(k: int) -> int:
    """The length of a list, checked.

    Raises:
        ConfigError: it is not a whole number of at least 1.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ConfigError(f"k must be a whole number of at least 1, not {k!r}")
    return int(k)


def popular(
    vocabulary: Vocabulary, k: int, listed: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(lists, k) the items with the most training interactions, and these numbers; (1, k) for a single `listed`."""
    counts = torch.from_numpy(vocabulary.counts.astype(np.float32))
    counts[0] = -torch.inf
    if listed is not None:
        counts = counts.masked_fill(torch.from_numpy(~listed), -torch.inf)
    items, of_items = best_items(counts.view(-1, len(vocabulary.counts)), k)
    return items.numpy(), of_items.numpy()


def warned(choice: Choice) -> Choice:
    """The choice, after a warning about candidates that the model does not know."""
    if choice.unknown:
        shown = ", ".join(choice.unknown[:3])
        number = counted(len(choice.unknown), "item")
        message = f"{number} of `only` and `without` unknown to the model and not used, such as {shown}"
        warnings.warn(message, stacklevel=3)
    return choice
