"""Tables of measurements: equal in terminal, report and files, and narrow enough for all."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tracing import model

from actsr_cli import console
from actsr_cli.commands.attention_view import print_findings
from actsr_cli.evaluation.significance import Interval
from actsr_cli.inspection.answers import Case
from actsr_cli.inspection.faithfulness import SHARES, Agreement, Curve, Explanation, Faithfulness, faithfulness
from actsr_cli.inspection.findings import Findings
from actsr_cli.inspection.learned import filter_shares
from actsr_cli.inspection.output import write_output
from actsr_cli.inspection.report import Report, ReportedRun
from actsr_cli.inspection.robustness import attention_mass, robustness
from actsr_cli.inspection.sharpness import effective_share
from actsr_cli.inspection.tables import Table, findings_tables
from actsr_cli.inspection.views import Subject, view

CPU = torch.device("cpu")
CASES = [Case(np.array(items), 7) for items in ([3, 1, 4, 1, 5], [2, 6, 9, 10], [8, 9, 10, 3, 2, 1])]


def report() -> Report:
    """Two runs; one of them has all stages and all measurements."""
    subjects = [Subject("ann", CASES[0])]
    runs = []
    for name, looked_at in (("demo/ac-sasrec/a", model(two_level=False)), ("demo/sasrec/b", model(calibration="none"))):
        looked_at.eval()
        marks = [case.items > 5 for case in CASES]
        findings = Findings(
            run=name,
            users=3,
            effective_share=effective_share(looked_at, CASES, device=CPU),
            curves=[],
            noise_mass=attention_mass(looked_at, CASES, marks, device=CPU),
            faithfulness=faithfulness(looked_at, CASES, device=CPU),
            robustness=robustness(looked_at, CASES, [0.25, 0.5], device=CPU),
        )
        views = [view(looked_at, subject.case, device=CPU) for subject in subjects]
        runs.append(ReportedRun(name, name.startswith("demo/ac"), views, findings))
    return Report("demo", "", subjects, runs, str)


@pytest.fixture(scope="module")
def reported() -> Report:
    return report()


@pytest.fixture(scope="module")
def tables(reported: Report) -> list[Table]:
    return [table for run in reported.runs for table in findings_tables(run.findings)]


def test_all_that_was_measured_has_a_table(tables: list[Table]) -> None:
    names = ["looked-at", "noise-items", "faithfulness", "robustness", "injected-items"]
    assert [(table.run, table.name) for table in tables] == [
        (run, name) for run in ("demo/ac-sasrec/a", "demo/sasrec/b") for name in names
    ]
    stages = ("plain", "spatial", "mask", "adversarial", "calibrated")
    looked_at, noise_items, _, _, injected = tables[:5]
    assert looked_at.columns == ("share of", *stages)
    assert noise_items.columns == ("share of", *stages, "items") and injected.columns == ("noise", *stages, "items")
    for table in tables:
        assert table.title.startswith(f"{table.run}: ")
        assert len(set(table.columns)) == len(table.columns)
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_the_terminal_shows_them_in_80_columns(
    reported: Report, tables: list[Table], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console.results, "_width", 80)
    print_findings([run.findings for run in reported.runs])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    words = [" ".join(line.split()) for line in shown.splitlines()]
    text = " ".join(words)
    for table in tables:
        assert " ".join(table.title.split()) in text and " ".join(table.note.split()) in text
        for cells in (table.columns, *table.rows):
            assert " ".join(filter(None, cells)) in words


def test_page_and_files_have_the_same_cells(reported: Report, tables: list[Table], tmp_path: Path) -> None:
    write_output(tmp_path, reported)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data)["measured"] == json.loads(json.dumps([asdict(table) for table in tables]))
    files = {path.stem: pd.read_csv(path, dtype=str, keep_default_na=False) for path in (tmp_path / "tables").iterdir()}
    assert set(files) == {table.name for table in tables}
    for table in tables:
        of_run = files[table.name].loc[files[table.name]["run"] == table.run]
        assert [tuple(row) for row in of_run[list(table.columns)].itertuples(index=False)] == list(table.rows)


def test_how_numbers_are_written() -> None:
    def interval(mean: float, margin: float) -> Interval:
        return Interval(mean, mean - margin, mean + margin, 9)

    deletion, insertion = (Curve((), interval(mean, 0.051)) for mean in (1.456, -0.2))
    agreement = Agreement(interval(0.4812, 0.0301), interval(-0.001, 0.034), None)
    explanation = Explanation({"leave one out": agreement}, deletion, insertion, {"more likely": interval(0.536, 0.07)})
    itself = Explanation({}, deletion, insertion, {"more likely": interval(0, 0)})
    found = Faithfulness("recommended", 9, 3, SHARES, {"plain": explanation, "leave one out": itself})
    table = findings_tables(Findings("a", 1234, {"plain": interval(0.628, 0.0102)}, [], None, found, []))
    assert table[0].rows == (("positions", "62.8±1.0%"),)
    assert "1,234 users" in table[0].title
    assert table[1].title == "a: is the attention faithful? 9 users, score of the recommended item"
    assert table[1].rows == (
        ("plain", ".48±.03", ".00±.03", "", "1.46±.05", "-.20±.05", "54±7%"),
        ("leave one out", "", "", "", "1.46±.05", "-.20±.05", "0±0%"),
    )


def test_the_shares_of_filters_are_shown() -> None:
    filtered = model(layers=2, filter="conv", filter_share=0.25)
    shares = filter_shares(filtered)
    assert shares == pytest.approx([0.25, 0.25])
    assert filter_shares(model()) == []
    tables = findings_tables(Findings("a", 9, {}, [], None, None, [], shares))
    assert [table.name for table in tables] == ["looked-at", "filters"]
    assert tables[1].rows == (("1", "25.0%", "75.0%"), ("2", "25.0%", "75.0%"))
