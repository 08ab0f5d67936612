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

    @property
    def warnings(self) -> list[str]:
        """What a user of the data should know, in sentences."""
        warnings = [self.note] if self.note else []
        if self.bad_lines:
            warnings.append(f"{counted(self.bad_lines, 'line')} skipped, such as {self.bad_examples[0]}")
        if self.item_note:
            warnings.append(self.item_note)
        return warnings
