"""Where a data set's raw files are: in its folder under the data root, or registered there from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from actsr_cli.data.catalog import all_names, known
from actsr_cli.errors import DataError, nearest

Format = Literal["atomic", "sequences", "csv", "parquet", "amazon-reviews"]
FORMATS: tuple[Format, ...] = ("atomic", "sequences", "csv", "parquet", "amazon-reviews")
_SUFFIXES: dict[str, Format] = {
    ".inter": "atomic",
    ".txt": "sequences",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".json": "amazon-reviews",
    ".jsonl": "amazon-reviews",
    ".json.gz": "amazon-reviews",
    ".jsonl.gz": "amazon-reviews",
}
_NAMED = ("user", "item", "timestamp", "rating")
_CHOICES: dict[Format, tuple[str, ...]] = {"atomic": _NAMED, "csv": (*_NAMED, "separator"), "parquet": _NAMED}
FILE_NAME = "source.json"
FILE_ORDER = "none"
"""In place of a timestamp column: the order of the file is the order in time."""


class Columns(BaseModel):
    """Which columns of a table hold what; None finds them by their usual names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None
    separator: str | None = None


class Source(BaseModel):
    """Raw interactions of a data set.

    Attributes:
        name: the data set's name, as it was asked for.
        folder: its folder under the data root; prepared data go there.
        file: the interactions.
        format: how to read them.
        columns: which columns hold what.
        item_file: titles of items in the atomic format, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    folder: Path
    file: Path
    format: Format
    columns: Columns = Columns()
    item_file: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is read."""
        return (self.file,) if self.item_file is None else (self.file, self.item_file)

    def register(self) -> Self:
        """Remember this source in its folder, so that its name is enough from now on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / FILE_NAME
        partial = target.with_name(f"{FILE_NAME}.partial")
        partial.write_text(self.model_dump_json(indent=2, exclude={"folder"}) + "\n", encoding="utf-8")
        partial.replace(target)
        return self


def source_from_file(data_dir: Path, name: str, file: Path, format_name: str | None, columns: Columns) -> Source:
    """A source somewhere on the disk, under a name of its own.

    Args:
        data_dir: the data root.
        name: the name that the data set will have.
        file: the interactions.
        format_name: one of `FORMATS`; None guesses from the file's suffix.
        columns: which columns hold what.

    Raises:
        DataError: the file is missing, the name is no folder name, the format is unknown or has no such columns.
    """
    _check_name(name)
    if not file.is_file():
        raise DataError(f"no file {file}")
    file = file.resolve()
    known_format = _known_format(format_name) if format_name else _guess_format(file)
    _check_columns(columns, known_format)
    return Source(
        name=name,
        folder=data_dir / name,
        file=file,
        format=known_format,
        columns=columns,
        item_file=_item_file(file) if known_format == "atomic" else None,
    )


def find_source(data_dir: Path, name: str) -> Source:
    """The source of a data set: of the folder of this name, or of another name that the catalogue has for it.

    Raises:
        DataError: there is none (the hint says how to get it), or the name is no folder name.
    """
    _check_name(name)
    entry = known(name)
    for folder in (data_dir / candidate for candidate in all_names(name)):
        if (folder / FILE_NAME).is_file():
            return _registered(folder, name)
        if file := _interaction_file(folder):
            return Source(name=name, folder=folder, file=file, format="atomic", item_file=_item_file(file))
    download = f"actsr download {entry.name}\nor " if entry is not None else ""
    raise DataError(
        f"no data set '{name}' in {data_dir}",
        hint=f"Get it: {download}actsr preprocess {name} --from-file PATH --format {'|'.join(FORMATS)}",
    )


def _registered(folder: Path, name: str) -> Source:
    path = folder / FILE_NAME
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Source.model_validate({**stored, "name": name, "folder": folder})
    except (ValidationError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged", hint="Delete it, and preprocess again with --from-file.") from error


def _interaction_file(folder: Path) -> Path | None:
    """FOLDER/FOLDER.inter, or the only .inter file there is."""
    named = folder / f"{folder.name}.inter"
    if named.is_file():
        return named
    files = sorted(folder.glob("*.inter"))
    if len(files) > 1:
        raise DataError(f"{folder} holds {len(files)} .inter files", hint=f"Name the one to read {named.name}.")
    return files[0] if files else None


def _item_file(file: Path) -> Path | None:
    """The titles that lie beside atomic interactions."""
    items = file.with_suffix(".item")
    return items if items.is_file() else None


def _check_name(name: str) -> None:
    if Path(name).name != name or name in ("", ".", ".."):
        raise DataError(f"'{name}' is no name for a data set: it must be one plain folder name")


def _check_columns(columns: Columns, format_name: Format) -> None:
    """Refuse what a format has no use for."""
    for column, value in columns.model_dump().items():
        if value is not None and column not in _CHOICES.get(format_name, ()):
            what = column if column == "separator" else f"{column} column"
            raise DataError(f"the format {format_name} has no {what} to choose")


def _known_format(name: str) -> Format:
    for known_format in FORMATS:
        if name == known_format:
            return known_format
    raise DataError(f"unknown format '{name}'; {nearest(name, FORMATS)}")


def _guess_format(file: Path) -> Format:
    for suffix in ("".join(file.suffixes[-2:]), file.suffix):
        if suffix in _SUFFIXES:
            return _SUFFIXES[suffix]
    raise DataError(
        f"the format of {file.name} cannot be told from its name", hint=f"Give --format {'|'.join(FORMATS)}."
    )
