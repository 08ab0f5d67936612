"""Finds a data set's raw files: in its folder under the data root, or at a registered path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_serializer, field_validator, model_validator

from actsr_cli.data.catalog import all_names, check_name, known
from actsr_cli.data.readers import Columns, Reader, find_reader, format_names, guess_reader
from actsr_cli.data.readers.columns import ROLES
from actsr_cli.data.readers.folders import part_files
from actsr_cli.data.readers.item_files import check_item_file
from actsr_cli.data.readers.registry import COMPRESSED, PARTS, uncompressed
from actsr_cli.errors import DataError
from actsr_cli.files import write_record

FILE_NAME = "source.json"
FOLDER_FORMAT = "atomic"
"""The format of files that lie in the folder of a data set."""
FOLDER_OF_PARTS = "parquet"
"""The format of a folder that is read as one table."""
_OWN = "./"
"""Stored paths that begin so are relative to the data set's folder; others are as they are."""
_PATHS = ("file", "valid_file", "test_file", "item_file")


class Source(BaseModel):
    """Raw interactions of a data set. Files in its folder have paths below `folder`; all others have absolute paths.

    Attributes:
        name: the data set's name, as the user gave it.
        folder: its folder under the data root; prepared data go there.
        file: the interactions, a file or a folder of parts; if the data are split into files, those for training.
        valid_file: the interactions for validation if the data are split into files, else None.
        test_file: likewise for test.
        format: name of the reader.
        columns: names of the columns.
        item_file: titles and categories of items, or None.
        items_given: whether the user gave that file; otherwise it was found beside the interactions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    folder: Path
    file: Path
    valid_file: Path | None = None
    test_file: Path | None = None
    format: str
    columns: Columns = Columns()
    item_file: Path | None = None
    items_given: bool = False

    @field_validator("format")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        return find_reader(name).name

    @field_serializer(*_PATHS, when_used="json-unless-none")
    def _as_stored(self, path: Path) -> str:
        is_own = path.is_relative_to(self.folder)
        return f"{_OWN}{path.relative_to(self.folder).as_posix()}" if is_own else str(path)

    @model_validator(mode="after")
    def _has_all_parts(self) -> Self:
        if (self.valid_file is None) != (self.test_file is None):
            raise ValueError("valid_file and test_file go together")
        return self

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files of interactions: one, or three in the order of `PARTS` if the data are split into files."""
        return tuple(file for file in (self.file, self.valid_file, self.test_file) if file is not None)

    @property
    def is_split(self) -> bool:
        """Whether the data are split into files."""
        return len(self.parts) > 1

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        return self.parts if self.item_file is None else (*self.parts, self.item_file)

    def with_items(self, file: Path) -> Self:
        """The same source with another file of titles and categories.

        Raises:
            DataError: the file does not exist, or has no titles or categories.
        """
        check_item_file(file, self.columns.encoding, self.columns.separator)
        return self.model_copy(update={"item_file": _place(file, self.folder), "items_given": True})

    def register(self) -> Self:
        """Register this source in its folder, so that its name is enough in later calls, also if the folder moves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_record(self.folder / FILE_NAME, self, without=("folder",))
        return self


def source_from_file(data_dir: Path, name: str, file: Path, format_name: str | None, columns: Columns) -> Source:
    """The source for a file anywhere on the disk.

    Args:
        data_dir: the data root.
        name: the name that the data set will have.
        file: the interactions, a file or a folder of Parquet parts; with NAME.train.inter, NAME.valid.inter and
            NAME.test.inter beside it are read too.
        format_name: the name of a format; Default: by the file's suffix.
        columns: names of the columns.

    Raises:
        DataError: a file is missing, the name is not a folder name, the format is unknown or has no such columns, or
            the data set exists under another name of the catalogue.
    """
    check_name(name)
    reader = _reader_of(file, format_name)
    _check_columns(columns, reader)
    folder = data_dir / name
    source = _source(name, folder, _place(file, folder), reader, columns)
    others = [_in_folder(folder, name) for folder in _folders(data_dir, name) if folder.name != name]
    _check_one([source, *(other for other in others if other is not None)], name)
    return source


def find_source(data_dir: Path, name: str) -> Source:
    """The source of a data set, from the folder of this name or of another name in the catalogue.

    Raises:
        DataError: the data set does not exist (the hint says how to get it), it is ambiguous (two of these folders hold
            different files, or one holds several), or the name is not a folder name.
    """
    check_name(name)
    found = [source for folder in _folders(data_dir, name) if (source := _in_folder(folder, name)) is not None]
    if found:
        _check_one(found, name)
        return found[0]
    entry = known(name)
    download = f"actsr download {entry.name}\nor " if entry is not None else ""
    raise DataError(
        f"no data set '{name}' in {data_dir}",
        hint=f"Get it: {download}actsr preprocess {name} --from-file PATH --format {'|'.join(format_names())}",
    )


def registered_over(file: Path) -> tuple[Path, ...]:
    """The files that are read instead of `file`, because its folder has them registered; empty if it is read itself.

    Raises:
        DataError: the registration is damaged.
    """
    if not (file.parent / FILE_NAME).is_file():
        return ()
    registered = _registered(file.parent, file.parent.name)
    return () if registered.file.resolve() == file.resolve() else registered.files


def _place(file: Path, folder: Path) -> Path:
    """The path of a file: below the folder of the data set if it is in there, else absolute."""
    file, own = file.resolve(), folder.resolve()
    return folder / file.relative_to(own) if file.is_relative_to(own) else file


def _folders(data_dir: Path, name: str) -> list[Path]:
    """The existing folders under any name of a data set, each once, the folder of `name` first."""
    found: list[Path] = []
    for folder in (data_dir / each for each in all_names(name)):
        if folder.is_dir() and not any(folder.samefile(other) for other in found):
            found.append(folder)
    return found


def _in_folder(folder: Path, name: str) -> Source | None:
    """The source in a folder, a registered one or its own files, under the given name; None if it has none."""
    if (folder / FILE_NAME).is_file():
        return _registered(folder, name)
    file = _interaction_file(folder)
    return None if file is None else _source(name, folder, file, find_reader(FOLDER_FORMAT), Columns())


def _check_one(sources: Sequence[Source], name: str) -> None:
    """Check that the folders under a data set's names hold the same files."""
    if len({tuple(file.resolve() for file in source.parts) for source in sources}) > 1:
        folders = [str(source.folder) for source in sources]
        raise DataError(
            f"{' and '.join(folders)} are names of one data set, '{name}', and have different files",
            hint="Rename or remove one of the folders, or choose another name.",
        )


