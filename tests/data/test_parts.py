"""Data that are split into files: NAME.train.inter, NAME.valid.inter and NAME.test.inter."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reading import HEADER

from actsr_cli.config import DataConfig
from actsr_cli.data import store
from actsr_cli.data.prepare import prepare
from actsr_cli.data.readers import Columns
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.sources import find_source, source_from_file
from actsr_cli.errors import DataError

Row = tuple[str, str, float]
TRAIN: list[Row] = [("b", "y", 5), ("a", "x", 3), ("a", "z", 1), ("b", "x", 5)]
VALID: list[Row] = [("a", "w", 2), ("c", "x", 9), ("a", "x", 0)]
TEST: list[Row] = [("a", "v", 1), ("b", "y", 4)]


def write_part(path: Path, rows: list[Row], header: str = HEADER) -> None:
    path.write_text(header + "".join(f"{user}\t{item}\t{len(item)}\t{time}\n" for user, item, time in rows))


def split(folder: Path, name: str = "shop") -> Path:
    """A folder with the three parts."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        write_part(folder / f"{name}.{part}.inter", rows)
    return folder


def histories(data: SequenceData) -> dict[str, list[tuple[str, int]]]:
    assert data.parts is not None
    return {
        name: [
            (data.item_names[item], part)
            for item, part in zip(data.items[start:end].tolist(), data.parts[start:end].tolist(), strict=True)
        ]
        for name, start, end in zip(data.user_names, data.offsets[:-1], data.offsets[1:], strict=True)
    }


def test_three_parts_are_one_data_set_in_order_of_part_and_time(tmp_path: Path) -> None:
    source = find_source(tmp_path, split(tmp_path / "shop").name)
    assert [path.name for path in source.files] == ["shop.train.inter", "shop.valid.inter", "shop.test.inter"]
    prepared = prepare(source, DataConfig())
    data = prepared.data
    assert histories(data) == {
        "b": [("y", 0), ("x", 0), ("y", 2)],
        "a": [("z", 0), ("x", 0), ("x", 1), ("w", 1), ("v", 2)],
        "c": [("x", 1)],
    }
    assert data.item_names == ("", "y", "x", "z", "w", "v")
    assert data.timestamps is not None and data.timestamps.tolist() == [5, 5, 4, 1, 3, 0, 2, 1, 9]
    assert data.parts is not None and data.parts.dtype == np.uint8
    assert prepared.report.parts == {"train": 4, "valid": 3, "test": 2}
    again = prepare(source, DataConfig())
    assert again.report == replace(prepared.report, cached=True)
    assert histories(again.data) == histories(data)


