"""Lists as tables, texts and HTML."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from shelves import shelf, vocabulary

from actsr_cli.recommending.recommendations import ItemList, Recommendations, ScoredItem, no_recommendations

COLUMNS = ["user", "rank", "item", "score", "by"]


def lists(*, titles: bool = False, rows: int = 3) -> Recommendations:
    """A full list, a shorter one, and popular items; then empty ones."""
    items = np.zeros((max(rows, 3), 3), dtype=np.int64)
    items[:3] = [[4, 2, 9], [7, 0, 0], [4, 1, 0]]
    scores = np.full(items.shape, -np.inf, dtype=np.float32)
    scores[:3] = [[1.5, 0.1, -2], [3, -np.inf, -np.inf], [9, 5, -np.inf]]
    popular = np.arange(len(items)) == 2
    users = ["anna", "<b>", "", *(f"more {row}" for row in range(3, len(items)))]
    unknown: list[tuple[str, ...]] = [(), ("x", "<i>"), ("y",), *[()] * (len(items) - 3)]
    return Recommendations(vocabulary(titles=titles), users, items, scores, popular, unknown)


def test_single_lists() -> None:
    found = lists()
    assert len(found) == 3 and [len(each) for each in found] == [3, 1, 2]
    first = found[0]
    assert first.ids == ["i4", "i2", "i9"] and first.user == "anna" and first.by == "model"
    assert first[0] == ScoredItem("i4", "", 1.5) == ("i4", "", 1.5) and first[-1].item == "i9"
    assert first[1:] == first.items[1:] and next(reversed(first)).item == "i9"
    assert found[-1] == found[2] == found[np.int64(2)]  # type: ignore[call-overload]
    assert found[2].by == "popularity" and found[2].unknown == ("y",)
    assert found[:2] == [found[0], found[1]] and found[::-1][0] == found[2] and found[5:] == []
    assert list(found) == found[:] and found[0] in found and found.index(found[1]) == 1
    assert lists(titles=True)[0][0].title == "Title <b>4</b>"
    assert found.n_unknown == 3
    for place in (3, -4):
        with pytest.raises(IndexError):
            found[place]


def test_one_table_of_all_lists() -> None:
    frame = lists().to_frame()
    assert frame.columns.tolist() == COLUMNS
    assert frame["user"].tolist() == ["anna"] * 3 + ["<b>"] + [""] * 2
    assert frame["rank"].tolist() == [1, 2, 3, 1, 1, 2] and frame["item"].tolist() == [
        "i4",
        "i2",
        "i9",
        "i7",
        "i4",
        "i1",
    ]
    assert frame["score"].tolist() == pytest.approx([1.5, 0.1, -2, 3, 9, 5])
    assert frame["by"].tolist() == ["model"] * 4 + ["popularity"] * 2
    titled = lists(titles=True)
    assert titled.to_frame().columns.tolist() == ["user", "rank", "item", "title", "score", "by"]
    assert titled.to_frame()["title"][0] == "Title <b>4</b>"
    pd.testing.assert_frame_equal(titled.to_arrow().to_pandas(), titled.to_frame())
    rows = [(each.user, *item) for each in titled for item in each]
    assert rows == list(titled.to_frame()[["user", "item", "title", "score"]].itertuples(index=False, name=None))


def test_no_lists() -> None:
    for titles in (False, True):
        nothing = no_recommendations(vocabulary(titles=titles))
        assert len(nothing) == 0 and list(nothing) == [] and nothing.n_unknown == 0
        assert nothing.to_arrow().schema == lists(titles=titles).to_arrow().schema
        assert len(nothing.to_frame()) == 0 and repr(nothing) == "\n\n0 lists.".strip()
        assert nothing._repr_html_() == "<p>0 lists.</p>"


def test_a_list_as_a_table() -> None:
    frame = lists(titles=True)[0].to_frame()
    assert frame.columns.tolist() == ["rank", "item", "title", "score"] and frame["rank"].tolist() == [1, 2, 3]
    assert frame["item"].tolist() == ["i4", "i2", "i9"]
    assert ItemList(()).to_frame().columns.tolist() == ["rank", "item", "title", "score"]
    assert len(ItemList(())) == 0 and "Empty" in repr(ItemList(()))


def test_texts() -> None:
    text = repr(lists(titles=True))
    assert text.startswith("anna\n rank item") and "Title <b>4</b>" in text
    assert "these are the most popular items" in text and "Unknown and not used: x, <i>." in text
    assert text.endswith("3 lists; 1 of popular items, for histories without any known item; 3 unknown items not used.")
    many = repr(lists(rows=7))
    assert "7 lists, the first 5 shown; 1 of popular" in many and "more 4" in many and "more 5" not in many
    assert repr(lists()[0]).splitlines()[1].split() == ["1", "i4", "1.5"]


def test_html_is_escaped() -> None:
    found = lists(titles=True)
    html = found._repr_html_() + found[1]._repr_html_()
    assert "Title &lt;b&gt;4&lt;/b&gt;" in html and "<h4>&lt;b&gt;</h4>" in html and "x, &lt;i&gt;." in html
    assert "<b>" not in html and "<i>" not in html
    assert html.count("<table") == 4
    assert lists(rows=9)._repr_html_().count("<table") == 5


def test_lists_of_a_recommender_agree_with_their_table() -> None:
    found = shelf("shelves:Own", titles=True).recommend_many({"a": ["i1"], "b": [], "c": ["x", "i2"]}, k=4)
    rows = [(each.user, place, *item, each.by) for each in found for place, item in enumerate(each, start=1)]
    assert rows == list(found.to_frame().itertuples(index=False, name=None))
