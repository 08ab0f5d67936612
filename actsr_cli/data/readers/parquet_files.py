"""Reads Parquet files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.delimited import Table, check_names
from actsr_cli.data.readers.interactions import BadLines, Interactions
from actsr_cli.data.readers.tables import find_roles, read_table
from actsr_cli.errors import DataError


def read_parquet(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a Parquet file."""
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        check_names(names, path)
        roles = find_roles(names, columns, wanted, path)
        table = file.read(columns=roles.used)
        for column in {roles.user, roles.item}:  # cast before pandas turns integers with missing values into floats
            table = table.set_column(table.schema.get_field_index(column), column, table[column].cast(pa.string()))
        frame = table.to_pandas()
    except pa.ArrowException as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
    return read_table(Table(frame, lambda: np.arange(1, len(frame) + 1), "row", []), roles, path, bad_lines)
