"""The report of a preparation."""

from __future__ import annotations

from dataclasses import dataclass, field

from actsr_cli.words import counted


@dataclass(frozen=True)
class Step:
    """The size of the data after a step of the preparation.

    Attributes:
        name: description of the step.
        users: number of users left.
        items: number of items left.
        interactions: number of interactions left.
    """

    name: str
    users: int
    items: int
    interactions: int


@dataclass(frozen=True)
class Report:
    """How data were prepared.

    Attributes:
        steps: reading first, then each filter.
        bad_lines: number of malformed lines that were skipped.
        bad_examples: messages about the first few of them.
        cached: whether the data had been prepared before.
        item_note: what is wrong with the file of items, or empty.
        times: how the times of each column were written, such as `ISO dates, UTC`, by the name that filters use.
        period: the first and the last time that were read, as ISO dates; empty if there are no times.
        equal_rows: number of rows that were read, are equal to an earlier one in user, item and time, and are kept.
        note: a warning about the input, or empty.
        parts: number of interactions left in each part (train, valid, test) of data that are split into files; empty
            for other data.
    """

    steps: list[Step]
    bad_lines: int = 0
    bad_examples: list[str] = field(default_factory=list)
    cached: bool = False
    note: str = ""
    parts: dict[str, int] = field(default_factory=dict)
    item_note: str = ""
    times: dict[str, str] = field(default_factory=dict)
    period: tuple[str, ...] = ()
    equal_rows: int = 0

    @property
    def read_as(self) -> list[str]:
        """How the times of each column were read, in lines."""
        within = f", from {self.period[0]} to {self.period[1]}" if self.period else ""
        return [f"{name}: {way}{within if name == 'timestamp' else ''}" for name, way in self.times.items()]

    @property
    def warnings(self) -> list[str]:
        """What a user of the data should know, in sentences."""
        warnings = [self.note] if self.note else []
        if self.bad_lines:
            warnings.append(f"{counted(self.bad_lines, 'line')} skipped, such as {self.bad_examples[0]}")
        if self.item_note:
            warnings.append(self.item_note)
        if self.equal_rows:
            rows = f"{self.equal_rows:,} rows repeat" if self.equal_rows > 1 else "1 row repeats"
            warnings.append(f"{rows} an earlier row in user, item and time; to drop such rows: --duplicates equal")
        return warnings
