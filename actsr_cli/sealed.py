"""Checksums of all that actsr writes and opens again, so that a damaged file is found and never used.

A JSON record ends with a member `checksum`, a YAML text with a line `# checksum: …`. Records hold the checksums of the
files beside them. A file of an earlier version, which has none, is opened unchecked. CRC-32 finds every flipped bit and
nearly all other damage at the speed of memory; it is no protection from forgers.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

from actsr_cli.files import without_nan, write_text

_MEMBER = "checksum"
_LARGEST = 64 * 2**20
"""Number of bytes of a record above which it is not read."""
_LAST_LINE = re.compile(rb"# checksum: (.*)\n?\Z")
CHANGED = "its checksum does not fit: the file is damaged, or was changed by hand"


class DamageError(ValueError):
    """Why a file cannot be used, in one line."""


def checksum(*parts: bytes | memoryview | mmap.mmap) -> str:
    """The CRC-32 of some bytes, one part after another, as eight hexadecimal digits."""
    found = 0
    for part in parts:
        found = crc32(part, found)
    return f"{found:08x}"


def file_checksum(path: Path) -> str:
    """The checksum of a file. A process reads a file once, and again only if it has changed."""
    state = path.stat()
    return _file_checksum(path, state.st_ino, state.st_size, state.st_mtime_ns)


def checksums(paths: Iterable[Path]) -> dict[str, str]:
    """The checksums of some files by name."""
    return {path.name: file_checksum(path) for path in paths}


def check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Check the files in a folder against the checksums that were recorded when they were written.

    Raises:
        DamageError: a file is another one.
        OSError: a file cannot be read.
    """
    for name, checksum_then in expected.items():
        if file_checksum(folder / Path(name).name) != checksum_then:
            raise DamageError(f"its files do not fit together: {name}: {CHANGED}")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum, indented."""
    plain = without_nan(values)
    write_text(path, json.dumps({**plain, _MEMBER: _of_values(plain)}, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> tuple[dict[str, Any], bool]:
    """A JSON object without its checksum, and whether the checksum fits.

    Whoever knows what the record must hold first says what is wrong in it, which helps more than that something is.

    Raises:
        DamageError: the file holds no JSON object.
        OSError: it cannot be read.
    """
    try:
        values = json.loads(_content(path))
    except (ValueError, RecursionError) as error:
        raise DamageError(_reason(error)) from error
    if not isinstance(values, dict):
        raise DamageError("it holds no record")
    expected = values.pop(_MEMBER, None)
    return values, expected is None or expected == _of_values(values)


def write_sealed(path: Path, text: str) -> None:
    """Write a YAML text, with its checksum as a comment in a last line."""
    write_text(path, f"{text}# checksum: {checksum(text.encode())}\n")


def read_sealed(path: Path) -> tuple[str, bool | None]:
    """A YAML text, and whether its checksum fits; None if it has none.

    Raises:
        DamageError: the file holds no text.
        OSError: it cannot be read.
    """
    content = _content(path)
    found = _LAST_LINE.search(content)
    fits = None if found is None else found[1].decode("latin-1") == checksum(content[: found.start()])
    try:
        return content.decode(), fits
    except UnicodeDecodeError as error:
        raise DamageError(_reason(error)) from error


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise DamageError(f"it is larger than {_LARGEST // 2**20} MB, so it is no record")
    return content


def _of_values(values: Mapping[str, Any]) -> str:
    """The checksum of a JSON object, whatever the order of its keys and the blanks between them."""
    return checksum(json.dumps(values, sort_keys=True).encode())


def _reason(error: Exception) -> str:
    """Why a text cannot be read, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"it is no UTF-8 text: byte {error.start + 1} is {error.object[error.start]:#04x}"
    return " ".join(str(error).split())


@cache
def _file_checksum(path: Path, *_: int) -> str:
    """The checksum of a file in this state; the numbers only tell one state from another."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return checksum(b"")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return checksum(content)
