"""The record of a run: its run.json."""

from __future__ import annotations

import json
import math
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypedDict, Unpack

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from actsr_cli import sealed
from actsr_cli.errors import RunError
from actsr_cli.experiment.status import Status as Status
from actsr_cli.version import __version__
from actsr_cli.words import command, shortened

LAYOUT = 2
"""Version of the layout of a run's folder; actsr 0.1 did not write one."""
FILE_NAME = "run.json"


def _time(text: str) -> str:
    """Check a time: ISO 8601, in the years that a clock can show."""
    if not 1970 <= datetime.fromisoformat(text).year < 9999:
        raise ValueError("must be a time of these centuries")
    return text


def _not_infinite(value: float) -> float:
    if math.isinf(value):
        raise ValueError("must be a finite number")
    return value


Time = Annotated[str, AfterValidator(_time)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Value = Annotated[float, AfterValidator(_not_infinite)]
FixedPrecision = Literal["float32", "bf16"]


class Changes(TypedDict, total=False):
    """The fields of a record that change while a run is trained; see `RunRecord`."""

    status: Status
    ended: str | None
    epochs: int
    best_epoch: int | None
    value: float | None
    train_seconds: float
    validation_seconds: float
    device: str
    threads: int
    processes: int
    precision: FixedPrecision
    backoffs: list[str] | None
    parameters: int
    error: str | None


class Environment(BaseModel):
    """The command that made a run, and the machine and versions it ran with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: tuple[str, ...]
    actsr: str
    python: str
    torch: str
    platform: str
    machine: str
    cuda: str | None

    @classmethod
    def here(cls, command: Sequence[str]) -> Environment:
        """The environment of this process.

        Args:
            command: the command line.
        """
        import torch  # slow to import, and listing runs does not need it

        return cls(
            command=tuple(word.encode(errors="backslashreplace").decode() for word in command),
            actsr=__version__,
            python=sys.version.split()[0],
            torch=torch.__version__,
            platform=platform.platform(),
            machine=platform.machine(),
            cuda=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        )


class RunRecord(BaseModel):
    """The record of a run.

    Attributes:
        layout: version of the layout of its folder.
        status: its state, as last written by the process that trains it.
        dataset, model, name: the parts of its name DATASET/MODEL/NAME.
        preset: name or file of its preset, or None.
        study, trial: the study that it belongs to and the number of its trial, or None.
        source: for a refit, the name of the run that was refitted.
        imported: what its weights come from, if no training: a file of another program, or the runs of an ensemble.
        fingerprint: fingerprint of its prepared data.
        data_folder: absolute path of the prepared data when the run was made.
        users, items, interactions: size of the data.
        started, ended: times in UTC, ISO 8601.
        epochs: number of finished epochs.
        monitor, value, best_epoch: the validation metric that chose the best epoch, its value, and that epoch.
        train_seconds, validation_seconds: sums over all epochs.
        device, threads, processes, precision: where and how it was trained.
        backoffs: each time that it went back an epoch to continue with a lower learning rate: where and why.
        parameters: number of trained parameters.
        error: the error of a failed run, or None.
        environment: command, versions and machine.
        files: checksums of the files that are written once, by name; None of a run of an earlier version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: int = LAYOUT
    status: Status
    dataset: str
    model: str
    name: str
    preset: str | None = None
    study: str | None = None
    trial: Count | None = None
    source: str | None = None
    imported: str | None = None
    fingerprint: str
    data_folder: Path | None = None
    users: Count
    items: Count
    interactions: Count
    started: Time
    ended: Time | None = None
    epochs: Count | None = None
    monitor: str
    value: Value | None = None
    best_epoch: Count | None = None
    train_seconds: Seconds | None = None
    validation_seconds: Seconds | None = None
    device: str | None = None
    threads: Count | None = None
    processes: Count | None = None
    precision: FixedPrecision | None = None
    backoffs: list[str] | None = None
    parameters: Count | None = None
    error: str | None = None
    environment: Environment
    files: dict[str, str] | None = None

    @property
    def title(self) -> str:
        """The name DATASET/MODEL/NAME."""
        return f"{self.dataset}/{self.model}/{self.name}"

    def check_trained_here(self, what: str) -> None:
        """Check that this program has trained the run.

        Args:
            what: what cannot be done otherwise.

        Raises:
            RunError: its weights were imported.
        """
        if self.imported is not None:
            raise RunError(
                f"{self.title} cannot be {what}: its weights come from {self.imported}, without a training's state",
                hint="Train a new run: actsr train …",
            )

    def resumed_by(self, name: str, *more: str) -> str:
        """The command that continues the run, which is called `name` now, in as many processes as before."""
        shared = ("--processes", str(self.processes)) if (self.processes or 1) > 1 else ()
        return command("train", "--resume", name, *shared, *more)

    @property
    def finished(self) -> bool:
        return self.status is Status.FINISHED

    @property
    def seconds(self) -> float | None:
        """Seconds of training and validation together; None before the first epoch."""
        if self.train_seconds is None or self.validation_seconds is None:
            return None
        return self.train_seconds + self.validation_seconds

    def updated(self, **changes: Unpack[Changes]) -> Self:
        """A copy with some fields changed."""
        return self.model_validate(self.model_dump() | changes)


def read_record(folder: Path) -> RunRecord:
    """The record of the run in a folder.

    Raises:
        RunError: there is no record, it is damaged, or another version of actsr has made it.
    """
    path = folder / FILE_NAME
    try:
        values, fits = sealed.read_json(path)
    except FileNotFoundError as error:
        raise RunError(f"{folder} is not the folder of a run: it has no {FILE_NAME}") from error
    except (sealed.DamageError, OSError) as error:
        raise damaged(path, getattr(error, "strerror", None) or error) from error
    _check_version(folder, values)
    try:
        record = RunRecord.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from error
    if not fits:
        raise damaged(path, sealed.CHANGED)
    return record


def save_record(folder: Path, record: RunRecord) -> None:
    """Write the record of the run in a folder."""
    sealed.write_json(folder / FILE_NAME, json.loads(record.model_dump_json()))


def damaged(path: Path, reason: object) -> RunError:
    """The error that a file of a run is damaged."""
    return RunError(f"{path} is damaged: {shortened(str(reason), 300)}", hint=_WITHOUT)


def now() -> str:
    """The time now, in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()


_WITHOUT = "Restore the file from a copy, or delete the run: actsr runs delete …"


def _check_version(folder: Path, values: dict[str, Any]) -> None:
    """Raise RunError if another version of actsr has made the run."""
    layout = values.get("layout")
    if layout is None and "status" in values:
        raise RunError(f"{folder} was made by actsr 0.1, which this version does not open: train it again")
    if layout != LAYOUT:
        other = f"layout {shortened(str(layout))} of another version of actsr"
        raise RunError(f"{folder} has {other}, which this version does not open")
