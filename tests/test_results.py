"""The results of single runs, and the tables that are made from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import SMALL, call

from tools import results

PAGE = results.FILE.with_name("results.md").read_text(encoding="utf-8")


def row(seed: int, hit: float) -> dict[str, object]:
    keys = {"data": "beauty", "model": "sasrec", "protocol": "B", "seed": seed, "epoch": 3}
    return {**keys, **dict.fromkeys(results.METRICS, 0.5), "hit@10": hit}


@pytest.mark.parametrize("line", results.lines(results.read()))
def test_the_page_has_the_means_of_the_file(line: str) -> None:
    assert line in PAGE.splitlines()


def test_mean_and_deviation_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FILE", tmp_path / "results.csv")
    results.add([row(0, 0.1), row(1, 0.9)])
    results.add([row(1, 0.2), row(2, 0.3)])  # seed 1 anew
    (line,) = results.lines(results.read())
    assert (
        line
        == "| beauty | B | `sasrec` | 3 | .5000 ± .0000 | .2000 ± .1000 | " + " | ".join([".5000 ± .0000"] * 4) + " |"
    )


def test_one_run_has_no_deviation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FILE", tmp_path / "results.csv")
    results.add([row(0, 0.1)])
    assert results.lines(results.read()) == [
        "| beauty | B | `sasrec` | 1 | .5000 | .1000 | " + " | ".join([".5000"] * 4) + " |"
    ]


def test_what_is_kept_of_a_run_and_of_an_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTSR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ACTSR_RUNS", str(tmp_path / "runs"))
    call("download", "demo")
    call("train", *SMALL, "--model", "gru4rec", "--epochs", "1", "--seeds", "2", "--name", "two")
    call("combine", "two", "--name", "both")
    rows = [*results.measured("two-s1"), *results.measured("both")]
    assert [[row[key] for key in ("data", "model", "protocol", "seed", "epoch")] for row in rows] == [
        ["demo", "gru4rec", "A", 1, 1],
        ["demo", "gru4rec", "B", 1, 1],  # no target of demo is a repeat: the readings of B agree
        ["demo", "2 gru4rec, together", "A", None, None],
        ["demo", "2 gru4rec, together", "B", None, None],
    ]
    shown = json.loads(call("evaluate", "two-s1", "--seen", "exclude", "--k", "5,10,20", "--json").stdout)
    assert [rows[1][name] for name in results.METRICS] == [shown["metrics"][name] for name in results.METRICS]
