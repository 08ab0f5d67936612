"""Writes ranks and metrics of every target to a file, for your own analyses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import DataError
from actsr_cli.evaluation.metrics import Judged, Measure
from actsr_cli.files import replacing

SUFFIXES = (".csv", ".parquet")


def check_ranks(path: Path) -> None:
    """Check where ranks are to be written.

    Raises:
        DataError: the suffix is neither .csv nor .parquet, its folder does not exist, or a folder has its name.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"cannot write ranks to {path}: its name must end in .csv or .parquet")
    if not path.parent.is_dir():
        raise DataError(f"there is no folder {path.parent}", hint="Make the folder first.")
    if path.is_dir():
        raise DataError(f"cannot write ranks to {path}: it is a folder", hint="Give the name of a file.")


def write_ranks(path: Path, data: SequenceData, judged: Judged, wanted: Sequence[Measure]) -> None:
    """Write one row per target: user, history length, target item, rank, and each metric that has a value per target.

    Args:
        path: a .csv or .parquet file; it is written atomically.
        data: the data behind the ranking; users and items are written under their raw ids.
        judged: the ranking.
        wanted: the measures to write.

    Raises:
        DataError: see `check_ranks`.
    """
    check_ranks(path)
    histories = judged.ranking.histories
    columns = {
        "user": [data.user_names[user] for user in histories.users],
        "history_length": histories.lengths,
        "target": [data.item_names[item] for item in histories.targets],
        "rank": judged.ranking.ranks,
    }
    for measure in wanted:
        if not measure.metric.of_catalogue:
            columns[measure.name] = measure.metric.compute(judged, measure.k)
    table = pd.DataFrame(columns)
    with replacing(path) as partial:
        if path.suffix == ".csv":
            table.to_csv(partial, index=False)
        else:
            table.to_parquet(partial, index=False)
