"""Every form that histories and their times may have, and what is refused."""

from __future__ import annotations

import time
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shelves import names, scores_by_hand, shelf, top_by_hand, vocabulary

from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.errors import DataError
from actsr_cli.recommending.histories import (
    KnownHistories,
    RawHistories,
    Times,
    known_histories,
    many_histories,
    one_history,
    table_histories,
)
from actsr_cli.recommending.values import checked_times

IDS = ["3", "5", "12"]


def refused(message: str, function: Any, *arguments: Any) -> DataError:
    """The error of a call; its message is one line."""
    with pytest.raises(DataError) as caught:
        function(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "history",
    [
        IDS,
        tuple(IDS),
        np.array(IDS),
        np.array(IDS, dtype=object),
        pd.Series(IDS, index=[7, 7, 9]),
        pd.Series(IDS, dtype="category"),
        pd.Index(IDS),
        [3, 5, 12],
        (3, "5", np.int8(12)),
        np.array([3, 5, 12]),
        np.array([3, 5, 12], dtype=np.uint64),
        pd.Series([3, 5, 12], index=[2, 1, 0]),
        pd.Series([3, 5, 12], dtype="Int64"),
        range(3, 4),
        dict.fromkeys(IDS).keys(),
        list(map(np.str_, IDS)),
    ],
    ids=lambda history: type(history).__name__,
)
def test_one_history(history: Any) -> None:
    wanted = ["3"] if isinstance(history, range) else IDS
    found = one_history(history)
    assert found.items == [wanted] and found.strangers and found.users == [""] and found.timestamps is None
    assert many_histories([history, []]).items == [wanted, []]
    assert many_histories({"4": history, "b": ()}) == RawHistories(["4", "b"], [wanted, []])


def test_an_iterator_is_not_lost() -> None:
    assert shelf().recommend(iter(["i1", "i2"])).by == "model"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ("i1", "the history must be a list of item ids, not the text 'i1'"),
        (b"i1", "the history must be a list of item ids, not b'i1'"),
        (None, "the history must be a list of item ids, not None"),
        (5, "the history must be a list of item ids, not 5"),
        ({"i1", "i2"}, "the history is a set, which has no order"),
        ([1.0], "item ids are texts or whole numbers, not 1.0"),
        (np.array([1.0, 2.0]), "item ids are texts or whole numbers, not 1.0"),
        (["a", None], "not None"),
        ([True], "not True"),
        ([np.True_], "not True"),
        ([float("nan")], "not nan"),
        (pd.Series([1, None]), "not 1.0"),
        (pd.Series(["a", None]), "item ids are texts or whole numbers, not"),
        ([b"a"], "not b'a'"),
        ([{"a": 1}], "not {'a': 1}"),
        ([["i1"], ["i2"]], "these are several histories"),
        ([("i1",)], "these are several histories"),
        (np.array([["i1", "i2"], ["i3", "i4"]]), "these are several histories"),
        ([np.array([1, 2])], "these are several histories"),
        ({"anna": ["i1"]}, "these are several histories"),
        (pd.DataFrame({"user_id": [1], "item_id": [2]}), "these are several histories"),
    ],
)
def test_one_history_refused(history: Any, message: str) -> None:
    error = refused(message, one_history, history)
    assert ("recommend_many" in (error.hint or "")) == ("several histories" in message)
    refused(message, shelf().recommend, history)


