"""Checks the quotes of delimited text, so that a quote that is not closed never swallows rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from actsr_cli.errors import DataError
from actsr_cli.words import counted

_NUMBER = re.compile(rb"[-+]?\d[-+\d.:TZeE/ ]*")
"""A number, a date or a time of day."""
_QUOTE, _LINE_FEED = b'"\n'
LONGEST = 1 << 30
"""Length of the longest row in bytes; Arrow parses blocks below 2 GB."""


@dataclass(frozen=True)
class Block:
    """Some whole rows of a file.

    Attributes:
        text: the rows; a row that was refused is left as empty lines, which are no rows.
        line: number of the first line.
        over_lines: first and last line of each row that goes on over several lines.
    """

    text: bytes
    line: int
    over_lines: list[tuple[int, int]] = field(default_factory=list)

    def lines_of_rows(self) -> NDArray[np.int64]:
        """The first line of each row."""
        ends = np.flatnonzero(np.frombuffer(self.text, dtype=np.uint8) == ord("\n"))
        is_row = np.diff(ends, prepend=-1) > 1
        for first, last in self.over_lines:
            is_row[first - self.line + 1 : last - self.line + 1] = False
        return self.line + np.flatnonzero(is_row)


@dataclass(frozen=True)
class Row:
    """A row as its quotes divide it.

    Attributes:
        fields: the fields as they are written; the last one is cut off if there is a problem.
        end: position after the row.
        quote: position of the quote that opens the first field over several lines, or the field with the problem.
        problem: what is wrong with its quotes, or empty.
    """

    fields: list[bytes]
    end: int
    quote: int
    problem: str = ""


NOT_CLOSED = "the quote opened here is not closed"


def parse_row(text: bytes, start: int, separator: bytes) -> Row:
    """The row that begins at a position of a text. Quotes count at the beginning of a field; two stand for one.

    Args:
        text: whole lines.
        start: where the row begins.
        separator: one byte.
    """
    stop = re.compile(b"[\n" + re.escape(separator) + b"]")
    fields: list[bytes] = []
    opened, at = -1, start
    while True:
        begin = at
        if text[at : at + 1] == b'"':
            close = _closing(text, at + 1)
            if close < 0:
                return Row(fields, len(text), begin, NOT_CLOSED)
            at = close + 1
            if text[at : at + 1] not in (separator, b"\n"):
                lines = text.count(b"\n", begin, at)
                problem = f"the quote opened here closes {counted(lines, 'line')} below, before other text"
                return Row(fields, at, begin, problem if lines else "text after a closing quote")
            if opened < 0 and text.find(b"\n", begin, at) >= 0:
                opened = begin
        else:
            found = stop.search(text, at)
            at = len(text) if found is None else found.start()
        fields.append(text[begin:at])
        if text[at : at + 1] != separator:
            return Row(fields, at + 1, opened)
        at += 1


def unquoted(field_: bytes) -> str:
    """The text of a field."""
    if field_.startswith(b'"'):
        field_ = field_[1:-1].replace(b'""', b'"')
    return field_.decode()


class QuotedRows:
    """Cuts text into blocks of whole rows, and leaves out rows whose quotes are wrong.

    A row that goes on over several lines is refused if it has another number of fields than the header, or if lines in
    its quotes look like rows themselves: then two quotes that are not closed seem to close each other. Of a refused
    row only the lines up to the quote are left out; reading goes on below.

    Attributes:
        malformed: the line of each quote that is wrong, and the reason.
    """

    def __init__(self, where: str, separator: bytes, n_fields: int) -> None:
        self.where = where
        self.separator = separator
        self.n_fields = n_fields
        self.malformed: list[tuple[int, str]] = []
        inside = b'[^"\n]*(?:""[^"\n]*)*'
        around = re.escape(separator) + b"\n"
        self._closed = re.compile(b'(?<![^%b])"%b"(?=[%b])' % (around, inside, around))
        self._opens = re.compile(b'(?<![^%b])"' % around)

    def blocks(self, texts: Iterable[bytes], line: int) -> Iterator[Block]:
        """Blocks of whole rows.

        Args:
            texts: blocks of whole lines.
            line: number of the first line.

        Raises:
            DataError: a row is longer than `LONGEST`.
        """
        held: list[bytes] = []
        wanted = 0
        for text in texts:
            held.append(text)
            if sum(map(len, held)) < wanted:
                continue
            block, rest = self._checked(b"".join(held), line, last=False)
            yield block
            line += block.text.count(b"\n")
            held, wanted = [rest], 2 * len(rest)  # twice as much each time: linear in all
            if len(rest) > LONGEST:
                raise DataError(f"{self.where}, line {line}: a quote of this row is not closed within a gigabyte")
        yield self._checked(b"".join(held), line, last=True)[0]

    def _checked(self, text: bytes, line: int, *, last: bool) -> tuple[Block, bytes]:
        """The rows of a text, which begins at `line`, and what is left: a row that goes on below the text."""
        kept: list[bytes] = []
        over_lines: list[tuple[int, int]] = []
        done = at = 0
        first = line
        if not self._has_open_quotes(text):
            return Block(text, line), b""
        while (quote := text.find(b'"', at)) >= 0:
            start = text.rfind(b"\n", at, quote) + 1 or at
            line += text.count(b"\n", at, start)
            row = parse_row(text, start, self.separator)
            if row.problem == NOT_CLOSED and not last:
                at = start
                break
            n_lines = text.count(b"\n", start, row.end)
            if problem := row.problem or self._problem_over_lines(row, n_lines):
                to_quote = text.count(b"\n", start, row.quote)
                self.malformed.append((line + to_quote, problem))
                at = text.index(b"\n", row.quote) + 1
                kept += [text[done:start], b"\n" * (to_quote + 1)]
                done, line = at, line + to_quote + 1
                continue
            if n_lines > 1:
                over_lines.append((line, line + n_lines - 1))
            at, line = row.end, line + n_lines
        else:
            at = len(text)
        kept.append(text[done:at])
        return Block(b"".join(kept), first, over_lines), text[at:]

    def _has_open_quotes(self, text: bytes) -> bool:
        """Whether a quote of the text may be not closed in its own line; all lines are looked at in one go."""
        if b'"' not in text or self._all_around_fields(text):
            return False
        return self._opens.search(self._closed.sub(b"", text)) is not None

    def _all_around_fields(self, text: bytes) -> bool:
        """Whether all quotes are around fields of one line, or doubled in them: this is seen faster than the rest."""
        data = np.frombuffer(text, dtype=np.uint8)
        places = np.flatnonzero((data == _QUOTE) | (data == _LINE_FEED))
        is_quote = data[places] == _QUOTE
        is_open = np.cumsum(is_quote) % 2 == 1
        if is_open[~is_quote].any():  # the last place is the end of the last line
            return False
        opening, closing = places[is_quote][::2], places[is_quote][1::2]
        begins, ends = (
            (around == ord(self.separator)) | (around == _LINE_FEED)
            for around in (data[opening - 1], data[closing + 1])
        )
        doubled = opening[1:] == closing[:-1] + 1
        begins[1:] |= doubled
        ends[:-1] |= doubled
        return bool(begins.all() and ends.all())

    def _problem_over_lines(self, row: Row, n_lines: int) -> str:
        """What is wrong with a row over several lines, or empty."""
        if n_lines == 1:
            return ""
        if len(row.fields) != self.n_fields:
            return f"{self.n_fields} fields expected, {len(row.fields)} found, in quotes over {n_lines} lines"
        alike = [(place, each) for place, each in enumerate(row.fields) if b"\n" not in each]
        # Lines that lie within a field, and the last line if it ends one
        whole = [line for each in row.fields[:-1] for line in each.split(b"\n")[1:-1]] + row.fields[-1].split(b"\n")[1:]
        for line in whole:
            fields = line.split(self.separator)
            if len(fields) == self.n_fields and all(_is_alike(fields[place], each) for place, each in alike):
                distance = counted(n_lines - 1, "line")
                return f"the quote opened here closes {distance} below, and lines between look like rows"
        return ""


def _is_alike(one: bytes, other: bytes) -> bool:
    """Whether two fields may be of one column: both are numbers or not, in quotes or not, empty or not."""
    signs = (_NUMBER.fullmatch(other) is not None, other.startswith(b'"'), not other)
    return (_NUMBER.fullmatch(one) is not None, one.startswith(b'"'), not one) == signs


def _closing(text: bytes, at: int) -> int:
    """The position of the quote that closes a field; -1 if there is none."""
    while (at := text.find(b'"', at)) >= 0 and text[at + 1 : at + 2] == b'"':
        at += 2
    return at
