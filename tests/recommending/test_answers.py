"""Similar items, scores and explanations, compared with values by hand."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest
import torch
from shelves import ALL, COUNTS, MAX_LENGTH, N_ITEMS, model, names, scores_by_hand, shelf, top_by_hand

from actsr_cli.errors import DataError, RunError
from actsr_cli.models.base import EncoderModel, SequentialModel
from actsr_cli.models.item_knn import ItemKNN
from actsr_cli.models.registry import all_models

every_model = pytest.mark.parametrize(("name", "calibration"), ALL)
TRAINED = [(name, calibration) for name, calibration in ALL if ":" in name or all_models()[name].trained]
ATTENTIVE = [(name, calibration) for name, calibration in TRAINED if name != "gru4rec"]
TIMES = [1e9 + 3600.0 * place**2 for place in range(12)]


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / sqrt(sum(a * a for a in one)) / sqrt(sum(b * b for b in other))


@pytest.mark.parametrize(("name", "calibration"), TRAINED)
def test_similar_items_by_cosine(name: str, calibration: str) -> None:
    recommender = shelf(name, calibration, titles=True)
    assert isinstance(recommender.model, SequentialModel)
    vectors = recommender.model.item_vectors().detach().tolist()
    for item in (1, 9):
        scores = [cosine(vectors[item], vectors[other]) for other in range(1, N_ITEMS + 1)]
        found = recommender.similar(f"i{item}", k=100)
        assert len(found) == N_ITEMS - 1 and f"i{item}" not in found.ids
        assert [each.score for each in found] == pytest.approx(sorted(scores, reverse=True)[1:], abs=1e-5)
        assert found[0].title == f"Title <b>{found[0].item[1:]}</b>" and found.user == f"i{item}"
        assert recommender.similar(f"i{item}", k=3).ids == found.ids[:3]


def test_similar_items_that_tie() -> None:
    """Items 1 and 2 of the custom model have the same vector."""
    found = shelf("shelves:Own").similar("i1", k=1)
    assert found.ids == ["i2"] and found[0].score == pytest.approx(1)
    similar = shelf("shelves:Own").similar("i9", k=8).ids
    assert similar.index("i2") == similar.index("i1") + 1


def test_similar_items_of_item_knn() -> None:
    made = model("item-knn")
    assert isinstance(made, ItemKNN)
    found = shelf("item-knn").similar("i1", k=3)
    after_one = dict(zip(made.neighbours[1].tolist(), made.strengths[1].tolist(), strict=True))
    scores = [0.0, *(after_one.get(item, 0.0) for item in range(1, N_ITEMS + 1))]
    assert found.ids == top_by_hand(scores, 3, {1}) and found[0].score == pytest.approx(max(scores))


def test_similar_items_refused() -> None:
    with pytest.raises(RunError, match="Popularity has no item vectors"):
        shelf("popularity").similar("i1")
    with pytest.raises(DataError, match="unknown item 'x'"):
        shelf().similar("x")
    for item in ("", ["i1"], 1.5, None):
        with pytest.raises(DataError):
            shelf().similar(item)  # type: ignore[arg-type]


def test_similar_items_change_no_weight() -> None:
    before = {key: value.clone() for key, value in model("item-knn").state_dict().items()}
    shelf("item-knn").similar("i1")
    assert all(torch.equal(before[key], value) for key, value in model("item-knn").state_dict().items())


@every_model
def test_scores_keep_the_order_of_the_items(name: str, calibration: str) -> None:
    recommender, history = shelf(name, calibration, titles=True), [3, 5, 3]
    times = TIMES[:3] if recommender.model.needs_timestamps else None
    by_hand = scores_by_hand(recommender.model, history, times=times)
    asked = [8, 3, 1, 8, 9]
    found = recommender.score(names(history), names(asked), timestamps=times)
    assert found.ids == names(asked)  # seen items, too
    assert [item.score for item in found] == pytest.approx([by_hand[item] for item in asked], abs=1e-5)
    assert [item.title for item in found] == [f"Title <b>{item}</b>" for item in asked]
    whole = recommender.score(names(history), timestamps=times)
    assert whole.ids == top_by_hand(by_hand, N_ITEMS)


def test_scores_in_a_given_order_have_no_ranks() -> None:
    assert list(shelf().score(["i1"], ["i3", "i2"]).to_frame().columns) == ["item", "title", "score"]
    assert shelf().score(["i1"]).to_frame()["rank"].tolist() == list(range(1, N_ITEMS + 1))


def test_scores_refused() -> None:
    for items in (["i1", "x"], ["i1", ""]):
        with pytest.raises(DataError, match="unknown item"):
            shelf().score(["i1"], items)
    with pytest.raises(DataError, match="items must be a list of item ids, not the text 'i1'"):
        shelf().score(["i1"], "i1")
    with pytest.raises(DataError, match=r"^no item of the history is known$"):
        shelf().score([])
    with pytest.raises(DataError, match=r"^no item of the history is known: x, y$"):
        shelf().score(["x", "y"], ["i1"])
    assert shelf().score(["x", "i1"], []).unknown == ("x",)


def log_probability(scores: list[float], target: int) -> float:
    return scores[target] - log(sum(exp(score) for score in scores[1:]))


@every_model
@pytest.mark.parametrize("history", [[3], [2, 5, 2], [4, 9, 1, 2, 2, 3, 5, 1]], ids=["one", "repeated", "long"])
def test_explanations_by_hand(name: str, calibration: str, history: list[int]) -> None:
    recommender, target = shelf(name, calibration, titles=True), 6
    made = recommender.model
    times = TIMES[: len(history)] if made.needs_timestamps else None
    found = recommender.explain(names(history), f"i{target}", timestamps=times)
    read, read_times = history[-MAX_LENGTH:], times and times[-MAX_LENGTH:]
    assert found.items == tuple(names(read)) and found.titles == tuple(f"Title <b>{item}</b>" for item in read)
    scores = scores_by_hand(made, read, times=read_times)
    assert found.target.item == "i6" and found.target.score == pytest.approx(log_probability(scores, target), abs=1e-4)
    assert found.probability == pytest.approx(exp(log_probability(scores, target)), abs=1e-5)
    others = [scores[item] for item in range(1, N_ITEMS + 1) if item != target]
    better, equal = sum(score > scores[target] for score in others), sum(score == scores[target] for score in others)
    assert found.rank == 1 + better + equal / 2
    assert ("left out" in found.importance) == (len(read) > 1)
    if len(read) > 1:
        without = []
        for place in range(len(read)):
            left = read[:place] + read[place + 1 :]
            left_times = read_times and read_times[:place] + read_times[place + 1 :]
            without.append(log_probability(scores_by_hand(made, left, times=left_times), target))
        falls = [log_probability(scores, target) - each for each in without]
        assert found.importance["left out"].tolist() == pytest.approx(falls, abs=1e-4)
    assert ("integrated gradients" in found.importance) == (isinstance(made, EncoderModel) and len(read) > 1)
    frame = found.to_frame()
    assert frame.columns.tolist() == ["item", "title", *found.importance] and len(frame) == len(read)
    assert all(np.isfinite(values).all() for values in found.importance.values())


@pytest.mark.parametrize(("name", "calibration"), ATTENTIVE)
def test_attention_in_explanations(name: str, calibration: str) -> None:
    recommender = shelf(name, calibration)
    found = recommender.explain(["i3", "x", "i5"], timestamps=TIMES[:3] if name == "tisasrec" else None)
    assert found.trace is not None and found.unknown == ("x",) and found.items == ("i3", "i5")
    stages = set(found.importance) - {"left out", "integrated gradients"}
    assert not any("rollout" in stage for stage in stages)
    full = {"plain", "spatial", "1 - mask", "calibrated"}
    assert stages >= ({"plain"} if calibration == "none" else full)
    for stage in stages - {"1 - mask"}:
        assert (found.importance[stage] >= 0).all() and found.importance[stage].sum() <= 1 + 1e-5


def test_models_without_attention() -> None:
    for name, columns in (("gru4rec", ["left out"]), ("item-knn", ["left out"]), ("popularity", ["left out"])):
        found = shelf(name).explain(["i3", "i5"], "i2")
        assert found.trace is None and list(found.importance) == columns
    counted = shelf("popularity").explain(["i3", "i5"], "i2")
    assert counted.importance["left out"].tolist() == [0, 0]
    alone = shelf("item-knn").explain(["i3"], "i2")
    assert alone.importance == {} and alone.to_frame().columns.tolist() == ["item", "title"]
    assert "rank" in repr(alone) and "<table" in alone._repr_html_()


def test_the_item_that_is_explained() -> None:
    recommender = shelf()
    assert recommender.explain(["i3", "i5"]).target.item == recommender.recommend(["i3", "i5"], k=1)[0].item
    assert recommender.explain(["i3", "i5"], "i3").target.item == "i3"  # a seen one
    for item in ("x", ""):
        with pytest.raises(DataError, match="unknown item"):
            recommender.explain(["i3"], item)
    for history in ([], ["x"]):
        for chosen in (None, "i3"):
            with pytest.raises(DataError, match="no item of the history is known"):
                recommender.explain(history, chosen)
    with pytest.raises(DataError, match="the history contains the whole catalogue: give the item"):
        recommender.explain(names(range(1, 10)))


def test_explanations_as_texts() -> None:
    found = shelf("sasrec", "full", titles=True).explain(["i3", "x", "i5"], "i1")
    assert repr(found).startswith(f"Title <b>1</b>: rank {found.rank:.0f}, probability {found.probability:.2%}\n")
    assert "integrated gradients" in repr(found) and len(repr(found).splitlines()) == 4
    html = found._repr_html_()
    assert "<b>" not in html and "Title &lt;b&gt;1&lt;/b&gt;: rank" in html
    assert html.endswith("<p>Unknown and not used: x.</p>") and html.count("linear-gradient") == 2 * 4
    tied = shelf("popularity").explain(["i9"], "i3")  # one better than it and its six equals: 1 3 1 2 1 1 1 1 1
    assert tied.rank == 1 + 2 + 6 / 2 and f"rank {tied.rank:,.0f}" in repr(tied)
    half = shelf("shelves:Own").explain(["i3"], "i1")  # as good as item 2
    assert half.rank % 1 == 0.5 and f"rank {half.rank:.1f}," in repr(half)


def test_counts_are_those_of_the_vocabulary() -> None:
    assert shelf("popularity").items()["count"].tolist() == COUNTS[1:].tolist()
