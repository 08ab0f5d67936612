"""Writes all results of an inspection to one folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from actsr_cli.errors import ConfigError
from actsr_cli.files import check_folder, move_into, remove_folder, replacing, scratch_folder, write_text
from actsr_cli.inspection.charts import faithfulness_charts, robustness_charts
from actsr_cli.inspection.export import folder_names, write_view
from actsr_cli.inspection.figures import heat_maps
from actsr_cli.inspection.findings import Findings
from actsr_cli.inspection.report import Report, report_page
from actsr_cli.inspection.tables import Table, findings_tables
from actsr_cli.pages.charts import chart_figure, save

_PAGE, _NUMBERS = "report.html", "measured.json"
_WRITTEN = (_PAGE, "users", "against", "tables", "faithfulness.png", "robustness.png", _NUMBERS)


def check_output(folder: Path) -> None:
    """Check that the results of an inspection can be written to a folder.

    Raises:
        ConfigError: it holds something else than an earlier inspection.
        DiskError: a file is in its place.
    """
    check_folder(folder)
    there = [each.name for each in folder.glob("[!.]*")]
    if there and _NUMBERS not in there:
        raise ConfigError(
            f"{folder} holds something else than an earlier inspection", hint="Choose a new or empty folder."
        )


def write_output(folder: Path, report: Report) -> None:
    """Write the report as an HTML page, figures, tables and numbers, in place of those of an earlier inspection.

    The folder gets report.html, measured.json, tables/NAME.csv, and faithfulness.png and robustness.png if these were
    measured. Each subject gets the files of `write_view` and a figure, for the first run under users/ and for the
    second under against/.
    """
    with scratch_folder(folder / "inspection") as scratch:
        _write_all(scratch, report)
        for name in _WRITTEN[:-1]:  # the last one stays until it is replaced: check_output knows an inspection by it
            if (folder / name).is_dir():
                remove_folder(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        move_into(folder, scratch, [name for name in _WRITTEN if (scratch / name).exists()])


def _write_all(folder: Path, report: Report) -> None:
    for place, run in zip(("users", "against"), report.runs, strict=False):
        for label, subject, view in zip(folder_names(report.subjects), report.subjects, run.views, strict=True):
            write_view(folder / place / label, subject, view, report.name)
            save(heat_maps(subject, view, report.name), folder / place / label / "attention.png")
    findings = [run.findings for run in report.runs]
    _write_figures(folder, findings)
    _write_tables(folder / "tables", [table for found in findings for table in findings_tables(found)])
    write_text(folder / _PAGE, report_page(report))
    record = [findings_record(found) for found in findings]
    write_text(folder / _NUMBERS, json.dumps(record, indent=1) + "\n")


def findings_record(findings: Findings) -> dict[str, Any]:
    """What was measured on one run, as nested mappings and lists; what has no value is NaN."""
    record: dict[str, Any] = json.loads(json.dumps(asdict(findings), default=_plain))
    return record


def _write_figures(folder: Path, findings: Sequence[Findings]) -> None:
    if charts := faithfulness_charts(findings):
        save(chart_figure(charts, columns=2), folder / "faithfulness.png")
    if charts := robustness_charts(findings):
        save(chart_figure(charts, columns=3), folder / "robustness.png")


def _write_tables(folder: Path, tables: Sequence[Table]) -> None:
    """Write one CSV per kind of table with the rows of all runs; a stage that a run does not have is blank."""
    folder.mkdir()
    for name in dict.fromkeys(table.name for table in tables):
        frames = [
            pd.DataFrame(table.rows, columns=list(table.columns)).assign(run=table.run)
            for table in tables
            if table.name == name
        ]
        together = pd.concat(frames, ignore_index=True)
        together.insert(0, "run", together.pop("run"))
        with replacing(folder / f"{name}.csv") as partial:
            together.to_csv(partial, index=False)


def _plain(value: Any) -> Any:
    return value.tolist()  # arrays
