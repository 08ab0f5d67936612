"""Lists as files: read back they are what they were, and an error leaves nothing behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from shelves import shelf

from actsr_cli.errors import ConfigError
from actsr_cli.recommending.recommendations import Recommendations
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.recommending.writing import as_dict, check_output, writing

SUFFIXES = (".csv", ".jsonl", ".parquet")
HISTORIES = {'a, "b"': ["i1", "x"], "é\n😀": ["i3", "i2"], "": ["y"], "=1+1": ["i9"], "NA": ["i5"], " 7": []}


def recommender_and_lists(titles: bool) -> tuple[Recommender, Recommendations]:
    recommender = shelf("shelves:Own", titles=titles)
    return recommender, recommender.recommend_many(HISTORIES, k=4)


def part(found: Recommendations, rows: slice) -> Recommendations:
    """Some consecutive lists."""
    names = ("users", "item_ids", "scores", "popular", "unknown")
    return replace(found, **{name: getattr(found, name)[rows] for name in names})


def read_back(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":
        return pd.read_csv(path, keep_default_na=False, dtype={"rank": "int32", "score": "float32"})
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        each = json.loads(line)
        rows += [
            {"user": each["user"], "rank": rank, **item, "by": each["by"]}
            for rank, item in enumerate(each["items"], start=1)
        ]
    return pd.DataFrame(rows).astype({"rank": "int32", "score": "float32"})


@pytest.mark.parametrize("titles", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_read_back(tmp_path: Path, suffix: str, titles: bool, chunk: int) -> None:
    recommender, found = recommender_and_lists(titles)
    path = tmp_path / f"lists{suffix}"
    with writing(path, recommender.vocabulary) as write:
        for start in range(0, len(found), chunk):
            write(part(found, slice(start, start + chunk)))
    frame = read_back(path)
    if suffix == ".jsonl" and not titles:
        assert (frame.pop("title") == "").all()
    pd.testing.assert_frame_equal(frame, found.to_frame(), check_dtype=False)
    assert frame["score"].tolist() == found.to_frame()["score"].tolist()  # to the last bit
    assert list(tmp_path.iterdir()) == [path]


def test_json_lines_hold_what_a_list_holds(tmp_path: Path) -> None:
    recommender, found = recommender_and_lists(True)
    with writing(tmp_path / "l.jsonl", recommender.vocabulary) as write:
        write(found)
    entries = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text(encoding="utf-8").splitlines()]
    assert entries == [as_dict(each) for each in found]
    assert [each["unknown"] for each in entries] == [["x"], [], ["y"], [], [], []]
    assert [each["by"] for each in entries] == ["model", "model", "popularity", "model", "model", "popularity"]
    assert "é" in (tmp_path / "l.jsonl").read_text(encoding="utf-8")  # as it is
    assert entries[0]["items"][0]["title"].startswith("Title <b>")
    assert all(len(str(item["score"])) < 14 for each in entries for item in each["items"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_written(tmp_path: Path, suffix: str) -> None:
    recommender, _ = recommender_and_lists(False)
    path = tmp_path / f"lists{suffix}"
    with writing(path, recommender.vocabulary):
        pass
    if suffix == ".jsonl":
        assert path.read_text() == ""
    else:
        frame = read_back(path)
        assert len(frame) == 0 and frame.columns.tolist() == ["user", "rank", "item", "score", "by"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_no_file_and_keeps_an_older_one(
    tmp_path: Path, suffix: str, error: type[BaseException]
) -> None:
    recommender, found = recommender_and_lists(True)
    path = tmp_path / f"lists{suffix}"
    for older in (None, b"older"):
        if older is not None:
            path.write_bytes(older)
        with pytest.raises(error), writing(path, recommender.vocabulary) as write:
            write(found)
            raise error
        left = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
        assert left == ({} if older is None else {path.name: older})
    with writing(path, recommender.vocabulary) as write:
        write(found)
    assert len(read_back(path)) == len(found.to_frame())


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    for name in ("lists", "lists.xls", "lists.csv.gz", "lists.CSV", ".csv"):
        with pytest.raises(ConfigError, match=r"the format of .* cannot be recognised from its name") as caught:
            check_output(tmp_path / name)
        assert ".csv, .jsonl, .parquet" in str(caught.value.hint)
    with pytest.raises(ConfigError, match=r"there is no folder .*missing for lists.csv"):
        check_output(tmp_path / "missing" / "lists.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=r"folder.csv is a folder"):
        check_output(tmp_path / "folder.csv")
    check_output(tmp_path / "lists.csv")
    check_output(Path("lists.csv"))
