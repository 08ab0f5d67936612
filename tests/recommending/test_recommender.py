"""Recommendations of every model, compared with a scoring of the whole catalogue by hand."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import built, run_config, sequence_data
from shelves import (
    ALL,
    BY_COUNT,
    CPU,
    MAX_LENGTH,
    N_ITEMS,
    model,
    names,
    scores_by_hand,
    shelf,
    times_of,
    top_by_hand,
    vocabulary,
)

from actsr_cli.errors import ActsrError, ConfigError, DataError, RunError
from actsr_cli.models.sse_pt import SSEPT
from actsr_cli.recommending.choice import Seen, choose
from actsr_cli.recommending.recommender import Recommender

LONG = [4, 9, 1, 2, 2, 3, 5, 1]
"""Longer than the models read: the first two items are excluded, but not read."""
assert len(LONG) > MAX_LENGTH

every_model = pytest.mark.parametrize(("name", "calibration"), ALL)
histories_of_items = st.lists(st.lists(st.integers(1, N_ITEMS), min_size=0, max_size=9), min_size=1, max_size=5)


def needed_times(name: str, history: list[int]) -> list[float] | None:
    return times_of(history) if model(name).needs_timestamps else None


@every_model
@pytest.mark.parametrize("history", [[3], [2, 5], LONG], ids=["one", "two", "long"])
def test_lists_are_the_top_of_a_whole_scoring(name: str, calibration: str, history: list[int]) -> None:
    recommender, times = shelf(name, calibration), needed_times(name, history)
    scores = scores_by_hand(recommender.model, history, times=times)
    for k in (1, 4, N_ITEMS, 1000):
        ranked = recommender.recommend(names(history), k=k, seen="rank", timestamps=times)
        assert ranked.ids == top_by_hand(scores, k)
        unseen = recommender.recommend(names(history), k=k, timestamps=times)
        assert unseen.ids == top_by_hand(scores, k, not_listed=history)
        assert [item.score for item in unseen] == pytest.approx(
            [scores[int(each[1:])] for each in unseen.ids], abs=1e-5
        )
        assert (unseen.by, unseen.unknown, unseen.user) == ("model", (), "")


@every_model
@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_many_lists_are_the_single_ones(name: str, calibration: str, batch_size: int) -> None:
    recommender = shelf(name, calibration, batch_size=batch_size)
    histories = [LONG, [3], [], [9, 8, 7], [1]]
    times = [times_of(each) for each in histories] if recommender.model.needs_timestamps else None
    found = recommender.recommend_many(list(map(names, histories)), k=4, timestamps=times)
    assert [each.user for each in found] == ["0", "1", "2", "3", "4"]
    for each, history in zip(found, histories, strict=True):
        alone = recommender.recommend(names(history), k=4, timestamps=needed_times(name, history))
        assert each.ids == alone.ids and each.by == alone.by
        assert [item.score for item in each] == pytest.approx([item.score for item in alone], abs=1e-5)


@given(
    histories=histories_of_items,
    k=st.integers(1, 12),
    seen=st.sampled_from(["rank", "exclude"]),
    only=st.none() | st.sets(st.integers(1, N_ITEMS), min_size=1),
    without=st.sets(st.integers(1, N_ITEMS), max_size=N_ITEMS - 1),
)
@settings(max_examples=30)
def test_any_histories_and_masks(
    histories: list[list[int]], k: int, seen: Seen, only: set[int] | None, without: set[int]
) -> None:
    recommender = shelf("shelves:Own")
    not_listed = without | (set() if only is None else set(range(1, N_ITEMS + 1)) - only)
    arguments: dict[str, Any] = {"k": k, "seen": seen, "without": names(sorted(without))}
    arguments["only"] = None if only is None else names(sorted(only))
    if len(not_listed) == N_ITEMS:
        with pytest.raises(DataError, match="no item is left"):
            recommender.recommend_many(list(map(names, histories)), **arguments)
        return
    for each, history in zip(
        recommender.recommend_many(list(map(names, histories)), **arguments), histories, strict=True
    ):
        if not history:
            assert each.ids == [item for item in BY_COUNT if int(item[1:]) not in not_listed][:k]
            assert each.by == "popularity"
            continue
        out = not_listed | (set(history) if seen == "exclude" else set())
        assert each.ids == top_by_hand(scores_by_hand(recommender.model, history), k, out)


def test_ties_go_by_id_even_across_the_end_of_a_list() -> None:
    recommender = shelf("popularity")
    assert recommender.recommend(["i9"], k=9, seen="rank").ids == top_by_hand([0, 1, 3, 1, 2, 1, 1, 1, 1, 1], 9)
    for k in range(1, 9):
        assert (
            recommender.recommend(["i9"], k=k, seen="rank").ids == ["i2", "i4", "i1", "i3", "i5", "i6", "i7", "i8"][:k]
        )


def test_an_item_that_the_model_never_recommends() -> None:
    recommender = shelf("shelves:Own", titles=True)
    assert "i7" not in recommender.recommend(["i3"], k=9, seen="rank").ids
    assert "i7" in recommender.recommend([], k=9).ids  # by popularity
    (never,) = recommender.score(["i3"], ["i7"])
    assert never == ("i7", "Title <b>7</b>", -float("inf"))


@every_model
def test_unknown_items_are_skipped_and_named(name: str, calibration: str) -> None:
    recommender = shelf(name, calibration)
    times = times_of([0] * 5) if recommender.model.needs_timestamps else None
    found = recommender.recommend(["x", "i3", "y", "i5", "x"], k=3, timestamps=times)
    assert found.unknown == ("x", "y", "x")
    known = None if times is None else [times[1], times[3]]
    assert found.ids == recommender.recommend(["i3", "i5"], k=3, timestamps=known).ids
    many = recommender.recommend_many(
        {"a": ["x", "i3"], "b": ["i1"], "c": ["z"]}, timestamps={"a": [1, 2], "b": [1], "c": [5]}
    )
    assert many.unknown == [("x",), (), ("z",)] and many.n_unknown == 2
    assert [each.by for each in many] == ["model", "model", "popularity"]


def test_padding_is_no_item() -> None:
    """The empty text is the padding's name, and no raw id."""
    found = shelf().recommend(["", "i1"])
    assert found.unknown == ("",) and found.by == "model"


