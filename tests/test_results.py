"""The results of single runs, and the tables that are made from them."""

from __future__ import annotations

from pathlib import Path

import pytest

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
