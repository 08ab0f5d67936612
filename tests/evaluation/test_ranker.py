"""Rankings of the catalogue: ties, infinities, seen items, lists, samples, batches."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Barrier
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import sequence_data
from scorers import CPU, By, fixed

from actsr_cli.batch import Batch
from actsr_cli.data.histories import Histories
from actsr_cli.data.splits import SplitName
from actsr_cli.errors import RunError
from actsr_cli.evaluation.metrics.accuracy import hit
from actsr_cli.evaluation.ordering import best_items, places
from actsr_cli.evaluation.protocol import Protocol, Seen
from actsr_cli.evaluation.ranker import Ranker, Ranking

DATA = sequence_data([[1, 2, 3, 4], [2, 2, 5, 6, 1], [7, 1, 7, 3], [3, 4, 5, 6, 7, 1, 2]], n_items=8)


def rank_one(
    scores: list[float], target: int, history: Sequence[int] = (1,), seen: Seen = "rank", top: int = 0
) -> Ranking:
    ranker = Ranker(fixed(scores), device=CPU, protocol=Protocol(seen))
    return ranker.rank(Histories.of([np.array(history)], targets=[target]), top=top, log_probability=True)


def naive(scores: list[float], target: int, seen: set[int]) -> tuple[int, int]:
    others = [item for item in range(1, len(scores)) if item != target and item not in seen]
    return sum(scores[item] > scores[target] for item in others), sum(scores[item] == scores[target] for item in others)


def test_places_by_hand() -> None:
    scores = torch.tensor([[99.0, 3.0, 1.0, 2.0, 2.0, 2.0]])
    assert [each.tolist() for each in places(scores, torch.tensor([1]))] == [[0], [0]]
    assert [each.tolist() for each in places(scores, torch.tensor([3]))] == [[1], [2]]
    assert [each.tolist() for each in places(scores, torch.tensor([3]), torch.tensor([[1, 4, 3, 0]]))] == [[0], [1]]


score_values = st.sampled_from([float("-inf"), -1.0, -0.0, 0.0, 0.5, 2.0, float("inf")])


@given(
    scores=st.lists(score_values, min_size=3, max_size=12),
    target=st.integers(1, 100),
    history=st.lists(st.integers(1, 100), min_size=1, max_size=6),
)
def test_every_protocol_equals_counting(scores: list[float], target: int, history: list[int]) -> None:
    n_items = len(scores) - 1
    target = 1 + target % n_items
    history = [1 + item % n_items for item in history]
    for seen in get_args(Seen):
        found = rank_one(scores, target, history, seen)
        expected = naive(scores, target, set() if seen == "rank" else set(history))
        if seen == "exclude-repeats" and target in history:
            expected = n_items, 0
        assert (found.better[0], found.equal[0]) == expected
        assert found.ranks[0] == 1 + expected[0] + expected[1] / 2


@given(scores=st.lists(score_values, min_size=2, max_size=12), history=st.lists(st.integers(1, 11), min_size=1))
def test_lists_are_the_best_allowed_items_and_break_ties_by_id(scores: list[float], history: list[int]) -> None:
    n_items = len(scores) - 1
    history = [1 + item % n_items for item in history]
    protocols: tuple[tuple[Seen, set[int]], ...] = (("rank", set()), ("exclude", set(history)))
    for seen, left_out in protocols:
        allowed = [item for item in range(1, n_items + 1) if item not in left_out and scores[item] > -np.inf]
        expected = sorted(allowed, key=lambda item: (-scores[item], item))
        found = rank_one(scores, 0, history, seen, top=20)
        assert found.top_items[0].tolist() == expected + [0] * (n_items - len(expected))


def test_a_repeated_target_stays_in_protocol_b_and_is_missed_as_published() -> None:
    scores = [0.0, 3.0, 2.0, 1.0]
    assert rank_one(scores, 1, [1, 2], "exclude", top=3).top_items.tolist() == [[1, 3, 0]]
    assert rank_one(scores, 1, [1, 2], "exclude").ranks.tolist() == [1]
    missed = rank_one(scores, 1, [1, 2], "exclude-repeats", top=3)
    assert missed.top_items.tolist() == [[3, 0, 0]]
    assert missed.ranks.tolist() == [4]  # after all items
    assert [hit(missed, k).tolist() for k in (3, 4, 50)] == [[0]] * 3
    assert hit(rank_one(scores, 3, [1, 2], "exclude-repeats"), 50).tolist() == [1]


def test_without_a_target_there_are_lists_and_no_rank() -> None:
    found = rank_one([0.0, 3.0, 2.0, 1.0], 0, [1], "exclude", top=2)
    assert np.isnan(found.ranks[0]) and np.isnan(found.log_probability[0])
    assert found.top_items.tolist() == [[2, 3]]


def test_probabilities_are_those_of_the_whole_catalogue() -> None:
    found = rank_one([9.0, np.log(5.0), np.log(3.0), np.log(2.0)], 2, [1], "exclude", top=2)
    assert np.exp(found.log_probability).tolist() == pytest.approx([0.3])
    assert np.exp(found.top_log_probability).tolist() == [pytest.approx([0.3, 0.2])]


def test_nan_is_an_error() -> None:
    with pytest.raises(RunError, match="NaN"):
        rank_one([0.0, 1.0, float("nan")], 1)


def test_padding_is_never_listed() -> None:
    ranking = Ranker(fixed([9.0, 1.0, 2.0]), device=CPU).rank(Histories.of([np.array([1])]), top=5)
    assert ranking.top_items.tolist() == [[2, 1]]


@given(scores=st.lists(st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.5, 2.0, -np.inf]), min_size=7, max_size=7)))
def test_lists_equal_sorting_by_hand(scores: list[list[float]]) -> None:
    table = torch.tensor(scores).reshape(-1, 7)
    for k in (1, 3, 6, 7):
        items, of_items = best_items(table.clone(), k)
        for row, ids, values in zip(scores, items.tolist(), of_items.tolist(), strict=True):
            by_hand = sorted((item for item in range(7) if row[item] > -np.inf), key=lambda item: (-row[item], item))
            assert ids == (by_hand + [0] * k)[:k]
            assert values == ([row[item] for item in by_hand] + [-np.inf] * k)[:k]


def test_lists_hold_only_what_they_may() -> None:
    history, listed = Histories.of([np.array([3])], targets=[4]), np.array([False, True, False, True, False])
    scorer = fixed([0.0, 1.0, 9.0, 3.0, 2.0])
    for seen, expected in (("rank", [3, 1, 0]), ("exclude", [1, 0, 0])):
        ranking = Ranker(scorer, device=CPU, protocol=Protocol(seen), listed=listed).rank(history, top=3)  # type: ignore[arg-type]
        assert ranking.top_items.tolist() == [expected]
        assert ranking.better.tolist() == [2 if seen == "rank" else 1]


def hashed(batch: Batch) -> torch.Tensor:
    """Scores that depend on the latest item only, with many ties."""
    latest = batch.item_ids[batch.packing.last].unsqueeze(1)
    return ((latest * 5 + torch.arange(9) * 3) % 4).float()


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("seen", ["rank", "exclude"])
def test_a_split_equals_counting_user_by_user(split: SplitName, seen: Seen) -> None:
    held = -1 if split == "test" else -2
    expected = []
    for start, end in zip(DATA.offsets[:-1], DATA.offsets[1:], strict=True):
        items = DATA.items[start:end].tolist()
        history = items[:held]
        scores = [float((history[-1] * 5 + item * 3) % 4) for item in range(9)]
        expected.append(naive(scores, items[held], set(history) if seen == "exclude" else set()))
    for batch_size in (1, 2, 100):
        ranker = Ranker(By(hashed, 8, max_length=2), device=CPU, protocol=Protocol(seen), batch_size=batch_size)
        found = ranker.rank(DATA.held_out(split))
        assert list(zip(found.better.tolist(), found.equal.tolist(), strict=True)) == expected


def test_each_thread_ranks_batches_of_its_own() -> None:
    torch.set_num_threads(3)
    together, told = Barrier(3, timeout=60), list[tuple[int, int]]()

    def score(batch: Batch) -> torch.Tensor:
        together.wait()  # passed only by three threads at once
        assert torch.get_num_threads() == 1
        return hashed(batch)

    histories = DATA.held_out("test").take(np.arange(3))
    found = Ranker(By(score, 8), device=CPU, batch_size=1).rank(
        histories, top=3, on_batch=lambda *done: told.append(done)
    )
    alone = Ranker(By(hashed, 8), device=CPU, batch_size=100).rank(histories, top=3)
    for name in ("better", "equal", "top_items", "top_scores", "target_scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
    assert told == [(1, 3), (2, 3), (3, 3)] and torch.get_num_threads() == 3


def test_after_an_error_no_thread_takes_another_batch() -> None:
    torch.set_num_threads(3)
    together, scored = Barrier(3, timeout=60), list[Batch]()

    def score(batch: Batch) -> torch.Tensor:
        scored.append(batch)
        together.wait()
        raise RunError("cannot score")

    with pytest.raises(RunError, match="cannot score"):
        Ranker(By(score, 8), device=CPU, batch_size=1).rank(Histories.of([np.array([1])] * 50, targets=[2] * 50))
    assert len(scored) == 3


def test_progress_is_told() -> None:
    heard: list[tuple[int, int]] = []
    ranker = Ranker(By(hashed, 8), device=CPU, batch_size=3)
    ranker.rank(DATA.held_out("test"), on_batch=lambda done, total: heard.append((done, total)))
    assert heard in ([(3, 4), (4, 4)], [(1, 4), (4, 4)])  # with several threads the smaller batch may be first


@pytest.mark.parametrize("candidates", ["uniform", "popularity"])
def test_sampled_candidates_are_new_to_the_user_and_the_same_in_any_batch(candidates: str) -> None:
    data = sequence_data([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 1, 2]], n_items=40)
    counts = np.array([0, *range(1, 41)])
    protocol = Protocol("rank", candidates, 5, seed=3)  # type: ignore[arg-type]
    seen_by_hand = []
    for batch_size in (1, 3):
        asked: list[int] = []

        def score(batch: Batch) -> torch.Tensor:
            return torch.arange(41.0).expand(len(batch.lengths), -1)

        ranker = Ranker(By(score, 40), device=CPU, protocol=protocol, batch_size=batch_size, item_counts=counts)
        found = ranker.rank(data.held_out("test"), top=6)
        asked += found.better.tolist()
        seen_by_hand.append((asked, found.top_items.tolist()))
        for row, (history, target) in enumerate(zip(([1, 2, 3], [5, 6, 7], [9, 10, 1]), (4, 8, 2), strict=True)):
            listed = set(found.top_items[row].tolist())
            assert len(listed) == 6 and target in listed and not listed & set(history)
            assert found.better[row] == sum(item > target for item in listed)
    assert seen_by_hand[0] == seen_by_hand[1]


def test_more_candidates_than_the_catalogue_has_are_all_there_are() -> None:
    counts = np.array([0, 3, 2, 1, 0, 5])
    for candidates, others in (("uniform", {3, 4, 5}), ("popularity", {3, 5})):
        protocol = Protocol("rank", candidates, 100)  # type: ignore[arg-type]
        ranker = Ranker(fixed([0.0, 1, 2, 3, 4, 5]), device=CPU, protocol=protocol, item_counts=counts)
        found = ranker.rank(Histories.of([np.array([1, 1])], targets=[2]), top=5)
        assert set(found.top_items[0].tolist()) - {0} == others | {2}


def test_popular_items_are_drawn_in_proportion() -> None:
    counts = np.array([0, 80, 15, 5, *[0] * 5])
    protocol = Protocol("rank", "popularity", 1)
    ranker = Ranker(fixed([0.0] * 9), device=CPU, protocol=protocol, item_counts=counts)
    users = 4000
    histories = Histories.of([np.array([4])] * users, targets=[5] * users, users=list(range(users)))
    drawn = ranker.rank(histories, top=2).top_items
    shares = [(drawn == item).any(axis=1).mean() for item in (1, 2, 3)]
    assert shares == pytest.approx([0.8, 0.15, 0.05], abs=0.02)


def test_samples_need_item_counts() -> None:
    with pytest.raises(ValueError, match="item_counts"):
        Ranker(fixed([0.0, 1.0]), device=CPU, protocol=Protocol("rank", "uniform"))


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol("rank"),
        Protocol("exclude"),
        Protocol("exclude-repeats"),
        Protocol(candidates="uniform", n_candidates=20, seed=7),
        Protocol(candidates="popularity"),
    ],
)
def test_a_protocol_is_told_by_its_key(protocol: Protocol) -> None:
    assert Protocol.from_key(protocol.key) == protocol


def test_a_key_of_no_protocol_is_refused() -> None:
    with pytest.raises(RunError, match="'exclud' is not a protocol; did you mean 'exclude'"):
        Protocol.from_key("exclud")
