"""What people write who use the library, for mypy alone, which `make types` runs: nothing here is called.

Each comment that ignores an error shows that there is one, as mypy reports those that ignore nothing.
"""

from __future__ import annotations

from typing import assert_type

import numpy as np
import pandas as pd

import actsr_cli as actsr


def right_lists(recommender: actsr.Recommender) -> None:
    found = recommender.recommend(["a", "b"], k=5, timestamps=["2020-01-01", "2020-01-02"], only=("a",), without=["b"])
    assert_type(found.ids, list[str])
    assert_type(found[0].score, float)
    assert_type(found.to_frame(), pd.DataFrame)
    recommender.recommend([1, 2], timestamps=[1.0, 2.0], user=5, seen="rank")
    recommender.recommend(np.array([1, 2]), timestamps=np.array([1, 2]))
    recommender.recommend(pd.Series(["a"]), timestamps=[1])
    assert_type(recommender.recommend_users(["anna"])[0].by == "model", bool)
    assert_type(recommender.similar("a", 3).ids, list[str])
    assert_type(recommender.score(["a"], ["b"])[0].title, str)
    explanation = recommender.explain(["a"], "b")
    assert_type(explanation.rank, float)
    assert_type(explanation.to_frame(), pd.DataFrame)


def right_lists_of_many(recommender: actsr.Recommender) -> None:
    by_user: dict[str, list[str]] = {"anna": ["a"]}
    by_number: dict[int, list[int]] = {1: [2]}
    times: dict[str, list[float]] = {"anna": [1.0]}
    many = recommender.recommend_many(by_user, timestamps=times)
    recommender.recommend_many(by_number)
    recommender.recommend_many({"anna": ["a"], "bert": ["b"]}, k=3)
    recommender.recommend_many([["a"], ["b"]], timestamps=[[1], [2]])
    recommender.recommend_many(pd.DataFrame({"user_id": [1], "item_id": [2]}))
    assert_type([each.user for each in many], list[str])
    assert_type(many[0].ids, list[str])
    assert_type(many.to_frame(), pd.DataFrame)


def right_runs() -> None:
    assert_type(actsr.__version__, str)
    assert_type(actsr.load("beauty/ac-sasrec/first", device="cpu", batch_size=5, runs_dir="runs"), actsr.Recommender)
    run = actsr.train("ac-sasrec", preset="demo", settings={"training.epochs": 3, "model.user_size": None})
    assert_type(actsr.evaluate(run, split="valid", metrics=["hit"], k=[5]).metrics, dict[str, float])
    assert_type(actsr.evaluate().to_frame(), pd.DataFrame)
    actsr.load(actsr.resume(run, settings={"training.epochs": 5})).recommend([])
    assert_type([each.name for each in actsr.train_seeds(3, "sasrec", dataset="demo")], list[str])
    assert_type(actsr.prepare("demo", columns={"user": "x"}).to_frame(), pd.DataFrame)
    attention = actsr.CalibratedAttention(8, 2, max_length=5)
    assert_type(attention.num_heads, int)
    try:
        actsr.load()
    except actsr.ActsrError as error:
        assert_type(error.hint, str | None)


def wrong() -> None:
    actsr.evaluate(split="train")  # type: ignore[arg-type]
    actsr.load(batch_size="5")  # type: ignore[arg-type]
    actsr.load().recommend([1.5])  # type: ignore[list-item]
    actsr.load().recommend(["a"], seen="exclude-repeats")  # type: ignore[arg-type]
    actsr.load().recommend_many({"anna": [1.5]})  # type: ignore[arg-type]
    actsr.train("sasrec", setings={})  # type: ignore[call-arg]
    actsr.recommend(["a"])  # type: ignore[attr-defined]
    actsr.load().explain("a", items="b")  # type: ignore[call-arg]
    number: int = actsr.evaluate().metrics["hit@10"]  # type: ignore[assignment]
    assert number