def test_the_user_of_a_history() -> None:
    assert one_history(["i1"], user=7) == RawHistories(["7"], [["i1"]])
    assert one_history(["i1"], user=np.int64(7)).users == ["7"]  # type: ignore[arg-type]
    assert not one_history(["i1"], user="").strangers
    for user in (1.5, True, ["a"], float("nan")):
        refused("user ids are texts or whole numbers", lambda user=user: one_history(["i1"], user=user))


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        (["i1", "i2"], "several histories are a list of lists"),
        (("i1",), "several histories are a list of lists"),
        ([1, 2], "several histories are a list of lists"),
        (np.array([1, 2]), "several histories are a list of lists"),
        (np.array(["i1"]), "several histories are a list of lists"),
        (pd.Series(["i1"], index=[4]), "several histories are a list of lists"),
        (pd.Series([["i1"], ["i2"]]), "several histories are a Series whose index only counts its rows"),
        (pd.Series([["i1"], ["i2"]], index=["x", "x"]), "several histories have a user twice"),
        ([None], "several histories are a list of lists"),
        ([{"i1"}], "history 0 is a set, which has no order"),
        ("i1", "several histories must be a list of lists, not the text 'i1'"),
        (None, "several histories must be a list of lists, not None"),
        (5, "several histories must be a list of lists, not 5"),
        ([["i1"], None], "history 1 must be a list of item ids, not None"),
        ([["i1"], "i2"], "history 1 must be a list of item ids, not the text 'i2'"),
        ([["i1"], {"i2"}], "history 1 is a set"),
        ([[["i1"]]], "item ids are texts or whole numbers, not ['i1']"),
        ({"anna": "i1"}, "history anna must be a list of item ids, not the text 'i1'"),
        ({"anna": 5}, "history anna must be a list of item ids, not 5"),
        ({"anna": [1.5]}, "not 1.5"),
        ({1.5: ["i1"]}, "user ids are texts or whole numbers, not 1.5"),
        ({None: ["i1"]}, "user ids are texts or whole numbers, not None"),
        ({1: ["i1"], "1": ["i2"]}, "several histories have a user twice"),
    ],
)
def test_many_histories_refused(histories: Any, message: str) -> None:
    refused(message, many_histories, histories)
    refused(message, shelf().recommend_many, histories)


def test_many_histories() -> None:
    assert many_histories([["a"], ["b", 5]]) == RawHistories(["0", "1"], [["a"], ["b", "5"]], strangers=True)
    assert many_histories((("a",), np.array(["b"]), pd.Series([5]))).items == [["a"], ["b"], ["5"]]
    assert many_histories(np.array([["a", "b"], ["c", "d"]])).items == [["a", "b"], ["c", "d"]]  # type: ignore[arg-type]
    by_user = table(timestamp=None).groupby("user_id", sort=False)["item_id"].apply(list)
    assert many_histories(by_user) == RawHistories(["b", "a"], [["1", "3", "4"], ["2"]])
    assert many_histories(by_user.set_axis([7, 8])).users == ["7", "8"]
    mixed: dict[str | int, list[str]] = {"x": ["a"], 3: []}
    assert many_histories(mixed) == RawHistories(["x", "3"], [["a"], []])


