"""What a preparation has to tell."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """What was left after a step of the preparation.

    Attributes:
        name: the step, in words.
        users: users that are left.
        items: items that are left.
        interactions: interactions that are left.
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
        bad_lines: malformed lines that were passed over.
        bad_examples: the first few of them.
        cached: whether they had been prepared before.
        note: something about the input that one should know, or empty.
        parts: interactions that are left of each part (train, valid, test) of data that came split in files; empty of
            all other data.
    """

    steps: list[Step]
    bad_lines: int = 0
    bad_examples: list[str] = field(default_factory=list)
    cached: bool = False
    note: str = ""
    parts: dict[str, int] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """What a user of the data should know, in sentences."""
        warnings = [self.note] if self.note else []
        if self.bad_lines:
            warnings.append(f"{self.bad_lines:,} malformed lines were skipped, such as {self.bad_examples[0]}")
        return warnings
