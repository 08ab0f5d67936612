"""`actsr models`: what can be trained."""

from __future__ import annotations

from actsr_cli import console
from actsr_cli.models.registry import all_models


def models() -> None:
    """List the models: names, papers, and what data they need.

    [bold]Example:[/]  actsr models
    """
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("--model", "what it is", "needs"):
        table.add_column(title)
    for spec in all_models():
        needs = [need for need, wanted in (("users", spec.needs_users), ("times", spec.needs_timestamps)) if wanted]
        table.add_row(spec.name, f"{spec.title} ({spec.paper})", ", ".join(needs) or "items only")
        for name in spec.names[1:]:
            table.add_row(name, f"{spec.title} with calibrated attention (Zhou et al., CIKM 2023)", "the same")
    console.results.print(table)
    console.results.print(
        "--calibration none, spatial, adversarial or full chooses the calibrators of any of them.", style="dim"
    )
