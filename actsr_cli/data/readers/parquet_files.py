"""Reads Parquet files, and folders of Parquet parts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from actsr_cli.data.readers.clean import read_clean
from actsr_cli.data.readers.columns import Columns
from actsr_cli.data.readers.delimited import Table, check_names
from actsr_cli.data.readers.expansion import Layout, find_layout, read_layout
from actsr_cli.data.readers.folders import part_files, partition_values
from actsr_cli.data.readers.interactions import BadLines, Interactions, NotCleanError
from actsr_cli.errors import DataError

_TEXT = pa.string()
_ROWS = 1 << 17
"""Number of rows that are decoded at once."""
_WHOLE = 2.0**53
"""Up to here every whole number is a float of its own."""


def read_parquet(path: Path, columns: Columns, wanted: Collection[str], bad_lines: BadLines) -> Interactions:
    """Read a Parquet file, or all parts in a folder in the order of their names.

    Raises:
        DataError: a file is damaged, a column is missing or of a type that cannot be read, parts have different
            columns, or there are no interactions.
    """
    files = part_files(path)
    schema = _common_schema(path, files)
    layout = find_layout(schema.names, [each.name for each in schema if is_list(each.type)], columns, wanted, path)
    if layout.lists is None:
        raw = read_clean(_all_chunks(path, files, layout, schema), layout.roles)
        if raw is not None:
            return raw
    tables = [pa.concat_tables(_chunks(path, file, layout.used, schema)) for file in files]
    with readable(path):
        frame = _converted(pa.concat_tables(tables), layout, path).to_pandas()
    if len(files) > 1:
        bad_lines = _BadRows(bad_lines, [file.relative_to(path) for file in files], [len(each) for each in tables])
    return read_layout(Table(frame, lambda: np.arange(1, len(frame) + 1), "row", []), layout, path, bad_lines)


def parquet_schema(path: Path) -> pa.Schema:
    """The names and types of the columns of a Parquet file.

    Raises:
        DataError: it is not a readable Parquet file.
    """
    with readable(path):
        return parquet.read_schema(path)


def parquet_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Some columns of a Parquet file, in the order of the file.

    Raises:
        DataError: it is not a readable Parquet file.
    """
    with readable(path), parquet.ParquetFile(path) as file:
        table = file.read(columns=list(names))
        table.validate(full=True)
        return table


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn all errors of Arrow on damaged files into one.

    Raises:
        DataError: the file at `path` is not a readable Parquet file.
    """
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}") from error


def is_list(column: pa.DataType) -> bool:
    """Whether a column holds lists."""
    types = pa.types
    return bool(types.is_list(column) or types.is_large_list(column) or types.is_fixed_size_list(column))


def is_text(column: pa.DataType) -> bool:
    """Whether a column holds texts, or whole numbers, which are read as texts."""
    types = pa.types
    kind = column.value_type if types.is_dictionary(column) else column
    texts = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(texts or types.is_integer(kind) or types.is_binary(kind) or types.is_null(kind))


class _BadRows(BadLines):
    """Names the part of a folder, and the row in it."""

    def __init__(self, told: BadLines, parts: Sequence[Path], lengths: Sequence[int]) -> None:
        super().__init__(told.path, told.policy)
        self._told, self._parts = told, parts
        self._starts = list(accumulate(lengths, initial=0))[:-1]

    def report(self, line: int, reason: str, unit: str = "row") -> None:
        part = bisect_right(self._starts, line - 1) - 1
        self._told.report(line - self._starts[part], reason, f"{self._parts[part]}, {unit}")


def _common_schema(path: Path, files: Sequence[Path]) -> pa.Schema:
    """Names and types of the columns of all parts, with those that the names of folders give.

    Raises:
        DataError: a part is damaged, or has other columns than the first one.
    """
    common = _schema(path, files[0])
    for file in files[1:]:
        schema = _schema(path, file)
        if set(schema.names) != set(common.names):
            raise DataError(
                f"{file} has other columns than {files[0]}: {', '.join(schema.names)} instead of "
                f"{', '.join(common.names)}"
            )
        try:
            common = pa.unify_schemas([common, schema], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(f"{file} has other types of columns than the parts before it: {error}") from error
    return common


def _schema(folder: Path, file: Path) -> pa.Schema:
    """Names and types of the columns of a part."""
    schema = parquet_schema(file)
    for name in partition_values(folder, file):
        schema = schema.append(pa.field(name, _TEXT))
    check_names(schema.names, file)
    return schema


def _all_chunks(folder: Path, files: Sequence[Path], layout: Layout, schema: pa.Schema) -> Iterator[pa.Table]:
    """The used columns of all parts, in tables of some rows.

    Raises:
        NotCleanError: a column has values of another kind.
        DataError: a part cannot be read.
    """
    for file in files:
        for chunk in _chunks(folder, file, layout.used, schema):
            try:
                converted = _converted(chunk, layout, folder)
            except (DataError, pa.ArrowException) as error:
                raise NotCleanError from error
            yield converted


def _chunks(folder: Path, file: Path, used: Sequence[str], schema: pa.Schema) -> Iterator[pa.Table]:
    """The used columns of a part, in tables of some rows; at least one."""
    values = partition_values(folder, file)
    chosen = pa.schema([schema.field(name) for name in used])
    with readable(file), parquet.ParquetFile(file) as opened:
        columns = [name for name in used if name not in values]
        yield chosen.empty_table()
        for batch in opened.iter_batches(_ROWS, columns=columns):
            table = pa.Table.from_batches([batch])
            table.validate(full=True)
            for name in used:
                if name in values:
                    table = table.append_column(name, pa.repeat(pa.scalar(values[name], _TEXT), len(table)))
            yield table.select(used).cast(chosen)


def _converted(table: pa.Table, layout: Layout, path: Path) -> pa.Table:
    """The columns in types that pandas keeps as they are: ids as texts, dates as times."""
    roles = layout.roles
    columns = {}
    for name in layout.used:
        column, kind = table[name], table.schema.field(name).type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if name == layout.lists:
            _check_ids(name, compute.list_flatten(column), kind.value_type, path)
            column = _whole(column, kind.value_type, pa.list_).cast(pa.list_(_TEXT))
        elif name in (roles.user, roles.item):
            column = id_texts(name, column, path)
        elif not is_list(kind):
            column = _numbers(name, column, kind, path)
        columns[name] = column
    return pa.table(columns)


def id_texts(name: str, column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    """A column of ids as texts.

    Args:
        name: name of the column, for errors.
        column: texts or whole numbers, which pandas may have written as floats.
        path: the file, for errors.

    Raises:
        DataError: the values are of another type, or a number is not whole.
    """
    _check_ids(name, column, column.type, path)
    return _whole(column, column.type).cast(_TEXT)


def _check_ids(name: str, column: pa.ChunkedArray, kind: pa.DataType, path: Path) -> None:
    """Raise DataError if the values of a column are neither texts nor whole numbers."""
    types = pa.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_floating(kind):  # whole numbers, if pandas wrote them: a missing value makes floats of a column
        are_no_ids = compute.or_(
            compute.not_equal(column, compute.trunc(column)), compute.greater(compute.abs(column), _WHOLE)
        )
        odd = column.filter(compute.fill_null(are_no_ids, False))
        if not len(odd):
            return
        raise DataError(f"{path}: the column '{name}' holds {odd[0]}, which is no id: it is no exact whole number")
    if not is_text(kind):
        raise DataError(f"{path}: the column '{name}' holds {kind}, which are no ids: give texts or whole numbers")


def _whole(
    column: pa.ChunkedArray, kind: pa.DataType, around: Callable[[pa.DataType], pa.DataType] = lambda kind: kind
) -> pa.ChunkedArray:
    """A column, or lists, of ids with whole numbers for those that pandas has written as floats."""
    return column.cast(around(pa.int64())) if pa.types.is_floating(kind) else column


def _numbers(name: str, column: pa.ChunkedArray, kind: pa.DataType, path: Path) -> pa.ChunkedArray:
    """A column of numbers or times in a type that pandas has."""
    types = pa.types
    if types.is_date(kind):
        return column.cast(pa.timestamp("s" if types.is_date32(kind) else "ms"))
    if types.is_decimal(kind):
        return column.cast(pa.float64())
    if types.is_nested(kind) or types.is_binary(kind) or types.is_time(kind) or types.is_duration(kind):
        raise DataError(f"{path}: the column '{name}' holds {kind}, which are neither numbers nor times")
    return column
