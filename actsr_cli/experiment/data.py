"""The prepared data of a run: which settings apply, and opening them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from actsr_cli.config import DataConfig, RunConfig
from actsr_cli.data.catalog import known
from actsr_cli.data.prepare import Prepared, last_settings, prepare
from actsr_cli.data.sources import find_source
from actsr_cli.errors import ConfigError
from actsr_cli.experiment.run import Run
from actsr_cli.presets import ResolvedConfig


def prepare_for(
    resolved: ResolvedConfig, data_dir: Path, on_step: Callable[[str], None] | None = None
) -> tuple[RunConfig, Prepared]:
    """The data that a resolved config asks for, prepared if they are not yet, and the config with their settings.

    A preset's `data` section describes how the preset's own data set is prepared. For another data set, and where
    nobody names data settings, those of the latest `actsr preprocess` hold.

    Args:
        resolved: the settings and where they came from.
        data_dir: the data root.
        on_step: hears what is being done where data are prepared.

    Raises:
        ConfigError: no data set is named.
        DataError: the data set is not there or cannot be prepared.
    """
    config = resolved.config
    if not config.dataset:
        raise ConfigError("no data set is named", hint="Give --dataset NAME, or a --preset that has one.")
    source = find_source(data_dir, config.dataset)
    if not _names_data_settings(resolved):
        settings = last_settings(source) or DataConfig()
        config = config.model_copy(update={"data": settings})
    return config, _split(prepare(source, config.data, on_step=on_step), config)


def data_of(run: Run, data_dir: Path) -> Prepared:
    """The prepared data of a run, by the settings in its config."""
    return open_data(run.config, data_dir)


def open_data(config: RunConfig, data_dir: Path) -> Prepared:
    """The prepared data of a config whose data settings are settled, as `prepare_for` returns it."""
    return _split(prepare(find_source(data_dir, config.dataset), config.data), config)


def _split(prepared: Prepared, config: RunConfig) -> Prepared:
    return replace(prepared, data=prepared.data.split_by(config.split))


def same_data_set(one: str, other: str) -> bool:
    """Whether two names stand for one data set, in the catalogue's sense."""
    entry = known(one)
    return one == other or (entry is not None and entry == known(other))


def _names_data_settings(resolved: ResolvedConfig) -> bool:
    """Whether a data setting comes from somewhere that means this data set."""
    origins = {origin for key, origin in resolved.sources.items() if key.startswith("data.")} - {"default"}
    if resolved.preset is not None and not same_data_set(resolved.preset.config.dataset, resolved.config.dataset):
        origins.discard(resolved.preset.origin)
    return bool(origins)