def test_times_of_many_histories() -> None:
    histories: dict[str | int, list[str]] = {"a": ["x"], 2: ["y", "z"]}
    times: dict[str, Times] = {"2": [3, 3.5], "a": ["1970-01-02"]}
    by_user = many_histories(histories, times)
    assert by_user.timestamps is not None
    assert [each.tolist() for each in by_user.timestamps] == [[86_400], [3, 3.5]]
    of_series = many_histories(pd.Series(histories), pd.Series(times))
    assert of_series.timestamps is not None
    assert [each.tolist() for each in of_series.timestamps] == [[86_400], [3, 3.5]]
    numbered = many_histories([["x"], []], [[4], []])
    assert numbered.timestamps is not None and [each.tolist() for each in numbered.timestamps] == [[4], []]
    lists = [["x"], ["y", "z"]]
    refused("1 lists of timestamps do not belong to these 2", many_histories, lists, [[1]])
    refused("do not belong", many_histories, {"a": ["x"]}, {"b": [1]})
    refused("timestamps of several histories are a list of lists", many_histories, lists, [1.0, 2.0])
    refused("timestamps of several histories must be", many_histories, lists, 5)
    refused("history 1 has 1 timestamps for 2 items", many_histories, lists, [[1], [2]])
    refused("history 1: the timestamp of item 2 is before", many_histories, lists, [[1], [3, 2]])
    refused("a table has its own column of timestamps", many_histories, table(), [[1]])


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ("12", "the timestamps of the history must be a list of times, not the text '12'"),
        (12, "not 12"),
        (None, "not None"),
        ({1: 2, 2: 3}, "must be a list of times"),
        ([1, None], "the history: None is not a timestamp"),
        ([1, float("nan")], "nan is not a timestamp"),
        ([1, float("inf")], "inf is not a timestamp"),
        ([1, 10**400], "is not a timestamp"),
        ([False, True], "False is not a timestamp"),
        ([1, "soon"], "'soon' is not a timestamp"),
        (["", "1"], "'' is not a timestamp"),
        (["2020-13-01", "2020-13-02"], "'2020-13-01' is not a timestamp"),
        ([[1], [2]], "[1] is not a timestamp"),
        ([{}, {}], "{} is not a timestamp"),
        ([pd.NaT, pd.NaT], "NaT is not a timestamp"),
        ([np.float64("nan"), 1], "the history: nan is not a timestamp"),
        ([0, "1970-01-02"], "the history: 0 is a number, but '1970-01-02' is an ISO date"),
        ([1], "the history has 1 timestamps for 2 items"),
        ([], "the history has 0 timestamps for 2 items"),
        ([1, 2, 3], "the history has 3 timestamps for 2 items"),
        ([2, 1], "the timestamp of item 2 is before that of item 1"),
        (["1970-01-02", "1970-01-01"], "the timestamp of item 2 is before that of item 1"),
    ],
)
def test_times_refused(times: Any, message: str) -> None:
    refused(message, checked_times, times, 2, "the history")


def test_forms_of_times() -> None:
    for times in (
        [0, 86_400],
        [0.0, 86_400],
        ["0", "86400.0"],
        ["1970-01-01", "1970-01-02T00:00:00Z"],
        ["1970-01-01T01:00:00+01:00", "1970-01-02"],
        [date(1970, 1, 1), date(1970, 1, 2)],
        [datetime(1970, 1, 1), datetime(1970, 1, 2)],
        pd.to_datetime(["1970-01-01", "1970-01-02"]),
        pd.Series([0, 86_400], index=[3, 1]),
        np.array([0, 86_400], dtype="M8[s]"),
        np.array([0, 86_400], dtype=np.float32),
        range(0, 86_401, 86_400),
    ):
        assert checked_times(times, 2, "x").tolist() == [0, 86_400]
    assert checked_times([], 0, "x").tolist() == []
    assert checked_times([-5, 0.25], 2, "x").tolist() == [-5, 0.25]


def test_times_of_a_history_are_read_fast() -> None:
    """As in JSON lines, where each history has its own."""
    start = time.perf_counter()
    for _ in range(2000):
        checked_times([1, 2.5, 3], 3, "x")
    assert time.perf_counter() - start < 1


def table(**columns: Any) -> pd.DataFrame:
    usual = {"user_id": ["b", "a", "b", "b"], "item_id": [1, 2, 3, 4], "timestamp": [7, 1, 5, 7]}
    return pd.DataFrame({name: values for name, values in {**usual, **columns}.items() if values is not None})


def test_a_table_is_put_in_time_order() -> None:
    found = table_histories(table())
    assert found.users == ["b", "a"] and found.items == [["3", "1", "4"], ["2"]] and not found.strangers
    assert found.timestamps is not None and [each.tolist() for each in found.timestamps] == [[5, 7, 7], [1]]
    without = table_histories(table(timestamp=None))
    assert without.items == [["1", "3", "4"], ["2"]] and without.timestamps is None
    dates = table(timestamp=pd.to_datetime(["2020-01-03", "2020-01-01", "2020-01-02", "2020-01-03"]))
    assert table_histories(dates).items == found.items
    texts = table(timestamp=["2020-01-03", "2020-01-01", "2020-01-02", "2020-01-03"])
    assert table_histories(texts).items == found.items
    shuffled = table().set_index(pd.Index(["x", "x", "y", "x"]))
    assert table_histories(shuffled).items == found.items


