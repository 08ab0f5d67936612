"""Numbers and tables as people read them, on terminals and elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from actsr_cli import console
from actsr_cli.commands.tables import duration, moment, print_metrics, print_rows

LONG = "demo/ac-sasrec/" + "a-very-long-name-" * 10


@pytest.fixture
def in_india(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is five and a half hours ahead of UTC."""
    monkeypatch.setenv("TZ", "IST-05:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (20.826494326000045, "20.8 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (192.4, "3 min 12 s"),
        (3599.6, "1 h 0 min"),
        (4320.0, "1 h 12 min"),
        (90_000.0, "25 h 0 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_moments_are_local(in_india: None) -> None:
    assert moment("2026-11-26T08:33:59.123456+00:00") == "2026-11-26 14:03"


def test_elsewhere_than_on_a_terminal_a_row_is_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.results, "_width", 40)
    print_rows(("run", "epochs"), [(LONG, "5"), ("short", "12,000")], right=("epochs",))
    head, first, second = capsys.readouterr().out.splitlines()
    assert first == f"{LONG}       5" and second == "short".ljust(len(LONG)) + "  12,000"
    assert head == "run".ljust(len(LONG)) + "  epochs"


def test_on_a_narrow_terminal_the_widest_column_is_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.results, "_width", 40)
    monkeypatch.setattr(console, "on_terminal", lambda: True)
    print_rows(("run", "status"), [(LONG, "finished")])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "status"] and max(map(len, rows)) <= 40
    assert "".join(row[:30].strip() for row in rows) == LONG and rows[0].rstrip().endswith("finished")


def test_metrics_elsewhere_than_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    values = {f"{name}@{k}": 0.5 for k in range(1, 30) for name in ("hit", "ndcg")} | {"rank": 12.345}
    print_metrics("test split", {"sasrec": values}, "A")
    title, head, *rows, protocol = capsys.readouterr().out.splitlines()
    assert (title, protocol) == ("test split", "Protocol A")
    assert head.split() == [f"@{k}" for k in range(1, 30)]
    assert [row.split()[:2] for row in rows] == [["sasrec", "Hit"], ["sasrec", "NDCG"], ["sasrec", "Rank"]]
    assert rows[0].split()[2:] == ["0.5000"] * 29 and rows[2].split()[2:] == ["12.3"]