def _source(name: str, folder: Path, file: Path, reader: Reader, columns: Columns) -> Source:
    """The source of a file of interactions, with the other parts of its split and its item file."""
    stem, part = _stem_and_part(file) if reader.in_parts else (uncompressed(file).stem, None)
    files = [file] if part is None else _all_parts(file, stem, part)
    beside = [] if reader.item_suffix is None else [stem + reader.item_suffix + each for each in ("", *COMPRESSED)]
    return Source(
        name=name,
        folder=folder,
        file=files[0],
        valid_file=None if part is None else files[1],
        test_file=None if part is None else files[2],
        format=reader.name,
        columns=columns,
        item_file=next((path for name in beside if (path := file.with_name(name)).is_file()), None),
    )


def _stem_and_part(file: Path) -> tuple[str, str | None]:
    """A file's name without part and suffix, and its part of a split (None: the file holds all interactions)."""
    whole = uncompressed(file).stem
    stem, _, part = whole.rpartition(".")
    return (stem, part) if stem and part in PARTS else (whole, None)


def _all_parts(file: Path, stem: str, part: str) -> list[Path]:
    """The three files of a split; `file` must be the training file.

    Raises:
        DataError: `file` is another part, or a part is missing.
    """
    suffix = file.name.removeprefix(f"{stem}.{part}")
    files = [file.with_name(f"{stem}.{each}{suffix}") for each in PARTS]
    if missing := [each.name for each in files if not each.is_file()]:
        raise DataError(
            f"{file.name} is one of three files of a split; missing: {', '.join(missing)}",
            hint=f"Put all three into {file.parent}; a file with all interactions must be called {stem}{suffix}.",
        )
    if part != PARTS[0]:
        raise DataError(
            f"{file.name} is one of three files of a split",
            hint=f"Give the training file, {files[0].name}; the others are read with it.",
        )
    return files


