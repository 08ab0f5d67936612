"""Reads delimited text into a table of text columns, with the line number of each row."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray

from actsr_cli.data.readers.columns import NONE, Columns
from actsr_cli.data.readers.interactions import NotCleanError
from actsr_cli.data.readers.quotes import LONGEST, NOT_CLOSED, Block, QuotedRows, parse_row, unquoted
from actsr_cli.data.readers.registry import guess_reader
from actsr_cli.data.readers.text import text_blocks
from actsr_cli.errors import ConfigError, DataError

WHITESPACE = "whitespace"
"""Given as a separator: any number of blanks and tabs."""
_SIZE = 1 << 20
_STAND_INS = [bytes([code]) for code in (0x1F, 0x1E, 0x1D, 0x1C, *range(1, 9))]
"""Control characters that stand for a separator of several characters, which Arrow does not take."""


@dataclass(frozen=True)
class Table:
    """Columns of a file, with the positions of its rows.

    Attributes:
        frame: the columns, as text or as numbers.
        places: returns the line (or row) number of each row of `frame`.
        unit: unit of `places`: `line` or `row`.
        malformed: numbers of lines that cannot be parsed as rows, with the reason.
    """

    frame: pd.DataFrame
    places: Callable[[], NDArray[np.int64]]
    unit: str
    malformed: list[tuple[int, str]]


@dataclass(frozen=True)
class Dialect:
    """How the fields of a file are written.

    Attributes:
        separator: stands between fields: any text, or `WHITESPACE`.
        quotes: whether a field may stand in quotes, if the separator is one character.
        header: whether the first row names the columns; they are numbered from 1 otherwise.
        encoding: of the text. Default: UTF-8.
    """

    separator: str
    quotes: bool = False
    header: bool = True
    encoding: str | None = None

    @property
    def quoted(self) -> bool:
        """Whether quotes around a field do not belong to it."""
        return self.quotes and len(self.separator) == 1 and self.separator.isascii()

    def split(self, line: str) -> list[str]:
        """The fields of a line without quotes."""
        return re.split("[ \t]+", line.strip(" \t")) if self.separator == WHITESPACE else line.split(self.separator)

    def parsable(self, text: bytes, where: str) -> tuple[bytes, str]:
        """A text whose fields are separated by one character, and that character.

        Raises:
            DataError: the text holds every character that could stand for the separator.
        """
        separator = self.separator.encode()
        if len(separator) == 1:
            return text, self.separator
        stand_in = next((each for each in _STAND_INS if each not in text), None)
        if stand_in is None:
            raise DataError(f"{where} holds control characters and cannot be read with the separator {separator!r}")
        if self.separator == WHITESPACE:
            text = re.sub(rb"[ \t]+", stand_in, re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", text))
        return text.replace(separator, stand_in), stand_in.decode()


def dialect_of(columns: Columns, usual: str, *, quotes: bool) -> Dialect:
    """The dialect that the options of a file describe.

    Args:
        columns: the options.
        usual: the separator if none is given.
        quotes: whether fields may stand in quotes.

    Raises:
        ConfigError: an option has no such value.
    """
    given = columns.separator
    separator = usual if given is None else given.replace("\\t", "\t")
    if not separator or re.search('["\r\n\0]', separator):
        raise ConfigError(f"a separator is a text without quotes and ends of lines, or '{WHITESPACE}', not {given!r}")
    if columns.header not in (None, NONE):
        raise ConfigError(f"header is '{NONE}' for a file without names of columns, not '{columns.header}'")
    return Dialect(separator, quotes, columns.header is None, columns.encoding)


def first_fields(path: Path, dialect: Dialect) -> list[str]:
    """The fields of the first row.

    Raises:
        DataError: the file is empty, or is no delimited text.
    """
    with path.open("rb") as raw:
        text = _begun(text_blocks(raw, str(path), dialect.encoding), dialect)
    line = text[: text.index(b"\n")].decode()
    if not line.strip():
        what = "name the columns" if dialect.header else "be a row"
        how = "begins with an empty line" if text.strip() else "is empty"
        raise DataError(f"{path} {how}: its first line must {what}")
    check_not_json(line, path)
    if not dialect.quoted:
        return dialect.split(line)
    row = parse_row(text, 0, dialect.separator.encode())
    if row.problem:
        line_number = 1 + text.count(b"\n", 0, row.quote)
        hint = f"Correct the first row, or give its --separator if that is not {dialect.separator!r}."
        raise DataError(f"{path}, line {line_number}: {row.problem}", hint=hint)
    return [unquoted(each) for each in row.fields]


def read_header(path: Path, dialect: Dialect) -> list[str]:
    """Names of the columns in the header; without header their numbers, from 1.

    Raises:
        DataError: there is no header, or the file is no delimited text.
    """
    fields = first_fields(path, dialect)
    if not dialect.header:
        return [str(number) for number in range(1, len(fields) + 1)]
    return [name.strip().replace("\n", " ") for name in fields]  # a quoted name may go on over lines


def check_names(names: Sequence[str], path: Path) -> None:
    """Raise DataError if a column name occurs twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} has the column '{twice[0]}' twice")


