"""`actsr preprocess` as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from actsr_cli.app import app
from actsr_cli.config import DataConfig
from actsr_cli.errors import DataError
from actsr_cli.experiment.data import prepare_for
from actsr_cli.presets import resolve

ATOMIC = "user_id:token\titem_id:token\ttimestamp:float\n"


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACTSR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "data"


def preprocess(*arguments: str | Path, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["preprocess", *map(str, arguments)])
    assert result.exit_code == exit_code, result.output
    assert "Traceback" not in result.output
    return result


def log(folder: Path, users: int = 6) -> Path:
    file = folder / "log.csv"
    rows = [f"u{user},i{step % 4},{step}" for user in range(users) for step in range(3 + user)]
    file.write_text("user,item,time\n" + "\n".join(rows) + "\n")
    return file


def test_steps_totals_and_the_second_call(tmp_path: Path) -> None:
    first = preprocess("shop", "--from-file", log(tmp_path), "--user-core", "5", "--max-length", "6")
    assert "core of 5 per user, 0 per item" in first.stdout and "latest 6 of each user" in first.stdout
    assert "4 users / 4 items / 23 interactions, mean length 5.75" in first.stdout
    assert "Kept in" in first.stderr
    again = preprocess("shop", "--user-core", "5", "--max-length", "6")
    assert again.stdout == first.stdout and "Prepared before" in again.stderr


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    file = log(tmp_path)
    preprocess("shop", "--from-file", file)
    file.write_text(file.read_text() + "u0,i9,99\n")
    changed = preprocess("shop")
    assert "has changed" in changed.stderr and "5 items" in changed.stdout


def test_titles_from_a_file_are_remembered(tmp_path: Path, data_dir: Path) -> None:
    titles = tmp_path / "titles.csv"
    titles.write_text("item,title,genre\ni0,Heat,Crime|Drama\ni2,Alien,\nelse,Up,\n")
    assert "2 of 4 items have a title" in preprocess("shop", "--from-file", log(tmp_path), "--items", titles).stdout
    again = preprocess("shop")
    assert "2 of 4 items have a title" in again.stdout and "Prepared before" in again.stderr
    titles.write_text("item,title\ni1,Up\n")
    assert "1 of 4 items have a title" in preprocess("shop").stdout
    titles.write_text("item,title\nelse,Up\n")
    assert "titles.csv describes none of the items: its ids look like else, those of the data like i0" in (
        preprocess("shop").stderr
    )
    titles.write_text("item,title\ni1,Up\n")
    assert "no file" in preprocess("shop", "--items", tmp_path / "none.csv", exit_code=1).stderr
    (data_dir / "lying").mkdir()
    (data_dir / "lying" / "lying.inter").write_text(ATOMIC + "u1\ti1\t1\nu1\ti2\t2\n")
    assert "1 of 2 items have a title" in preprocess("lying", "--items", titles).stdout
    told = json.loads(preprocess("lying", "--json").stdout)
    assert (told["dataset"], told["items"], told["titles"], told["preset"]) == ("lying", 2, 1, None)
    assert told["files"] == [str(data_dir / "lying" / "lying.inter"), str(titles)]
    assert f"Input: {titles}\n" in preprocess("lying").stderr


def test_a_data_root_that_was_copied_is_read_where_it_is(tmp_path: Path, data_dir: Path) -> None:
    titles = tmp_path / "titles.csv"
    titles.write_text("item,title\ni1,Up\n")
    (data_dir / "shop").mkdir(parents=True)
    (data_dir / "shop" / "shop.inter").write_text(ATOMIC + "u1\ti1\t1\nu1\ti2\t2\n")
    preprocess("shop", "--items", titles)
    copy = tmp_path / "copy"
    shutil.copytree(data_dir, copy)
    with (copy / "shop" / "shop.inter").open("a") as log_file:
        log_file.write("u1\ti3\t3\n")
    shutil.rmtree(data_dir)
    moved = preprocess("shop", "--data-dir", copy)
    assert "1 users / 3 items / 3 interactions" in moved.stdout and "1 of 3 items have a title" in moved.stdout


def test_titles_with_the_separator_of_the_interactions(tmp_path: Path) -> None:
    file, titles = log(tmp_path), tmp_path / "titles.csv"
    file.write_text(file.read_text().replace(",", ";"))
    titles.write_text("item;title\ni0;Heat, the film\n")
    given = ("--from-file", file, "--separator", ";", "--items", titles)
    assert "1 of 4 items have a title" in preprocess("shop", *given).stdout


def test_bad_lines(tmp_path: Path) -> None:
    file = log(tmp_path)
    file.write_text(file.read_text() + "u0,i1,soon\n")
    refused = preprocess("shop", "--from-file", file, exit_code=1)
    assert f"{file}, line 35: time 'soon' is not a number" in refused.stderr
    assert "--on-bad-line skip" in refused.stderr
    assert "1 line skipped" in preprocess("shop", "--from-file", file, "--on-bad-line", "skip").stderr
    assert "1 line skipped" in preprocess("shop").stderr, "prepared is prepared"


def test_a_quote_that_is_not_closed(tmp_path: Path) -> None:
    file = log(tmp_path)
    file.write_text(file.read_text().replace("u0,i1,1\n", 'u0,"i1,1\n', 1))
    refused = preprocess("shop", "--from-file", file, exit_code=1)
    assert f"{file}, line 3: the quote opened here is not closed" in refused.stderr
    read_on = preprocess("shop", "--from-file", file, "--on-bad-line", "skip")
    assert "6 users / 4 items / 32 interactions" in read_on.stdout and "1 line skipped" in read_on.stderr


def test_how_a_text_is_written_is_remembered(tmp_path: Path, data_dir: Path) -> None:
    file = tmp_path / "ratings.dat"
    rows = [f"ü{user}::i{item}::5::{item}" for user in range(3) for item in range(4)]
    file.write_bytes("\n".join(rows).encode("latin-1"))
    by_number = ("--no-header", "--user-column", "1", "--item-column", "2", "--timestamp-column", "4")
    options = ("--format", "csv", "--separator", "::", *by_number)
    refused = preprocess("ml", "--from-file", file, *options, exit_code=1)
    assert f"{file}, line 1: not UTF-8 text; it may be Latin-1 ('ü')" in refused.stderr
    assert "--encoding latin-1" in refused.stderr
    first = preprocess("ml", "--from-file", file, *options, "--encoding", "latin-1", "--interval", "3=5:")
    assert "read (user 1, item 2, time 4)" in first.stdout
    assert "3 users / 4 items / 12 interactions" in first.stdout
    again = preprocess("ml", "--interval", "3=5:")
    assert again.stdout == first.stdout and "Prepared before" in again.stderr
    stored = json.loads((data_dir / "ml" / "source.json").read_text())["columns"]
    assert (stored["header"], stored["encoding"], stored["separator"]) == ("none", "latin-1", "::")
    other = preprocess("ml", "--from-file", file, *options, "--encoding", "iso-8859-2", "--interval", "3=5:")
    assert "Prepared before" not in other.stderr, "the encoding is part of the fingerprint"


def test_pairs_name_the_options_that_read_them(tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text("".join(f"{user} {item}\n" for user in range(3) for item in range(4)))
    for policy in ("error", "skip"):
        refused = preprocess("pairs", "--from-file", file, "--on-bad-line", policy, exit_code=1)
        assert "has several lines of a user: it is no file of sequences" in refused.stderr
    advised = refused.stderr.partition("Read it with ")[2].partition(".\n")[0].split()
    result = preprocess("pairs", "--from-file", file, *advised)
    assert "3 users / 4 items / 12 interactions" in result.stdout and "user 1, item 2, no times" in result.stdout


def test_the_published_layout_and_expected_figures(data_dir: Path) -> None:
    folder = data_dir / "Amazon_Beauty"
    folder.mkdir(parents=True)
    rows = [f"u{user}\ti{item}\t{item}" for user in range(6) for item in range(6)]
    (folder / "Amazon_Beauty.inter").write_text(ATOMIC + "\n".join(rows) + "\n")
    for name in ("beauty", "amazon-beauty", "Amazon_Beauty"):
        result = preprocess(name)
        assert "core of 5 per user, 5 per item" in result.stdout, "the preset's filters hold"
        assert "6 users / 6 items / 36 interactions" in result.stdout
        assert "should have 22,363 / 12,101 / 198,502" in result.stderr
    assert "expected" not in preprocess("beauty", "--user-core", "2").stderr


def test_yelp_by_its_year(data_dir: Path) -> None:
    (data_dir / "yelp").mkdir(parents=True)
    rows = [
        f"u{user}\ti{item}\t5\t{1546264800 + item if item else 1546264799}" for user in range(6) for item in range(6)
    ]
    header = "user_id:token\tbusiness_id:token\tstars:float\tdate:float\n"
    (data_dir / "yelp" / "yelp.inter").write_text(header + "\n".join(rows) + "\n")
    result = preprocess("yelp")
    assert "[1546264800, 1577714400]" in result.stdout
    assert "6 users / 5 items / 30 interactions" in result.stdout


def test_intervals_from_the_command_line(tmp_path: Path) -> None:
    result = preprocess("shop", "--from-file", log(tmp_path), "--interval", "time=2:", "--interval", "timestamp=:4")
    assert "time in [2, ∞]" in result.stdout and "timestamp in [-∞, 4]" in result.stdout
    for text in ("time", "time=3", "time=a:b", "=1:2"):
        refused = preprocess("shop", "--interval", text, exit_code=1).stderr
        assert f"--interval takes COLUMN=LOW:HIGH, not '{text}'" in refused


def test_an_interval_is_given_once(tmp_path: Path) -> None:
    refused = preprocess(
        "shop", "--from-file", log(tmp_path), "--interval", "time=2:", "--interval", "time=:4", exit_code=1
    )
    assert "--interval names 'time' twice" in refused.stderr


def test_refusals(tmp_path: Path) -> None:
    assert (
        "unknown format 'cvs'; did you mean 'csv'?"
        in preprocess("shop", "--from-file", log(tmp_path), "--format", "cvs", exit_code=1).stderr
    )
    assert "no file" in preprocess("shop", "--from-file", tmp_path / "none.csv", exit_code=1).stderr
    assert "actsr download amazon-toys-games" in preprocess("toys", exit_code=1).stderr
    assert "user describes how to read a file" in preprocess("toys", "--user-column", "x", exit_code=1).stderr
    assert (
        "nothing is left" in preprocess("shop", "--from-file", log(tmp_path), "--user-core", "99", exit_code=1).stderr
    )
    assert "duplicates" in preprocess("shop", "--from-file", log(tmp_path), "--duplicates", "all", exit_code=1).stderr


def test_a_refused_file_is_not_remembered(tmp_path: Path, data_dir: Path) -> None:
    preprocess("shop", "--from-file", log(tmp_path), "--user-core", "99", exit_code=1)
    assert not (data_dir / "shop" / "source.json").exists()


def test_a_split_that_somebody_made(tmp_path: Path, data_dir: Path) -> None:
    (data_dir / "shop").mkdir(parents=True)
    for part, times in (("train", (1, 2, 3)), ("valid", (4,)), ("test", (5, 6))):
        rows = "".join(f"u{user}\ti{time}\t{time}\n" for user in range(4) for time in times)
        (data_dir / "shop" / f"shop.{part}.inter").write_text(ATOMIC + rows)
    result = preprocess("shop")
    assert "4 users / 6 items / 24 interactions, mean length 6.00" in result.stdout
    assert "Split by its files: train 12 / valid 4 / test 8 interactions" in result.stdout
    refused = preprocess("shop", "--user-core", "5", exit_code=1).stderr
    assert "'shop' is split into files, and user_core would change the split" in refused
    file = data_dir / "shop" / "shop.train.inter"
    assert "train 12 / valid 4 / test 8" in preprocess("mine", "--from-file", file).stdout
    (data_dir / "shop" / "shop.test.inter").unlink()
    for arguments in (("shop",), ("other", "--from-file", file)):
        assert "missing: shop.test.inter" in preprocess(*arguments, exit_code=1).stderr


def test_filters_of_a_preset_are_not_for_a_split_that_somebody_made(data_dir: Path) -> None:
    """The preset of beauty has cores, which only apply to unsplit data."""
    folder = data_dir / "amazon-beauty"
    folder.mkdir(parents=True)
    for part, times in (("train", (1, 2)), ("valid", (3,)), ("test", (4,))):
        rows = "".join(f"u{user}\ti{time}\t{time}\n" for user in range(3) for time in times)
        (folder / f"amazon-beauty.{part}.inter").write_text(ATOMIC + rows)
    result = preprocess("amazon-beauty")
    said = " ".join(result.stderr.split())
    assert "that would change the split are left out: user_core, item_core" in said and "expected" not in said
    assert "train 6 / valid 3 / test 3" in result.stdout
    refused = preprocess("amazon-beauty", "--item-core", "2", exit_code=1).stderr
    assert "and item_core would change the split" in refused
    resolved = resolve(preset="beauty")
    config, prepared = prepare_for(resolved, data_dir)
    assert (config.data, config.split.by) == (DataConfig(), "files") and prepared.data.n_interactions == 12
    assert "user_core, item_core" in prepared.report.note
    with pytest.raises(DataError, match="and user_core would change the split"):
        prepare_for(resolve(preset="beauty", overrides=["data.user_core=2"]), data_dir)


def test_without_options_the_last_ones_are_repeated(tmp_path: Path) -> None:
    file = log(tmp_path)
    said = preprocess("shop", "--from-file", file, "--user-core", "5", "--interval", "time=2020-01-01:", exit_code=1)
    assert "nothing is left" in said.stderr
    assert "Filters: none." in preprocess("shop", "--from-file", file).stderr, "a failure is not remembered"
    first = preprocess("shop", "--user-core", "5", "--interval", "time=1:", "--max-length", "6")
    options = "--interval time=1: --user-core 5 --max-length 6"
    assert f"Filters: {options}. Last time: none." in first.stderr
    for _ in range(2):
        again = preprocess("shop")
        assert again.stdout == first.stdout
        assert f"With the options of the last preparation: {options}. Without filters: --preset none." in again.stderr
    told = json.loads(preprocess("shop", "--json").stdout)
    assert told["repeated"] and told["settings"]["intervals"] == {"time": [1, None]}
    _, trained_on = prepare_for(resolve(options={"dataset": "shop"}), tmp_path / "data")
    assert trained_on.data.fingerprint == told["fingerprint"]
    assert f"Filters: --max-length 4. Last time: {options}." in preprocess("shop", "--max-length", "4").stderr
    assert "Filters: none. Last time: --max-length 4." in preprocess("shop", "--preset", "none").stderr
    assert "Filters: none.\n" in preprocess("shop").stderr


def test_a_file_is_described_anew(tmp_path: Path) -> None:
    """A whole command gives the same data each time, whatever was prepared before."""
    file = log(tmp_path)
    first = preprocess("shop", "--from-file", file)
    preprocess("shop", "--user-core", "5")
    again = preprocess("shop", "--from-file", file)
    assert again.stdout == first.stdout and "Filters: none. Last time: --user-core 5." in again.stderr


def test_the_filters_of_a_preset_and_the_way_back_to_them(data_dir: Path) -> None:
    folder = data_dir / "amazon-beauty"
    folder.mkdir(parents=True)
    rows = [f"u{user}\ti{item}\t{item}" for user in range(6) for item in range(6)]
    (folder / "amazon-beauty.inter").write_text(ATOMIC + "\n".join(rows) + "\n")
    usual = "Filters: --user-core 5 --item-core 5 (preset beauty)."
    for _ in range(2):
        assert usual in preprocess("beauty").stderr
    assert f"{usual[:-1]}" not in preprocess("beauty", "--preset", "none").stderr
    said = preprocess("beauty").stderr
    assert "With the options of the last preparation: none." in said
    assert "With those of its preset: --preset beauty." in said and "should have" not in said
    assert f"{usual} Last time: none." in preprocess("beauty", "--preset", "beauty").stderr
    assert usual in preprocess("beauty").stderr


def test_how_times_were_read_is_said(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user,item,date\nu,a,2014-06-30T23:00:00\nu,b,2014\nu,c,2014-07\n")
    line = "timestamp: ISO dates, UTC, from 2014-01-01 to 2014-07-01\n"
    assert line in preprocess("shop", "--from-file", file).stdout and line in preprocess("shop").stdout
    told = json.loads(preprocess("shop", "--json").stdout)
    assert told["times"] == {"timestamp": "ISO dates, UTC"} and told["period"] == ["2014-01-01", "2014-07-01"]


@pytest.mark.parametrize(
    ("interval", "left"),
    [
        ("2014-01-01:2014-06-30", 2),
        ("2014-06:2014-07", 2),
        (":2014-06-30T22:59:59", 1),
        ("2014-06-30T23:00:00:2014-06-30T23:00", 1),
        ("2014-06-30T23:", 2),
        ("1404169200:", 2),
    ],
)
def test_intervals_of_dates(tmp_path: Path, interval: str, left: int) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user,item,date\nu,a,2014-06-30T23:00:00\nu,b,2014\nu,c,2014-07\n")
    result = preprocess("shop", "--from-file", file, "--interval", f"timestamp={interval}")
    assert f"1 users / {left} items" in result.stdout


@pytest.mark.parametrize(
    "interval", ["2014-01-01T10:30", "2014-13-01:", "1/2/2014:", "2014:2014-06-30", "1_000:", "nan:"]
)
def test_intervals_that_are_none(tmp_path: Path, interval: str) -> None:
    said = preprocess("shop", "--from-file", log(tmp_path), "--interval", f"time={interval}", exit_code=1).stderr
    assert f"--interval takes COLUMN=LOW:HIGH, not 'time={interval}'" in said and "ISO dates" in said


def test_equal_rows_are_told_and_dropped(tmp_path: Path) -> None:
    file = log(tmp_path)
    file.write_text(file.read_text() + "u0,i0,0\nu0,i0,1\n")
    assert "1 row repeats an earlier row in user, item and time" in preprocess("shop", "--from-file", file).stderr
    dropped = preprocess("shop", "--duplicates", "equal")
    assert "repeat" not in dropped.stderr and "/ 34 interactions" in dropped.stdout


@pytest.mark.real_data
def test_beauty(real_data: Path) -> None:
    result = preprocess("beauty", "--from-file", real_data / "Beauty.txt", "--format", "sequences")
    assert "22,363 users / 12,101 items / 198,502 interactions, mean length 8.88" in result.stdout
    assert "As expected of beauty." in result.stdout


@pytest.mark.real_data
def test_ml_100k_with_titles(real_data: Path, data_dir: Path) -> None:
    (data_dir / "ml-100k").mkdir(parents=True)
    for suffix in ("inter", "item"):
        (data_dir / "ml-100k" / f"ml-100k.{suffix}").write_bytes((real_data / f"ml-100k.{suffix}").read_bytes())
    assert "943 users / 1,682 items / 100,000 interactions" in preprocess("ml-100k").stdout
