"""Which columns of a table hold users, items, times and ratings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import ClassVar

FILE_ORDER = "none"
"""Given instead of a timestamp column if rows are in order of time."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table; None finds a column by its usual names.

    A reader takes those fields that it declares in `Reader.options`. This is no pydantic model, because commands that
    read no file import it; records that have it as a field refuse unknown keys all the same.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None
    separator: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """The command-line option of each field that is given, by the field's name."""
        names = [name for name, value in asdict(self).items() if value is not None]
        return {name: "--separator" if name == "separator" else f"--{name}-column" for name in names}

    def model_dump(self) -> dict[str, str | None]:
        """The fields by name, as those of a pydantic model."""
        return asdict(self)


COLUMN_OPTIONS = tuple(field.name for field in fields(Columns))
"""Names of the fields of `Columns`."""
