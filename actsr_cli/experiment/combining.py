"""Makes a run of an ensemble out of trained runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from actsr_cli.experiment.series import find_group
from actsr_cli.models.ensemble import Ensemble
from actsr_cli.models.registry import build_model
from actsr_cli.training.checkpoint import save_model
from actsr_cli.words import counted


def find_parts(runs_dir: Path, names: Iterable[str]) -> list[Run]:
    """The runs that are combined, each once; those of a series one after another.

    Raises:
        RunError: there is no such run, there is only one, one is not finished, or they do not fit together.
    """
    runs = list({run.path: run for name in names for run in find_group(runs_dir, name).runs}.values())
    if len(runs) < 2:
        found = f", and {runs[0].name} is one" if runs else ""
        raise RunError(f"an ensemble needs two or more runs{found}", hint="Name several, or a series.")
    for run in runs:
        if problem := _unfit(run, runs[0]):
            raise RunError(f"{run.name} cannot be part of an ensemble: {problem}", hint="Leave it out.")
    return runs


def _unfit(run: Run, first: Run) -> str | None:
    """Why a run cannot be combined with the first one, or None."""
    if isinstance(run.config.model, EnsembleOptions):
        return f"it is an ensemble itself, of {run.record.imported}"
    try:
        Member(model=run.config.model, calibration=run.config.calibration)
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    if not run.record.finished:
        return f"it is {run.status}, not finished"
    if run.record.fingerprint != first.record.fingerprint:
        return f"it was trained on other data than {first.name}"
    if run.config.split != first.config.split:
        return f"its split is not that of {first.name}, so it may know the items that are held out there"
    length, other = run.config.model.max_length, first.config.model.max_length
    if length != other:
        return f"it reads {length} items (model.max_length), and {first.name} reads {other}"
    return None


def make_ensemble(runs: Sequence[Run], prepared: Prepared, *, runs_dir: Path, name: str | None, origin: Origin) -> Run:
    """Make a finished run whose model ranks by the mean of the scores of some runs.

    Args:
        runs: the runs, as `find_parts` returns them.
        prepared: the data that they were trained on.
        runs_dir: root of the runs.
        name: last part of the run's name. Default: date and time.
        origin: where the run comes from, for its record.

    Raises:
        RunError: a run of this name exists already.
    """
    first, data = runs[0].config, prepared.data
    members = tuple(Member(model=run.config.model, calibration=run.config.calibration) for run in runs)
    options = EnsembleOptions(max_length=first.model.max_length, members=members)
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
