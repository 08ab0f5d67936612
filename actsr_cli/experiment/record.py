"""What is recorded of a run in its run.json."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, ValidationError

from actsr_cli.errors import RunError
from actsr_cli.experiment.status import Status as Status
from actsr_cli.version import __version__

LAYOUT = 2
"""Version of the layout of a run's folder; version 0.1 of actsr did not write one."""
FILE_NAME = "run.json"


class Changes(TypedDict, total=False):
    """What of a record changes while a run is trained; see `RunRecord`."""

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
    parameters: int
    error: str | None


class Environment(BaseModel):
    """The command behind a run, and where it was given."""

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
        """This machine and these versions."""
        import torch  # takes its time, and who only lists runs does not need it

        return cls(
            command=tuple(command),
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
        status: its state, as the process that trains it has last written it.
        dataset, model, name: what it is called: DATASET/MODEL/NAME.
        preset: name or file of the preset behind it.
        study, trial: the study that it is a trial of, and its number there.
        source: the run whose refit on all data it is.
        fingerprint: of its prepared data.
        data_folder: where they were, an absolute path.
        users, items, interactions: how many they have.
        started, ended: UTC, ISO 8601.
        epochs: how many are done.
        monitor, value, best_epoch: the metric on validation that chose the best epoch, its value, and that epoch.
        train_seconds, validation_seconds: over all epochs.
        device, threads, processes: where it was trained.
        parameters: how many the model has.
        error: why it has failed.
        environment: command, versions and machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: int = LAYOUT
    status: Status
    dataset: str
    model: str
    name: str
    preset: str | None = None
    study: str | None = None
    trial: int | None = None
    source: str | None = None
    fingerprint: str
    data_folder: Path | None = None
    users: int
    items: int
    interactions: int
    started: str
    ended: str | None = None
    epochs: int | None = None
    monitor: str
    value: float | None = None
    best_epoch: int | None = None
    train_seconds: float | None = None
    validation_seconds: float | None = None
    device: str | None = None
    threads: int | None = None
    processes: int | None = None
    parameters: int | None = None
    error: str | None = None
    environment: Environment

    @property
    def title(self) -> str:
        """DATASET/MODEL/NAME."""
        return f"{self.dataset}/{self.model}/{self.name}"

    @property
    def finished(self) -> bool:
        return self.status is Status.FINISHED

    @property
    def seconds(self) -> float | None:
        """Training and validation together; None before the first epoch."""
        if self.train_seconds is None or self.validation_seconds is None:
            return None
        return self.train_seconds + self.validation_seconds

    def updated(self, **changes: Unpack[Changes]) -> Self:
        """The same record with some entries changed."""
        return self.model_validate(self.model_dump() | changes)


def read_record(folder: Path) -> RunRecord:
    """The record of the run in a folder.

    Raises:
        RunError: there is none, it is damaged, or of another version.
    """
    path = folder / FILE_NAME
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise RunError(f"{folder} is not the folder of a run: it has no {FILE_NAME}") from error
        raise RunError(f"{path} is damaged: {error}", hint=_WITHOUT) from error
    _check_version(folder, values)
    try:
        return RunRecord.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{path} is damaged: {where}: {first['msg'].lower()}", hint=_WITHOUT) from error


def now() -> str:
    """This moment in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()


_WITHOUT = "Delete the run: actsr runs delete …"


def _check_version(folder: Path, values: Any) -> None:
    """Raise where another version of actsr has made the run."""
    if not isinstance(values, dict):
        raise RunError(f"{folder / FILE_NAME} is damaged: it holds no record", hint=_WITHOUT)
    layout = values.get("layout")
    if layout is None and "status" in values:
        raise RunError(f"{folder} was made by actsr 0.1, which this version does not open: train it again")
    if layout != LAYOUT:
        raise RunError(f"{folder} has layout {layout} of another version of actsr, which this version does not open")
