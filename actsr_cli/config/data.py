"""Settings for turning raw interactions into sequences."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from actsr_cli.config.section import Section


def _bound(value: object) -> object:
    """Check a bound of an interval: a number, or an ISO date."""
    if isinstance(value, date):  # YAML reads dates by itself
        return value.isoformat()
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        datetime.fromisoformat(f"{text}-01" if re.fullmatch(r"\d{4}-\d{2}", text) else text)
    except ValueError:
        raise ValueError("must be a number or an ISO date (2014-03-01)") from None
    return text


Bound = Annotated[float | str, BeforeValidator(_bound)]


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
                raise ValueError(f"interval of '{column}' is empty: {low:g} > {high:g}")
        return intervals
