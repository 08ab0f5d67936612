"""Makes a run of an ensemble out of trained runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from actsr_cli.config import RunConfig, TrainingConfig
from actsr_cli.config.models import EnsembleOptions, Member
from actsr_cli.data.prepare import Prepared
from actsr_cli.errors import RunError
from actsr_cli.experiment.model import open_model
from actsr_cli.experiment.record import Status, now
from actsr_cli.experiment.recorder import failure_recorded
from actsr_cli.experiment.run import Origin, Run, new_run
from actsr_cli.experiment.series import find_runs
from actsr_cli.models.ensemble import Ensemble
from actsr_cli.models.registry import build_model
from actsr_cli.training.checkpoint import save_model
from actsr_cli.words import counted


def find_members(runs_dir: Path, names: Sequence[str]) -> list[Run]:
    """The runs that are combined, those of a series one after another.

    Raises:
        RunError: there is no such run, there is only one, one is not finished, or they were not trained on the same
            data with the same split.
    """
    runs = find_runs(runs_dir, names)
    if len(runs) < 2:
        raise RunError(
            f"{runs[0].name} is one run, and an ensemble needs two or more", hint="Name several, or a series."
        )
    for run in runs:
        if not run.record.finished:
            raise RunError(f"{run.name} is {run.status}, not finished")
        if run.record.fingerprint != runs[0].record.fingerprint:
            raise RunError(f"{run.name} was trained on other data than {runs[0].name}")
        if run.config.split != runs[0].config.split:
            raise RunError(
                f"{run.name} has another split than {runs[0].name}: it may know the items that are held out there"
            )
    return runs


def make_ensemble(runs: Sequence[Run], prepared: Prepared, *, runs_dir: Path, name: str | None, origin: Origin) -> Run:
    """Make a finished run whose model ranks by the mean of the scores of some runs.

    Args:
        runs: the runs, as `find_members` returns them.
        prepared: the data that they were trained on.
        runs_dir: root of the runs.
        name: last part of the run's name. Default: date and time.
        origin: where the run comes from, for its record.

    Raises:
        RunError: their models cannot be combined, or a run of this name exists already.
    """
    first, data = runs[0].config, prepared.data
    try:
        members = tuple(Member(model=run.config.model, calibration=run.config.calibration) for run in runs)
        options = EnsembleOptions(max_length=first.model.max_length, members=members)
    except ValidationError as error:
        raise RunError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    config = RunConfig(
        description=f"The mean of the scores of {counted(len(runs), 'model')}",
        dataset=first.dataset,
        data=first.data,
        split=first.split,
        model=options,
        training=TrainingConfig(monitor=first.training.monitor),
        evaluation=first.evaluation,
    )
    model = cast(Ensemble, build_model(options, config.calibration, data.n_items, data.n_users))
    for member, run in zip(model.members, runs, strict=True):
        member.load_state_dict(open_model(run)[0].state_dict())
    about = replace(origin, data_folder=prepared.folder, imported=", ".join(run.name for run in runs))
    with new_run(runs_dir, config, data, name=name, origin=about) as made, failure_recorded(made):
        save_model(made.model_file, model, epoch=0)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        made.update(status=Status.FINISHED, parameters=parameters, ended=now())
    return made
