"""Finds runs: all runs of a folder, a run by its name, the latest run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from logging import getLogger
from pathlib import Path

from pydantic import BaseModel

from actsr_cli.data.catalog import same_data_set
from actsr_cli.errors import RunError
from actsr_cli.experiment.place import CONFIG, is_run
from actsr_cli.experiment.record import FILE_NAME, RunRecord, Status, read_record
from actsr_cli.experiment.run import Run, has_config, open_run, status_of
from actsr_cli.version import __version__

Name = tuple[str, ...]
"""The parts of a name: DATASET, MODEL, NAME, or only the last ones."""

_log = getLogger("actsr")


@dataclass(frozen=True)
class Listed:
    """A folder that holds a run.

    Attributes:
        path: the folder.
        place: the parts of its path below the root of the runs.
        record: the record, or None if it cannot be read.
        problem: why the record cannot be read, or None.
    """

    path: Path
    place: Name
    record: RunRecord | None
    problem: RunError | None = None

    @property
    def name(self) -> str:
        """Its path below the root of the runs: DATASET/MODEL/NAME, unless the folder was moved."""
        return "/".join(self.place)

    @property
    def recorded(self) -> Name:
        """The name in its record."""
        return self.place if self.record is None else (self.record.dataset, self.record.model, self.record.name)


class Summary(BaseModel):
    """A run in one line; a field is None if the run has no value yet or its record cannot be read."""

    run: str
    dataset: str | None
    model: str | None
    status: Status
    started: str | None
    epochs: int | None
    best_epoch: int | None
    monitor: str | None
    value: float | None
    seconds: float | None


def list_runs(runs_dir: Path) -> list[Listed]:
    """All runs by their start, the latest last; unreadable ones come first."""
    folders = {path.parent for file in (FILE_NAME, CONFIG) for path in runs_dir.glob(f"[!.]*/[!.]*/[!.]*/{file}")}
    found = [_listed(runs_dir, folder) for folder in folders]
    return sorted(found, key=lambda each: ("" if each.record is None else each.record.started, each.place))


def summaries(
    runs_dir: Path, *, dataset: str | None = None, model: str | None = None, status: Status | None = None
) -> list[Summary]:
    """One line per run, by their start, the latest last.

    Args:
        runs_dir: root of the runs.
        dataset: only runs on this data set, by any of its names.
        model: only runs of this model.
        status: only runs in this state.
    """
    found = map(_summary, list_runs(runs_dir))
    return [
        each
        for each in found
        if (dataset is None or (each.dataset is not None and same_data_set(dataset, each.dataset)))
        and model in (None, each.model)
        and status in (None, each.status)
    ]


def find_run(runs_dir: Path, name: str | None = None) -> Run:
    """The run of this name: a folder, DATASET/MODEL/NAME, or any end of that; for None see `latest_run`.

    Raises:
        RunError: there is no such run, there are several, or it cannot be opened.
    """
    return latest_run(runs_dir) if name is None else open_run(find_folder(runs_dir, name))


def latest_run(runs_dir: Path, *, refits: bool = False) -> Run:
    """The run that finished last. Trials of studies do not count. One that cannot be opened is left out and logged.

    Args:
        runs_dir: root of the runs.
        refits: whether runs count that were trained on all data and cannot be evaluated: refits and runs with split
            none.

    Raises:
        RunError: there is no such run.
    """
    runs = list_runs(runs_dir)
    known = [(each.record, each.path) for each in runs if each.record is not None]
    finished = [(record, path) for record, path in known if record.finished and record.trial is None]
    for record, path in sorted(finished, key=lambda pair: pair[0].ended or pair[0].started, reverse=True):
        if record.source is not None and not refits:
            continue
        try:
            run = open_run(path)
        except RunError as error:
            _log.info("Leaving out the later run %s: %s", record.title, error.message)
            continue
        if refits or run.config.split.by != "none":
            return run
    if not runs:
        raise RunError(f"there is no run in {runs_dir}", hint="Train one: actsr train --model ac-sasrec --preset demo")
    raise RunError(
        f"there is no finished run in {runs_dir} but {_counted(runs)}", hint="Name a run; actsr runs lists them."
    )


def find_folder(runs_dir: Path, name: str) -> Path:
    """The folder of the run of this name; the run need not be readable.

    Raises:
        RunError: there is no such run, or there are several.
    """
    if is_run(Path(name)):
        return Path(name)
    runs = list_runs(runs_dir)
    found = called(runs, name)
    if not found:
        series = called(runs, name, lambda parts: (*parts[:-1], re.sub(r"-s\d+$", "", parts[-1])))
        if series:
            raise RunError(f"'{name}' is a series of {len(series)} runs", hint=f"Name one: {series[0].name}")
        close = get_close_matches(Path(name).name, {run.place[-1] for run in runs}, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else "Names are DATASET/MODEL/NAME; actsr runs lists them."
        raise RunError(f"no run '{name}' in {runs_dir}", hint=hint)
    if len(found) > 1:
        names = ", ".join(sorted("/".join(each.place) for each in found))
        raise RunError(f"'{name}' names {len(found)} runs: {names}", hint="Give more of the path.")
    return found[0].path


def called(runs: Iterable[Listed], name: str, part: Callable[[Name], Name | None] = lambda name: name) -> list[Listed]:
    """The runs whose name is, or ends with, a given one.

    The path of a run comes before the name under which it was made. The name of a data set comes before its aliases.

    Args:
        runs: the runs to choose from.
        name: DATASET/MODEL/NAME or an end of it.
        part: maps the name of a run to the part that is compared; None leaves the run out.
    """
    wanted = Path(name).parts
    named = [(run, [part(run.place), part(run.recorded)]) for run in runs]
    for fits in (_ends_like, _is_alias_of):
        for which in (0, 1):
            found = [run for run, names in named if (own := names[which]) is not None and fits(own, wanted)]
            if found:
                return found
    return []


def _ends_like(name: Name, wanted: Name) -> bool:
    return name[-len(wanted) :] == wanted


def _is_alias_of(name: Name, wanted: Name) -> bool:
    return len(name) == len(wanted) == 3 and same_data_set(name[0], wanted[0]) and name[1:] == wanted[1:]


def _listed(runs_dir: Path, folder: Path) -> Listed:
    place = folder.relative_to(runs_dir).parts
    try:
        return Listed(folder, place, read_record(folder))
    except RunError as error:
        return Listed(folder, place, None, error)


def _summary(listed: Listed) -> Summary:
    record = listed.record
    if record is None:
        dataset, model, _ = listed.place
        facts: dict[str, object] = dict.fromkeys(Summary.model_fields)
        return Summary.model_validate(
            facts | {"run": listed.name, "dataset": dataset, "model": model, "status": Status.UNREADABLE}
        )
    status = _status(listed.path, record) if _can_be_opened(listed.path, record) else Status.UNREADABLE
    shared = {name: getattr(record, name) for name in Summary.model_fields if hasattr(record, name)}
    return Summary.model_validate(shared | {"run": listed.name, "status": status})


def _status(path: Path, record: RunRecord) -> Status:
    try:
        return status_of(path, record)
    except RunError:  # the run was damaged or deleted in the meantime
        return Status.UNREADABLE


def _can_be_opened(path: Path, record: RunRecord) -> bool:
    """Whether a run has settings that fit this version.

    Settings that this version wrote itself are assumed to fit: to check them would take longer than the rest of a list.
    """
    if record.environment.actsr == __version__:
        return has_config(path)
    try:
        open_run(path)
    except RunError:
        return False
    return True


def _counted(runs: list[Listed]) -> str:
    """How many runs there are of each kind, as text: '2 interrupted, 1 failed, 12 trials of studies'."""
    counts = Counter(
        "unreadable"
        if each.record is None
        else "trials of studies"
        if each.record.trial is not None
        else "trained on all data"
        if each.record.finished
        else _status(each.path, each.record).value
        for each in runs
    )
    return ", ".join(f"{count} {what}" for what, count in counts.items())
