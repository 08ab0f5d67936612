"""The data sets that actsr knows by name, with the locations of their archives and their expected sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from actsr_cli.errors import DataError, nearest
from actsr_cli.words import name_problem, shortened


class Counts(NamedTuple):
    """The size of a data set."""

    users: int
    items: int
    interactions: int


@dataclass(frozen=True)
class DatasetEntry:
    """A data set of the catalogue.

    Attributes:
        name: its name in actsr; `actsr download` puts its files into DATA_DIR/name/name.inter and so on.
        title: a short description.
        archive: path of its archive on a mirror, or None if actsr generates the data.
        aliases: other names: the names of its preset and of its published folder.
        expected: users, items and interactions after the filters of its preset, or None if unknown.
        sha256: hexadecimal digest of the archive, or None if unknown.
    """

    name: str
    title: str
    archive: str | None
    aliases: tuple[str, ...] = ()
    expected: Counts | None = None
    sha256: str | None = None

    @property
    def archive_name(self) -> str:
        """File name of the archive on the host; empty for generated data."""
        return PurePosixPath(self.archive).name if self.archive else ""


CATALOG: tuple[DatasetEntry, ...] = (
    DatasetEntry(
        "demo",
        "Generated household routines",
        archive=None,
        expected=Counts(2_000, 340, 19_630),
    ),
    DatasetEntry(
        "amazon-beauty",
        "Amazon 2014, Beauty",
        archive="Amazon_ratings/Amazon_Beauty.zip",
        aliases=("beauty", "Amazon_Beauty"),
        expected=Counts(22_363, 12_101, 198_502),
    ),
    DatasetEntry(
        "amazon-sports-outdoors",
        "Amazon 2014, Sports and Outdoors",
        archive="Amazon_ratings/Amazon_Sports_and_Outdoors.zip",
        aliases=("sports", "Amazon_Sports_and_Outdoors"),
        expected=Counts(35_598, 18_357, 296_337),
    ),
    DatasetEntry(
        "amazon-toys-games",
        "Amazon 2014, Toys and Games",
        archive="Amazon_ratings/Amazon_Toys_and_Games.zip",
        aliases=("toys", "Amazon_Toys_and_Games"),
        expected=Counts(19_412, 11_924, 167_597),
    ),
    DatasetEntry(
        "yelp",
        "Yelp reviews of 2019",
        archive="Yelp/yelp.zip",
        expected=Counts(30_499, 20_068, 317_182),
    ),
    DatasetEntry(
        "ml-100k",
        "MovieLens 100K",
        archive="MovieLens/ml-100k.zip",
        expected=Counts(943, 1_682, 100_000),
    ),
)

_BY_NAME = {name.casefold(): entry for entry in CATALOG for name in (entry.name, *entry.aliases)}


def known(name: str) -> DatasetEntry | None:
    """The entry with this name or alias, ignoring case, or None."""
    return _BY_NAME.get(name.casefold())


def all_names(name: str) -> tuple[str, ...]:
    """All names of the data set called `name`, this one first."""
    entry = known(name)
    return (name,) if entry is None else tuple(dict.fromkeys((name, entry.name, *entry.aliases)))


def same_data_set(one: str, other: str) -> bool:
    """Whether two names mean the same data set."""
    entry = known(one)
    return one == other or (entry is not None and entry is known(other))


def check_name(name: str) -> None:
    """Refuse a name that cannot be the name of a folder for a data set.

    Raises:
        DataError: it is empty, hidden or too long, or holds a separator or a character that cannot be printed.
    """
    if problem := name_problem(name):
        raise DataError(
            f"'{shortened(name)}' is not a valid name for a data set: {problem}", hint="Give the name of a folder."
        )


def find_entry(name: str) -> DatasetEntry:
    """The entry with this name or alias, ignoring case.

    Raises:
        DataError: the name is not in the catalogue, or not a folder name.
    """
    check_name(name)
    entry = known(name)
    if entry is None:
        raise DataError(
            f"unknown data set '{name}'; {nearest(name.casefold(), _BY_NAME)}", "`actsr download --list` shows them."
        )
    return entry


def find_installed(entry: DatasetEntry, data_dir: Path) -> Path | None:
    """The .inter file of `entry` under its name, or under an alias if put there by hand; None if it is not there."""
    candidates = (data_dir / name / f"{name}.inter" for name in (entry.name, *entry.aliases))
    return next((path for path in candidates if path.is_file()), None)
