"""`actsr recommend` and `actsr similar` on one small run, from the options to the files that they write."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from processes import Command, call, start, wait_until, warm
from records import change

import actsr_cli as actsr
from actsr_cli.commands.options import history_items
from actsr_cli.errors import ConfigError
from actsr_cli.recommending import reading
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.recommending.writing import as_dict

PLAIN = [f"p{number}" for number in range(12)]
ODD = ["x y", "x", "y", "a,b", 'quo"te', ":cat:", "[red]", "-5"]
TRAIN = (
    "--dataset",
    "shop",
    "--epochs",
    "2",
    "--threads",
    "1",
    "--set",
    "model.hidden_size=16",
    "--set",
    "model.layers=1",
)


@pytest.fixture(scope="module", autouse=True)
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a data set of odd ids and titles, and the runs one and one-refit."""
    place = tmp_path_factory.mktemp("shop")
    rng = random.Random(3)  # noqa: S311
    rows = [
        {"user_id": f"u{user}", "item_id": item, "timestamp": 100 * user + step}
        for user in range(40)
        for step, item in enumerate(rng.sample(PLAIN + ODD, 7))
    ]
    pd.DataFrame(rows).to_csv(place / "log.csv", index=False)
    titles = [f"{item}\tThe <b>{item}</b> [bold]:dog:" for item in PLAIN + ODD]
    (place / "shop.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *titles]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTSR_DATA", str(place / "data"))
        patch.setenv("ACTSR_RUNS", str(place / "runs"))
        patch.setenv("COLUMNS", "150")
        patch.chdir(place)
        call("preprocess", "shop", "--from-file", "log.csv", "--items", "shop.item")
        call("train", "--model", "sasrec", *TRAIN, "--name", "one", "--refit")
        yield place


@pytest.fixture(scope="module")
def one(shop: Path) -> Recommender:
    return actsr.load("one")


def shown(*arguments: str) -> list[dict[str, Any]]:
    """The lists that `actsr recommend one … --json` prints."""
    found: list[dict[str, Any]] = json.loads(call("recommend", "one", *arguments, "--json").stdout)
    return found


