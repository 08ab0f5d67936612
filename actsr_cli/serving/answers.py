"""Answers of a recommender to requests: from what was asked to JSON. They are computed in the thread of the model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow.compute as arrow

from actsr_cli.data.histories import Histories
from actsr_cli.errors import ActsrError
from actsr_cli.recommending.choice import Choice, choose
from actsr_cli.recommending.explanation import GRADIENTS, LEFT_OUT
from actsr_cli.recommending.histories import KnownHistories, known_histories, one_history
from actsr_cli.recommending.mixed import joined, mixed_lists
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.recommending.writing import as_dict
from actsr_cli.serving.refusal import RefusalError
from actsr_cli.serving.schema import AnyHistory, ExplainRequest, ForMany, ForOne, History

_ATTENTION = ("calibrated", "adversarial", "spatial", "plain")
"""The stages of the attention, the last one first: a model without a calibrator has no stage of its own for it."""
_Ready = tuple[int, KnownHistories, Choice]


def recommendations(recommender: Recommender, asked: Sequence[ForOne | ForMany]) -> list[bytes | Exception]:
    """The answer to each request, computed in one pass of the model; a refused request gets its refusal."""
    answers: list[bytes | Exception] = [b""] * len(asked)
    ready: list[_Ready] = []
    for place, each in enumerate(asked):
        try:
            ready.append((place, *_prepared(recommender, each)))
        except RefusalError as refusal:
            answers[place] = refusal
    if ready:
        places, known, choices = zip(*ready, strict=True)
        lists = mixed_lists(recommender, known, choices)
        for place, choice, found in zip(places, choices, lists, strict=True):
            answers[place] = _json(
                run=recommender.name, unknown_candidates=list(choice.unknown), lists=list(map(as_dict, found))
            )
    return answers


def similar(recommender: Recommender, item: str, k: int) -> bytes:
    """The most similar items of an item.

    Raises:
        RefusalError: the item is unknown, or the model has no item vectors.
    """
    _check_known(recommender, item, "path.item")
    with _refusals("path.item"):
        found = as_dict(recommender.similar(item, k))
    return _json(run=recommender.name, item=item, items=found["items"])


def explanation(recommender: Recommender, asked: ExplainRequest) -> bytes:
    """What each item of a history contributes to a recommendation.

    Raises:
        RefusalError: the item is unknown, or no item of the history is known.
    """
    if asked.item is not None:
        _check_known(recommender, str(asked.item), "body.item")
    history = _as_object(asked.history)
    with _refusals("body.history"):
        found = recommender.explain(
            history.items,
            asked.item,
            timestamps=history.timestamps,  # type: ignore[arg-type]  # it is checked that they are of one kind
            user=history.user,
        )
    if not math.isfinite(found.target.score):
        raise RefusalError(
            422, "the model never recommends this item", "body.item", "Leave the item out, or take another."
        )
    attention = next((found.importance[stage] for stage in _ATTENTION if stage in found.importance), None)
    columns = {"attention": attention, "contribution": found.importance.get(LEFT_OUT)}
    columns["gradients"] = found.importance.get(GRADIENTS)
    return _json(
        run=recommender.name,
        target=found.target._asdict(),
        rank=found.rank,
        probability=found.probability,
        unknown=list(found.unknown),
        items=[
            {
                "item": item,
                "title": title,
                **{name: None if values is None else float(values[place]) for name, values in columns.items()},
            }
            for place, (item, title) in enumerate(zip(found.items, found.titles, strict=True))
        ],
    )


def search(recommender: Recommender, query: str, limit: int) -> bytes:
    """The most popular items whose title or raw id contains a text, in any case; without a text, of all items."""
    vocabulary = recommender.vocabulary
    matches = np.ones(vocabulary.n_items + 1, dtype=np.bool_)
    if query:
        texts = [each for each in (vocabulary.arrow_names, vocabulary.arrow_titles) if each is not None]
        contain = [
            arrow.match_substring(each, query, ignore_case=True).to_numpy(zero_copy_only=False) for each in texts
        ]
        matches = np.logical_or.reduce(contain)
    matches[0] = False
    items = np.flatnonzero(matches)
    first = vocabulary.known_ids([query])
    order = np.lexsort((-vocabulary.counts[items], items != first))[:limit]
    titles = vocabulary.titles
    found = [
        {
            "item": vocabulary.item_names[item],
            "title": titles[item] if titles else "",
            "count": int(vocabulary.counts[item]),
        }
        for item in items[order].tolist()
    ]
    return _json(run=recommender.name, matches=len(items), items=found)


def try_out(recommender: Recommender) -> None:
    """Recommend once: a model that cannot is found out before anybody asks it, and the next call is faster.

    Raises:
        RunError: a score is not a number.
    """
    history = Histories.of([np.ones(1, dtype=np.int64)], timestamps=[np.zeros(1)])
    recommender.lists(KnownHistories([""], history, [()]), Choice(1, "rank"))


def _prepared(recommender: Recommender, asked: ForOne | ForMany) -> tuple[KnownHistories, Choice]:
    """The histories and the choice of a request.

    Raises:
        RefusalError: a history is not acceptable, or no item is left to recommend.
    """
    vocabulary = recommender.vocabulary
    one = isinstance(asked, ForOne)
    given = [asked.history] if isinstance(asked, ForOne) else asked.histories
    known: list[KnownHistories] = []
    for number, each in enumerate(map(_as_object, given)):
        with _refusals("body.history" if one else f"body.histories.{number}"):
            raw = one_history(each.items, each.timestamps, each.user, way=vocabulary.times)  # type: ignore[arg-type]
            known.append(known_histories(raw, vocabulary))
            recommender.check_times(known[-1].histories)
    with _refusals("body"):
        choice = choose(vocabulary, asked.k, asked.seen, asked.only, asked.without)
    return joined(known, timed=recommender.model.needs_timestamps), choice


def _as_object(given: AnyHistory) -> History:
    return History.model_construct(items=given) if isinstance(given, list) else given


def _check_known(recommender: Recommender, item: str, where: str) -> None:
    if not recommender.vocabulary.known_ids([item])[0]:
        raise RefusalError(404, "the model does not know this item", where, "GET /items?query=… finds items.")


@contextmanager
def _refusals(where: str) -> Iterator[None]:
    """Turn errors of the library into refusals of a part of the request."""
    try:
        yield
    except ActsrError as error:
        raise RefusalError.of(error, where) from error


def _json(**values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
