"""Opens files by their first bytes: plain, or compressed with gzip, bzip2, xz or zstd."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from typing import Any, BinaryIO

import pyarrow as pa

from actsr_cli.errors import DataError

_MAGIC = {
    b"\x1f\x8b": "gzip",
    **{b"BZh%d" % level: "bzip2" for level in range(1, 10)},
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_LONGEST = max(map(len, _MAGIC))
_OPENERS: Mapping[str, Callable[[BufferedReader], Any]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zstd": lambda raw: pa.CompressedInputStream(raw, "zstd"),
}
_DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, pa.ArrowException)


def decompressed(raw: BinaryIO, where: str, size: int) -> Iterator[bytes]:
    """The content of a file or of standard input in chunks of at most `size` bytes, decompressed as it is read.

    Args:
        raw: the file, at its beginning.
        where: the name of the input, for errors.
        size: of a chunk.

    Raises:
        DataError: compressed data are damaged or cut off, or this pyarrow cannot read zstd.
    """
    buffered: Any = raw if isinstance(raw, BufferedReader) else BufferedReader(raw)
    head = buffered.peek(_LONGEST)[:_LONGEST]
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind is None:
        yield from iter(lambda: buffered.read1(size), b"")
        return
    if kind == "zstd" and not pa.Codec.is_available(kind):
        raise DataError(f"{where} is compressed with zstd, which this pyarrow cannot read", hint="Unpack it first.")
    try:
        with _OPENERS[kind](buffered) as stream:
            yield from iter(lambda: stream.read(size), b"")
    except _DAMAGED as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{where} is a broken {kind} file: {reason}", hint="Download it again.") from error