def test_columns_of_a_table() -> None:
    plain = table_histories(table())
    renamed = table().rename(columns={"user_id": "userId", "item_id": "movieId", "timestamp": "time"})
    assert table_histories(renamed).items == plain.items
    assert table_histories(table(user_id=[2, 1, 2, 2])).users == ["2", "1"]
    mixed = table_histories(table(user_id=pd.Series([2, "1", "2", 2], dtype=object)))
    assert mixed.users == ["2", "1"] and mixed.items == plain.items
    assert table_histories(table(user_id=pd.Categorical(["b", "a", "b", "b"]))).users == ["b", "a"]
    assert table_histories(table(user_id=pd.Series([2, 1, 2, 2], dtype="Int64"))).users == ["2", "1"]
    assert len(table_histories(table().iloc[:0])) == 0
    assert len(shelf().recommend_many(table().iloc[:0])) == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": None}, "the table has no column for the user; it has: item_id, timestamp"),
        ({"item_id": None}, "the table has no column for the item; it has: user_id, timestamp"),
        ({"user_id": ["a", None, "b", "c"]}, "without a value in its column 'user_id'"),
        ({"item_id": ["a", None, "b", "c"]}, "without a value in its column 'item_id'"),
        ({"user_id": [1.0, 2.0, 3.0, 4.0]}, "user ids are texts or whole numbers, not 1.0"),
        ({"item_id": [1.0, 2.0, 3.0, 4.0]}, "item ids are texts or whole numbers, not 1.0"),
        ({"item_id": [True] * 4}, "item ids are texts or whole numbers, not True"),
        ({"timestamp": [1, None, 2, 3]}, "the table: nan is not a timestamp"),
        ({"timestamp": ["1", "x", "2", "3"]}, "the table: 'x' is not a timestamp"),
        (
            {"timestamp": pd.Series(["2020-01-01", None] * 2, dtype="datetime64[s]")},
            "the table: NaT is not a timestamp",
        ),
    ],
)
def test_tables_refused(columns: dict[str, Any], message: str) -> None:
    refused(message, table_histories, table(**columns))


def test_a_table_with_a_column_twice() -> None:
    twice = pd.DataFrame([["a", "b", 1]], columns=["user_id", "user_id", "item_id"])
    refused("the table has several columns 'user_id'", table_histories, twice)
    twice = pd.DataFrame([["a", 1, 5, 6]], columns=["user_id", "item_id", "timestamp", "timestamp"])
    refused("the table has several columns 'timestamp'", table_histories, twice)


def test_a_table_gives_the_lists_of_its_histories() -> None:
    recommender = shelf("tisasrec")
    frame = table(item_id=["i1", "i2", "i3", "i4"])
    found = recommender.recommend_many(frame, k=5)
    wanted = scores_by_hand(recommender.model, [3, 1, 4], times=[5, 7, 7])
    assert found[0].user == "b" and found[0].ids == top_by_hand(wanted, 5, {1, 3, 4})
    assert found[1].ids == recommender.recommend(["i2"], timestamps=[1], k=5).ids


@given(st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=6))
def test_known_and_unknown_items(histories: list[list[int]]) -> None:
    """Items 1 to 9 are known; the empty text, which names the padding, is not."""
    raw = RawHistories(
        [str(row) for row in range(len(histories))], [[f"i{item}" for item in each] for each in histories]
    )
    times = RawHistories(raw.users, raw.items, [np.arange(len(each), dtype=np.float64) for each in histories])
    for known in (known_histories(raw, vocabulary()), known_histories(times, vocabulary())):
        spans = zip(known.histories.starts, known.histories.ends, strict=True)
        assert [known.histories.items[start:end].tolist() for start, end in spans] == [
            [item for item in each if 1 <= item <= 9] for each in histories
        ]
        assert list(known.unknown) == [tuple(f"i{item}" for item in each if not 1 <= item <= 9) for each in histories]
    spans = zip(known.histories.starts, known.histories.ends, strict=True)
    assert known.histories.timestamps is not None
    assert [known.histories.timestamps[start:end].tolist() for start, end in spans] == [
        [place for place, item in enumerate(each) if 1 <= item <= 9] for each in histories
    ]
    parts = [known.part(slice(start, start + 2)) for start in range(0, len(known), 2)]
    assert [name for part in parts for name in part.users] == list(known.users)
    assert [ids for part in parts for ids in part.unknown] == list(known.unknown)
    assert sum(part.histories.lengths.sum() for part in parts) == known.histories.lengths.sum()


