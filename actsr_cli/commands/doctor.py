"""`actsr doctor`: checks that actsr works on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from actsr_cli import console
from actsr_cli.commands.options import AsJson, DataDir, Device, RunsDir
from actsr_cli.commands.tables import print_rows


def doctor(
    device: Device = "auto",
    as_json: AsJson = False,
    data_dir: DataDir = Path("dataset"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Check versions, device and disk, and train, stop and resume a small model. It takes about ten seconds.

    The exit code is 1 if a check failed. Nothing is left on the disk.

    [bold]Example:[/]  actsr doctor
    """
    from actsr_cli.experiment.doctor import Verdict, examine

    with console.working("Checking") as say:
        findings = []
        for finding in examine(data_dir, runs_dir, device):
            findings.append(finding)
            say(finding.check)
    if as_json:
        console.print_json([asdict(finding) for finding in findings])
    else:
        print_rows(("check", "result", ""), [(each.check, each.verdict.value, each.text) for each in findings])
    if any(each.verdict is Verdict.FAILED for each in findings):
        raise typer.Exit(1)
