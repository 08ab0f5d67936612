"""Makes the plan of a study from the options of the command: settings of all trials, data, search space."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actsr_cli.config import SPLITS, RunConfig
from actsr_cli.config.reading import override_keys, read_yaml
from actsr_cli.config.schema import CHOICES
from actsr_cli.data.report import Report
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.experiment.check import check_trainable
from actsr_cli.experiment.data import prepare_for
from actsr_cli.experiment.find import latest_run
from actsr_cli.experiment.run import Run
from actsr_cli.experiment.teachers import pin_teachers
from actsr_cli.models.registry import display_name, find_model
from actsr_cli.plugins import check_trusted, named_by_run, trust
from actsr_cli.presets import TUNE, Preset, ResolvedConfig, load_preset, preset_name, resolve
from actsr_cli.tuning.space import Space, grid, names_choice, searchable
from actsr_cli.tuning.study import Plan, Sampler
from actsr_cli.words import name_problem, shortened

_GIVE_PRESET = "Give a preset with --preset NAME; `actsr presets` lists them."
_TRIALS = 20
"""Default number of trials of the samplers other than the grid, which ends by itself."""


@dataclass(frozen=True)
class Basis:
    """The settings of all trials, and where they come from.

    Attributes:
        resolved: the settings.
        preset: the preset behind them, for the record.
        run: the run that the settings are taken from; None if a preset was given.
        space: the preset whose search space is used, or None.
        note: why the search space of the run's preset is not used; empty otherwise.
    """

    resolved: ResolvedConfig
    preset: str | None
    run: Run | None = None
    space: Preset | None = None
    note: str = ""


@dataclass(frozen=True)
class Search:
    """How a study searches.

    Attributes:
        sampler: how settings are chosen.
        space: a file with the search space, or None.
        trials: total number of trials; None: the whole grid, or 20 for other samplers.
        minutes: no trial starts after this time; None: no limit.
        pruning: whether trials that fall behind are stopped early.
        workers: number of processes on this machine.
        name: name of the study; None: the name of the sampler.
        storage: URL of a database; None: a journal in the study's folder.
    """

    sampler: Sampler
    space: Path | None = None
    trials: int | None = None
    minutes: float | None = None
    pruning: bool = True
    workers: int = 1
    name: str | None = None
    storage: str | None = None


def basis_of(preset: str | None, overrides: Sequence[str], options: Mapping[str, object], runs_dir: Path) -> Basis:
    """The settings of all trials: those of a preset, or else of the latest finished run, with overrides applied.

    Args:
        preset: name or file of a preset, or None.
        overrides: `section.key=value` texts.
        options: dotted keys with their values; None means not given.
        runs_dir: root of the runs.

    Raises:
        ConfigError: a setting is not valid, or there is neither a preset nor a finished run.
    """
    if preset is not None:
        resolved = resolve(preset=preset, overrides=overrides, options=options)
        return Basis(resolved, preset_name(resolved), space=resolved.preset)
    try:
        run = latest_run(runs_dir)
    except RunError as error:
        raise ConfigError(f"no preset is given, and {error.message}", hint=_GIVE_PRESET) from error
    replaced = options.get("model.name") is not None or "model.name" in override_keys(overrides)
    if (made_by := run.config.model.made_by) and not replaced:
        raise ConfigError(f"{run.name}, the latest run, comes from {made_by}: it is not trained", hint=_GIVE_PRESET)
    resolved = resolve(preset=run.path / "config.yaml", overrides=overrides, options=options, of_run=True)
    space, note = _space_along(run.record.preset, resolved.config)
    return Basis(resolved, run.record.preset, run, space, note)


def space_of(basis: Basis, file: Path | None) -> tuple[Space, dict[str, str]]:
    """The search space of a study: from a file, else from the preset, else the default of the model.

    Returns:
        The space, and the keys that are left out of it, each with the reason.

    Raises:
        ConfigError: there is no space, no key of it is left, or the chosen model, calibration or loss does not have a
            key.
    """
    raw, origin = _raw_space(basis, file)
    if file is None and basis.run is not None:  # the preset is one that the folder of a run names
        for name in _classes_in(raw):
            named_by_run(name)
            check_trusted(name, "class")  # here, because the processes of the trials do not know who named it
    else:
        trust(*_classes_in(raw))
    space, given = searchable(raw, origin, basis.resolved)
    return space, {key: f"already set by {place}" for key, place in given.items()}


def make_plan(
    basis: Basis,
    search: Search,
    space: Space,
    *,
    data_dir: Path,
    runs_dir: Path,
    on_step: Callable[[str], None] | None = None,
) -> tuple[Plan, Report]:
    """The plan of a study. Prepares its data first if needed.

    Args:
        basis: the settings of all trials.
        search: how the study searches.
        space: what it searches.
        data_dir: root of the data sets.
        runs_dir: root of the runs.
        on_step: called with a description of each step of the preparation.

    Returns:
        The plan, and the report of the preparation.

    Raises:
        ConfigError: the name is not a valid folder name, or the settings do not fit together.
        DataError: the data set cannot be prepared, or a model cannot be trained on it.
    """
    name = search.name or search.sampler
    if problem := name_problem(name):
        raise ConfigError(f"'{shortened(name)}' is not a valid name for a study: {problem}")
    if search.sampler == "grid":
        grid(space)  # raises now if it is too large
    if basis.resolved.config.split.by == "none":
        raise ConfigError(
            "a study compares its trials on the validation split, and split.by is none",
            hint="Choose another split, such as --set split=last.",
        )
    config, prepared = prepare_for(basis.resolved, data_dir, on_step=on_step)
    check_trainable(config, prepared.data)
    config = pin_teachers(config, prepared.data, runs_dir)
    plan = Plan(
        name=name,
        sampler=search.sampler,
        config=config,
        preset=basis.preset,
        space=space,
        fingerprint=prepared.data.fingerprint,
        trials=search.trials if search.trials or search.sampler == "grid" else _TRIALS,
        pruning=search.pruning,
        storage=search.storage,
        runs_dir=runs_dir,
        data_dir=data_dir,
        workers=search.workers,
        deadline=None if search.minutes is None else time.time() + 60 * search.minutes,
    )
    return plan, prepared.report


def _space_along(name: str | None, config: RunConfig) -> tuple[Preset | None, str]:
    """The preset of a run if its search space fits these settings, and else the reason why it does not.

    It fits if the preset has the same model, calibration and loss.
    """
    if name is None:
        return None, ""
    try:
        preset = load_preset(name)
    except ConfigError as error:
        return None, f"The search space of preset {name} is not available: {error.message}"
    if not preset.space:
        return None, ""
    for section, choices in CHOICES.items():
        own, chosen = (getattr(each, section).choice for each in (preset.config, config))
        if section != SPLITS.section and own != chosen:
            where = f"{section}.{choices.named_by}"
            return None, f"The search space of preset {name} is not used: it was made for {where}={own}, not {chosen}"
    return preset, ""


def _raw_space(basis: Basis, file: Path | None) -> tuple[Mapping[str, Any], str]:
    """The contents of the `tune` section, and where they come from."""
    if file is not None:
        raw = read_yaml(file)
        return raw.get(TUNE, raw), str(file)
    if basis.space is not None and basis.space.space:
        return basis.space.space, basis.space.origin
    name = display_name(basis.resolved.config)
    usual = find_model(basis.resolved.config.model.name).search
    if not usual:
        raise ConfigError(f"{name} has nothing to search", hint="It has no setting that changes its ranking.")
    return usual, name


def _classes_in(raw: Mapping[str, Any]) -> list[str]:
    """What the lists of a `tune` section name as choices of models, calibrations and losses."""
    lists = [choices for key, choices in raw.items() if names_choice(str(key))] if isinstance(raw, Mapping) else []
    return [str(choice) for choices in lists if isinstance(choices, list) for choice in choices]
