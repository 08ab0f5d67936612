"""Finds, prepares and opens the data of a run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from actsr_cli.config import DataConfig, FileSplit, RunConfig
from actsr_cli.config.data import Bound
from actsr_cli.data import store
from actsr_cli.data.catalog import Counts, all_names, known, same_data_set
from actsr_cli.data.history import Choice
from actsr_cli.data.prepare import Prepared, find_prepared, last_choice, last_settings, open_prepared, prepare
from actsr_cli.data.readers import Columns
from actsr_cli.data.readers.interactions import OnBadLine
from actsr_cli.data.sources import Source, find_source, source_from_file
from actsr_cli.errors import ConfigError, DataError, RunError
from actsr_cli.experiment.run import Run
from actsr_cli.presets import DEFAULT, ResolvedConfig, option_name, preset_for, preset_name, resolve

NO_PRESET = "none"
"""Given instead of a preset to prepare without its filters."""


@dataclass(frozen=True)
class Raw:
    """Raw interactions of a data set.

    Attributes:
        name: name of the data set.
        file: the interactions. Default: the files in the data set's folder, or the file that was given before.
        items: a file with titles and categories of items. Default: the one that belongs to the interactions.
        format: format of `file`. Default: by its suffix.
        columns: names of the columns.
    """

    name: str
    file: Path | None = None
    items: Path | None = None
    format: str | None = None
    columns: Columns = field(default_factory=Columns)


@dataclass(frozen=True, repr=False)
class Preparation(Prepared):
    """Prepared data, and the settings behind them.

    Attributes:
        files: the raw interactions, and the titles and categories if there are any.
        preset: the preset whose filters were used, or None.
        settings: the filters that were used.
        repeated: whether they are those of the last preparation, because none were given.
        before: the filters of the last preparation if they were others, or None.
        usual: the data set's own preset, or None.
        left_out: filters of the preset that were left out, in words, or "".
        expected: expected numbers of users, items and interactions, or None if unknown.
    """

    files: tuple[Path, ...] = ()
    preset: str | None = None
    settings: DataConfig = field(default_factory=DataConfig)
    repeated: bool = False
    before: DataConfig | None = None
    usual: str | None = None
    left_out: str = ""
    expected: Counts | None = None

    @property
    def filters(self) -> str:
        """The filters that were used, and those of the last preparation, in sentences."""
        used = as_options(self.settings) or "none"
        if self.repeated:
            own = f" With those of its preset: --preset {self.usual}." if self.usual else ""
            return f"With the options of the last preparation: {used}. Without filters: --preset {NO_PRESET}.{own}"
        said = f"Filters: {used}" + (f" (preset {self.preset})." if self.preset else ".")
        return said if self.before is None else f"{said} Last time: {as_options(self.before) or 'none'}."

    def to_frame(self) -> pd.DataFrame:
        """Number of users, items and interactions after each step."""
        return pd.DataFrame([vars(step) for step in self.report.steps]).rename(columns={"name": "step"})

    def __repr__(self) -> str:
        times = "".join(f"\n{line}" for line in self.report.read_as)
        steps = self.to_frame().to_string(index=False)
        return f"{self.data.name}, prepared in {self.folder}\n{steps}{times}\n{self.filters}"

    def _repr_html_(self) -> str:
        table: str = self.to_frame().to_html(index=False)
        told = "<br>".join(map(escape, [*self.report.read_as, self.filters, f"Prepared in {self.folder}"]))
        return f"<h4>{escape(self.data.name)}</h4>{table}<p>{told}</p>"


def prepare_raw(
    raw: Raw,
    data_dir: Path,
    *,
    preset: str | None = None,
    options: Mapping[str, Any] | None = None,
    on_bad_line: OnBadLine = "error",
    force: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> Preparation:
    """Prepare a data set from its raw interactions. A given file is remembered under the data set's name.

    If neither a file nor a preset nor a filter is given, the filters of the last call are used again. Otherwise they
    start from the preset.

    Args:
        raw: the interactions.
        data_dir: the data root.
        preset: take the filters of this preset; `none` takes no filters. Default: the data set's own preset.
        options: filters by dotted key; they override the preset. None keeps the preset's value.
        on_bad_line: `error` raises at a malformed line; `skip` skips and counts it.
        force: prepare again even if it was done before.
        on_step: called with a description of each step.

    Raises:
        DataError: the input is missing or malformed, or no interactions are left.
        ConfigError: a setting is invalid.
    """
    source = _source_of(raw, data_dir)
    usual = preset_for(*all_names(raw.name))
    before = last_choice(source)
    given = [value for value in (raw.file, preset, *(options or {}).values()) if value is not None]
    resolved = resolve(preset=None if preset == NO_PRESET else preset or usual, options=options)
    choice = Choice(settings=resolved.config.data, preset=preset_name(resolved))
    repeated = before is not None and not given and before.settings != choice.settings
    if repeated:
        choice = before or choice
    settings, left_out = fitting(choice.settings, source, resolved)
    choice = choice.model_copy(update={"settings": settings})
    prepared = prepare(source, settings, on_bad_line=on_bad_line, force=force, on_step=on_step, choice=choice)
    if raw.file is not None or raw.items is not None:
        source.register()
    entry = known(raw.name)
    as_published = entry is not None and choice == Choice(settings=resolve(preset=usual).config.data, preset=usual)
    return Preparation(
        **vars(prepared),
        files=source.files,
        preset=choice.preset,
        settings=settings,
        repeated=repeated,
        before=None if before is None or before.settings == settings else before.settings,
        usual=usual,
        left_out=left_out,
        expected=entry.expected if entry is not None and as_published else None,
    )


def as_options(settings: DataConfig) -> str:
    """Filters as options of the command line; empty without filters."""
    words = []
    for key, value in settings.model_dump(exclude_defaults=True).items():
        option = option_name(f"data.{key}")
        sides = (
            [f"{column}={_side(low)}:{_side(high)}" for column, (low, high) in value.items()]
            if key == "intervals"
            else [value]
        )
        words += [f"{option} {shlex.quote(str(each))}" for each in sides]
    return " ".join(words)


def _side(bound: Bound | None) -> str:
    return "" if bound is None else bound if isinstance(bound, str) else f"{bound:.16g}"


def _source_of(raw: Raw, data_dir: Path) -> Source:
    if raw.file is not None:
        source = source_from_file(data_dir, raw.name, raw.file, raw.format, raw.columns)
    else:
        given = {"format": raw.format, **raw.columns.model_dump()}
        if unused := [key for key, value in given.items() if value is not None]:
            raise ConfigError(
                f"{unused[0]} describes how to read a file: give the file, too",
                hint="On the command line: --from-file FILE.",
            )
        source = find_source(data_dir, raw.name)
    return source if raw.items is None else source.with_items(raw.items)


def prepare_for(
    resolved: ResolvedConfig, data_dir: Path, on_step: Callable[[str], None] | None = None
) -> tuple[RunConfig, Prepared]:
    """The data of a resolved config, prepared if needed, and the config with their settings.

    A preset's `data` section describes how the preset's own data set is prepared. For another data set, or if no data
    settings are given, the settings of the latest `actsr preprocess` apply. Data that are split into files keep that
    split unless another one is given. `fitting` chooses their filters, and the report has a note about them.

    Args:
        resolved: the settings and their sources.
        data_dir: the data root.
        on_step: called with a description of each step of the preparation.

    Raises:
        ConfigError: no data set is named.
        DataError: the data set does not exist or cannot be prepared.
    """
    config = resolved.config
    if not config.dataset:
        raise ConfigError("no data set is named", hint="Give --dataset NAME, or a --preset that has one.")
    source = find_source(data_dir, config.dataset)
    settings = config.data if _names_data_settings(resolved) else last_settings(source) or DataConfig()
    settings, note = fitting(settings, source, resolved)
    config = config.model_copy(update={"data": settings})
    prepared = prepare(source, settings, on_step=on_step)
    notes = "; ".join(filter(None, (prepared.report.note, note)))
    prepared = replace(prepared, report=replace(prepared.report, note=notes))
    if prepared.data.parts is not None and resolved.sources["split.by"] == DEFAULT:
        config = config.model_copy(update={"split": FileSplit()})
    return config, _split(prepared, config)


def fitting(settings: DataConfig, source: Source, resolved: ResolvedConfig) -> tuple[DataConfig, str]:
    """The data settings that fit a source, and a note about what is left out.

    If data are split into files, filters that would change the split are left out, unless the user gave them: those of
    a preset, for example. `prepare` refuses filters that the user gave.

    Args:
        settings: the data settings.
        source: the raw interactions.
        resolved: the settings and their sources.
    """
    dropped = [key for key in settings.against_split if f"data.{key}" not in resolved.given] if source.is_split else []
    if not dropped:
        return settings, ""
    neutral = DataConfig()
    fits = settings.model_copy(update={key: getattr(neutral, key) for key in dropped})
    return (
        fits,
        f"'{source.name}' is split into files; filters that would change the split are left out: {', '.join(dropped)}",
    )


def data_of(run: Run, data_dir: Path) -> Prepared:
    """The data that a run was trained on.

    They are looked for in the folder of the run's record, then below the data root. If they are missing, they are
    prepared again; the result must have the same fingerprint.

    Raises:
        RunError: they cannot be had any more.
    """
    record = run.record
    return _prepared(run.name, run.config, record.fingerprint, record.data_folder, data_dir)


def data_of_fingerprint(config: RunConfig, fingerprint: str, data_dir: Path) -> Prepared:
    """The prepared data of a fingerprint below the data root, see `data_of`.

    Raises:
        RunError: they cannot be had any more.
    """
    return _prepared(f"this study of {config.dataset}", config, fingerprint, None, data_dir)


def _prepared(title: str, config: RunConfig, fingerprint: str, folder: Path | None, data_dir: Path) -> Prepared:
    if folder is None or not _holds(folder, fingerprint):
        folder = find_prepared(data_dir, fingerprint)
    if folder is not None:
        return _split(open_prepared(folder, config.dataset), config)
    try:
        prepared = prepare(find_source(data_dir, config.dataset), config.data)
    except DataError as error:
        raise RunError(
            f"the data of {title} (fingerprint {fingerprint}) are not in {data_dir} any more, "
            f"and cannot be prepared again: {error.message}",
            hint=error.hint,
        ) from error
    if prepared.data.fingerprint != fingerprint:
        raise RunError(
            f"the data of {title} have changed since it was trained (fingerprint {prepared.data.fingerprint}, "
            f"it has {fingerprint}), and the old prepared data are gone",
            hint="Restore the data, or train again.",
        )
    return _split(prepared, config)


def _holds(folder: Path, fingerprint: str) -> bool:
    """Whether a folder still holds the prepared data of a fingerprint."""
    return (folder / store.RECORD).is_file() and store.load_record(folder).fingerprint == fingerprint


def _split(prepared: Prepared, config: RunConfig) -> Prepared:
    return replace(prepared, data=prepared.data.split_by(config.split))


def _names_data_settings(resolved: ResolvedConfig) -> bool:
    """Whether a data setting was given for this data set."""
    origins = {origin for key, origin in resolved.sources.items() if key.startswith("data.")} - {"default"}
    if resolved.preset is not None and not same_data_set(resolved.preset.config.dataset, resolved.config.dataset):
        origins.discard(resolved.preset.origin)
    return bool(origins)
