"""What a shell offers when a word of a command is completed; the commands name these functions.

A key press should be answered at once: nothing here imports torch, and files are read by their columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from actsr_cli.errors import ActsrError

_AT_MOST = 200
"""Ids that are offered at a time; shells ask before they show more."""


def complete_model(incomplete: str) -> list[str]:
    """Names of models."""
    from actsr_cli.models.registry import model_names

    return _beginning(incomplete, model_names())


def complete_preset(incomplete: str) -> list[str]:
    """Names of presets."""
    from actsr_cli.presets import preset_names

    return _beginning(incomplete, preset_names())


def complete_dataset(incomplete: str) -> list[str]:
    """Names of data sets of the catalogue."""
    from actsr_cli.data.catalog import CATALOG

    return _beginning(incomplete.casefold(), [entry.name for entry in CATALOG])


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Names of runs, the latest first; their last parts if these begin so."""
    from actsr_cli.experiment.find import list_runs

    names = [each.name for each in reversed(list_runs(_runs_dir(context)))]
    ends = [name.rpartition("/")[2] for name in names] if incomplete else []
    return _beginning(incomplete, dict.fromkeys([*names, *ends]))


def complete_item(context: typer.Context, incomplete: str) -> list[str]:
    """Raw ids of the items of the run that the command names, or of the latest one."""
    folder = _run_folder(context)
    return [] if folder is None else _ids(folder / "items.parquet", incomplete)


def complete_user(context: typer.Context, incomplete: str) -> list[str]:
    """Raw ids of the users of the data that this run was trained on."""
    from actsr_cli.experiment.record import read_record

    folder = _run_folder(context)
    try:
        data = None if folder is None else read_record(folder).data_folder
    except ActsrError:
        return []
    return [] if data is None else _ids(data / "users.parquet", incomplete)


def _run_folder(context: typer.Context) -> Path | None:
    """The folder of the run that the command names, or of the latest finished one; None if there is none."""
    from actsr_cli.experiment.find import find_run, latest_run

    named = context.params.get("run")
    try:
        root = _runs_dir(context)
        return (find_run(root, named) if named else latest_run(root, refits=True)).path
    except ActsrError:  # the command itself will say so
        return None


def _runs_dir(context: typer.Context) -> Path:
    return Path(context.params.get("runs_dir") or "runs")


def _ids(file: Path, incomplete: str) -> list[str]:
    """The first ids of a table that begin with `incomplete`."""
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    if not file.is_file():
        return []
    ids = parquet.read_table(file, columns=["id"])["id"]
    wanted = compute.and_(compute.starts_with(ids, incomplete), compute.not_equal(ids, ""))  # padding has no id
    found = ids.filter(wanted)
    return [str(each) for each in found.slice(0, _AT_MOST).to_pylist()]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
