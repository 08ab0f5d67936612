"""Which columns of a table hold users, items, times and ratings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import ClassVar

NONE = "none"
FILE_ORDER = NONE
"""Given instead of a timestamp column if rows are in order of time."""

ROLES = ("user", "item", "timestamp", "rating")
"""The fields of `Columns` that name columns."""


@dataclass(frozen=True)
class Columns:
    """How the columns of a table are found; None finds a column by its usual names.

    Attributes:
        user: name of the column of users, or its number from 1 if the file has no header.
        item: likewise of items.
        timestamp: likewise of times; `none` if rows are in order of time.
        rating: likewise of ratings.
        separator: what stands between fields.
        header: `none` if the first row does not name the columns.
        encoding: of the text. Default: UTF-8.

    A reader takes those fields that it declares in `Reader.options`. This is no pydantic model, because commands that
    read no file import it; records that have it as a field refuse unknown keys all the same.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None
    separator: str | None = None
    header: str | None = None
    encoding: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """The command-line option of each field that is given, by the field's name."""
        return {name: _OPTIONS[name] for name, value in asdict(self).items() if value is not None}

    def model_dump(self) -> dict[str, str | None]:
        """The fields by name, as those of a pydantic model."""
        return asdict(self)


_OPTIONS = {
    **{role: f"--{role}-column" for role in ROLES},
    "separator": "--separator",
    "header": "--no-header",
    "encoding": "--encoding",
}
COLUMN_OPTIONS = tuple(field.name for field in fields(Columns))
"""Names of the fields of `Columns`."""
