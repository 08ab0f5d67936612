"""What a shell offers when a word of a command is completed; the commands name these functions.

A key press should be answered at once: nothing here imports torch, and files are read by their columns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import typer

from actsr_cli.errors import ActsrError

_AT_MOST = 200
"""Names that are offered at a time."""
_AS_IT_IS = re.compile(r"[\w.,@%+=/][\w.,@%+=/-]*")
"""Names that no shell splits, expands or runs: they come from the data, and may hold anything."""


def complete_model(incomplete: str) -> list[str]:
    """Names of models."""
    from actsr_cli.models.registry import model_names

    return _beginning(incomplete, model_names())


def complete_preset(incomplete: str) -> list[str]:
    """Names of presets."""
    from actsr_cli.presets import preset_names

    return _beginning(incomplete, preset_names())


def complete_dataset(context: typer.Context, incomplete: str) -> list[str]:
    """Names of data sets: those of the catalogue, and the folders where data are."""
    from actsr_cli.data.catalog import CATALOG

    here = Path(context.params.get("data_dir") or "dataset")
    own = sorted(folder.name for folder in here.glob("[!.]*") if folder.is_dir())
    return _beginning(incomplete, dict.fromkeys([*(entry.name for entry in CATALOG), *own]))


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Names of runs that are no trials of a study; their last parts if these begin so and no two runs have them."""
    from actsr_cli.experiment.find import list_runs

    runs = [each for each in list_runs(_runs_dir(context)) if each.record is None or each.record.trial is None]
    names = [each.name for each in reversed(runs)]
    ends = Counter(name.rpartition("/")[2] for name in names) if incomplete else Counter[str]()
    return _beginning(incomplete, [*names, *(end for end, number in ends.items() if number == 1)])[:_AT_MOST]


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
    except ActsrError:  # the command itself will say so
        return []
    return [] if data is None else _ids(data / "users.parquet", incomplete)


def _run_folder(context: typer.Context) -> Path | None:
    """The folder of the run that the command names, or of the latest finished one; None if there is none."""
    from actsr_cli import console
    from actsr_cli.experiment.find import find_run, latest_run

    console.be_quiet(True)  # a note would stand in the line that is being typed
    named = context.params.get("run")
    try:
        root = _runs_dir(context)
        return (find_run(root, named) if named else latest_run(root, refits=True)).path
    except ActsrError:  # the command itself will say so
        return None


def _runs_dir(context: typer.Context) -> Path:
    return Path(context.params.get("runs_dir") or "runs")


def _ids(file: Path, incomplete: str) -> list[str]:
    """The first ids of a table that begin with `incomplete`; none of a file that is missing or damaged."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        ids = ParquetFile(file).read(columns=["id"])["id"]
    except (OSError, pa.ArrowException):  # the command itself will say so
        return []
    return _beginning(incomplete, ids.to_pylist())[:_AT_MOST]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    """The names that begin with `incomplete`, without those that a shell would not take as they are."""
    return [name for name in names if name.startswith(incomplete) and _AS_IT_IS.fullmatch(name)]