@pytest.mark.parametrize("name", ["sasrec", "tisasrec", "item-knn", "popularity"])
def test_a_history_without_known_items_gets_popular_ones(name: str) -> None:
    recommender = shelf(name)
    for history, times in (([], []), (["x", "y"], [1, 2])):
        found = recommender.recommend(history, k=100, timestamps=times)
        assert found.ids == BY_COUNT and found.by == "popularity" and found.unknown == tuple(history)
        assert [item.score for item in found] == [9, 5, 3, 3, 3, 1, 1, 0, 0]
    masked = recommender.recommend([], k=3, without=["i4"], only=["i4", "i8", "i3", "i7"], timestamps=[])
    assert masked.ids == ["i3", "i8", "i7"]
    everyone = recommender.recommend_many([[], ["x"], []], k=2, timestamps=[[], [1], []])
    assert [each.ids for each in everyone] == [["i4", "i1"]] * 3 and everyone.popular.all()
    assert len(recommender.recommend_many([])) == 0 and len(recommender.recommend_many({})) == 0


def test_no_item_left_for_one_history() -> None:
    recommender = shelf()
    found = recommender.recommend(["i3"], only=["i3"], k=5)
    assert found.ids == [] and len(found.to_frame()) == 0
    whole = recommender.recommend_many([names(range(1, 10)), ["i1"]], k=5)
    assert [len(each) for each in whole] == [0, 5]
    assert len(whole.to_frame()) == 5