def test_users_of_histories() -> None:
    def users_of(strangers: bool, known: Vocabulary) -> list[int]:
        found: KnownHistories = known_histories(RawHistories(["1", "x"], [["i1"]] * 2, strangers=strangers), known)
        users: list[int] = found.histories.users.tolist()
        return users

    assert users_of(False, vocabulary(users=["0", "1"])) == [1, -1]
    assert users_of(True, vocabulary(users=["0", "1"])) == [-1, -1]
    assert users_of(False, vocabulary()) == [-1, -1]


def test_a_history_of_many_unknown_items() -> None:
    """Quadratic time would take minutes."""
    start = time.perf_counter()
    found = known_histories(one_history([f"x{item}" for item in range(100_000)] + names([3])), vocabulary())
    assert len(found.unknown[0]) == 100_000 and found.histories.items.tolist() == [3]
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("way", "times", "expected"),
    [
        ("milliseconds since 1970", [1_588_687_728_000, 1_588_687_728_923], [1588687728, 1588687728.923]),
        ("milliseconds since 1970", ["2020-05-05T14:08:48", "2020-05-05T14:08:48.923"], [1588687728, 1588687728.923]),
        ("seconds since 1970", [1_588_687_728_000, 1_588_687_728_923], [1588687728, 1588687728.923]),
        ("seconds since 1970", [1_990, 2_014], [1990, 2014]),
        ("years", [1_990, 2_014], [631152000, 1388534400]),
        ("compact dates YYYYMMDD", [20140101, 20140102], [1388534400, 1388620800]),
        ("compact dates YYYYMMDD", ["2014-01-01", "2014-01-02"], [1388534400, 1388620800]),
        ("ISO dates, UTC", [1388534400, 1388620800], [1388534400, 1388620800]),
        ("", [1_588_687_728_000, 1_588_687_728_923], [1_588_687_728_000, 1_588_687_728_923]),
        ("", [2014, 20140101], [2014, 20140101]),
    ],
)
def test_times_are_read_as_those_of_the_models_data(way: str, times: list[Any], expected: list[float]) -> None:
    for form in (times, pd.Series(times), list(map(str, times))):
        assert one_history(["a", "b"], form, way=way).timestamps[0].tolist() == expected  # type: ignore[index]
        assert many_histories([["a", "b"]], [form], way=way).timestamps[0].tolist() == expected  # type: ignore[index]
    of_table = pd.DataFrame({"user": ["u", "u"], "item": ["a", "b"], "time": times})
    assert many_histories(of_table, way=way).timestamps[0].tolist() == expected  # type: ignore[index]


@pytest.mark.parametrize("unit", ["D", "h", "m", "s", "ms", "us", "ns"])
def test_dates_of_numpy(unit: str) -> None:
    days = np.array(["2014-01-01", "2014-01-02"], dtype=f"datetime64[{unit}]")
    for times in (days, list(days), [days[0], date(2014, 1, 2)]):
        assert checked_times(times, 2, "the history").tolist() == [1388534400, 1388620800]
    days[1] = np.datetime64("NaT")
    refused("NaT", checked_times, days, 2, "the history")


def test_dates_in_digits_beside_counted_seconds_are_refused() -> None:
    message = "the times are compact dates YYYYMMDD, and the data of the model have seconds since 1970"
    refused(message, checked_times, [20140101, 20140102], 2, "the history", "seconds since 1970")
    refused("1388534400 is a number since 1970", checked_times, [20140101, 1388534400], 2, "x", "seconds since 1970")
