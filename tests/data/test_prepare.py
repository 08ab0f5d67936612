"""Preparation from end to end: order, numbering, cache, and detection of changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop import LOG, sequences, source

from actsr_cli.config import DataConfig
from actsr_cli.data import prepare as prepare_module
from actsr_cli.data.assemble import assemble
from actsr_cli.data.catalog import find_entry
from actsr_cli.data.fetch import install_demo
from actsr_cli.data.history import Choice
from actsr_cli.data.prepare import last_settings, prepare
from actsr_cli.data.readers import Columns
from actsr_cli.data.sources import find_source, source_from_file
from actsr_cli.errors import DataError


def test_sequences_are_in_order_of_time_and_numbers_in_order_of_appearance(tmp_path: Path) -> None:
    prepared = prepare(source(tmp_path), DataConfig())
    data = prepared.data
    assert sequences(data) == {"b": ["z", "x", "x"], "a": ["y", "x"], "c": ["y"]}
    assert data.item_names == ("", "x", "y", "z")
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [1, 3, 9, 2, 2, 1]
    assert (data.n_users, data.n_items, data.n_interactions) == (3, 3, 6)
    assert isinstance(data.items, np.memmap) and data.items.dtype == np.int32


def test_every_step_is_reported(tmp_path: Path) -> None:
    config = DataConfig(intervals={"rating": (2, None)}, duplicates="last", user_core=2, item_core=1, max_length=3)
    report = prepare(source(tmp_path, LOG + "b,z,10,5\nb,y,11,5\n"), config).report
    assert [(step.name, step.users, step.items, step.interactions) for step in report.steps] == [
        ("read", 3, 3, 8),
        ("rating in [2, ∞]", 3, 3, 7),
        ("last of duplicates", 3, 3, 6),
        ("core of 2 per user, 1 per item", 2, 3, 5),
        ("latest 3 of each user", 2, 3, 5),
    ]


def test_titles_come_with_atomic_files(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "films.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\tb\t1\nu\ta\t2\n")
    (folder / "films.item").write_text("item_id:token\ttitle:token_seq\na\tAlien\n")
    data = prepare(find_source(tmp_path, "films"), DataConfig()).data
    assert data.item_names == ("", "b", "a")
    assert data.titles == ("", "", "Alien")


FAULTY_ITEMS = {
    "not UTF-8": b"item_id:token\ttitle:token_seq\na\tCaf\xe9\n",
    "empty": b"",
    "no item ids": b"key:token\ttitle:token_seq\na\tAlien\n",
    "a column twice": b"item_id:token\ttitle:token_seq\ttitle:token\na\tAlien\tx\n",
    "no atomic file": b"item_id\ttitle\na\tAlien\n",
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("fault", FAULTY_ITEMS)
def test_a_faulty_file_of_items_costs_titles_only(tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "films.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\tb\t1\nu\ta\t2\n")
    (folder / "films.item").write_bytes(FAULTY_ITEMS[fault])
    films = find_source(tmp_path, "films")
    first = prepare(films, DataConfig())
    assert first.data.titles is None and first.data.n_interactions == 2
    assert first.report.warnings == prepare(films, DataConfig()).report.warnings
    (warning,) = first.report.warnings
    assert warning.startswith("titles and categories are left out: ") and "films.item" in warning
    (folder / "films.item").write_text("item_id:token\ttitle:token_seq\na\tAlien\n")
    mended = prepare(films, DataConfig())
    assert mended.data.titles == ("", "", "Alien") and not mended.report.cached
    given = source(tmp_path).with_items(folder / "films.item")
    (folder / "films.item").write_bytes(FAULTY_ITEMS[fault])
    with pytest.raises(DataError, match=r"films\.item"):
        prepare(given, DataConfig())


def test_a_file_of_items_that_cannot_be_opened_or_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "films.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\tb\t1\nu\ta\t2\n")
    items = folder / "films.item"
    items.write_text("item_id:token\ttitle:token_seq\na\tAlien\n")
    films = find_source(tmp_path, "films")
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == items:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        assert "Permission denied" in prepare(films, DataConfig()).report.warnings[0]
    assert prepare(films, DataConfig()).data.titles == ("", "", "Alien")
    items.unlink()
    gone = prepare(films, DataConfig())
    assert gone.data.titles is None and gone.report.warnings == [f"{items} is gone: titles and categories are left out"]


def test_equal_rows_are_counted_and_dropped_alone(tmp_path: Path) -> None:
    shop = source(tmp_path, LOG + "b,x,9,2\nb,x,9,5\na,y,2,5\n")
    kept = prepare(shop, DataConfig())
    assert kept.report.equal_rows == 3 and kept.data.n_interactions == 9
    assert kept.report.warnings == [
        "3 rows repeat an earlier row in user, item and time; to drop such rows: --duplicates equal"
    ]
    dropped = prepare(shop, DataConfig(duplicates="equal"))
    assert [step.name for step in dropped.report.steps] == ["read", "without equal rows"]
    assert sequences(dropped.data) == sequences(prepare(source(tmp_path), DataConfig()).data), "real repeats stay"
    assert not dropped.report.warnings and not prepare(shop, DataConfig(duplicates="last")).report.warnings


def test_rows_without_times_are_never_equal(tmp_path: Path) -> None:
    file = tmp_path / "lists.txt"
    file.write_text("u a a b\nv a\n")
    lists = source_from_file(tmp_path / "data", "lists", file, None, Columns())
    assert not prepare(lists, DataConfig()).report.warnings
    with pytest.raises(DataError, match="'lists' has no times, so it has no rows that are equal"):
        prepare(lists, DataConfig(duplicates="equal"))


def test_the_way_of_times_is_reported_and_kept(tmp_path: Path) -> None:
    shop = source(tmp_path, "user,item,date,joined\nu,a,1588687728923,2019-05\nu,b,1588687728000,2020\n")
    settings = DataConfig(intervals={"date": ("2020-05-05", None), "joined": (None, "2020-12-31")})
    for prepared in (prepare(shop, settings), prepare(shop, settings)):
        report = prepared.report
        assert report.times == {"timestamp": "milliseconds since 1970", "joined": "ISO dates, UTC"}
        assert report.read_as == [
            "timestamp: milliseconds since 1970, from 2020-05-05T14:08:48 to 2020-05-05T14:08:48",
            "joined: ISO dates, UTC",
        ]
        assert prepared.data.times == "milliseconds since 1970"
        assert prepared.data.timestamps is not None and prepared.data.timestamps.tolist() == [
            1588687728,
            1588687728.923,
        ]


def test_categories_come_with_atomic_files(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "films.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\tb\t1\nu\ta\t2\nu\tc\t3\n")
    (folder / "films.item").write_text("item_id:token\tgenre:token_seq\na\tHorror Sci-Fi\nc\t\n")
    first = prepare(find_source(tmp_path, "films"), DataConfig()).data
    again = prepare(find_source(tmp_path, "films"), DataConfig())
    assert again.report.cached
    for data in (first, again.data):
        assert data.categories == ((), (), ("Horror", "Sci-Fi"), ())
        assert data.titles is None
    (folder / "films.item").write_text("item_id:token\ttitle:token_seq\na\tAlien\n")
    assert prepare(find_source(tmp_path, "films"), DataConfig()).data.categories is None


def test_each_item_of_the_demo_has_one_category(tmp_path: Path) -> None:
    install_demo(find_entry("demo"), tmp_path)
    data = prepare(find_source(tmp_path, "demo"), DataConfig()).data
    assert data.categories is not None and data.titles is not None
    assert data.categories[0] == () and {len(each) for each in data.categories[1:]} == {1}
    assert data.categories[data.titles.index("teapot")] == ("tea",)
    assert data.categories[data.titles.index("gift card")] == ("everyday",)


def test_a_second_call_reads_nothing_and_a_changed_file_is_noticed(tmp_path: Path) -> None:
    shop = source(tmp_path)
    first = prepare(shop, DataConfig())
    assert not first.report.cached
    stamp = shop.file.stat().st_mtime_ns
    again = prepare(shop, DataConfig())
    assert again.report.cached and again.folder == first.folder
    os.utime(shop.file, ns=(stamp + 1, stamp + 1))  # touched, not changed
    assert prepare(shop, DataConfig()).report.cached
    shop.file.write_text(LOG + "c,x,7,1\n")
    changed = prepare(shop, DataConfig())
    assert not changed.report.cached and "has changed" in changed.report.note
    assert changed.folder != first.folder and changed.data.n_interactions == 7


def test_settings_have_caches_of_their_own_and_the_latest_are_remembered(tmp_path: Path) -> None:
    shop = source(tmp_path)
    assert last_settings(shop) is None
    core = DataConfig(user_core=2)
    plain = prepare(shop, DataConfig())
    assert last_settings(shop) is None, "nobody chose these filters"
    chosen = prepare(shop, core, choice=Choice(settings=core))
    assert plain.data.fingerprint != chosen.data.fingerprint
    assert last_settings(shop) == core
    assert prepare(shop, DataConfig()).report.cached
    assert not prepare(shop, DataConfig(), force=True).report.cached
    assert last_settings(shop) == core, "a preparation without a choice keeps the one before"
    prepare(shop, DataConfig(), choice=Choice(settings=DataConfig()))
    assert last_settings(shop) == DataConfig()


def test_the_choice_of_an_earlier_version_is_that_of_its_latest_data(tmp_path: Path) -> None:
    shop = source(tmp_path)
    chosen = prepare(shop, DataConfig(user_core=2))
    latest = shop.folder / "prepared" / "latest.json"
    latest.write_text(json.dumps({"fingerprint": chosen.data.fingerprint, "inputs": {}}))
    assert last_settings(shop) == DataConfig(user_core=2)
    prepare(shop, DataConfig())
    assert last_settings(shop) == DataConfig(user_core=2), "it stays the choice"


def test_what_is_opened_without_its_input_is_remembered_too(tmp_path: Path) -> None:
    shop = source(tmp_path)
    prepare(shop, DataConfig(user_core=2))
    prepare(shop, DataConfig(), choice=Choice(settings=DataConfig()))
    shop.file.unlink()
    core = DataConfig(user_core=2)
    assert "is missing" in prepare(shop, core, choice=Choice(settings=core)).report.note
    assert last_settings(shop) == core


def test_what_was_prepared_outlives_its_input(tmp_path: Path) -> None:
    shop = source(tmp_path)
    fingerprint = prepare(shop, DataConfig()).data.fingerprint
    shop.file.unlink()
    kept = prepare(shop, DataConfig())
    assert kept.data.fingerprint == fingerprint and "is missing" in kept.report.note
    with pytest.raises(DataError, match="no file"):
        prepare(shop, DataConfig(user_core=3))


def test_the_latest_content_outlives_its_input(tmp_path: Path) -> None:
    shop = source(tmp_path)
    first = prepare(shop, DataConfig()).folder
    shop.file.write_text(LOG + "c,x,7,1\n")
    second = prepare(shop, DataConfig()).folder
    shop.file.unlink()
    assert prepare(shop, DataConfig()).folder == second
    shop.file.write_text(LOG)  # the first content again
    assert prepare(shop, DataConfig()).folder == first
    shop.file.unlink()
    assert prepare(shop, DataConfig()).folder == first


def test_only_the_same_file_read_the_same_way_outlives_it(tmp_path: Path) -> None:
    shop = source(tmp_path)
    prepare(shop, DataConfig())
    shop.file.unlink()
    by_rating = shop.model_copy(update={"columns": Columns(timestamp="rating")})
    elsewhere = shop.model_copy(update={"file": tmp_path / "other.csv"})
    for other in (by_rating, elsewhere):
        with pytest.raises(DataError, match="no file"):
            prepare(other, DataConfig())


def test_changed_titles_are_noticed_and_malformed_ones_told(tmp_path: Path) -> None:
    file, items = tmp_path / "films.inter", tmp_path / "films.item"
    file.write_text("user_id:token\titem_id:token\ttimestamp:float\nu\tb\t1\nu\ta\t2\n")
    items.write_text("item_id:token\ttitle:token_seq\na\tAlien\nb\n")
    films = source_from_file(tmp_path / "data", "films", file, None, Columns())
    first = prepare(films, DataConfig())
    assert first.data.titles == ("", "", "Alien")
    assert first.report.bad_lines == 1 and "films.item, line 3" in first.report.bad_examples[0]
    items.write_text("item_id:token\ttitle:token_seq\na\tAlien\nb\tBrazil\n")
    changed = prepare(films, DataConfig())
    assert changed.data.titles == ("", "Brazil", "Alien")
    assert changed.report.note == "films.item has changed since it was last prepared"


def test_data_prepared_under_an_alias_have_the_name_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "Amazon_Beauty"
    folder.mkdir()
    rows = "user_id:token\titem_id:token\ttimestamp:float\nu\tb\t1\n"
    (folder / "Amazon_Beauty.inter").write_text(rows)
    prepared = [prepare(find_source(tmp_path, name), DataConfig()) for name in ("beauty", "amazon-beauty")]
    assert [each.report.cached for each in prepared] == [False, True]
    assert [each.data.name for each in prepared] == ["beauty", "amazon-beauty"]


def test_nothing_left_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="after the step 'core of 9 per user, 0 per item'"):
        prepare(source(tmp_path), DataConfig(user_core=9))
    assert not list((tmp_path / "data" / "shop").glob("prepared/*/prepared.json"))


def test_damaged_prepared_data(tmp_path: Path) -> None:
    shop = source(tmp_path)
    folder = prepare(shop, DataConfig()).folder
    (folder / "items.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="are damaged") as caught:
        prepare(shop, DataConfig())
    assert "--force" in str(caught.value.hint)
    assert prepare(shop, DataConfig(), force=True).data.n_interactions == 6
    np.save(folder / "items.npy", np.zeros(3, dtype=np.int32))
    with pytest.raises(DataError, match="do not fit together"):
        prepare(shop, DataConfig())


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null"])
def test_a_damaged_record_can_be_mended_by_force(tmp_path: Path, text: str) -> None:
    shop = source(tmp_path)
    folder = prepare(shop, DataConfig()).folder
    (folder / "prepared.json").write_text(text)
    with pytest.raises(DataError, match=r"damaged: prepared\.json is not a valid record"):
        prepare(shop, DataConfig())
    assert prepare(shop, DataConfig(), force=True).data.n_interactions == 6
    assert prepare(shop, DataConfig()).report.cached


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("offsets", np.zeros(0, dtype=np.int64)),
        ("offsets", np.array([0, 3, 5], dtype=np.int64)),
        ("timestamps", np.zeros(5)),
    ],
)
def test_files_of_different_preparations_do_not_fit(tmp_path: Path, name: str, array: np.ndarray) -> None:
    shop = source(tmp_path)
    np.save(prepare(shop, DataConfig()).folder / f"{name}.npy", array)
    with pytest.raises(DataError, match="do not fit together"):
        prepare(shop, DataConfig())


@pytest.mark.parametrize("file", ["inputs.json", "latest.json"])
def test_damaged_memory_of_a_source_is_named(tmp_path: Path, file: str) -> None:
    shop = source(tmp_path)
    path = prepare(shop, DataConfig()).folder.parent / file
    path.write_text("[]")
    with pytest.raises(DataError, match=f"{file} is damaged") as caught:
        prepare(shop, DataConfig(), force=True)
    assert caught.value.hint == "Delete it."
    path.unlink()
    assert prepare(shop, DataConfig()).report.cached


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    users=st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=8), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_rows_may_come_in_any_order_when_times_differ(tmp_path: Path, users: list[list[int]], order: object) -> None:
    rows = [
        (f"u{user}", f"i{item}", 10 * user + place)
        for user, items in enumerate(users)
        for place, item in enumerate(items)
    ]
    expected = {f"u{user}": [f"i{item}" for item in items] for user, items in enumerate(users)}
    order.shuffle(rows)  # type: ignore[attr-defined]
    text = "user,item,time\n" + "".join(f"{user},{item},{time}\n" for user, item, time in rows)
    assert sequences(prepare(source(tmp_path, text), DataConfig(), force=True).data) == expected


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("Beauty.txt", (22_363, 12_101, 198_502)),
        ("Sports_and_Outdoors.txt", (35_598, 18_357, 296_337)),
        ("Toys_and_Games.txt", (19_412, 11_924, 167_597)),
    ],
)
def test_real_sequences_are_5_core_already(real_data: Path, tmp_path: Path, file: str, counts: tuple[int, ...]) -> None:
    real = source_from_file(tmp_path, "real", real_data / file, None, Columns())
    report = prepare(real, DataConfig(user_core=5, item_core=5)).report
    assert [(step.users, step.items, step.interactions) for step in report.steps] == [counts, counts]


def test_a_file_that_changes_while_it_is_read_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = source(tmp_path)
    whole = assemble

    def slow(*arguments: Any) -> Any:
        found = whole(*arguments)
        given.parts[0].write_bytes(given.parts[0].read_bytes() + b"\n")
        return found

    monkeypatch.setattr(prepare_module, "assemble", slow)
    with pytest.raises(DataError, match="have changed while they were read"):
        prepare(given, DataConfig())
    assert not list(given.folder.glob("prepared/*/prepared.json"))
