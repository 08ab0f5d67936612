"""Reads lines of text files, with or without byte order mark, CRLF, final newline and gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from actsr_cli.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 text file, gzip or not; see `decoded_lines`.

    Raises:
        DataError: the file is not UTF-8, or it is a broken gzip file.
    """
    with path.open("rb") as raw:
        compressed = raw.read(2) == _GZIP_MAGIC
    try:
        with gzip.open(path) if compressed else path.open("rb") as lines:
            yield from decoded_lines(lines, str(path))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a broken gzip file: {error}", hint="Download it again.") from error


def decoded_lines(lines: Iterable[bytes], where: str) -> Iterator[str]:
    """Lines of UTF-8 text without their ends. A line ends at LF, CRLF or CR, as in Arrow.

    Args:
        lines: lines that end at LF.
        where: the name of the input, for errors.

    Raises:
        DataError: the text is no UTF-8.
    """
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            yield from text.removesuffix("\n").removesuffix("\r").split("\r")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}, line {number}: not UTF-8 text ({error.reason})") from error