def _interaction_file(folder: Path) -> Path | None:
    """The interactions in the folder of a data set: FOLDER.inter or FOLDER.train.inter, or else the only ones.

    Raises:
        DataError: the files are ambiguous.
    """
    endings = find_reader(FOLDER_FORMAT).suffixes
    files = sorted(path for path in folder.glob("*") if uncompressed(path).suffix.lower() in endings and path.is_file())
    stems = {_stem_and_part(path)[0] for path in files}
    stem = folder.name if folder.name in stems else min(stems, default="")
    if len(stems) > 1 and stem != folder.name:
        named = f"{folder.name}{endings[0]}"
        raise DataError(
            f"{folder} holds {len(files)} {endings[0]} files",
            hint=f"Name the right one {named}, or give it with --from-file.",
        )
    found = [path for path in files if _stem_and_part(path)[0] == stem]
    for first, second in pairwise(sorted(found, key=lambda path: str(_stem_and_part(path)))):
        if _stem_and_part(first) == _stem_and_part(second):
            raise _unclear(first, second)
    return _whole_or_split(found)


def _whole_or_split(files: Sequence[Path]) -> Path | None:
    """The file to read among the files of one name: the whole file, or the training part of a split."""
    split = [path for path in files if _stem_and_part(path)[1] is not None]
    whole = [path for path in files if path not in split]
    split.sort(key=lambda path: _stem_and_part(path)[1] != PARTS[0])  # the training file first
    if whole and split:
        raise _unclear(whole[0], split[0])
    return next(iter([*whole, *split]), None)


def _unclear(first: Path, second: Path) -> DataError:
    return DataError(
        f"{first.parent} holds {first.name} and {second.name}, so it is not clear which to read",
        hint="Choose one: actsr preprocess NAME --from-file PATH",
    )


def _registered(folder: Path, name: str) -> Source:
    path = folder / FILE_NAME
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        own = {key: folder / each for key, each in stored.items() if key in _PATHS and str(each).startswith(_OWN)}
        return Source.model_validate({**stored, **own, "name": name, "folder": folder})
    except (ValidationError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged", hint="Delete it, and preprocess again with --from-file.") from error
    except DataError as error:  # a format that another version had, or a package that is not there
        raise DataError(f"{path}: {error.message}", hint="Delete it, or preprocess again with --from-file.") from error


def _reader_of(file: Path, format_name: str | None) -> Reader:
    """The format of a file, or of a folder of files that are one table.

    Raises:
        DataError: there is no such file, its format is unknown, or it is a folder that the format does not read.
    """
    if not file.is_dir():
        if not file.is_file():
            raise DataError(f"no file {file}")
        return find_reader(format_name) if format_name else guess_reader(file)
    reader = find_reader(format_name or FOLDER_OF_PARTS)
    if not reader.folders:
        raise DataError(
            f"{file} is a folder, and the format {reader.name} reads files",
            hint="Give one file, or a folder of Parquet parts.",
        )
    part_files(file)
    return reader


def _check_columns(columns: Columns, reader: Reader) -> None:
    """Refuse columns and options that a format does not use."""
    for column, value in columns.model_dump().items():
        if value is not None and column not in reader.options:
            what = f"{column} column" if column in ROLES else column
            raise DataError(f"the format {reader.name} has no {what} to choose")
