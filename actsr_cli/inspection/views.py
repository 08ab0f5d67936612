"""How a model reads one history: its attention, the target's rank with and without calibration, recommendations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actsr_cli.attention import CalibratedSelfAttention, attending_with
from actsr_cli.batch import PADDING
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.splits import SplitName
from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.errors import DataError, RunError
from actsr_cli.evaluation.ranker import Ranker
from actsr_cli.inspection.answers import (
    PROTOCOL,
    Case,
    Explain,
    answers,
    case_batches,
    recommend,
    split_cases,
)
from actsr_cli.inspection.importance import integrated_gradients
from actsr_cli.inspection.trace import AttentionTrace, trace
from actsr_cli.models.base import EncoderModel, SequentialModel


@dataclass(frozen=True)
class Subject:
    """A history whose attention is shown.

    Attributes:
        label: the user's raw id, or another name.
        case: the whole history and its next item; the target is 0 if that is unknown.
    """

    label: str
    case: Case


@dataclass(frozen=True)
class Explained:
    """Why an item has its score.

    Attributes:
        item: the item.
        importance: per encoded item what it adds to the log-probability, see `integrated_gradients`.
    """

    item: int
    importance: tuple[float, ...]


@dataclass(frozen=True)
class View:
    """How a model reads a history.

    Attributes:
        trace: its attention; a batch of one.
        rank: rank of the target by `PROTOCOL`; None without a target.
        plain_rank: rank of the target if the model uses its plain attention.
        probability: probability of the target.
        recommended: the best items outside the history, and their probabilities.
        explained: the explanation of one score; None for models without gradients at their input.
    """

    trace: AttentionTrace
    rank: float | None
    plain_rank: float | None
    probability: float | None
    recommended: tuple[tuple[int, float], ...]
    explained: Explained | None


def is_calibrated(model: SequentialModel) -> bool:
    """Whether any of the model's attention is calibrated."""
    attentions = [module for module in model.modules() if isinstance(module, CalibratedSelfAttention)]
    return any(each.spatial is not None or each.adversarial is not None for each in attentions)


def rank_text(rank: float) -> str:
    """A rank as text; ties make halves."""
    return f"{rank:,.0f}" if rank == int(rank) else f"{rank:,.1f}"


def view(
    model: SequentialModel,
    case: Case,
    *,
    device: torch.device,
    start: Tensor | None = None,
    explain: Explain = "target",
    n_recommended: int = 5,
) -> View:
    """How a model reads a case.

    Args:
        model: the model, on `device`.
        case: the case.
        device: where the model is.
        start: the start of integrated gradients, see there. None explains nothing.
        explain: the item whose score is explained; without a target, the recommended one.
        n_recommended: length of the list of recommended items.
    """
    ((_, batch, _),) = case_batches([case], model.config.max_length, device)
    traced = trace(model, batch)
    listed = recommend(model, [case], n_recommended, device=device)
    pairs = zip(listed.top_items[0].tolist(), np.exp(listed.top_log_probability[0]).tolist(), strict=True)
    recommended = tuple((item, probability) for item, probability in pairs if item)
    explained = None
    if isinstance(model, EncoderModel) and start is not None:
        best = recommended[0][0] if recommended else PADDING
        explained = _explained(model, case, case.target if explain == "target" and case.target else best, start)
    if not case.target:
        return View(traced, None, None, None, recommended, explained)
    answered = answers(model, [case], device=device)
    with attending_with(model, "plain"):
        plain = answers(model, [case], device=device)
    probability = float(np.exp(answered.log_probability[0]))
    return View(traced, float(answered.rank[0]), float(plain.rank[0]), probability, recommended, explained)


def _explained(model: EncoderModel, case: Case, item: int, start: Tensor) -> Explained | None:
    if item == PADDING:  # the history holds the whole catalogue
        return None
    (importance,) = integrated_gradients(model, [replace(case, target=item).latest(model.config.max_length)], start)
    return Explained(item, tuple(importance[model.unread_items :].tolist()))


def users_called(data: SequenceData, split: SplitName, names: list[str]) -> list[Subject]:
    """The users of a split with some raw ids.

    Raises:
        DataError: a user is unknown, or has no held-out item.
    """
    known = Vocabulary.of(data, users=True)
    users = [known.user_id(name) for name in names]
    rows = first_rows(data, split)
    row_of = dict(zip(data.held_out(split).users[rows].tolist(), rows.tolist(), strict=True))
    for name, user in zip(names, users, strict=True):
        if user not in row_of:
            raise DataError(f"user '{name}' has no held-out item in the {split} split")
    return _subjects(data, split, np.array([row_of[user] for user in users], dtype=np.int64))


def random_users(data: SequenceData, split: SplitName, count: int, seed: int) -> list[Subject]:
    """Users of a split, drawn at random; all of them if there are no more than `count`."""
    return _subjects(data, split, random_rows(data, split, count, seed))


def random_rows(data: SequenceData, split: SplitName, count: int, seed: int) -> NDArray[np.int64]:
    """Some of `first_rows`, drawn at random and sorted; all if there are no more than `count`."""
    rows = first_rows(data, split)
    return np.sort(np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False))


def first_rows(data: SequenceData, split: SplitName) -> NDArray[np.int64]:
    """The row of each user's first target in `data.held_out(split)`: a user is shown, and counted, once."""
    return np.sort(np.unique(data.held_out(split).users, return_index=True)[1])


def moved_users(
    model: SequentialModel,
    data: SequenceData,
    split: SplitName,
    count: int,
    *,
    improved: bool,
    device: torch.device,
    batch_size: int,
) -> list[Subject]:
    """The users whose target's rank the calibration improved, or worsened, by the largest factor.

    There are fewer than `count` if it moved fewer ranks that way.

    Args:
        model: a calibrated model on `device`.
        data: the prepared data.
        split: whose targets.
        count: how many users.
        improved: whether ranks improved; else they worsened.
        device: where the model is.
        batch_size: histories scored at a time.

    Raises:
        RunError: the model is not calibrated, or its calibration moved no rank that way.
    """
    if not is_calibrated(model):
        raise RunError("this attention is not calibrated, so calibration does not change ranks")

    ranker = Ranker(model, device=device, protocol=PROTOCOL, batch_size=batch_size)
    rows = first_rows(data, split)
    held_out = data.held_out(split).take(rows)
    calibrated = ranker.rank(held_out).ranks
    with attending_with(model, "plain"):
        plain = ranker.rank(held_out).ranks
    gain = np.log(plain / calibrated) * (1 if improved else -1)
    order = np.argsort(-gain, kind="stable")[:count]
    moved = order[gain[order] > 0]
    if not len(moved):
        raise RunError(f"calibration {'improved' if improved else 'worsened'} no user's rank")
    return _subjects(data, split, rows[moved])


def raw_history(data: SequenceData, items: Sequence[str], target: str | None = None) -> Subject:
    """A history of raw item ids, oldest first, of an unknown user.

    Raises:
        DataError: an item is unknown, or there is none.
    """
    if not items:
        raise DataError("the history is empty: give at least one item id")
    known = Vocabulary.of(data, users=False)
    following = 0 if target is None else int(known.item_ids([target])[0])
    return Subject("history", Case(known.item_ids(items), following))


def _subjects(data: SequenceData, split: SplitName, rows: NDArray[np.int64]) -> list[Subject]:
    return [Subject(data.user_names[case.user], case) for case in split_cases(data, split, rows)]
