"""Batches: what they hold, how long they wait, and that each request in one gets the answer that it gets alone."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shelves import ALL, N_ITEMS, names, shelf, times_of

from actsr_cli.errors import DataError, RunError
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.serving import answers
from actsr_cli.serving.batching import Batcher
from actsr_cli.serving.limits import Limits
from actsr_cli.serving.refusal import RefusalError
from actsr_cli.serving.schema import ExplainRequest, ForMany, ForOne

items = st.lists(st.integers(1, N_ITEMS + 2), max_size=9).map(names)
"""Two of the items are unknown to the model."""
choices = st.fixed_dictionaries(
    {
        "k": st.integers(1, 12),
        "seen": st.sampled_from(["rank", "exclude"]),
        "only": st.none() | st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=4).map(names),
        "without": st.lists(st.integers(1, N_ITEMS), max_size=4).map(names),
    }
)
requests = st.lists(st.tuples(st.lists(items, min_size=1, max_size=3), choices), min_size=1, max_size=6)


def timed(recommender: Recommender, history: Sequence[str]) -> Any:
    """A history as a request has it, with times if the model reads them."""
    if not recommender.model.needs_timestamps:
        return list(history)
    return {"items": list(history), "timestamps": times_of(range(len(history)))}


def check_answers(recommender: Recommender, asked: Sequence[tuple[list[list[str]], dict[str, Any]]]) -> None:
    """Each request of a batch has the lists of `Recommender.recommend`, or its error."""
    batch = [
        ForMany.model_validate({"histories": [timed(recommender, each) for each in histories], **choice})
        for histories, choice in asked
    ]
    for answer, (histories, choice) in zip(answers.recommendations(recommender, batch), asked, strict=True):
        try:
            alone = [
                recommender.recommend(
                    each,
                    timestamps=times_of(range(len(each))) if recommender.model.needs_timestamps else None,
                    **choice,
                )
                for each in histories
            ]
        except DataError as error:
            assert isinstance(answer, RefusalError) and (answer.status, answer.what) == (422, error.message)
            continue
        assert isinstance(answer, bytes)
        told = json.loads(answer)
        assert told["run"] == recommender.name
        for found, wanted in zip(told["lists"], alone, strict=True):
            assert [item["item"] for item in found["items"]] == wanted.ids
            assert [item["score"] for item in found["items"]] == pytest.approx(
                [item.score for item in wanted], abs=1e-5
            )
            assert (found["by"], found["unknown"]) == (wanted.by, list(wanted.unknown))


@given(asked=requests)
@settings(max_examples=25)
def test_a_batch_of_different_choices_has_the_answers_of_each_alone(
    asked: list[tuple[list[list[str]], dict[str, Any]]],
) -> None:
    check_answers(shelf("sasrec", "full"), asked)


@pytest.mark.parametrize(("name", "calibration"), ALL)
def test_so_it_is_for_every_model(name: str, calibration: str) -> None:
    asked: list[tuple[list[list[str]], dict[str, Any]]] = [
        ([["i1", "i2"], []], {"k": 9}),
        ([["i3", "i9", "i3"]], {"k": 2, "seen": "rank"}),
        ([["zz"], ["i5"]], {"k": 4, "only": ["i1", "i4", "i5", "i8"]}),
        ([["i5"]], {"k": 3, "without": ["i4"], "seen": "rank"}),
        ([["i5"]], {"only": ["i1"], "without": ["i1"]}),
    ]
    check_answers(shelf(name, calibration), asked)


def test_candidates_that_are_unknown_are_told() -> None:
    asked = ForOne.model_validate({"history": ["i1"], "only": ["i2", "q"], "without": ["r"]})
    [answer] = answers.recommendations(shelf(), [asked])
    assert isinstance(answer, bytes) and json.loads(answer)["unknown_candidates"] == ["q", "r"]


def test_a_history_without_times_spoils_no_other() -> None:
    recommender = shelf("tisasrec")
    asked: list[ForOne | ForMany] = [
        ForMany.model_validate({"histories": [timed(recommender, ["i1", "i2"]), ["i1"]]}),
        ForOne.model_validate({"history": timed(recommender, ["i1", "i2"])}),
        ForOne.model_validate({"history": ["unknown"]}),
    ]
    first, second, third = answers.recommendations(recommender, asked)
    assert isinstance(first, RefusalError) and first.where == "body.histories.1" and "needs timestamps" in first.what
    assert isinstance(second, bytes) and json.loads(second)["lists"][0]["by"] == "model"
    assert isinstance(third, bytes) and json.loads(third)["lists"][0]["by"] == "popularity"


def test_users_and_unknown_users() -> None:
    recommender = shelf("sse-pt")
    asked = [{"items": ["i1"], "user": user} for user in ("2", 3, "nobody", None)]
    [answer] = answers.recommendations(recommender, [ForMany.model_validate({"histories": asked, "k": 3})])
    assert isinstance(answer, bytes)
    for found, user in zip(json.loads(answer)["lists"], ("2", 3, "nobody", None), strict=True):
        wanted = recommender.recommend(["i1"], user=user, k=3)
        assert ([each["item"] for each in found["items"]], found["user"]) == (wanted.ids, wanted.user)


def test_an_explanation_is_that_of_the_recommender() -> None:
    recommender = shelf("sasrec", "full", titles=True)
    wanted = recommender.explain(["i1", "i3", "i2"], "i5")
    asked = ExplainRequest.model_validate({"history": ["i1", "q", "i3", "i2"], "item": "i5"})
    told = json.loads(answers.explanation(recommender, asked))
    assert (told["rank"], told["unknown"], told["target"]["title"]) == (wanted.rank, ["q"], "Title <b>5</b>")
    for place, each in enumerate(told["items"]):
        assert each["item"] == wanted.items[place]
        assert each["attention"] == pytest.approx(wanted.importance["calibrated"][place])
        assert each["contribution"] == pytest.approx(wanted.importance["left out"][place])
        assert each["gradients"] == pytest.approx(wanted.importance["integrated gradients"][place])
    assert sum(each["attention"] for each in told["items"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("name", "calibration"), ALL)
def test_every_model_explains_with_what_it_has(name: str, calibration: str) -> None:
    recommender = shelf(name, calibration)
    for history in (["i1", "i3", "i2"], ["i4"]):
        asked = ExplainRequest.model_validate({"history": timed(recommender, history), "item": "i5"})
        told = json.loads(answers.explanation(recommender, asked))
        assert [each["item"] for each in told["items"]] == history
        assert all((each["contribution"] is None) == (len(history) == 1) for each in told["items"])
        has_attention = told["items"][0]["attention"] is not None
        assert has_attention or name in ("gru4rec", "item-knn", "popularity")


def test_a_search_finds_titles_and_ids_in_any_case_the_popular_first() -> None:
    def found(query: str, limit: int = 9) -> tuple[int, list[str]]:
        told = json.loads(answers.search(recommender, query, limit))
        return told["matches"], [each["item"] for each in told["items"]]

    recommender = shelf(titles=True)
    assert found("TITLE <B>4", 5) == (1, ["i4"])
    assert found("", 3) == (9, ["i4", "i1", "i2"])
    assert found("i5")[1] == ["i5"]
    assert found("(?i).*") == (0, [])


def run(work: Callable[[Batcher[int, int]], Coroutine[Any, Any, Any]], compute: Any, limits: Limits) -> Any:
    """What `work` returns with a running batcher."""

    async def around() -> Any:
        batcher = Batcher[int, int](compute, limits)
        task = asyncio.create_task(batcher.run())
        try:
            return await asyncio.wait_for(work(batcher), 20)
        finally:
            task.cancel()
            batcher.close()

    return asyncio.run(around())


class Recording:
    """Squares numbers, and keeps the batches; a number below 0 fails."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[list[int]] = []

    def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(asked))
        time.sleep(self.seconds)
        if any(each < -1 for each in asked):
            raise RuntimeError("all of them")
        return [ValueError(each) if each < 0 else each**2 for each in asked]


