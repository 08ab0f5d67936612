"""Which columns of a table hold users, items, times and ratings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

FILE_ORDER = "none"
"""Given instead of a timestamp column if rows are in order of time."""


class Columns(BaseModel):
    """Names of the columns of a table; None finds a column by its usual names.

    A reader accepts the fields that it declares in `Reader.options`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None
    separator: str | None = None