def test_data_that_come_whole_have_no_parts(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    write_part(tmp_path / "shop" / "shop.inter", TRAIN)
    prepared = prepare(find_source(tmp_path, "shop"), DataConfig())
    assert prepared.data.parts is None and prepared.report.parts == {}
    assert not (prepared.folder / "parts.npy").exists()


def test_items_beside_a_split_come_along(tmp_path: Path) -> None:
    folder = split(tmp_path / "shop")
    (folder / "shop.item").write_text("item_id:token\ttitle:token\tgenre:token_seq\nx\tXenon\tgas noble\n")
    data = prepare(find_source(tmp_path, "shop"), DataConfig()).data
    assert data.display_name(2) == "Xenon"
    assert data.categories == ((), (), ("gas", "noble"), (), (), ())


def test_the_training_file_stands_for_all_three(tmp_path: Path) -> None:
    folder = split(tmp_path / "elsewhere", "log")
    write_part(folder / "log.inter", TRAIN)  # --from-file chooses between them
    whole = source_from_file(tmp_path / "data", "whole", folder / "log.inter", None, Columns())
    assert whole.parts == ((folder / "log.inter").resolve(),)
    given = source_from_file(tmp_path / "data", "shop", folder / "log.train.inter", None, Columns()).register()
    assert find_source(tmp_path / "data", "shop") == given
    assert prepare(given, DataConfig()).data.n_interactions == 9
    for part in ("valid", "test"):
        with pytest.raises(DataError, match=rf"log\.{part}\.inter is one of three files of a split") as caught:
            source_from_file(tmp_path / "data", "shop", folder / f"log.{part}.inter", None, Columns())
        assert "log.train.inter" in str(caught.value.hint)


@pytest.mark.parametrize("missing", ["train", "valid", "test"])
def test_a_part_that_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    folder = split(tmp_path / "shop")
    (folder / f"shop.{missing}.inter").unlink()
    with pytest.raises(DataError, match=rf"missing: shop\.{missing}\.inter"):
        find_source(tmp_path, "shop")


def test_a_lone_part_is_not_taken_for_everything(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    lone = tmp_path / "shop" / "log.train.inter"
    write_part(lone, TRAIN)
    message = r"log\.train\.inter is one of three files of a split; missing: log\.valid\.inter, log\.test\.inter"
    with pytest.raises(DataError, match=message) as caught:
        find_source(tmp_path, "shop")
    assert "must be called log.inter" in str(caught.value.hint)
    with pytest.raises(DataError, match=message):
        source_from_file(tmp_path, "other", lone, None, Columns())


def test_whole_and_split_beside_each_other_are_ambiguous(tmp_path: Path) -> None:
    folder = split(tmp_path / "shop")
    write_part(folder / "shop.inter", TRAIN)
    with pytest.raises(DataError, match=r"holds shop\.inter and shop\.train\.inter") as caught:
        find_source(tmp_path, "shop")
    assert "--from-file" in str(caught.value.hint)


def test_of_several_names_that_of_the_folder_counts(tmp_path: Path) -> None:
    folder = split(split(tmp_path / "shop"), "other")
    assert find_source(tmp_path, "shop").file.name == "shop.train.inter"
    for part in ("train", "valid", "test"):
        (folder / f"shop.{part}.inter").rename(folder / f"third.{part}.inter")
    with pytest.raises(DataError, match=r"holds 6 \.inter files"):
        find_source(tmp_path, "shop")


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_change_of_any_part_is_noticed(tmp_path: Path, part: str) -> None:
    folder = split(tmp_path / "shop")
    first = prepare(find_source(tmp_path, "shop"), DataConfig())
    with (folder / f"shop.{part}.inter").open("a") as file:
        file.write("d\tx\t1\t7\n")
    changed = prepare(find_source(tmp_path, "shop"), DataConfig())
    assert changed.data.fingerprint != first.data.fingerprint and changed.data.n_interactions == 10
    assert changed.report.note == f"shop.{part}.inter has changed since it was last prepared"


def test_the_same_rows_in_other_parts_are_other_data(tmp_path: Path) -> None:
    folder = split(tmp_path / "shop")
    first = prepare(find_source(tmp_path, "shop"), DataConfig()).data.fingerprint
    valid, test = (folder / f"shop.{part}.inter" for part in ("valid", "test"))
    texts = valid.read_text(), test.read_text()
    valid.write_text(texts[1])
    test.write_text(texts[0])
    assert prepare(find_source(tmp_path, "shop"), DataConfig()).data.fingerprint != first


def test_what_was_prepared_outlives_a_part(tmp_path: Path) -> None:
    folder = split(tmp_path / "shop")
    source = find_source(tmp_path, "shop")
    fingerprint = prepare(source, DataConfig()).data.fingerprint
    (folder / "shop.valid.inter").unlink()
    kept = prepare(source, DataConfig())
    assert kept.data.fingerprint == fingerprint and "shop.valid.inter is missing" in kept.report.note


def test_intervals_hold_in_all_parts(tmp_path: Path) -> None:
    split(tmp_path / "shop")
    source = find_source(tmp_path, "shop")
    prepared = prepare(source, DataConfig(intervals={"timestamp": (1, 5)}))
    assert prepared.report.parts == {"train": 4, "valid": 1, "test": 2}
    with pytest.raises(DataError, match=r"nothing is left of the test part after the step 'timestamp in \[5, ∞\]'"):
        prepare(source, DataConfig(intervals={"timestamp": (5, None)}))


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (DataConfig(duplicates="first"), r"duplicates would .* do not set duplicates here\."),
        (
            DataConfig(user_core=2, item_core=3),
            r"user_core and item_core would .* do not set user_core and item_core here\.",
        ),
        (DataConfig(max_length=3), r"max_length would .* do not set max_length here\."),
    ],
)
def test_filters_that_would_change_the_split_are_refused(tmp_path: Path, settings: DataConfig, refused: str) -> None:
    split(tmp_path / "shop")
    with pytest.raises(DataError) as caught:
        prepare(find_source(tmp_path, "shop"), settings)
    text = f"{caught.value.message} {caught.value.hint}"
    assert re.fullmatch(f"'shop' is split into files, and {refused}", text), text