def rounded(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lists whose scores may differ in the last bits, as histories are scored in other batches."""
    items = [[{**item, "score": pytest.approx(item["score"], abs=1e-5)} for item in each["items"]] for each in found]
    return [{**each, "items": own} for each, own in zip(found, items, strict=True)]


def refused(*arguments: str, exit_code: int = 1) -> str:
    """What a command that fails says, without a traceback."""
    result = call(*arguments, exit_code=exit_code)
    assert "Traceback" not in result.stderr and result.stdout == ""
    return result.stderr


def test_users_of_the_data(one: Recommender) -> None:
    assert shown("--user", "u3", "--user", "u1", "--k", "4") == [
        as_dict(each) for each in one.recommend_users(["u3", "u1"], k=4)
    ]
    (entry,) = shown("--user", "u3")
    assert entry["user"] == "u3" and entry["by"] == "model" and entry["unknown"] == []
    assert [set(item) for item in entry["items"]] == [{"item", "title", "score"}] * 10
    log = pd.read_csv("log.csv", dtype=str)
    bought = set(log[log["user_id"] == "u3"]["item_id"])
    assert bought.isdisjoint(item["item"] for item in entry["items"])
    (ranked,) = shown("--user", "u3", "--k", "100", "--seen", "rank")
    assert len(ranked["items"]) == len(PLAIN + ODD)
    (whole,) = shown("--user", "u3", "--k", "100")
    assert [item for item in ranked["items"] if item["item"] not in bought] == whole["items"]


def test_lists_by_an_index(tmp_path: Path) -> None:
    """A search among all 20 items misses none; a list longer than a tenth of them is ranked exactly, which is said."""
    users = ("--user", "u3", "--user", "u1", "--seen", "rank")
    assert shown(*users, "--k", "2", "--index", "20") == rounded(shown(*users, "--k", "2"))
    result = call("recommend", "one", *users, "--k", "3", "--index", "20", "--json")
    assert json.loads(result.stdout) == rounded(shown(*users, "--k", "3"))
    assert "2 of 2 lists ranked exactly" in result.stderr
    elsewhere = ("--runs-dir", str(tmp_path))
    call("train", "--model", "item-knn", "--dataset", "shop", *elsewhere)
    assert "ItemKNN does not score items by vectors of its own" in refused(
        "recommend", *users, "--index", "20", *elsewhere
    )
    assert "--index" in refused("recommend", "one", "--user", "u3", "--index", "0", exit_code=2)


def test_files_of_users(one: Recommender, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("u5\n\n u6 \n")
    wanted = [as_dict(each) for each in one.recommend_users(["u9", "u5", "u6"], k=2)]
    assert shown("--users", str(tmp_path / "users.txt"), "--user", "u9", "--k", "2") == wanted


def test_tables_show_titles_as_they_are() -> None:
    printed = call("recommend", "one", "--user", "u3", "--k", "12").stdout
    assert printed.startswith("shop/sasrec/one: user u3, after The <b>")
    (entry,) = shown("--user", "u3", "--k", "12")
    for place, item in enumerate(entry["items"], start=1):
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{place:>2}  ")]
        cells = [cell for cell in line.split("  ")[1:] if cell]  # columns have at least two blanks between them
        assert [cell.strip() for cell in cells] == [item["item"], item["title"], f"{item['score']:#.4g}"]
    assert "[bold]:dog:" in printed and "interactions" not in printed


def test_nobody_is_named() -> None:
    result = call("recommend", "one", "--k", "1")
    assert [re.split("[, ]", line)[2] for line in result.stdout.splitlines() if line.startswith("shop/")] == [
        "u0",
        "u1",
        "u2",
        "u3",
        "u4",
    ]
    assert "5 of 40 users shown. Write all to a file: --output lists.csv" in result.stderr
    assert [each["user"] for each in shown("--k", "1")] == ["u0", "u1", "u2", "u3", "u4"]


@pytest.mark.parametrize(
    ("texts", "items"),
    [
        (["p1 p2"], ["p1", "p2"]),
        (["p1,p2"], ["p1", "p2"]),
        ([" p1 ,\tp2,, p3 "], ["p1", "p2", "p3"]),
        (['"x y" p1'], ["x y", "p1"]),
        (['"x y","a,b",p1'], ["x y", "a,b", "p1"]),
        (["x, y"], ["x", "y"]),
        (["p1", "x y"], ["p1", "x y"]),
        (["x y", "a,b"], ["x y", "a,b"]),
        (['quo"te', "p1"], ['quo"te', "p1"]),
        ([":cat: [red]"], [":cat:", "[red]"]),
        (["-5"], ["-5"]),
        (["p1's p1"], ["p1's", "p1"]),
        (["#x p1\\"], ["#x", "p1\\"]),
        (["p1", ""], ["p1", ""]),
    ],
)
def test_quoting_of_histories(one: Recommender, texts: list[str], items: list[str]) -> None:
    given = [argument for text in texts for argument in ("--history", text)]
    assert shown(*given, "--k", "3") == [as_dict(one.recommend(items, k=3))]


def test_ambiguous_histories(one: Recommender) -> None:
    said = refused("recommend", "one", "--history", "x y")
    assert "--history 'x y' can be read as one item or as 2 items" in said and """--history '"x y"'""" in said
    assert "can be read as one item" in refused("recommend", "one", "--history", "a,b")
    assert "has a double quote that is not closed" in refused("recommend", "one", "--history", 'p1 "p2')
    assert shown("--history", 'quo"te', "--k", "3") == [as_dict(one.recommend(['quo"te'], k=3))]
    assert shown("--history", '"x y"', "--k", "3") == [as_dict(one.recommend(["x y"], k=3))]


@pytest.mark.parametrize(
    ("text", "items"),
    [('5"x7"', ['5"x7"']), ('q"', ['q"']), ('"a"', ['"a"']), (",", [","]), ("q,b", ["q", "b"]), ('"b" q"', None)],
)
def test_quotes_of_known_ids_are_kept(text: str, items: list[str] | None) -> None:
    known = ['5"x7"', 'q"', '"a"', ",", "b", '"b"']
    if items is None:
        with pytest.raises(ConfigError, match="a double quote that is not closed") as caught:
            history_items([text], known)
        assert caught.value.hint == "Repeat --history for each item: each text is then one id."
    else:
        assert history_items([text], known) == items


def test_quotes_with_two_readings_are_refused() -> None:
    with pytest.raises(ConfigError, match='can be read as the item "b" or as the item b'):
        history_items(['"b"'], ["b", '"b"'])
    assert history_items(['"b"', "b"], ["b", '"b"']) == ['"b"', "b"]


def test_histories_without_known_items() -> None:
    (empty,) = shown("--history", "", "--k", "3")
    (unknown,) = shown("--history", "q1 q2", "--k", "3")
    assert empty["items"] == unknown["items"] and unknown["unknown"] == ["q1", "q2"] and empty["by"] == "popularity"
    result = call("recommend", "one", "--history", "q1 q2")
    assert "interactions" in result.stdout
    assert "2 items of 1 history unknown to the model and not used, such as 'q1'" in result.stderr
    assert "no known item in 1 history: the most popular items are recommended there" in result.stderr
    said = call("recommend", "one", "--history", "q1 p1").stderr
    assert "1 item of 1 history unknown to the model and not used" in said and "no known item" not in said


def test_only_and_without(one: Recommender, tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("p1\np2\nx y\nnew\n")
    (tmp_path / "without.txt").write_text("p2\n")
    chosen = ("--only", str(tmp_path / "only.txt"), "--without", str(tmp_path / "without.txt"))
    result = call("recommend", "one", "--history", "p5", *chosen, "--json")
    with pytest.warns(UserWarning, match="new"):
        assert json.loads(result.stdout) == [
            as_dict(one.recommend(["p5"], only=["p1", "p2", "x y", "new"], without=["p2"]))
        ]
    assert "1 item of --only and --without unknown to the model and not used, such as 'new'" in result.stderr
    nothing = ("--only", str(tmp_path / "without.txt"), "--without", str(tmp_path / "only.txt"))
    assert "no item is left to recommend" in refused("recommend", "one", *nothing).replace("\n", " ")
    assert "no file" in refused("recommend", "one", "--only", "missing.txt")


def test_blanks_around_ids_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = "".join(f" u{user}, i{item},{item}\n" for user in range(4) for item in range(user, user + 5))
    (tmp_path / "padded.csv").write_text(f"user_id,item_id,timestamp\n{log}")
    (tmp_path / "users.txt").write_text(" u1\n")
    (tmp_path / "only.txt").write_text(" i0\n i7\n")
    (tmp_path / "without.txt").write_text(" i7\n")
    monkeypatch.chdir(tmp_path)
    for variable in ("ACTSR_DATA", "ACTSR_RUNS"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    call("preprocess", "padded", "--from-file", "padded.csv")
    call("train", "--model", "popularity", "--dataset", "padded", "--name", "padded")
    chosen = ("--users", "users.txt", "--only", "only.txt", "--without", "without.txt")
    (entry,) = json.loads(call("recommend", "padded", *chosen, "--json").stdout)
    assert (entry["user"], [item["item"] for item in entry["items"]]) == (" u1", [" i0"])


def test_files_of_histories(one: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    histories = {"a": ["p1", "q", "x y"], "b": ["p3"], "c": [], "d": ["p1", "p2"]}
    (tmp_path / "h.jsonl").write_text(
        "".join(json.dumps({"user": user, "items": items}) + "\n" for user, items in histories.items())
    )
    wanted = rounded([as_dict(each) for each in one.recommend_many(histories, k=3)])
    for chunk in (1, 3, 4096):
        monkeypatch.setattr(reading, "_CHUNK", chunk)
        assert shown("--histories", str(tmp_path / "h.jsonl"), "--k", "3") == wanted
    frame = pd.DataFrame({"who": ["b", "a", "b"], "what": ["p1", "x y", "p3"], "when": [2, 1, 1]})
    frame.to_csv(tmp_path / "t.csv", index=False, sep=";")
    columns = ("--user-column", "who", "--item-column", "what", "--timestamp-column")
    csv = ("--histories", str(tmp_path / "t.csv"), "--separator", ";", *columns)
    assert shown(*csv, "when", "--k", "3") == [
        as_dict(each) for each in one.recommend_many({"b": ["p3", "p1"], "a": ["x y"]}, k=3)
    ]
    in_file_order = [as_dict(each) for each in one.recommend_many({"b": ["p1", "p3"], "a": ["x y"]}, k=3)]
    assert shown(*csv, "none", "--k", "3") == in_file_order
    frame.to_parquet(tmp_path / "t.parquet")
    assert shown("--histories", str(tmp_path / "t.parquet"), *columns, "none", "--k", "3") == in_file_order


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_output(one: Recommender, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lists{suffix}"
    result = call("recommend", "one", "--output", str(path), "--k", "3", "--batch-size", "7", "--device", "cpu")
    assert result.stdout == "" and "40 lists written to" in result.stderr
    found = one.recommend_users(k=3)
    if suffix == ".jsonl":
        written = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        wanted = [as_dict(each) for each in found]
        assert [each["user"] for each in written] == [each["user"] for each in wanted]
        ids = [[[item["item"] for item in each["items"]] for each in some] for some in (written, wanted)]
        assert ids[0] == ids[1]
    else:
        frame = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
        pd.testing.assert_frame_equal(frame, found.to_frame(), check_dtype=False)
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_in_the_middle_leaves_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_CHUNK", 2)
    (tmp_path / "h.jsonl").write_text('["p1"]\n' * 5 + "nonsense\n")
    arguments = ("recommend", "one", "--histories", str(tmp_path / "h.jsonl"), "--output")
    assert "line 6: not JSON" in refused(*arguments, str(tmp_path / "lists.csv"))
    (tmp_path / "older.csv").write_text("older")
    refused(*arguments, str(tmp_path / "older.csv"))
    assert {path.name for path in tmp_path.iterdir()} == {"h.jsonl", "older.csv"}
    assert (tmp_path / "older.csv").read_text() == "older"
    (tmp_path / "h.jsonl").write_text("\n")
    assert "there is no history to recommend to" in refused(*arguments, str(tmp_path / "lists.csv"))
    assert "there is no history to recommend to" in refused(*arguments[:-1], "--json")
    assert not (tmp_path / "lists.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user", "u3", "--history", "p1"], "--user and --history do not go together"),
        (["--users", "f", "--history", "p1"], "--users and --history do not go together"),
        (["--user", "u3", "--histories", "f"], "--user and --histories do not go together"),
        (["--history", "p1", "--histories", "f"], "--history and --histories do not go together"),
        (["--timestamps", "5"], "--timestamps needs --history"),
        (["--user", "u3", "--timestamps", "5"], "--timestamps needs --history"),
        (["--format", "csv"], "--format needs --histories FILE"),
        (["--history", "p1", "--format", "csv"], "--format needs --histories FILE"),
        (["--user-column", "x"], "--user-column needs --histories FILE"),
        (["--item-column", "x"], "--item-column needs --histories FILE"),
        (["--timestamp-column", "x"], "--timestamp-column needs --histories FILE"),
        (["--separator", "x"], "--separator needs --histories FILE"),
        (["--json", "--output", "a.jsonl"], "--json does not go with --output"),
        (["--output", "a.xls"], "the format of a.xls cannot be recognised"),
        (["--output", "missing/a.csv"], "there is no folder missing for a.csv"),
        (["--output", "data.csv/"], "data.csv is a folder"),
        (["--histories", "log.csv", "--format", "foo"], "unknown format 'foo'"),
        (["--histories", "log.csv", "--format", "jsonl"], "line 1: not JSON"),
        (["--histories", "missing.csv"], "no file missing.csv"),
        (["--histories", "log.csv", "--item-column", "x"], "no column 'x' for the item"),
        (["--users", "missing.txt"], "no file missing.txt"),
        (["--history", "p1", "--timestamps", "1,2"], "2 timestamps for 1 items"),
        (["--history", "p1 p2", "--timestamps", "2,1"], "the timestamp of item 2 is before that of item 1"),
        (["--history", "p1", "--timestamps", "soon"], "'soon' is not a timestamp"),
        (["--device", "foo"], "there is no device 'foo'"),
    ],
)
def test_options_that_are_refused(shop: Path, arguments: list[str], message: str) -> None:
    (shop / "data.csv").mkdir(exist_ok=True)
    said = refused("recommend", "one", *arguments)
    assert message in said and said.startswith("error: ") and len(said.splitlines()) <= 2


def test_users_and_runs_that_are_not_there() -> None:
    said = refused("recommend", "one", "--user", "u33", "--user", "u77", "--json").splitlines()
    assert said[0].startswith("error: unknown user 'u77'; did you mean") and len(said) == 2
    assert "no run 'two'" in refused("recommend", "two")
    assert "there is no run in nowhere" in refused("recommend", "--runs-dir", "nowhere")
    for arguments in (["--k", "0"], ["--batch-size", "0"], ["--seen", "exclude-repeats"], ["--threads", "0"]):
        refused("recommend", "one", *arguments, exit_code=2)


def test_times_of_a_history() -> None:
    seconds = shown("--history", "p1 p2", "--timestamps", " 1, 2.5")
    assert seconds == shown("--history", "p1 p2", "--timestamps", "2020-01-01 10:00,2020-01-02T10:00:00Z")
    assert seconds == shown("--history", "p1 p2")  # this model does not read them


def test_a_refit_is_the_latest_run(one: Recommender) -> None:
    refit = actsr.load("one-refit")
    assert actsr.load().name == "shop/sasrec/one-refit"
    latest = json.loads(call("recommend", "--history", "p1", "--json").stdout)
    assert latest == [as_dict(refit.recommend(["p1"]))] != [as_dict(one.recommend(["p1"]))]
    assert json.loads(call("recommend", "one-refit", "--user", "u3", "--json").stdout)[0]["user"] == "u3"
    assert json.loads(call("similar", "p1", "--json").stdout) == [as_dict(refit.similar("p1"))]


def test_a_copied_run_needs_no_data(tmp_path: Path, one: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(Path("runs/shop/sasrec/one"), tmp_path / "copy")
    change(tmp_path / "copy" / "run.json", data_folder=str(tmp_path / "gone"))
    monkeypatch.chdir(tmp_path)
    places = ("--data-dir", str(tmp_path / "none"), "--runs-dir", str(tmp_path / "none"))
    found = json.loads(call("recommend", "copy", *places, "--history", "p1 q", "--json").stdout)
    assert found == [as_dict(one.recommend(["p1", "q"]))]
    assert json.loads(call("similar", "p1", "--run", "copy", "--json").stdout) == [as_dict(one.similar("p1"))]
    for who in (["--user", "u3"], [], ["--output", "lists.csv"]):
        said = " ".join(refused("recommend", "copy", *places, *who).split())
        assert "the data of" in said and "no data set 'shop'" in said
    assert {path.name for path in tmp_path.iterdir()} == {"copy"}


def test_similar_items(one: Recommender) -> None:
    found = json.loads(call("similar", "p1", "x y", "--run", "one", "--k", "3", "--json").stdout)
    assert found == [as_dict(one.similar(item, 3)) for item in ("p1", "x y")]
    printed = call("similar", "p1", "x y", "--run", "one", "--k", "3").stdout
    assert "similar to The <b>p1</b> [bold]:dog:" in printed and f"{found[1]['items'][2]['title']}" in printed
    said = refused("similar", "p1", "p99", "--run", "one")
    assert "error: unknown item 'p99'; did you mean" in said and len(said.splitlines()) == 2
    refused("similar", exit_code=2)
    call("train", "--model", "popularity", "--dataset", "shop", "--name", "counts")
    assert "has no item vectors" in refused("similar", "p1", "--run", "counts")
    assert json.loads(call("recommend", "counts", "--history", "p1", "--json").stdout)[0]["by"] == "model"


def test_models_that_read_times() -> None:
    call("train", "--model", "tisasrec", *TRAIN, "--name", "timed")
    said = refused("recommend", "timed", "--history", "p1")
    assert "needs timestamps" in said and "--timestamps" not in said.splitlines()[0]
    found = json.loads(call("recommend", "timed", "--history", "p1", "--timestamps", "1970-01-02", "--json").stdout)
    assert found == [as_dict(actsr.load("timed").recommend(["p1"], timestamps=[86_400]))]


@pytest.mark.real_data
def test_films_of_ml_100k_have_titles(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "ml-100k").mkdir(parents=True)
    for file in real_data.glob("ml-100k.*"):
        shutil.copy(file, tmp_path / "data" / "ml-100k")
    monkeypatch.setenv("ACTSR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ACTSR_RUNS", str(tmp_path / "runs"))
    call("train", "--model", "item-knn", "--preset", "ml-100k", "--name", "films")
    printed = call("recommend", "--history", "50 172 181", "--k", "5").stdout
    assert printed.startswith("ml-100k/item-knn/films, after Star Wars, Empire Strikes Back, The, Return of the Jedi\n")
    (films,) = json.loads(call("recommend", "--history", "50 172 181", "--k", "5", "--json").stdout)
    assert len(films["items"]) == 5 and all(film["title"] in printed for film in films["items"])
    assert not {"50", "172", "181"} & {film["item"] for film in films["items"]}


def test_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("p1\np2\n")
    result = call("recommend", "one", "--history", "p1 p2", "--only", str(tmp_path / "only.txt"))
    assert "no item is left to recommend" in result.stdout
    assert "no item is left to recommend in 1 history; --seen rank keeps the items of a history" in result.stderr


def test_help_names_the_options() -> None:
    assert "--histories" in call("recommend", "--help").stdout
    assert "ITEM" in call("similar", "--help").stdout


@contextmanager
def started(folder: Path) -> Iterator[Command]:
    """A command that has written some lists and waits for more histories."""
    histories = folder.with_name(f"{folder.name}-histories")
    if not histories.exists():
        os.mkfifo(histories)
    output = folder / "lists.csv"
    process = start("recommend", "one", "--histories", "-", "--output", str(output), "--k", "1", stdin=histories)
    with histories.open("w") as given:
        given.write('["p1"]\n' * 9000)
        given.flush()
        wait_until(lambda: any(path.suffix == ".partial" for path in folder.iterdir()), process)
        yield process


def test_interrupted_and_killed(tmp_path: Path) -> None:
    """Neither leaves a half file, and an older one stays; the next call removes what a killed one left."""
    with started(tmp_path) as interrupted:
        interrupted.send_signal(signal.SIGINT)
        said = interrupted.communicate()[1]
    assert interrupted.returncode == 130 and "interrupted" in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "lists.csv").write_text("older")
    with started(tmp_path) as killed:
        killed.kill()
        killed.communicate()
    assert (tmp_path / "lists.csv").read_text() == "older"
    call("recommend", "one", "--history", "p1", "--output", str(tmp_path / "lists.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["lists.csv"]
    assert len(pd.read_csv(tmp_path / "lists.csv")) == 10


def most_memory(folder: Path, places: dict[str, str], numbers: Sequence[int]) -> None:
    """Recommend for some files, and write down after each the most memory in kB that this process has had."""
    os.chdir(folder)
    os.environ.update(places)
    vars(reading)["_CHUNK"] = 125
    for number in numbers:
        call("recommend", "one", "--histories", f"{number}.jsonl", "--output", f"{number}.csv", "--k", "5")
        (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
        Path(f"{number}.kB").write_text(line.split()[1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_memory_does_not_grow_with_the_file(shop: Path) -> None:
    """Who kept the histories, or what is unknown in them, would need 50 MB more for the second."""
    rng = random.Random(0)  # noqa: S311
    numbers = (375, 2_250)
    for number in numbers:
        with Path(f"{number}.jsonl").open("w") as file:
            for row in range(number):
                items = [*rng.choices(PLAIN, k=5), f"new {row} {'x' * 28_000}"]
                file.write(json.dumps({"user": f"stranger {row}", "items": items}) + "\n")
    places = {name: os.environ[name] for name in ("ACTSR_DATA", "ACTSR_RUNS")}
    watched = warm().Process(target=most_memory, args=(shop, places, numbers))
    watched.start()
    watched.join(200)
    assert watched.exitcode == 0
    first, second = (int(Path(f"{number}.kB").read_text()) / 1024 for number in numbers)
    assert second - first < 25
    for number in numbers:
        assert Path(f"{number}.csv").read_text().count("\n") == 1 + 5 * number
