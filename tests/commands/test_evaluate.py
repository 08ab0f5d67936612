"""Evaluating from the command line: metrics, protocols, splits and series."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from processes import SMALL, call

from actsr_cli.data.synthetic import generate_demo
from actsr_cli.evaluation.metrics import all_metrics

TRAIN = ("train", "--model", "sasrec", *SMALL, "--epochs", "2", "--set", "evaluation.k=[5,10]")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with demo data and two runs that differ in their seed: the series demo/sasrec/both."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "data" / "demo").mkdir(parents=True)
    generate_demo(folder / "data" / "demo", users=300)
    call(*TRAIN, "--seeds", "2", "--name", "both", *places(folder))
    return folder


def places(folder: Path) -> tuple[str, ...]:
    return "--data-dir", str(folder / "data"), "--runs-dir", str(folder / "runs")


def measured(home: Path, *arguments: str, run: str = "both-s0") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call("evaluate", run, "--json", *arguments, *places(home)).stdout)
    return found


def test_every_metric_at_every_cutoff(home: Path) -> None:
    table = home / "ranks.parquet"
    found = measured(home, "--metrics", "all", "--k", "3,10", "--per-user", str(table))
    names = {metric.name for metric in all_metrics()}
    assert (
        {name.partition("@")[0] for name in found["metrics"]}
        == names
        == {n.partition("@")[0] for n in found["popularity"]}
    )
    values = found["metrics"]
    assert values["recall@10"] == values["hit@10"] and values["precision@10"] == pytest.approx(values["hit@10"] / 10)
    assert 0 < found["popularity"]["coverage@10"] < values["coverage@10"] <= 1
    assert found["popularity"]["novelty@10"] < values["novelty@10"]
    rows = pd.read_parquet(table)
    for name in ("hit@3", "ndcg@10", "novelty@10", "diversity@10"):
        assert rows[name].mean() == pytest.approx(values[name])
    assert rows["rank"].mean() == pytest.approx(values["rank"])
    assert "coverage@10" not in rows  # one number for all users
    kept = json.loads((home / "runs" / "demo" / "sasrec" / "both-s0" / "metrics.json").read_text())
    assert kept["test/exclude"]["gini@3"] == values["gini@3"]


def test_the_table_has_a_row_per_metric_and_names_the_protocol(home: Path) -> None:
    shown = call(
        "evaluate", "both-s0", "--metrics", "hit,rank,coverage", "--seen", "exclude-repeats", *places(home)
    ).stdout
    assert "Hit" in shown and "Rank" in shown and "Coverage" in shown and "NDCG" not in shown
    assert "B as published" in " ".join(shown.split())


def test_protocols_have_metrics_of_their_own(home: Path) -> None:
    by_protocol = {key: measured(home, *options)["metrics"]["hit@5"] for key, options in PROTOCOLS.items()}
    assert by_protocol["rank"] <= by_protocol["exclude"] == by_protocol["exclude-repeats"]  # no user repeats an item
    assert by_protocol["exclude"] < by_protocol["uniform-20-seed0"]
    assert measured(home, *PROTOCOLS["uniform-20-seed0"])["metrics"]["hit@5"] == by_protocol["uniform-20-seed0"]
    kept = json.loads((home / "runs" / "demo" / "sasrec" / "both-s0" / "metrics.json").read_text())
    assert {f"test/{key}" for key in PROTOCOLS} <= kept.keys()
    shown = call("evaluate", "both-s0", *PROTOCOLS["uniform-20-seed0"], *places(home)).stdout
    assert "not comparable with ranks over the whole catalogue" in " ".join(shown.split())


PROTOCOLS = {
    "rank": ("--seen", "rank"),
    "exclude": ("--seen", "exclude"),
    "exclude-repeats": ("--seen", "exclude-repeats"),
    "uniform-20-seed0": ("--candidates", "uniform", "--n-candidates", "20"),
    "popularity-100-seed0": ("--candidates", "popularity"),
}


def test_a_series_has_mean_and_spread(home: Path) -> None:
    found = measured(home, run="both")
    assert found["series"] == "demo/sasrec/both" and [run["run"][-2:] for run in found["runs"]] == ["s0", "s1"]
    values = pd.Series([run["metrics"]["ndcg@10"] for run in found["runs"]])
    shown = call("evaluate", "both", *places(home)).stdout
    assert f"{values.mean():.4f} ± {values.std():.4f}" in shown and "popularity" in shown
    assert "--per-user takes one run" in call(
        "evaluate", "both", "--per-user", "x.csv", *places(home), exit_code=1
    ).stderr.replace("\n", " ")


def test_any_metric_chooses_the_epoch(home: Path) -> None:
    """The best epoch has the highest coverage, or the lowest mean rank."""
    for monitor, best in (("coverage@10", max), ("rank", min)):
        name = monitor.partition("@")[0]
        more = ("--epochs", "3", "--monitor", monitor, "--name", name)
        call("train", "--model", "sasrec", *SMALL, *more, *places(home))
        folder = home / "runs" / "demo" / "sasrec" / name
        with (folder / "history.csv").open() as file:
            values = [float(row[monitor]) for row in csv.DictReader(file)]
        record = json.loads((folder / "run.json").read_text())
        assert record["value"] == pytest.approx(best(values))
        assert record["best_epoch"] == 1 + values.index(best(values))


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("hits@10", "unknown metric 'hits' (training.monitor); did you mean 'hit'?"),
        ("hit", "training.monitor: hit needs a cut-off, such as hit@10"),
    ],
)
def test_a_monitor_that_is_no_metric_is_refused_before_a_run_is_made(home: Path, monitor: str, message: str) -> None:
    refused = call(*TRAIN, "--set", f"training.monitor={monitor}", "--name", "no", *places(home), exit_code=1).stderr
    assert message in " ".join(refused.split())
    assert not (home / "runs" / "demo" / "sasrec" / "no").exists()


def test_runs_of_other_splits_are_not_compared(home: Path) -> None:
    """Test items of one run may be training items of the other."""
    more = ("--set", "split={by: time, valid_from: 0.6, test_from: 0.8}", "--name", "elsewhere")
    call("train", "--model", "sasrec", *SMALL, "--epochs", "1", *more, *places(home))
    for command in (("compare", "both-s0", "elsewhere"), ("inspect-attention", "both-s0", "--against", "elsewhere")):
        refused = " ".join(call(*command, *places(home), exit_code=1).stderr.split())
        assert "demo/sasrec/elsewhere was trained on another split" in refused


def test_only_what_names_a_protocol_makes_protocols_differ(home: Path) -> None:
    more = ("--set", "evaluation.n_candidates=50", "--name", "same")
    call("train", "--model", "sasrec", *SMALL, "--epochs", "1", *more, *places(home))
    call("compare", "both-s0", "same", *places(home))
    refused = call("compare", "both-s0", "both-s1", "--n-candidates", "9", *places(home), exit_code=1).stderr
    assert "n_candidates needs candidates" in refused


def test_json_has_no_nan(home: Path) -> None:
    found = call("evaluate", "both-s0", "--metrics", "all", "--k", "1,2", "--json", *places(home)).stdout
    assert "diversity@2" in json.loads(found, parse_constant=pytest.fail)["metrics"]


def test_comparing_by_any_metric(home: Path) -> None:
    shown = call(
        "compare", "both-s0", "both-s1", "--metrics", "hit,coverage,rank", "--output", str(home / "c"), *places(home)
    )
    assert "Coverage@10" in shown.stdout and "Rank ↓" in shown.stdout
    table = pd.read_csv(home / "c" / "differences.csv").set_index("metric")
    assert set(table.index) == {"hit@10", "coverage@10", "rank"}
    assert table["p_users"].isna().to_dict() == {"hit@10": False, "coverage@10": True, "rank": False}
    refused = call("compare", "both-s0", "both-s1", "--metrics", "coverage", *places(home), exit_code=1).stderr
    assert "--metrics has no metric with a value per user" in refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metrics", "ndgc"), "unknown metric 'ndgc' (metrics); did you mean 'ndcg'?"),
        (("--seen", "rank", "--candidates", "uniform"), "seen does not go with sampled candidates"),
        (("--n-candidates", "10"), "n_candidates needs candidates uniform"),
        (("--per-user", "ranks.txt"), "its name must end in .csv or .parquet"),
        (("--per-user", "ranks.csv"), "cannot write ranks to ranks.csv: it is a folder"),
    ],
)
def test_refusals(
    home: Path, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ranks.csv").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("actsr_cli.api.evaluate_run", pytest.fail)
    assert message in " ".join(call("evaluate", "both-s0", *arguments, *places(home), exit_code=1).stderr.split())


def test_a_damaged_file_of_metrics_is_written_anew(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = home / "runs" / "demo" / "sasrec" / "both-s0" / "metrics.json"
    before = file.read_bytes()
    file.write_text('{"broken')
    found = measured(home, "--metrics", "hit", "--k", "10")
    assert "is damaged" in caplog.text and "it is written anew" in caplog.text
    assert json.loads(file.read_text())["test/exclude"]["hit@10"] == found["metrics"]["hit@10"]
    file.write_bytes(before)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_metric_without_a_value(tmp_path: Path) -> None:
    """Only one item has a category, so no two items of a list have one: there is no diversity."""
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    rows = [f"u{user}\ti{(user * step) % 12}\t{step}\n" for user in range(20) for step in range(6)]
    (folder / "shop.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(rows))
    items = [f"i{item}\t{'' if item else 'tea'}\n" for item in range(12)]
    (folder / "shop.item").write_text("item_id:token\tcategory:token\n" + "".join(items))
    small = ("--dataset", "shop", "--epochs", "1", "--set", "model.hidden_size=8", "--threads", "1")
    call("train", "--model", "sasrec", *small, "--seeds", "2", "--name", "ser", *places(tmp_path))
    some = ("--metrics", "hit,diversity", "--k", "2")
    shown = [
        call("evaluate", "ser", *some, *places(tmp_path)).stdout,
        call("runs", "show", "ser", "--runs-dir", str(tmp_path / "runs")).stdout,
    ]
    for lines in ([line.split() for line in text.splitlines()] for text in shown):
        assert ["sasrec", "Diversity", "-"] in lines
        assert any(line[:2] == ["sasrec", "Hit"] and "±" in line for line in lines)
    output = tmp_path / "compared"
    compared = call(
        "compare", "ser", "ser-s0", *some, "--by", "diversity@2", "--output", str(output), *places(tmp_path)
    )
    assert "nan" not in compared.stdout
    table = (output / "compare.md").read_text()
    assert "nan" not in table and "| Diversity@2 ↑ | -" in table
    assert pd.read_csv(output / "differences.csv").set_index("metric")["baseline_mean"].isna()["diversity@2"]
    call("compare", "ser", "ser-s0", *some, "--json", *places(tmp_path))


def test_a_split_by_time(home: Path) -> None:
    more = ("--set", "split={by: time, valid_from: 0.7, test_from: 0.85, target: all}", "--name", "timed")
    call("train", "--model", "sasrec", *SMALL, "--epochs", "1", *more, *places(home))
    found = measured(home, run="timed")
    assert found["targets"] > found["users"] and found["users_without_history"] > 0
    shown = call("evaluate", "timed", *places(home))
    assert f"{found['users_without_history']:,} users have no history before the cut" in shown.stderr
    assert f"{found['users']:,} users, {found['targets']:,} targets" in " ".join(shown.stdout.split())
    call("inspect-attention", "timed", "--random", "1", "--sample", "20", *places(home))
    refused = call(
        "train",
        "--model",
        "sasrec",
        *SMALL,
        "--set",
        "split={by: time, valid_from: 2001-01-01}",
        *places(home),
        exit_code=1,
    ).stderr
    assert "do not cut the log into three parts" in " ".join(refused.split())


def test_a_split_by_files(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    for part, start, length in (("train", 0, 6), ("valid", 6, 2), ("test", 8, 2)):
        rows = [
            f"u{user}\ti{(user + step) % 12}\t{step}\n" for user in range(20) for step in range(start, start + length)
        ]
        (folder / f"shop.{part}.inter").write_text(header + "".join(rows))
    small = ("--model", "sasrec", "--dataset", "shop", "--epochs", "1", "--set", "model.hidden_size=8")
    refused = call("train", *small, "--set", "split=last", *places(tmp_path), exit_code=1).stderr
    assert "is split into files" in refused and "--set split=files" in refused
    call("train", *small, "--name", "one", *places(tmp_path))
    found = measured(tmp_path, run="one")
    assert (found["users"], found["targets"]) == (20, 40)
    call("train", *small, "--set", "split={by: files, target: first}", "--name", "first", *places(tmp_path))
    assert measured(tmp_path, run="first")["targets"] == 20
