"""`actsr models`: the models that can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actsr_cli import console
from actsr_cli.commands.completion import complete_dataset, complete_preset
from actsr_cli.commands.options import AsJson, DataDir
from actsr_cli.commands.tables import print_line
from actsr_cli.errors import ConfigError, DataError
from actsr_cli.models.registry import all_models, find_model, hidden_names, names_of, registered_names
from actsr_cli.words import command

if TYPE_CHECKING:
    from actsr_cli.config import ModelOptions, RunConfig
    from actsr_cli.data.store import Record


def models(
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            help="Also show the sizes of the models on this data set.",
            autocompletion=complete_dataset,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="Also show the sizes with the settings of this preset, on the data set that was prepared last unless "
            "--dataset names another. Default: the preset of the data set.",
            autocompletion=complete_preset,
        ),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = Path("dataset"),
) -> None:
    """List the models: names, papers, options and what data they need; with --dataset also their sizes.

    The size is the number of trained parameters; for item-knn and
    popularity it is the number of counts.

    [bold]Example:[/]  actsr models --dataset beauty
    """
    record = None if dataset is None and preset is None else _record(data_dir, dataset)
    config = None if record is None else _settings(record, preset)
    known = {**all_models(), **_registered()}
    if as_json:
        console.print_json([_told(name, options, record, config) for name, options in known.items()])
        return
    for name, options in known.items():
        print_line(", ".join(names_of(name, options)), style="bold")
        for label, text in _facts(name, options, record, config):
            print_line(f"  {label:<8} {text}")
    console.note("Models with an ac- form: --calibration none, spatial, adversarial or full chooses the calibrators.")
    console.note("A model of your own: --model package.module:Class, see docs/your-own-model.md.")
    if record is None:
        console.note("Sizes: actsr models --dataset NAME")


def _record(data_dir: Path, dataset: str | None) -> Record:
    """The record of the given data set, or of the one that was prepared last.

    Raises:
        DataError: the data set is not prepared yet.
    """
    from actsr_cli.data.prepare import latest_record  # brings pandas and pyarrow

    record = latest_record(data_dir, dataset)
    if record is None:
        problem = "no data set is prepared yet" if dataset is None else f"'{dataset}' is not prepared yet"
        raise DataError(f"{problem}, so there are no sizes", hint=f"First: {command('preprocess', dataset or 'demo')}")
    return record


def _registered() -> dict[str, type[ModelOptions]]:
    """The models of installed packages; warns of each that cannot be used."""
    for name in hidden_names():
        console.warn(f"an installed package registers a model '{name}': the built-in model of this name is used")
    found = {}
    for name in registered_names():
        try:
            found[name] = find_model(name)
        except ConfigError as error:
            console.warn(f"'{name}' of an installed package: {error.message}")
    return found


def _settings(record: Record, preset: str | None) -> RunConfig:
    from actsr_cli.data.catalog import all_names
    from actsr_cli.presets import preset_for, resolve

    return resolve(preset=preset or preset_for(*all_names(record.name))).config


def _facts(
    name: str, options: type[ModelOptions], record: Record | None, config: RunConfig | None
) -> list[tuple[str, str]]:
    """The lines about a model, by label."""
    needs = [
        need for need, wanted in (("users", options.needs_users), ("timestamps", options.needs_timestamps)) if wanted
    ]
    facts = [
        ("paper", options.paper),
        ("needs", " and ".join(needs) or "items alone"),
        ("options", ", ".join(_keys(options))),
    ]
    if record is not None and config is not None:
        sizes, problem = _sizes(name, options, record, config)
        facts.append(("size", problem or f"{', '.join(f'{size:,}' for size in sizes.values())} on {record.name}"))
    return [(label, text) for label, text in facts if text]


def _told(name: str, options: type[ModelOptions], record: Record | None, config: RunConfig | None) -> dict[str, Any]:
    """A model for JSON; `sizes` (by name) is null if no data set is named or the model cannot be trained on it."""
    told = {
        "names": names_of(name, options),
        "title": options.title,
        "paper": options.paper,
        "needs_users": options.needs_users,
        "needs_timestamps": options.needs_timestamps,
        "options": _keys(options),
        "dataset": None,
        "sizes": None,
        "problem": None,
    }
    if record is not None and config is not None:
        sizes, problem = _sizes(name, options, record, config)
        told |= {"dataset": record.name, "sizes": None if problem else sizes, "problem": problem}
    return told


def _keys(options: type[ModelOptions]) -> list[str]:
    """The settings of a model, without its name."""
    from actsr_cli.config import CustomOptions

    if issubclass(options, CustomOptions):
        return [f"model.options.{key}" for key in options.own]
    return [f"model.{key}" for key in options.model_fields if key != options.named_by]


def _sizes(
    name: str, options: type[ModelOptions], record: Record, config: RunConfig
) -> tuple[dict[str, int], str | None]:
    """The sizes on a data set for each name of a model, or the reason why there are none."""
    from actsr_cli.models.registry import model_size
    from actsr_cli.presets import with_values

    if options.needs_timestamps and not record.timestamps:
        return {}, f"cannot be trained on {record.name}, which has no timestamps"
    sizes = {}
    for called, kind in zip(names_of(name, options), ("none", "full"), strict=False):
        try:
            changed = with_values(config, {"model.name": name, "calibration.kind": kind})
            sizes[called] = model_size(changed.model, changed.calibration, record.items, record.users)
        except ConfigError as error:
            return {}, f"unknown: {error.message}"
    return sizes, None
