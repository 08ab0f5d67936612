"""Mutates valid inputs: flips, cuts, repeats, splices, and words that have broken parsers before."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

_WORDS: tuple[bytes, ...] = (
    *(
        b"",
        b"\0",
        b"\n",
        b"\r\n",
        b"\t",
        b",",
        b";",
        b"::",
        b'"',
        b"'",
        b"\\",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
    ),
    *(
        b"0",
        b"-1",
        b"1e999",
        b"-1e999",
        b"NaN",
        b"nan",
        b"Infinity",
        b"0x1",
        b"1_0",
        b"9" * 400,
        b"9" * 5000,
        b"1e-400",
    ),
    *(b"2147483648", b"4294967296", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809"),
    *(b"2020-13-45", b"0001-01-01", b"9999-12-31T23:59:60Z", b"1600-01-01", b"2300-01-01", b"20140101", b"24:61"),
    *(
        b"null",
        b"true",
        b"[]",
        b"{}",
        b"[[]]",
        b'""',
        b"[" * 2000,
        b'{"a":' * 2000,
        b'"\\ud800"',
        b'"\\u0000"',
        b"\x1b[31m",
    ),
    *(
        b"!!int ''",
        b"!!python/object:os.system ",
        b"&a [*a]",
        b"*a",
        b"<<: ",
        b"? ",
        b"- " * 500,
        b"../",
        b"/etc/",
        b"%s",
    ),
    *(
        b"user_id:token",
        b"item_id:token",
        b"timestamp:float",
        b"token_seq",
        b"PAR1",
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"\x93NUMPY",
    ),
    *("é".encode(), "é".encode("latin-1"), "\u202e".encode(), "数".encode(), "a".encode("utf-16")),
)
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")

Mutation = Callable[[random.Random, bytearray, Sequence[bytes]], bytearray]


def mutated(chance: random.Random, valid: Sequence[bytes]) -> bytes:
    """One of some valid inputs after one to four mutations."""
    found = bytearray(chance.choice(valid))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        found = chance.choice(_MUTATIONS)(chance, found, valid)
    return bytes(found[:2_000_000])


def _place(chance: random.Random, content: bytearray) -> int:
    return chance.randrange(len(content) + 1)


def _flip(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    for _flipped in range(chance.choice((1, 1, 8))):
        if content:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return content


def _byte(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    if content:
        content[chance.randrange(len(content))] = chance.choice(
            (0, 9, 10, 13, 34, 44, 127, 128, 255, chance.randrange(256))
        )
    return content


def _cut(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    return content[: _place(chance, content)]


def _without(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    start, length = _place(chance, content), chance.choice((1, 4, 16, 200))
    return content[:start] + content[start + length :]


def _repeated(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    start, length = _place(chance, content), chance.choice((1, 8, 40, 200))
    return content[:start] + content[start : start + length] * chance.choice((2, 3, 50, 1000)) + content[start:]


def _word(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    start = _place(chance, content)
    return content[:start] + chance.choice(_WORDS) + content[start + chance.choice((0, 0, 1, 5)) :]


def _number(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    places = [found.span() for found in _NUMBER.finditer(content[:20_000])]
    if not places:
        return content
    start, end = chance.choice(places)
    return content[:start] + chance.choice(_WORDS) + content[end:]


def _spliced(chance: random.Random, content: bytearray, valid: Sequence[bytes]) -> bytearray:
    other = chance.choice(valid)
    return content[: _place(chance, content)] + other[chance.randrange(len(other) + 1) :]


def _lines(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    lines = content.split(b"\n")
    chance.shuffle(lines)
    return bytearray(b"\n".join(lines))


_MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _flip,
    _byte,
    _cut,
    _without,
    _repeated,
    _word,
    _word,
    _number,
    _spliced,
    _lines,
)
