"""Lists for several histories at once, each by its own choice of items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from actsr_cli.data.histories import Histories
from actsr_cli.recommending.choice import Choice
from actsr_cli.recommending.histories import KnownHistories
from actsr_cli.recommending.recommendations import ItemList
from actsr_cli.recommending.recommender import Recommender


def mixed_lists(
    recommender: Recommender, known: Sequence[KnownHistories], choices: Sequence[Choice]
) -> list[list[ItemList]]:
    """The lists of some groups of histories in one pass of the model.

    Each group gets the lists that `Recommender.lists` gives it alone.

    Args:
        recommender: the model.
        known: the groups, each with any number of histories.
        choices: the items that the lists of each group may contain.

    Raises:
        RunError: a score is not a number.
    """
    together = joined(known, timed=recommender.model.needs_timestamps)
    owners = np.repeat(np.arange(len(known)), list(map(len, known)))
    found = recommender.lists(together, _common(together.histories, owners, choices, recommender.vocabulary.n_items))
    lists: list[list[ItemList]] = [[] for _ in known]
    for owner, each in zip(owners.tolist(), found, strict=True):
        lists[owner].append(each.first(choices[owner].k))
    return lists


def _common(histories: Histories, owners: NDArray[np.int64], choices: Sequence[Choice], n_items: int) -> Choice:
    """One choice for all histories: the longest k, and for each history its own items if groups differ."""
    k, seen = max(choice.k for choice in choices), choices[0].seen
    alike = all(choice.seen == seen for choice in choices)
    if alike and all(choice.listed is None for choice in choices):
        return Choice(k, seen)
    listed = np.ones((len(owners), n_items + 1), dtype=np.bool_)
    listed[:, 0] = False
    for row, owner in enumerate(owners.tolist()):
        choice = choices[owner]
        if choice.listed is not None:
            listed[row] = choice.listed
        if not alike and choice.seen == "exclude":
            listed[row, histories.items[histories.starts[row] : histories.ends[row]]] = False
    return Choice(k, seen if alike else "rank", listed)


def joined(known: Sequence[KnownHistories], *, timed: bool) -> KnownHistories:
    """Several groups of histories as one, in their order.

    Args:
        known: the groups, at least one.
        timed: keep the times, which all groups with an item have; else there are none.
    """
    parts = [each.histories for each in known]
    befores = np.cumsum([0, *(len(part.items) for part in parts)])
    shifted = [(part.starts + before, part.ends + before) for part, before in zip(parts, befores, strict=False)]
    starts, ends = (np.concatenate(each) for each in zip(*shifted, strict=True))
    times = [np.zeros(len(part.items)) if part.timestamps is None else part.timestamps for part in parts]
    histories = Histories(
        items=np.concatenate([part.items for part in parts]),
        starts=starts,
        ends=ends,
        users=np.concatenate([part.users for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        timestamps=np.concatenate(times) if timed else None,
    )
    users = [user for each in known for user in each.users]
    return KnownHistories(users, histories, [unknown for each in known for unknown in each.unknown])
