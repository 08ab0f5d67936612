"""How a file is to be read: which columns of a table hold what."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

FILE_ORDER = "none"
"""In place of a timestamp column: the order of the file is the order in time."""


class Columns(BaseModel):
    """Which columns of a table hold what; None finds them by their usual names.

    A reader takes those fields that it declares in `Reader.options`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None
    separator: str | None = None
