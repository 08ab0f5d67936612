"""Reads text files in blocks of whole lines, as UTF-8: compressed or not, of any encoding, with any ends of lines."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from actsr_cli.data.readers.compression import decompressed
from actsr_cli.errors import ConfigError, DataError, nearest

_BLOCK = 1 << 20
_BOMS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
"""Marks at the beginning of a file; that of UTF-32 begins with one of UTF-16."""
_BINARY = {
    b"PAR1": ("a Parquet file", "Give --format parquet."),
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", "Unpack it, or save its table as CSV."),
    b"ARROW1": ("an Arrow file", "Save it as Parquet."),
    b"\x89HDF": ("an HDF5 file", "Save its table as Parquet or CSV."),
    b"SQLite format 3": ("an SQLite database", "Save its table as CSV."),
    b"7z\xbc\xaf": ("a 7z archive", "Unpack it."),
    b"%PDF": ("a PDF file", None),
    b"<!DOCTYPE": ("a web page", "Download the file itself."),
    b"<html": ("a web page", "Download the file itself."),
}
_WESTERN = ("iso8859-1", "cp1252", "iso8859-15")
"""Encodings that turn text in UTF-8 into wrong letters without an error."""
_ENCODINGS = (
    *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "iso-8859-1", "iso-8859-2", "iso-8859-15"),
    *("windows-1250", "windows-1251", "windows-1252", "windows-1253", "windows-1254", "cp437", "cp850", "mac-roman"),
    *("koi8-r", "big5", "euc-jp", "euc-kr", "gb18030", "gbk", "iso-2022-jp", "shift-jis"),
)
"""Names that an unknown encoding is compared with."""


def read_lines(path: Path, encoding: str | None = None) -> Iterator[str]:
    """Lines of a text file without their ends; see `text_blocks`."""
    with path.open("rb") as raw:
        yield from text_lines(raw, str(path), encoding)


def text_lines(raw: BinaryIO, where: str, encoding: str | None = None) -> Iterator[str]:
    """Lines of a file or of standard input without their ends; see `text_blocks`."""
    for block in text_blocks(raw, where, encoding):
        yield from block.decode().removesuffix("\n").split("\n")


def text_blocks(raw: BinaryIO, where: str, encoding: str | None = None, size: int = _BLOCK) -> Iterator[bytes]:
    """Blocks of whole lines, as UTF-8. A line ends at LF, CRLF or CR; in the blocks each ends at LF.

    Args:
        raw: the file, at its beginning; compressed files are known by their first bytes.
        where: the name of the input, for errors.
        encoding: of the text. Default: UTF-8, with or without a byte order mark.
        size: of a block; a longer line has a longer block.

    Raises:
        DataError: the text has another encoding, holds a NUL character, or is no text; a compressed file is damaged.
        ConfigError: there is no such encoding.
    """
    codec = _codec(encoding or "utf-8")
    chunks = decompressed(raw, where, size)
    chunks = _as_recognised(chunks, where) if codec.name == "utf-8" else _recoded(chunks, codec, where)
    number = 1
    for block in _whole_lines(_with_line_feeds(chunks)):
        text = block.removeprefix(codecs.BOM_UTF8) if number == 1 else block
        _check(text, number, where)
        yield text
        number += text.count(b"\n")


def _codec(name: str) -> codecs.CodecInfo:
    """The encoding of this name.

    Raises:
        ConfigError: there is no such encoding of text.
    """
    try:
        "a".encode(name)
        return codecs.lookup(name)
    except (LookupError, ValueError):
        raise ConfigError(f"unknown encoding '{name}'; {nearest(name.lower(), _ENCODINGS)}") from None


def _as_recognised(chunks: Iterable[bytes], where: str) -> Iterator[bytes]:
    """The chunks of a file; refuses what is known by its first bytes as something else than UTF-8.

    Raises:
        DataError: the file begins like UTF-16 or UTF-32, or is no text.
    """
    for number, chunk in enumerate(chunks):
        if number == 0:
            for magic, (what, hint) in _BINARY.items():
                if chunk.startswith(magic):
                    raise DataError(f"{where} is {what}, not text", hint=hint)
            if (name := _wide_encoding(chunk)) is not None:
                raise DataError(f"{where} is {name.upper()} text", hint=f"Give --encoding {name}.")
        yield chunk


def _wide_encoding(chunk: bytes) -> str | None:
    """The encoding of several bytes per letter in which a file begins, or None."""
    if (name := next((name for mark, name in _BOMS.items() if chunk.startswith(mark)), None)) is not None:
        return name.lower()
    first, second = (chunk[start:200:2].count(0) for start in (0, 1))
    half = len(chunk[:200]) / 4
    if max(first, second) > half and not min(first, second):  # Latin letters, each beside a NUL
        return "utf-16-le" if second else "utf-16-be"
    return None


def _recoded(chunks: Iterable[bytes], codec: codecs.CodecInfo, where: str) -> Iterator[bytes]:
    """The chunks of another encoding as UTF-8.

    Raises:
        DataError: the text does not have this encoding.
    """
    decoder = codecs.getincrementaldecoder(codec.name)()
    doubt: codecs.IncrementalDecoder | None = (
        codecs.getincrementaldecoder("utf-8")() if codec.name in _WESTERN else None
    )
    plain = True
    number = 1
    for chunk in chain(chunks, [b""]):
        try:
            text = decoder.decode(chunk, final=not chunk).encode()
        except UnicodeError as error:
            before = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
            line = number + before.count(b"\n")
            raise DataError(
                f"{where}, line {line}: not {codec.name} text", hint="Give the right --encoding."
            ) from error
        plain = plain and chunk.isascii()
        if doubt is not None:
            doubt = _still(doubt, chunk)
        number += text.count(b"\n")
        yield text
    if doubt is not None and not plain:
        raise DataError(f"{where} is UTF-8 text, not {codec.name}", hint="Leave --encoding out.")


def _still(decoder: codecs.IncrementalDecoder, chunk: bytes) -> codecs.IncrementalDecoder | None:
    """The decoder after a chunk, or None where the chunk does not fit it."""
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError:
        return None
    return decoder


def _with_line_feeds(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, with LF in place of CRLF and CR."""
    held = b""
    for chunk in chunks:
        text = held + chunk
        held = b"\r" if text.endswith(b"\r") else b""
        text = text.removesuffix(b"\r")
        yield text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text
    if held:
        yield b"\n"


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks cut after the last line that each completes; the last block gets an end of line if it has none."""
    begun: list[bytes] = []
    for chunk in chunks:
        if end := chunk.rfind(b"\n") + 1:
            yield b"".join([*begun, chunk[:end]])
            begun = []
        begun.append(chunk[end:])
    if rest := b"".join(begun):
        yield rest + b"\n"


def _check(block: bytes, number: int, where: str) -> None:
    """Raise where a block, which begins at line `number`, is no text in UTF-8.

    Raises:
        DataError: it is not UTF-8, or holds a NUL character; the message has the line.
    """
    if (at := block.find(b"\0")) >= 0:
        line = number + block.count(b"\n", 0, at)
        raise DataError(f"{where}, line {line}: a NUL character; the file is damaged, or no text")
    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError as error:
            raise _not_utf8(block, error.start, number, where) from error


def _not_utf8(block: bytes, at: int, number: int, where: str) -> DataError:
    """The error about a byte that is not UTF-8, with the encoding that the line may have."""
    start = block.rfind(b"\n", 0, at) + 1
    line = block[start : block.index(b"\n", at)]
    name = "Windows-1252" if re.search(rb"[\x80-\x9f]", line) else "Latin-1"
    words = re.finditer(rb"[A-Za-z\x80-\xff]+", line)
    word = next(each.group() for each in words if each.end() > at - start)[:40].decode("cp1252", errors="replace")
    number += block.count(b"\n", 0, at)
    return DataError(
        f"{where}, line {number}: not UTF-8 text; it may be {name} ('{word}')",
        hint=f"Give --encoding {name.lower()} if the word is right, or the name of another encoding.",
    )
