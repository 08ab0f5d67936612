"""Whether users come back to items: one learned number that is added to the scores of items of the history."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actsr_cli.batch import PADDING, Batch

_SCALE = 10.0
"""Lets Adam, whose steps are no larger than the learning rate, reach a bonus of -10 in few epochs."""


@dataclass(frozen=True)
class Repeats:
    """The items whose scores get the bonus.

    Attributes:
        items: (rows, any) int64 the items that each row's history holds, each once, padded with 0.
        bonus: () what is added to their scores.
    """

    items: Tensor
    bonus: Tensor

    def added(self, scores: Tensor) -> Tensor:
        """(rows, n_items + 1) scores with the bonus."""
        return scores.scatter_add(1, self.items, (self.bonus * (self.items != PADDING)).to(scores.dtype))

    def of(self, items: Tensor) -> Tensor:
        """What is added to the score of one item of each row, (rows,): the bonus or 0."""
        return self.bonus * (self.items == items.unsqueeze(1)).any(dim=1)

    def of_all(self, items: Tensor) -> Tensor:
        """(rows, items) what is added to the scores of some items, (items,), for every row."""
        seen = torch.zeros(len(self.items), len(items), dtype=torch.bool, device=items.device)
        for column in self.items.unbind(dim=1):
            seen |= column.unsqueeze(1) == items
        return self.bonus * seen


class RepeatBonus(nn.Module, ABC):
    """A bonus on the scores of items that the history holds; negative where users hardly ever take an item twice."""

    def forward(self, batch: Batch, rows: Tensor, n_items: int, *, causal: bool) -> Repeats:
        """The bonus of the items that the rows have seen.

        Args:
            batch: histories.
            rows: (rows,) int64 tokens that predict items.
            n_items: larger ids are no items, but masks.
            causal: a row has seen the items up to itself, otherwise all of its history.
        """
        return Repeats(_seen(batch, rows, n_items, causal=causal), self.bonus)

    def of_histories(self, batch: Batch, n_items: int) -> Repeats:
        """The bonus of the items of each whole history; see `forward`."""
        items = batch.packing.pad(batch.item_ids)
        ordered = items.where(items <= n_items, PADDING).sort(dim=1).values
        repeated = ordered == F.pad(ordered, (1, -1), value=-1)
        return Repeats(ordered.masked_fill(repeated, PADDING), self.bonus)

    @property
    @abstractmethod
    def bonus(self) -> Tensor:
        """() what is added to a score."""


class LearnedBonus(RepeatBonus):
    """A bonus that is learned with the model.

    It answers by one number, for all users and items, what RepeatNet answers by a network (Ren et al., RepeatNet: A
    Repeat Aware Neural Recommendation Machine for Session-Based Recommendation, AAAI 2019).
    """

    def __init__(self) -> None:
        super().__init__()
        self.scaled = nn.Parameter(torch.zeros(()))

    @property
    def bonus(self) -> Tensor:
        return _SCALE * self.scaled


def _seen(batch: Batch, rows: Tensor, n_items: int, *, causal: bool) -> Tensor:
    """(rows, longest) the items of each row's history, each once, padded with 0."""
    packing, items = batch.packing, batch.item_ids
    sequences = packing.sequences[rows]
    tokens = packing.first[sequences].unsqueeze(1) + torch.arange(packing.longest, device=items.device)
    last = rows if causal else packing.last[sequences]
    within = tokens <= last.unsqueeze(1)
    counted = _first_of_its_kind(batch, n_items) & (items <= n_items)
    return torch.where(within, torch.where(counted, items, PADDING)[tokens.clamp_max(packing.n_tokens - 1)], PADDING)


def _first_of_its_kind(batch: Batch, n_items: int) -> Tensor:
    """(tokens,) bool: whether no earlier token of the history holds the same item."""
    keys = batch.packing.sequences * (n_items + 2) + batch.item_ids
    ordered, order = keys.sort(stable=True)
    differs = torch.cat([ordered.new_ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]])
    return torch.empty_like(differs).scatter(0, order, differs)