def test_only_and_without() -> None:
    recommender = shelf()
    scores = scores_by_hand(recommender.model, [3])
    for only in (["i1", "i5", "i9"], ("i1", "i5", "i9"), {"i1", "i5", "i9"}, np.array(["i1", "i5", "i9"])):
        assert recommender.recommend(["i3"], only=only).ids == top_by_hand(scores, 3, {2, 3, 4, 6, 7, 8})  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="2 items of `only` and `without` unknown to the model and not used") as caught:
        found = recommender.recommend(["i3"], only=["i1", "q"], without=["p"])
    assert found.ids == ["i1"] and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recommender.recommend(["i3"], only=["i1"], without=["i2"])
    refused: list[dict[str, Any]] = [
        {"only": []},
        {"only": ["q"]},
        {"without": names(range(1, 10))},
        {"only": ["i1"], "without": ["i1"]},
    ]
    for arguments in refused:
        with pytest.raises(DataError, match="no item is left"):
            recommender.recommend(["i3"], **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be a whole number of at least 1, not 0"),
        ({"k": -1}, "k must be"),
        ({"k": 2.0}, "not 2.0"),
        ({"k": True}, "not True"),
        ({"seen": "exclude-repeats"}, "seen must be rank or exclude, not 'exclude-repeats'"),
        ({"only": "i1"}, "`only` must be a list of item ids, not the text 'i1'"),
        ({"without": "i1"}, "`without` must be a list of item ids, not the text 'i1'"),
        ({"only": 5}, "`only` must be a list of item ids, not 5"),
        ({"only": [1.5]}, "item ids are texts or whole numbers, not 1.5"),
        ({"user": 1.5}, "user ids are texts or whole numbers, not 1.5"),
    ],
)
def test_choices_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ActsrError) as caught:
        shelf().recommend(["i1"], **arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_k_may_be_a_number_of_numpy() -> None:
    assert choose(vocabulary(), np.int64(3)).k == 3  # type: ignore[arg-type]


def users_shelf() -> Recommender:
    """SSE-PT, of whose users 0 and 2 were trained; the users' names are 1, 0, u and empty."""
    torch.manual_seed(2)
    config = run_config("sse-pt", hidden_size=8, inner_size=8, max_length=MAX_LENGTH, initializer_range=1.0)
    made = built(config, N_ITEMS, 4).eval()
    assert isinstance(made, SSEPT)
    made.trained_users[torch.tensor([1, 3])] = True
    return Recommender(made, vocabulary(users=["1", "0", "u", ""]), name="demo/sse-pt/one", device=CPU)


def test_users_that_the_model_knows() -> None:
    recommender = users_shelf()
    history = [3, 5]
    of_user = {
        user: top_by_hand(scores_by_hand(recommender.model, history, number), 9)
        for user, number in {"1": 0, "u": 2, None: -1}.items()
    }
    assert len({tuple(each) for each in of_user.values()}) == 3
    for user, number in (("1", 0), ("0", -1), ("u", 2), ("stranger", -1), (1, 0), (None, -1)):
        found = recommender.recommend(names(history), user=user, seen="rank", k=9)
        assert found.ids == top_by_hand(scores_by_hand(recommender.model, history, number), 9)
        assert found.user == ("" if user is None else str(user))
    many = recommender.recommend_many({"1": names(history), "new": names(history), "u": names(history)}, seen="rank")
    assert [each.ids for each in many] == [of_user["1"], of_user[None], of_user["u"]]
    explained = [recommender.explain(names(history), "i1", user=user).target.score for user in ("1", "u", "x", None)]
    assert len(set(explained)) == 3 and explained[2] == explained[3]


def test_numbers_of_histories_are_no_users() -> None:
    """Lists are named 0, 1, …; these are names of users in the data, whose vectors they must not take."""
    recommender = users_shelf()
    many = recommender.recommend_many([["i3", "i5"]] * 3, seen="rank", k=9)
    assert [each.user for each in many] == ["0", "1", "2"]
    stranger = top_by_hand(scores_by_hand(recommender.model, [3, 5]), 9)
    assert [each.ids for each in many] == [stranger] * 3
    assert recommender.recommend(["i3", "i5"], seen="rank", k=9).ids == stranger  # not that of the user called ""


@pytest.mark.parametrize("calibration", ["none", "full"])
def test_times_that_tisasrec_reads(calibration: str) -> None:
    recommender, history = shelf("tisasrec", calibration), [3, 5, 8]
    seconds = [86_400.0 * day for day in (1, 2, 40)]
    wanted = top_by_hand(scores_by_hand(recommender.model, history, times=seconds), 9)
    dates = ["1970-01-02", "1970-01-03T00:00:00Z", "1970-02-10T01:00:00+01:00"]
    moments = [datetime(1970, 1, 2), datetime(1970, 1, 3), datetime(1970, 2, 10)]
    aware = [each.replace(tzinfo=UTC) for each in moments]
    given_times: list[Any] = [seconds, list(map(int, seconds)), dates, moments, aware, np.array(seconds)]
    given_times += [np.array(moments, dtype="M8[s]"), list(map(str, seconds))]
    for times in given_times:
        assert recommender.recommend(names(history), timestamps=times, seen="rank", k=9).ids == wanted
        assert recommender.recommend_many([names(history)], timestamps=[times], seen="rank", k=9)[0].ids == wanted
    others = recommender.recommend(names(history), timestamps=[1, 2, 3], seen="rank", k=9)
    scored = recommender.score(names(history), timestamps=seconds)
    assert scored.ids == wanted and [each.score for each in scored] != [each.score for each in others]
    assert len(recommender.explain(names(history), timestamps=seconds).items) == 3


def test_times_that_are_missing_or_wrong() -> None:
    recommender = shelf("tisasrec")
    asked: list[Any] = [recommender.recommend, recommender.score, recommender.explain]
    for ask in asked:
        with pytest.raises(DataError, match="needs timestamps") as caught:
            ask(["i1", "i2"])
        assert caught.value.hint is not None
        with pytest.raises(DataError, match="timestamp of item 2 is before that of item 1"):
            ask(["i1", "i2"], timestamps=[5, 4])
        with pytest.raises(DataError, match="1 timestamps for 2 items"):
            ask(["i1", "i2"], timestamps=[5])
    with pytest.raises(DataError, match="needs timestamps"):
        recommender.recommend_many([["i1"]])
    assert recommender.recommend(["i1", "i2"], timestamps=[5, 5], k=1).by == "model"
    assert shelf("sasrec").recommend(["i1"], timestamps=[5]).ids == shelf("sasrec").recommend(["i1"]).ids


def test_users_of_the_data() -> None:
    histories = [LONG, [1], [9, 3, 2]]
    data = sequence_data(histories, n_items=N_ITEMS, timestamps=True)
    for name in ("sasrec", "tisasrec"):
        made = model(name)
        recommender = Recommender(made, vocabulary(), name="n", device=CPU, open_data=lambda: data)
        found = recommender.recommend_users(k=4)
        assert [each.user for each in found] == ["u0", "u1", "u2"]
        assert data.timestamps is not None
        for row, history in enumerate(histories):
            times = data.timestamps[data.offsets[row] : data.offsets[row + 1]].tolist()
            scores = scores_by_hand(made, history, times=times if made.needs_timestamps else None)
            assert found[row].ids == top_by_hand(scores, 4, history)
        some = recommender.recommend_users(["u2", "u0", "u2"], k=4)
        assert [(each.user, each.ids) for each in some] == [(f"u{row}", found[row].ids) for row in (2, 0, 2)]
        assert len(recommender.recommend_users([])) == 0
        with pytest.raises(DataError, match="unknown user 'u7'"):
            recommender.recommend_users(["u0", "u7"])
        with pytest.raises(DataError, match="users must be a list of user ids, not the text 'u0'"):
            recommender.recommend_users("u0")
        with pytest.raises(DataError, match="user ids are texts"):
            recommender.recommend_users([None])  # type: ignore[list-item]
    with pytest.raises(RunError, match="has no path to its data"):
        shelf().recommend_users()


def test_a_score_that_is_no_number() -> None:
    torch.manual_seed(0)
    broken = built(run_config("sasrec", hidden_size=8), N_ITEMS).eval()
    for parameter in broken.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    with pytest.raises(RunError, match="NaN"):
        Recommender(broken, vocabulary(), name="n", device=CPU).recommend(["i1"])


def test_items_that_the_model_knows() -> None:
    plain, titled = shelf().items(), shelf(titles=True).items()
    assert plain.columns.tolist() == ["item", "count"] and titled.columns.tolist() == ["item", "title", "count"]
    assert plain["item"].tolist() == names(list(range(1, 10))) and plain.index.tolist() == list(range(9))
    assert titled["title"][2] == "Title <b>3</b>" and titled["count"].tolist() == [5, 3, 3, 9, 1, 1, 0, 3, 0]
    assert repr(shelf()) == "Recommender('demo/sasrec/one', 9 items)"


def test_k_is_checked_everywhere() -> None:
    recommender = shelf()
    for ask in (lambda: recommender.similar("i1", 0), lambda: recommender.recommend_many([["i1"]], k=0)):
        with pytest.raises(ConfigError, match="k must be"):
            ask()


def test_it_shows_itself_in_notebooks() -> None:
    html = shelf(titles=True)._repr_html_()
    assert html.startswith("<h4>Recommender(") and "9 items)</h4>" in html and html.count("<tr>") == 1 + 5
    assert "Title &lt;b&gt;" in html and "<b>" not in html
