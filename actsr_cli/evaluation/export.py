"""Per-user ranks in a file, for analyses of one's own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import DataError
from actsr_cli.evaluation.ranking import RankedSplit
from actsr_cli.files import replacing


def write_ranks(path: Path, data: SequenceData, ranked: RankedSplit) -> None:
    """Write user, history length, target item and rank of every user, beside `path` and renamed into place.

    Args:
        path: a .csv or .parquet file.
        data: the data behind the ranks; users and items are written under their raw ids.
        ranked: the ranks.

    Raises:
        DataError: the suffix is neither.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise DataError(f"cannot write ranks to {path}: its name must end in .csv or .parquet")
    held_out = ranked.held_out
    table = pd.DataFrame(
        {
            "user": [data.user_names[user] for user in held_out.users],
            "history_length": held_out.ends - held_out.starts,
            "target": [data.item_names[item] for item in held_out.targets],
            "rank": ranked.ranks,
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        if path.suffix == ".csv":
            table.to_csv(partial, index=False)
        else:
            table.to_parquet(partial, index=False)
