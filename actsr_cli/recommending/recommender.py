"""A trained model that reads raw histories and recommends raw items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np
import pandas as pd
import torch

from actsr_cli.data.histories import Histories
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.errors import DataError, RunError
from actsr_cli.evaluation.ordering import best_items
from actsr_cli.evaluation.protocol import Protocol
from actsr_cli.evaluation.ranker import Ranker
from actsr_cli.models.base import Model
from actsr_cli.pages.tables import table_html
from actsr_cli.recommending.choice import Choice, Seen, check_length, choose, popular, warned
from actsr_cli.recommending.explanation import Explanation, explain
from actsr_cli.recommending.histories import (
    History,
    KnownHistories,
    ManyHistories,
    ManyTimes,
    RawId,
    Times,
    known_histories,
    many_histories,
    one_history,
)
from actsr_cli.recommending.index import SEARCH, ItemIndex
from actsr_cli.recommending.recommendations import ItemList, Recommendations, ScoredItem
from actsr_cli.recommending.values import raw_ids


class Recommender:
    """A trained model with its vocabulary. `actsr.load` makes one.

    Args:
        model: the model, on `device` and in evaluation mode.
        vocabulary: its items, and its users if it learns about users.
        name: name of the run, for messages.
        device: where the model computes.
        batch_size: histories scored at a time; limits memory.
        open_data: opens the data that the model was trained on, for `recommend_users`.
    """

    def __init__(
        self,
        model: Model,
        vocabulary: Vocabulary,
        *,
        name: str,
        device: torch.device,
        batch_size: int = 256,
        open_data: Callable[[], SequenceData] | None = None,
    ) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self.name = name
        self.device = device
        self.batch_size = batch_size
        self.index: ItemIndex | None = None  # see `indexed`
        self._open_data = open_data

    def __repr__(self) -> str:
        return f"Recommender({self.name!r}, {self.vocabulary.n_items:,} items)"

    def _repr_html_(self) -> str:
        return table_html(repr(self), self.items().nlargest(5, "count"), notes=["Its most frequent items."])

    def indexed(self, search: int = SEARCH) -> Recommender:
        """The same recommender with an approximate index of item vectors, which finds its lists; see `ItemIndex`."""
        made = copy(self)
        made.index = ItemIndex(self.model, search)
        return made

    def items(self) -> pd.DataFrame:
        """The items that the model knows: raw id, title where known, training interactions."""
        frame = pd.DataFrame({"item": self.vocabulary.item_names, "count": self.vocabulary.counts})
        if self.vocabulary.titles is not None:
            frame.insert(1, "title", self.vocabulary.titles)
        return frame.iloc[1:].reset_index(drop=True)

    def recommend(
        self,
        history: History,
        *,
        k: int = 10,
        timestamps: Times | None = None,
        user: RawId | None = None,
        seen: Seen = "exclude",
        only: Sequence[RawId] | None = None,
        without: Sequence[RawId] = (),
    ) -> ItemList:
        """Recommend the next items of one history.

        An item that the model does not know is not used; the list's `unknown` names it. A history without any known
        item gets the most popular items; the list's `by` says so.

        Args:
            history: raw item ids, oldest first; of any length.
            k: length of the list; it is shorter if fewer items are allowed.
            timestamps: the time of each item, in seconds since 1970 or as ISO dates. TiSASRec needs them.
            user: the raw id of the user, for a model that learns about users.
            seen: `exclude` leaves the items of the history out of the list, `rank` does not.
            only: the items that the list may contain; None allows all.
            without: items that it must not contain.

        Raises:
            DataError: the history is not a sequence of raw ids, or lacks the times that the model reads.
        """
        choice = warned(choose(self.vocabulary, k, seen, only, without))
        known = known_histories(one_history(history, timestamps, user, way=self.vocabulary.times), self.vocabulary)
        return self.lists(known, choice)[0]

    def recommend_many(
        self,
        histories: ManyHistories,
        *,
        k: int = 10,
        timestamps: ManyTimes | None = None,
        seen: Seen = "exclude",
        only: Sequence[RawId] | None = None,
        without: Sequence[RawId] = (),
    ) -> Recommendations:
        """Recommend the next items of several histories; see `recommend`.

        Args:
            histories: a mapping or a Series by user; or a list of histories; or a table with one interaction per row
                and columns `user_id`, `item_id` and, optionally, `timestamp`, by which its rows are sorted.
            k: length of the lists.
            timestamps: the times of each history, in the form of `histories`; a table has its own column.
            seen, only, without: see `recommend`.

        Raises:
            DataError: see `recommend`.
        """
        choice = warned(choose(self.vocabulary, k, seen, only, without))
        return self.lists(
            known_histories(many_histories(histories, timestamps, way=self.vocabulary.times), self.vocabulary), choice
        )

    def recommend_users(
        self,
        users: Sequence[RawId] | None = None,
        *,
        k: int = 10,
        seen: Seen = "exclude",
        only: Sequence[RawId] | None = None,
        without: Sequence[RawId] = (),
    ) -> Recommendations:
        """Recommend the next items to users of the data set, after their whole history; see `recommend`.

        Args:
            users: raw user ids; None takes all.
            k: length of the lists.
            seen, only, without: see `recommend`.

        Raises:
            DataError: a user is unknown.
            RunError: the data set is gone.
        """
        choice = warned(choose(self.vocabulary, k, seen, only, without))
        return self.lists(self.histories_of_users(None if users is None else raw_ids(users, "users", "user")), choice)

    def similar(self, item: RawId, k: int = 10) -> ItemList:
        """The most similar items of an item, by the cosine of item vectors; for item-knn, its neighbours.

        Raises:
            DataError: the item is unknown.
            RunError: the model has no item vectors.
        """
        names = raw_ids([item], "items")
        known = torch.from_numpy(self.vocabulary.item_ids(names)).to(self.device)
        with torch.inference_mode():
            scores = self.model.item_similarities(known).float().clone()
            scores[:, 0] = scores[0, known] = -torch.inf
            items, of_items = best_items(scores, min(check_length(k), self.vocabulary.n_items))
        found = Recommendations(
            self.vocabulary, names, items.cpu().numpy(), of_items.cpu().numpy(), np.zeros(1, dtype=np.bool_), [()]
        )
        return found[0]

    def score(
        self,
        history: History,
        items: Sequence[RawId] | None = None,
        *,
        timestamps: Times | None = None,
        user: RawId | None = None,
    ) -> ItemList:
        """The model's scores of items as the next item of a history.

        Args:
            history: raw item ids, oldest first, at least one of them known.
            items: raw item ids, in the order of the result; None takes the whole catalogue, best first.
            timestamps: see `recommend`.
            user: see `recommend`.

        Raises:
            DataError: an item of `items` is unknown, or no item of the history is known.
        """
        known = self._known(history, timestamps, user)
        whole = self.lists(known, Choice(self.vocabulary.n_items, "rank"))
        if items is None:
            return whole[0]
        names, titles = raw_ids(items, "items"), self.vocabulary.titles
        scores = np.full(self.vocabulary.n_items + 1, -np.inf, dtype=np.float32)  # such an item is in no list
        scores[whole.item_ids[0]] = whole.scores[0]
        chosen = tuple(
            ScoredItem(name, titles[item] if titles else "", float(scores[item]))
            for name, item in zip(names, self.vocabulary.item_ids(names).tolist(), strict=True)
        )
        return ItemList(chosen, known.users[0], unknown=known.unknown[0], ranked=False)

    def explain(
        self,
        history: History,
        item: RawId | None = None,
        *,
        timestamps: Times | None = None,
        user: RawId | None = None,
    ) -> Explanation:
        """What each item of a history contributes to a recommendation.

        Args:
            history: raw item ids, oldest first, at least one of them known.
            item: the recommended item; None takes the first of `recommend`.
            timestamps: see `recommend`.
            user: see `recommend`.

        Raises:
            DataError: the item is unknown, or no item of the history is known.
        """
        known = self._known(history, timestamps, user)
        self.check_times(known.histories)
        if item is None:
            best = self.lists(known, Choice(1, "exclude"))[0]
            if not best:
                raise DataError("the history contains the whole catalogue: give the item to explain")
            item = best[0].item
        target = int(self.vocabulary.item_ids(raw_ids([item], "items"))[0])
        return explain(self.model, self.vocabulary, known, target, self.device)

    def histories_of_users(self, users: Sequence[str] | None = None) -> KnownHistories:
        """The whole histories of users of the data set; None takes all users.

        Raises:
            DataError: a user is unknown.
            RunError: the data set is gone.
        """
        if self._open_data is None:
            raise RunError(f"{self.name} has no path to its data: give histories instead")
        data = self._open_data()
        rows = np.arange(data.n_users)
        if users is not None:
            known = Vocabulary.of(data, users=True)
            rows = np.array([known.user_id(name) for name in users], dtype=np.int64)
        histories = Histories(
            items=data.items,
            starts=data.offsets[rows],
            ends=data.offsets[rows + 1],
            users=rows,
            targets=np.zeros(len(rows), dtype=np.int64),
            timestamps=data.timestamps,
        )
        return KnownHistories(data.user_names if users is None else users, histories, [()] * len(rows))

    def lists(self, known: KnownHistories, choice: Choice) -> Recommendations:
        """The lists of some histories.

        Args:
            known: the histories.
            choice: the items that lists may contain.

        Raises:
            DataError: the model reads times, and the histories have none.
            RunError: a score is not a number.
        """
        self.check_times(known.histories)
        k = min(choice.k, self.vocabulary.n_items)
        filled = known.histories.lengths > 0
        rows = np.flatnonzero(filled)
        items = np.zeros((len(filled), k), dtype=np.int64)
        scores = np.full((len(filled), k), -np.inf, dtype=np.float32)
        protocol, size, listed = Protocol(choice.seen), self.batch_size, choice.of_rows(rows)
        ranker = Ranker(self.model, device=self.device, protocol=protocol, batch_size=size, listed=listed)
        histories = known.histories.take(rows)
        if self.index is None or (listed is not None and listed.ndim == 2):  # an index has one choice for all lists
            ranking = ranker.rank(histories, top=k)
            items[rows], scores[rows] = ranking.top_items, ranking.top_scores
        else:
            items[rows], scores[rows] = self.index.best(ranker, histories, k, choice)
        items[~filled], scores[~filled] = popular(self.vocabulary, k, choice.of_rows(~filled))
        return Recommendations(self.vocabulary, known.users, items, scores, ~filled, known.unknown)

    def check_times(self, histories: Histories) -> None:
        """Raise DataError if the model reads times, and the histories have none."""
        if self.model.needs_timestamps and histories.timestamps is None and histories.lengths.any():
            raise DataError(
                f"{self.name} needs timestamps, and the histories have none",
                hint="Give the time of each item, in seconds since 1970 or as ISO dates.",
            )

    def _known(self, history: History, timestamps: Times | None, user: RawId | None) -> KnownHistories:
        """A single history with at least one known item.

        Raises:
            DataError: no item of the history is known.
        """
        known = known_histories(one_history(history, timestamps, user, way=self.vocabulary.times), self.vocabulary)
        if not known.histories.lengths[0]:
            names = ", ".join(known.unknown[0])
            raise DataError(f"no item of the history is known{': ' if names else ''}{names}")
        return known
