"""Settings for turning raw interactions into sequences."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from actsr_cli.config.section import Section


def read_bound(text: str) -> float | str:
    """A bound of an interval: a number, or the text of an ISO date.

    Raises:
        ValueError: the text is neither.
    """
    text = text.strip()
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text, re.ASCII):
        return float(text)
    try:
        datetime.fromisoformat(f"{text}-01" if re.fullmatch(r"\d{4}-\d{2}", text, re.ASCII) else text)
    except ValueError:
        raise ValueError("must be a number or an ISO date (2014-03-01)") from None
    return text


def _bound(value: object) -> object:
    if isinstance(value, date):  # YAML reads dates by itself
        return value.isoformat()
    return read_bound(value) if isinstance(value, str) else value


Bound = Annotated[float | str, BeforeValidator(_bound)]
"""A bound of an interval: a number or an ISO date."""


class DataConfig(Section):
    """How raw interactions become sequences (`actsr preprocess`)."""

    duplicates: Literal["first", "last", "equal", "keep"] = Field(
        "keep",
        description="Repeated interactions of a user with one item: keep the first, the last, or all (keep); or drop "
        "those that are equal in time, too (equal).",
    )
    intervals: dict[str, tuple[Bound | None, Bound | None]] = Field(
        default_factory=dict,
        description="Closed interval of values to keep, by column: {timestamp: [0, null]}, {timestamp: [2014-01-01, "
        "2014-06-30]}.",
    )
    user_core: int = Field(0, ge=0, description="Drop users with fewer interactions, repeated until stable.")
    item_core: int = Field(0, ge=0, description="Drop items with fewer interactions, repeated until stable.")
    max_length: int | None = Field(None, ge=3, description="Keep only the latest N interactions of each user.")

    @property
    def against_split(self) -> list[str]:
        """The active filters that would change a split given as files, because they ignore its parts."""
        neutral = DataConfig(intervals=self.intervals).model_dump()
        return [key for key, value in self.model_dump().items() if value != neutral[key]]

    @field_validator("intervals")
    @classmethod
    def _ordered(
        cls, intervals: dict[str, tuple[Bound | None, Bound | None]]
    ) -> dict[str, tuple[Bound | None, Bound | None]]:
        for column, (low, high) in intervals.items():
            if isinstance(low, float) and isinstance(high, float) and low > high:
                raise ValueError(f"interval of '{column}' is empty: {low:.16g} > {high:.16g}")
        return intervals