def test_malformed_lines_of_every_part_are_told(tmp_path: Path) -> None:
    folder = split(tmp_path / "shop")
    for part in ("train", "test"):
        with (folder / f"shop.{part}.inter").open("a") as file:
            file.write("d\tx\t1\tsoon\n")
    with pytest.raises(DataError, match=r"shop\.train\.inter, line 6: timestamp 'soon'"):
        prepare(find_source(tmp_path, "shop"), DataConfig())
    report = prepare(find_source(tmp_path, "shop"), DataConfig(), on_bad_line="skip").report
    assert report.bad_lines == 2 and report.parts == {"train": 4, "valid": 3, "test": 2}
    assert [Path(text.partition(",")[0]).name for text in report.bad_examples] == [
        "shop.train.inter",
        "shop.test.inter",
    ]


def test_the_parts_have_the_same_columns(tmp_path: Path) -> None:
    folder = split(tmp_path / "shop")
    write_part(folder / "shop.test.inter", TEST, HEADER.replace("timestamp", "date"))
    with pytest.raises(
        DataError, match=r"shop\.test\.inter has other columns than shop\.train\.inter: .*, date instead"
    ):
        prepare(find_source(tmp_path, "shop"), DataConfig())


def test_parts_without_times_keep_the_order_of_the_files(tmp_path: Path) -> None:
    split(tmp_path / "x")
    file = tmp_path / "x" / "shop.train.inter"
    source = source_from_file(tmp_path / "data", "shop", file, None, Columns(timestamp="none"))
    data = prepare(source, DataConfig()).data
    assert data.timestamps is None
    assert histories(data)["a"] == [("x", 0), ("z", 0), ("w", 1), ("x", 1), ("v", 2)]


def test_parts_that_do_not_fit_are_noticed(tmp_path: Path) -> None:
    split(tmp_path / "shop")
    folder = prepare(find_source(tmp_path, "shop"), DataConfig()).folder
    np.save(folder / "parts.npy", np.zeros(3, dtype=np.uint8))
    with pytest.raises(DataError, match="do not fit together"):
        store.load(folder)


def test_a_remembered_split_has_all_its_parts(tmp_path: Path) -> None:
    folder = split(tmp_path / "x")
    source_from_file(tmp_path, "shop", folder / "shop.train.inter", None, Columns()).register()
    path = tmp_path / "shop" / "source.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test_file": None}))
    with pytest.raises(DataError, match="is damaged"):
        find_source(tmp_path, "shop")


@pytest.mark.real_data
def test_ml_100k_split_by_pandas_and_read_back(real_data: Path, tmp_path: Path) -> None:
    """A random split of each user's rows is compared with the same computation in pandas."""
    log = pd.read_csv(real_data / "ml-100k.inter", sep="\t", dtype=str)
    log["part"] = np.random.default_rng(0).choice(3, size=len(log), p=(0.8, 0.1, 0.1))
    folder = tmp_path / "ml"
    folder.mkdir()
    for number, part in enumerate(("train", "valid", "test")):
        rows = log[log["part"] == number].drop(columns="part")
        rows.to_csv(folder / f"ml.{part}.inter", sep="\t", index=False)
    prepared = prepare(find_source(tmp_path, "ml"), DataConfig())
    data = prepared.data
    assert list(prepared.report.parts.values()) == np.bincount(log["part"]).tolist()
    log["time"] = log["timestamp:float"].astype(float)
    expected = log.sort_values(["part"], kind="stable")
    names = expected["user_id:token"].drop_duplicates().tolist()
    assert data.user_names == tuple(names)
    assert data.item_names[1:] == tuple(expected["item_id:token"].drop_duplicates())
    expected["user"] = expected["user_id:token"].map({name: number for number, name in enumerate(names)})
    expected = expected.sort_values(["user", "part", "time"], kind="stable")
    assert [data.item_names[item] for item in data.items] == expected["item_id:token"].tolist()
    assert data.parts is not None and data.timestamps is not None
    np.testing.assert_array_equal(data.parts, expected["part"])
    np.testing.assert_array_equal(data.timestamps, expected["time"])
    np.testing.assert_array_equal(np.diff(data.offsets), expected.groupby("user").size())
