"""What each item of a history contributes to a recommendation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from actsr_cli.attention import CalibratedSelfAttention
from actsr_cli.data.histories import Histories
from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.inspection.answers import Case, answers, case_batches
from actsr_cli.inspection.importance import by_attention, integrated_gradients, leave_one_out, mean_input
from actsr_cli.inspection.trace import AttentionTrace, trace
from actsr_cli.models.base import EncoderModel, Model, SequentialModel
from actsr_cli.models.ensemble import Ensemble
from actsr_cli.pages.tables import table_html
from actsr_cli.recommending.histories import KnownHistories
from actsr_cli.recommending.recommendations import ScoredItem

LEFT_OUT, GRADIENTS = "left out", "integrated gradients"


@dataclass(frozen=True, repr=False)
class Explanation:
    """What each item of a history contributes to a recommendation.

    Attributes:
        target: the recommended item; its score is its log-probability among all items.
        rank: rank of the target among all items, from 1.
        items: raw ids of the history's items that the model reads, oldest first.
        titles: titles of these items; "" if unknown.
        importance: one value per item under the name of each measure. `left out`: by how much the target's
            log-probability falls without the item. `integrated gradients`: the item's share in the target's
            log-probability, against the mean item of the history (Sundararajan et al., ICML 2017). The others: the last
            layer's attention at each stage, mean over heads; `1 - mask` is what the adversarial mask points at.
        trace: every stage of the attention of every layer; None for a model without attention.
        unknown: raw ids of the history that the model does not know and did not use.
    """

    target: ScoredItem
    rank: float
    items: tuple[str, ...]
    titles: tuple[str, ...]
    importance: dict[str, NDArray[np.float64]]
    trace: AttentionTrace | None
    unknown: tuple[str, ...] = ()

    @property
    def probability(self) -> float:
        """The probability of the target, by the softmax over all items."""
        return float(np.exp(self.target.score))

    def to_frame(self) -> pd.DataFrame:
        """One row per item of the history: item, title, and a column for each measure."""
        return pd.DataFrame({"item": self.items, "title": self.titles, **self.importance})

    @property
    def _headline(self) -> str:
        rank = f"{self.rank:,.0f}" if self.rank == int(self.rank) else f"{self.rank:,.1f}"
        return f"{self.target.title or self.target.item}: rank {rank}, probability {self.probability:.2%}"

    def __repr__(self) -> str:
        return f"{self._headline}\n{self.to_frame().to_string(index=False, float_format='{:.3f}'.format)}"

    def _repr_html_(self) -> str:
        attention = [name for name in self.importance if name not in (LEFT_OUT, GRADIENTS)]
        notes = [f"Unknown and not used: {', '.join(self.unknown)}."] if self.unknown else []
        return table_html(self._headline, self.to_frame(), attention, notes)


def explain(
    model: Model, vocabulary: Vocabulary, known: KnownHistories, target: int, device: torch.device
) -> Explanation:
    """Explain a recommendation for the first of some histories.

    Args:
        model: the model, on `device`.
        vocabulary: its items.
        known: a history with at least one item; the latest `max_length` items are read.
        target: id of the recommended item.
        device: where the model is.
    """
    case = _case(known.histories, target).latest(model.max_length)
    whole = answers(model, [case], device=device)
    importance: dict[str, NDArray[np.float64]] = {}
    if len(case.items) > 1:
        importance[LEFT_OUT] = leave_one_out(model, [case], whole, device).log_probability[0]
    if isinstance(model, EncoderModel) and len(case.items) > 1:
        importance[GRADIENTS] = integrated_gradients(model, [case], mean_input(model, [case], device))[0]
    traced = None
    if isinstance(model, SequentialModel) and _has_attention(model):
        attention = by_attention(model, [case], device)
        importance |= {name: values[0] for name, values in attention.items() if not name.endswith("rollout")}
        ((_, batch, _),) = case_batches([case], model.max_length, device)
        traced = trace(model, batch)
    names, titles = vocabulary.item_names, vocabulary.titles
    return Explanation(
        target=ScoredItem(names[target], titles[target] if titles else "", float(whole.log_probability[0])),
        rank=float(whole.rank[0]),
        items=tuple(names[item] for item in case.items),
        titles=tuple(titles[item] if titles else "" for item in case.items),
        importance=importance,
        trace=traced,
        unknown=known.unknown[0],
    )


def _case(histories: Histories, target: int) -> Case:
    place = slice(histories.starts[0], histories.ends[0])
    times = None if histories.timestamps is None else histories.timestamps[place]
    case = Case(histories.items[place].astype(np.int64), target, user=int(histories.users[0]))
    return replace(case, times=times)


def _has_attention(model: SequentialModel) -> bool:
    """Whether the model has an attention of its own; those of an ensemble's models explain only their own scores."""
    layers = (module for module in model.modules() if isinstance(module, CalibratedSelfAttention))
    return not isinstance(model, Ensemble) and any(layers)