def test_requests_at_the_same_time_are_one_batch_and_never_a_larger_one() -> None:
    squares = Recording()

    async def ask(batcher: Batcher[int, int]) -> list[int]:
        return await asyncio.gather(*(batcher.ask(each, 2) for each in range(7)))

    assert run(ask, squares, Limits(batch=6, wait=0.2)) == [each**2 for each in range(7)]
    assert squares.batches == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_request_larger_than_a_batch_is_alone() -> None:
    squares = Recording()

    async def ask(batcher: Batcher[int, int]) -> tuple[int, int, int]:
        return await asyncio.gather(batcher.ask(1, 1), batcher.ask(2, 50), batcher.ask(3, 1))

    assert run(ask, squares, Limits(batch=8, wait=0.05)) == [1, 4, 9]
    assert squares.batches == [[1], [2], [3]]


def test_a_batch_waits_for_others_that_are_on_their_way_but_not_longer() -> None:
    def seconds(arriving: int) -> tuple[float, list[list[int]]]:
        squares = Recording()

        async def ask(batcher: Batcher[int, int]) -> None:
            batcher.arriving = lambda: arriving
            await asyncio.gather(batcher.ask(1, 1), late(batcher))

        async def late(batcher: Batcher[int, int]) -> None:
            await asyncio.sleep(0.1)
            await batcher.ask(2, 1)

        begun = time.perf_counter()
        run(ask, squares, Limits(wait=0.3))
        return time.perf_counter() - begun, squares.batches

    assert seconds(arriving=1)[1] == [[1], [2]]  # nobody else: it does not wait
    took, batches = seconds(arriving=2)
    assert batches == [[1, 2]] and took < 0.3
    took, batches = seconds(arriving=3)  # the third never comes
    assert batches == [[1, 2]] and took >= 0.3


