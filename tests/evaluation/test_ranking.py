"""Ranks over the whole catalogue: ties, infinities, seen items, batches."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import sequence_data

from actsr_cli.batch import Batch
from actsr_cli.errors import DataError, RunError
from actsr_cli.evaluation.export import write_ranks
from actsr_cli.evaluation.popularity import popularity_scorer
from actsr_cli.evaluation.ranking import doubled_ranks, evaluate

CPU = torch.device("cpu")
DATA = sequence_data([[1, 2, 3, 4], [2, 2, 5, 6, 1], [7, 1, 7, 3], [3, 4, 5, 6, 7, 1, 2]], n_items=8)


def naive_rank(scores: list[float], target: int, seen: set[int]) -> float:
    others = [item for item in range(1, len(scores)) if item != target and item not in seen]
    higher = sum(scores[item] > scores[target] for item in others)
    equal = sum(scores[item] == scores[target] for item in others)
    return 1 + higher + equal / 2


def test_ranks_by_hand() -> None:
    scores = torch.tensor([[99.0, 3.0, 1.0, 2.0, 2.0, 2.0]])
    assert doubled_ranks(scores, torch.tensor([1])).tolist() == [2]
    assert doubled_ranks(scores, torch.tensor([3])).tolist() == [2 * (1 + 1 + 2 / 2)]
    assert doubled_ranks(scores, torch.tensor([3]), torch.tensor([[1, 4, 3, 0]])).tolist() == [2 * (1 + 1 / 2)]


score_values = st.sampled_from([float("-inf"), -1.0, 0.0, 0.5, 2.0, float("inf")])


@given(
    scores=st.lists(score_values, min_size=3, max_size=12),
    target=st.integers(1, 100),
    seen=st.lists(st.integers(1, 100), max_size=6),
)
def test_ranks_equal_counting(scores: list[float], target: int, seen: list[int]) -> None:
    n_items = len(scores) - 1
    target = 1 + target % n_items
    seen = [1 + item % n_items for item in seen]
    for excluded in (None, torch.tensor([[*seen, 0]])):
        left_out = set() if excluded is None else set(seen)
        doubled = doubled_ranks(torch.tensor([scores]), torch.tensor([target]), excluded)
        assert doubled.item() / 2 == naive_rank(scores, target, left_out)


def test_nan_is_an_error() -> None:
    with pytest.raises(RunError, match="NaN"):
        doubled_ranks(torch.tensor([[0.0, 1.0, float("nan")]]), torch.tensor([1]))


def test_a_constant_scorer_gets_chance_level() -> None:
    ranked = evaluate(
        lambda batch: torch.zeros(len(batch.lengths), 9),
        DATA,
        "test",
        max_length=3,
        seen="rank",
        batch_size=3,
        device=CPU,
    )
    assert ranked.ranks.tolist() == [4.5] * 4


def hashed_scorer(batch: Batch) -> torch.Tensor:
    """Scores that depend on the latest item only, with many ties."""
    latest = batch.item_ids.gather(1, (batch.lengths - 1).unsqueeze(1))
    return ((latest * 5 + torch.arange(9) * 3) % 4).float()


@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluation_equals_counting_user_by_user(split: Literal["valid", "test"]) -> None:
    held = -1 if split == "test" else -2
    sequences = [DATA.items[s:e].tolist() for s, e in zip(DATA.offsets[:-1], DATA.offsets[1:], strict=True)]
    for seen in ("rank", "exclude"):
        expected = []
        for items in sequences:
            history = items[:held]
            scores = [(history[-1] * 5 + item * 3) % 4 for item in range(9)]
            left_out = set(history) if seen == "exclude" else set()
            expected.append(naive_rank([float(score) for score in scores], items[held], left_out))
        for batch_size in (1, 2, 100):
            ranked = evaluate(hashed_scorer, DATA, split, max_length=2, seen=seen, batch_size=batch_size, device=CPU)
            assert ranked.ranks.tolist() == expected


def test_progress_is_told() -> None:
    heard: list[tuple[int, int]] = []
    evaluate(
        hashed_scorer,
        DATA,
        "test",
        max_length=2,
        seen="rank",
        batch_size=3,
        device=CPU,
        on_batch=lambda done, total: heard.append((done, total)),
    )
    assert heard == [(3, 4), (4, 4)]


def test_users_that_are_too_short_leave_nothing_to_evaluate() -> None:
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate(hashed_scorer, sequence_data([[1, 2]]), "test", max_length=2, seen="rank", batch_size=3, device=CPU)


def test_popularity_counts_training_items_only() -> None:
    scores = popularity_scorer(DATA, torch.device("cpu"))(Batch(torch.tensor([[1]]), torch.tensor([1])))
    spans = [1, 2, 2, 2, 5, 7, 1, 3, 4, 5, 6, 7]  # everything but the last two of each user
    assert scores.tolist() == [[0, *(spans.count(item) for item in range(1, 9))]]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ranks_are_written_under_raw_ids(tmp_path: Path, suffix: str) -> None:
    ranked = evaluate(hashed_scorer, DATA, "test", max_length=2, seen="rank", batch_size=3, device=CPU)
    path = tmp_path / "deep" / f"ranks{suffix}"
    write_ranks(path, DATA, ranked)
    table = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert table["user"].tolist() == ["u0", "u1", "u2", "u3"]
    assert table["target"].tolist() == ["i4", "i1", "i3", "i2"]
    assert table["history_length"].tolist() == [3, 4, 3, 6]
    np.testing.assert_array_equal(table["rank"], ranked.ranks)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_ranks_in_an_unknown_format_are_refused(tmp_path: Path) -> None:
    ranked = evaluate(hashed_scorer, DATA, "test", max_length=2, seen="rank", batch_size=3, device=CPU)
    with pytest.raises(DataError, match=r"\.csv or \.parquet"):
        write_ranks(tmp_path / "ranks.txt", DATA, ranked)
