"""Settings for turning raw interactions into sequences."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from actsr_cli.config.section import Section


class DataConfig(Section):
    """How raw interactions become sequences (`actsr preprocess`)."""

    duplicates: Literal["first", "last", "keep"] = Field(
        "keep", description="Repeated interactions of a user with one item: keep the first, the last, or all (keep)."
    )
    intervals: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict, description="Closed interval of values to keep, by column: {timestamp: [0, null]}."
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
        cls, intervals: dict[str, tuple[float | None, float | None]]
    ) -> dict[str, tuple[float | None, float | None]]:
        for column, (low, high) in intervals.items():
            if low is not None and high is not None and low > high:
                raise ValueError(f"interval of '{column}' is empty: {low:g} > {high:g}")
        return intervals