def test_errors_go_to_their_request_alone() -> None:
    squares = Recording()

    async def ask(batcher: Batcher[int, int]) -> list[Any]:
        return await asyncio.gather(*(batcher.ask(each, 1) for each in (2, -1, -2, 3)), return_exceptions=True)

    two, bad, worse, three = run(ask, squares, Limits(wait=0.05))
    assert (two, three) == (4, 9)
    assert isinstance(bad, ValueError) and isinstance(worse, RuntimeError)


def test_a_request_that_is_cancelled_breaks_no_batch() -> None:
    async def ask(batcher: Batcher[int, int]) -> list[Any]:
        asked = [asyncio.create_task(batcher.ask(each, 1)) for each in range(4)]
        await asyncio.sleep(0.05)  # they are computed now
        asked[1].cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert batcher.held == 0
        return found

    zero, cancelled, *others = run(ask, Recording(seconds=0.2), Limits(wait=0))
    assert (zero, others) == (0, [4, 9]) and isinstance(cancelled, asyncio.CancelledError)


def test_a_full_queue_refuses_and_other_work_counts() -> None:
    async def ask(batcher: Batcher[int, int]) -> list[Any]:
        asked = [asyncio.create_task(batcher.ask(each, 2)) for each in range(3)]
        other = asyncio.create_task(batcher.alone(lambda: "other", 3))
        await asyncio.sleep(0)
        return await asyncio.gather(*asked, other, return_exceptions=True)

    first, second, third, other = run(ask, Recording(seconds=0.1), Limits(wait=0, queue=5))
    assert (first, second) == (0, 1)
    assert isinstance(third, RefusalError) and (third.status, third.headers) == (429, {"Retry-After": "1"})
    assert isinstance(other, RefusalError)


def test_a_model_that_scores_with_nan_is_found_out() -> None:
    for name, _ in ALL:
        answers.try_out(shelf(name))
    broken = shelf("gru4rec")
    broken.model = copy.deepcopy(broken.model)
    with torch.no_grad():
        for each in broken.model.parameters():
            each.fill_(torch.nan)
    with pytest.raises(RunError, match="NaN"):
        answers.try_out(broken)
