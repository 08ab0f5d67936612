"""Windows and batches: every target occurs once, with the right history."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flat import per_history, targets_of
from hypothesis import given
from hypothesis import strategies as st
from samples import sequence_data

from actsr_cli.data.batches import TrainingBatches, history_batches, training_windows
from actsr_cli.distributed import ALONE, Workers

CPU = torch.device("cpu")
users_strategy = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=25), min_size=1, max_size=6)


def test_windows_by_hand() -> None:
    """Ten items: eight for training, seven inputs. Length 4, stride 2: a full window, then one per two targets."""
    windows = training_windows(sequence_data([list(range(1, 11))]), max_length=4, stride=2)
    assert windows.starts.tolist() == [0, 2, 3]
    assert windows.lengths.tolist() == [4, 4, 4]
    assert windows.first_trained.tolist() == [0, 2, 3]


def test_short_users() -> None:
    """Two items are only for training, one item trains nothing; of three or more items the last two are held out."""
    windows = training_windows(sequence_data([[1], [2, 3], [4, 5, 6], [7, 8, 9, 1]]), max_length=4, stride=1)
    assert windows.users.tolist() == [1, 3]
    assert windows.lengths.tolist() == [1, 1]


@given(users=users_strategy, max_length=st.integers(1, 8), stride=st.integers(1, 9), batch_size=st.integers(1, 30))
def test_every_target_is_trained_once_with_its_context(
    users: list[list[int]], max_length: int, stride: int, batch_size: int
) -> None:
    stride = min(stride, max_length)
    flat = [(user, place) for user, items in enumerate(users) for place in range(len(items))]
    # Give every interaction a unique number, so that contexts can be recognised.
    numbered = [[1 + flat.index((user, place)) for place in range(len(items))] for user, items in enumerate(users)]
    data = sequence_data(numbered, timestamps=True)
    batches = TrainingBatches(data, max_length=max_length, batch_size=batch_size, stride=stride)
    trained: Counter[int] = Counter()
    epoch = list(batches.epoch(torch.Generator().manual_seed(0)))
    for batch in epoch:
        assert batch is not None
        per_window = torch.bincount(batch.packing.sequences[batch.rows])
        assert per_window.sum() <= max(batch_size, int(per_window.max()))
        for items, targets in zip(per_history(batch, batch.item_ids), targets_of(batch), strict=True):
            for row, target in enumerate(targets):
                if not target:
                    continue
                user, place = flat[target - 1]
                trained[target] += 1
                context = items[: row + 1]
                assert context == [1 + flat.index((user, p)) for p in range(place - len(context), place)]
                expected = min(place, max_length)
                assert len(context) == expected if stride == 1 else expected - stride < len(context) <= expected
    spans = [len(items) - 2 if len(items) >= 3 else len(items) for items in users]
    wanted = {1 + flat.index((user, place)) for user, span in enumerate(spans) for place in range(1, span)}
    assert set(trained) == wanted and all(count == 1 for count in trained.values())
    assert batches.n_targets == len(wanted)


def test_epochs_repeat_with_their_generator_and_differ_within_it() -> None:
    data = sequence_data([[1, 2, 3, 4, 5, 6][: 3 + user % 4] for user in range(40)])
    batches = TrainingBatches(data, max_length=5, batch_size=7)

    def epoch(generator: torch.Generator) -> list[list[int]]:
        return [batch.item_ids.tolist() for batch in batches.epoch(generator) if batch is not None]

    generator = torch.Generator().manual_seed(5)
    first, second = epoch(generator), epoch(generator)
    assert first == epoch(torch.Generator().manual_seed(5))
    assert first != second


def test_whole_windows_fill_batches_by_their_length() -> None:
    data = sequence_data([list(range(1, 33))] * 6)  # 29 inputs each: windows of 8, later ones train 2 rows
    batches = TrainingBatches(data, max_length=8, batch_size=16, stride=2, whole=True)
    epoch = batches.epoch(torch.Generator().manual_seed(0))
    lengths = [0 if batch is None else batch.packing.n_tokens for batch in epoch]
    assert set(lengths) == {16}
    assert sum(lengths) == 8 * len(batches.windows)
    assert batches.n_targets == 6 * 29


@pytest.mark.parametrize("count", [2, 3])
def test_workers_share_each_batch(count: int) -> None:
    data = sequence_data([[1 + (user + step) % 9 for step in range(4 + user % 9)] for user in range(30)])

    def rows(workers: Workers) -> list[list[list[int]]]:
        batches = TrainingBatches(data, max_length=6, batch_size=20, workers=workers)
        epoch = batches.epoch(torch.Generator().manual_seed(3))
        return [[] if batch is None else per_history(batch, batch.item_ids) for batch in epoch]

    shared = [rows(Workers(rank, count)) for rank in range(count)]
    for whole, *shares in zip(rows(ALONE), *shared, strict=True):
        assert sorted(row for share in shares for row in share) == sorted(whole)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_histories_are_the_latest_items_with_their_times() -> None:
    data = sequence_data([[1, 2, 3], [4, 5, 6, 7, 8, 9], [1, 2]], timestamps=True)
    held_out = data.held_out("test")
    seen = {}
    for rows, batch in history_batches(held_out, max_length=3, batch_size=1, device=CPU):
        assert batch.timestamps is not None and batch.user_ids is not None
        seen[int(held_out.users[rows[0]])] = (batch.item_ids.tolist(), batch.timestamps.tolist())
        assert batch.user_ids.tolist() == held_out.users[rows].tolist()
    assert seen == {0: ([1, 2], [1e9, 1e9 + 1]), 1: ([6, 7, 8], [1e9 + 13, 1e9 + 14, 1e9 + 14])}


@pytest.mark.real_data
def test_beauty_has_the_published_number_of_prefixes(real_data: Path) -> None:
    users = [[int(item) for item in line.split()[1:]] for line in (real_data / "Beauty.txt").read_text().splitlines()]
    batches = TrainingBatches(sequence_data(users), max_length=50, batch_size=256)
    assert batches.n_targets == 131_413
    epoch = batches.epoch(torch.Generator().manual_seed(0))
    targets = [len(batch.targets) for batch in epoch if batch is not None]
    assert sum(targets) == 131_413
    assert max(targets) <= 256 and np.mean(targets) > 245


def test_arrays_stay_on_disk(tmp_path: Path) -> None:
    """Batches are gathered directly from the memory-mapped file."""
    np.save(tmp_path / "items.npy", sequence_data([[1, 2, 3, 4, 5]] * 4).items)
    data = replace(sequence_data([[1, 2, 3, 4, 5]] * 4), items=np.load(tmp_path / "items.npy", mmap_mode="r"))
    batches = TrainingBatches(data, max_length=4, batch_size=8)
    assert batches._flat.items.data_ptr() == data.items.ctypes.data
    assert batches._flat.items.dtype == torch.int32
