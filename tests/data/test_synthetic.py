"""The demo data: the same bytes everywhere, unchanged by a 5-core, and with the documented structure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actsr_cli.data.catalog import find_entry
from actsr_cli.data.demo_items import NOISE_TITLES, ROUTINES
from actsr_cli.data.synthetic import generate_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert generate_demo(folder) == find_entry("demo").expected
    return folder


@pytest.fixture(scope="module")
def log(demo: Path) -> pd.DataFrame:
    table = pd.read_csv(demo / "demo.inter", sep="\t", dtype={"user_id:token": str, "item_id:token": str})
    return table.rename(columns=lambda column: column.partition(":")[0])


@pytest.fixture(scope="module")
def items(demo: Path) -> pd.DataFrame:
    table = pd.read_csv(demo / "demo.item", sep="\t", dtype=str).rename(columns=lambda name: name.partition(":")[0])
    return table.set_index("item_id")


@pytest.fixture(scope="module")
def histories(log: pd.DataFrame) -> list[list[str]]:
    return [list(group) for _, group in log.sort_values("timestamp").groupby("user_id")["item_id"]]


@pytest.fixture(scope="module")
def noise(items: pd.DataFrame) -> set[str]:
    return set(items.index[items["noise"] == "1"])


def test_the_bytes_are_always_the_same(demo: Path) -> None:
    assert {path.name: sha256(path.read_bytes()).hexdigest() for path in demo.iterdir()} == {
        "demo.inter": "9c2029ece527871b5ba038a0480e9bdb803160890ddf60eb95a31c336091ce69",
        "demo.item": "81affb66170c17132c4314535ee1aad903c4d129e9b3276746b8475f92393b1d",
    }


def test_another_seed_gives_other_data(demo: Path, tmp_path: Path) -> None:
    generate_demo(tmp_path, seed=1)
    assert (tmp_path / "demo.inter").read_bytes() != (demo / "demo.inter").read_bytes()


def test_the_files_are_atomic_files(demo: Path) -> None:
    inter = (demo / "demo.inter").read_text().splitlines()
    assert inter[0] == "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    assert all(line.count("\t") == 3 for line in inter)
    item = (demo / "demo.item").read_text().splitlines()
    assert item[0] == "item_id:token\ttitle:token_seq\tcategory:token\tnoise:float"
    assert all(line.count("\t") == 3 for line in item)


@settings(max_examples=8)
@given(seed=st.integers(0, 2**63))
def test_a_five_core_keeps_everything(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("seed")
    counts = generate_demo(folder, seed=seed)
    rows = [line.split("\t") for line in (folder / "demo.inter").read_text().splitlines()[1:]]
    users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
    assert (len(users), len(items), len(rows)) == counts
    assert min(users.values()) >= 5
    assert min(items.values()) >= 5
    assert 15_000 <= len(rows) <= 25_000


def test_a_users_time_only_grows_and_no_item_comes_twice(log: pd.DataFrame) -> None:
    gaps = log.sort_values("timestamp").groupby("user_id")["timestamp"].diff().dropna()
    assert len(gaps) == len(log) - log["user_id"].nunique()
    assert gaps.between(120, 9 * 86_400).all()
    assert not log.duplicated(["user_id", "item_id"]).any()


def test_items_are_titled_and_belong_somewhere(items: pd.DataFrame) -> None:
    assert items["title"].is_unique
    for routine, steps in ROUTINES.items():
        assert sorted(items["title"][items["category"] == routine]) == sorted(steps)
        assert len(steps) == 10
    assert sorted(items["title"][items["noise"] == "1"]) == sorted(NOISE_TITLES)


def test_noise_is_frequent_and_popular(log: pd.DataFrame, noise: set[str]) -> None:
    assert 0.20 <= log["item_id"].isin(noise).mean() <= 0.25
    popular = log["item_id"].value_counts().index[:10]
    assert set(popular) <= noise


def test_held_out_items_are_drawn_like_all_others(histories: list[list[str]], noise: set[str]) -> None:
    for position in (-1, -2):
        share = sum(history[position] in noise for history in histories) / len(histories)
        assert 0.20 <= share <= 0.28


Context = Callable[[list[str]], Hashable]


def hit_rate(histories: list[list[str]], context: Context, k: int) -> float:
    """Hit@k on each user's last item, ranking items by how often they follow the same context before it."""
    followers: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for history in histories:
        for end in range(1, len(history) - 1):
            followers[context(history[:end])][history[end]] += 1
    hits = [
        history[-1] in [item for item, _ in followers[context(history[:-1])].most_common(k)] for history in histories
    ]
    return sum(hits) / len(hits)


def test_looking_past_the_noise_pays(histories: list[list[str]], noise: set[str]) -> None:
    """Hit rates: popularity < followers of the last item < followers of the last signal item."""

    def last_signal(history: list[str]) -> str:
        return next(item for item in reversed(history) if item not in noise)

    popularity = hit_rate(histories, lambda history: None, 10)
    last = hit_rate(histories, lambda history: history[-1], 10)
    signal = hit_rate(histories, last_signal, 10)
    assert 0.08 < popularity < 0.18
    assert last > 3 * popularity
    assert signal > 4 * popularity
    assert signal > last + 0.08


def test_the_order_of_the_last_two_signal_items_pays(histories: list[list[str]], noise: set[str]) -> None:
    def last_two(history: list[str]) -> tuple[str, ...]:
        return tuple([item for item in history if item not in noise][-2:])

    ordered = hit_rate(histories, last_two, 1)
    unordered = hit_rate(histories, lambda history: frozenset(last_two(history)), 1)
    assert ordered > unordered + 0.05


def test_noise_says_nothing_on_what_comes_next(histories: list[list[str]], noise: set[str]) -> None:
    """The identity of a noise item predicts the next item no better than popularity."""
    after_noise = [history for history in histories if history[-2] in noise]
    assert hit_rate(after_noise, lambda history: history[-1] if history[-1] in noise else None, 10) < 0.2
