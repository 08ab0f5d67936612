"""Settings of the split into training, validation and test."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from actsr_cli.config.section import Choice, Choices

_BY = "What is held out: each user's last items, all after two points in time, the parts given as files, or nothing."


def _moment(value: object) -> object:
    """Check a point in time: a share between 0 and 1, a timestamp above 1, or an ISO date."""
    if isinstance(value, date):  # YAML reads dates by itself
        return value.isoformat()
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).isoformat()
        except ValueError:
            raise ValueError("must be a share between 0 and 1, an ISO date (2014-03-01) or a timestamp") from None
    if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
        raise ValueError("must be above 0")
    return value


Moment = Annotated[float | str, BeforeValidator(_moment)]
Target = Literal["first", "last", "random", "all"]


class SplitConfig(Choice):
    """What is held out of training."""

    named_by: ClassVar[str] = "by"

    by: str = Field(description=_BY)


SPLITS = Choices("split", SplitConfig, default="last")


@SPLITS.register
class LastSplit(SplitConfig):
    """Leave-one-out: the last item of each user is for test, the one before it for validation."""

    by: Literal["last"] = Field("last", description=_BY)


@SPLITS.register
class TimeSplit(SplitConfig):
    """Two points in time cut the log into training, validation and test."""

    by: Literal["time"] = Field("time", description=_BY)
    valid_from: Moment = Field(
        0.8, description="Start of validation: a share of the interactions, an ISO date (UTC) or a timestamp."
    )
    test_from: Moment = Field(0.9, description="Start of test, in the same form.")
    target: Target = Field("all", description="Which of a user's items after the start of a part are targets.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Random seed, with target: random.")


@SPLITS.register
class FileSplit(SplitConfig):
    """The data set has separate files for training, validation and test."""

    by: Literal["files"] = Field("files", description=_BY)
    target: Target = Field("all", description="Which of a user's items in the validation or test file are targets.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Random seed, with target: random.")


@SPLITS.register
class NoSplit(SplitConfig):
    """All items are for training; no items are held out."""

    by: Literal["none"] = Field("none", description=_BY)