def check_not_json(line: str, path: Path) -> None:
    """Raise DataError if the first line of a file is an object or a list in JSON."""
    try:
        is_json = line.lstrip().startswith(("{", "[")) and isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return
    if is_json:
        raise DataError(f"{path} holds JSON lines", hint=f"Give --format {guess_reader(Path('.jsonl')).name}.")


def read_delimited(path: Path, dialect: Dialect, names: list[str], used: list[str]) -> Table:
    """The `used` columns of a delimited file whose columns are `names`, as text.

    Raises:
        DataError: the file is damaged, or not text of the encoding.
    """
    malformed: list[tuple[int, str]] = []
    refused: list[int] = []
    tables = [pa.table({name: pa.array([], pa.string()) for name in used})]
    n_rows = 0
    for block in _blocks(path, dialect, len(names), malformed):
        if not block.text:
            continue
        table, wrong = _parsed(block, path, dialect, names, used)
        if wrong:
            lines = block.lines_of_rows()
            malformed += [(int(lines[row]), reason) for row, reason in wrong]
            refused += [n_rows + row for row, _ in wrong]
        n_rows += len(table) + len(wrong)
        tables.append(table)

    def places() -> NDArray[np.int64]:
        lines = [block.lines_of_rows() for block in _blocks(path, dialect, len(names), [])]
        return np.delete(np.concatenate(lines), refused)

    return Table(pa.concat_tables(tables).to_pandas(), places, "line", sorted(malformed))


def delimited_chunks(path: Path, dialect: Dialect, names: list[str], used: list[str]) -> Iterator[pa.Table]:
    """The same columns block by block, for `clean.read_clean`.

    Raises:
        NotCleanError: a row is malformed.
        DataError: see `read_delimited`.
    """
    malformed: list[tuple[int, str]] = []
    for block in _blocks(path, dialect, len(names), malformed):
        if block.text:
            table, wrong = _parsed(block, path, dialect, names, used)
            if wrong:
                raise NotCleanError
            yield table
    if malformed:
        raise NotCleanError


def _blocks(path: Path, dialect: Dialect, n_fields: int, malformed: list[tuple[int, str]]) -> Iterator[Block]:
    """The rows below the header in blocks; lines with wrong quotes are added to `malformed`."""
    with path.open("rb") as raw:
        texts = text_blocks(raw, str(path), dialect.encoding, _SIZE)
        separator = dialect.separator.encode()
        line = 1
        if dialect.header:
            first = _begun(texts, dialect)
            end = parse_row(first, 0, separator).end if dialect.quoted else first.index(b"\n") + 1
            line += first.count(b"\n", 0, end)
            texts = _followed(first[end:], texts)
        if dialect.quoted:
            rows = QuotedRows(str(path), separator, n_fields)
            yield from rows.blocks(texts, line)
            malformed += rows.malformed
            return
        for text in texts:
            yield Block(text, line)
            line += text.count(b"\n")


def _begun(texts: Iterator[bytes], dialect: Dialect) -> bytes:
    """The first blocks of a file, as many as its first row needs; an empty line if the file is empty."""
    text = next(texts, b"\n")
    while dialect.quoted and len(text) <= LONGEST:
        if parse_row(text, 0, dialect.separator.encode()).problem != NOT_CLOSED:
            break
        more: list[bytes] = []
        while sum(map(len, more)) < len(text) and (block := next(texts, b"")):  # twice as much each time
            more.append(block)
        if not more:
            break
        text = b"".join([text, *more])
    return text


def _followed(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from others


def _parsed(
    block: Block, path: Path, dialect: Dialect, names: list[str], used: list[str]
) -> tuple[pa.Table, list[tuple[int, str]]]:
    """The columns of a block, and the rows with a wrong number of fields, with the reason."""
    wrong: list[tuple[int, str]] = []

    def leave_out(row: arrow_csv.InvalidRow) -> str:
        wrong.append((row.number - 1, f"{row.expected_columns} fields expected, {row.actual_columns} found"))
        return "skip"

    if len(block.text) > LONGEST + _SIZE:
        raise DataError(f"{path}, line {block.line}: longer than a gigabyte")
    text, separator = dialect.parsable(block.text, str(path))
    if text.startswith(codecs.BOM_UTF8):
        text = b"\n" + text  # Arrow would take it for the mark at the beginning of a file
    table = arrow_csv.read_csv(
        pa.BufferReader(text),
        read_options=arrow_csv.ReadOptions(use_threads=False, column_names=names, block_size=len(text) + 1),
        parse_options=arrow_csv.ParseOptions(
            delimiter=separator,
            quote_char='"' if dialect.quoted and b'"' in text else False,
            newlines_in_values=bool(block.over_lines),
            invalid_row_handler=leave_out,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), include_columns=used, check_utf8=False
        ),
    )
    return table, wrong
