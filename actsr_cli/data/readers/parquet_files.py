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


def parquet_schema(path: Path) -> pa.Schema:
    """The names and types of the columns of a Parquet file.

    Raises:
        DataError: it is not a readable Parquet file.
    """
    try:
        return parquet.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}") from error


def is_list(column: pa.DataType) -> bool:
    """Whether a column holds lists."""
    types = pa.types
    return bool(types.is_list(column) or types.is_large_list(column) or types.is_fixed_size_list(column))
