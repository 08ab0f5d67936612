"""The folder of a run: what lies in it, how it is made and how it is found again.

runs/DATASET/MODEL/NAME/
    config.yaml             the resolved configuration
    run.json                state of the run, data fingerprint, best epoch
    environment.json        versions and machine
    history.csv             one row per epoch
    metrics.json            metrics by split and protocol
    model.safetensors       the best epoch's parameters
    checkpoint.safetensors  the full state after the last finished epoch
    tensorboard/            events
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

import actsr_cli
from actsr_cli.config import RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import RunError
from actsr_cli.files import replacing
from actsr_cli.models.registry import display_name

UNREADABLE = "unreadable"
"""State of a run whose config does not fit this version."""


@dataclass(frozen=True)
class Run:
    """A run on disk.

    Attributes:
        path: its folder.
        config: its resolved configuration.
    """

    path: Path
    config: RunConfig

    @property
    def name(self) -> str:
        """DATASET/MODEL/NAME."""
        return name_of(self.path)

    @property
    def model_file(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def checkpoint_file(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def record(self) -> dict[str, Any]:
        """The contents of run.json."""
        return read_json(self.path / "run.json")

    @property
    def metrics(self) -> dict[str, Any]:
        """The contents of metrics.json; empty before the first ones."""
        path = self.path / "metrics.json"
        return read_json(path) if path.exists() else {}

    def write_config(self) -> None:
        """Write the configuration to config.yaml."""
        write_text(self.path / "config.yaml", yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False))

    def update(self, **values: Any) -> None:
        """Change entries of run.json."""
        write_json(self.path / "run.json", self.record | values)

    def add_metrics(self, key: str, values: Mapping[str, Any]) -> None:
        """Put `values` under `key` in metrics.json."""
        write_json(self.path / "metrics.json", self.metrics | {key: values})


def create_run(
    runs_dir: Path,
    config: RunConfig,
    data: SequenceData,
    *,
    name: str | None,
    command: list[str],
    preset: str | None = None,
) -> Run:
    """Make the folder of a new run.

    Args:
        runs_dir: where runs live.
        config: the resolved configuration.
        data: the data it will train on; its fingerprint is recorded.
        name: last part of its path; None takes date and time.
        command: the command line behind it, for the record.
        preset: name or file of the preset behind it, for the record.

    Raises:
        RunError: there is a run of this name already, or the name is no plain folder name.
    """
    parent = runs_dir / config.dataset / display_name(config)
    path = _new_folder(parent, name)
    run = Run(path, config)
    run.write_config()
    write_json(path / "environment.json", environment(command))
    write_json(
        path / "run.json",
        {
            "status": "running",
            "started": now(),
            "dataset": config.dataset,
            "model": display_name(config),
            "preset": preset,
            "fingerprint": data.fingerprint,
            "users": data.n_users,
            "items": data.n_items,
            "interactions": data.n_interactions,
        },
    )
    return run


def open_run(path: Path) -> Run:
    """The run in folder `path`.

    Raises:
        RunError: it is no run, or its config does not fit this version.
    """
    config = path / "config.yaml"
    if not config.is_file() or not (path / "run.json").is_file():
        raise RunError(f"{path} is not the folder of a run: it has no config.yaml and run.json")
    try:
        return Run(path.resolve(), RunConfig.model_validate(yaml.safe_load(config.read_text(encoding="utf-8"))))
    except (ValidationError, yaml.YAMLError) as error:
        raise RunError(
            f"{config} cannot be read: {_first_problem(error)}",
            hint="The run is damaged or of another version of actsr. Without it: actsr runs delete.",
        ) from error


def list_runs(runs_dir: Path) -> list[Path]:
    """Folders of all runs, the one that started last at the end."""
    folders = [path.parent for path in runs_dir.glob("*/*/*/run.json")]
    return sorted(folders, key=lambda folder: (read_json(folder / "run.json")["started"], folder.name))


def summaries(runs_dir: Path) -> list[dict[str, Any]]:
    """One line of facts per run, the one that started last at the end.

    Its keys: run, dataset, model, status, started, epochs, best_epoch, monitor, value (the monitor's at the best epoch,
    on validation), seconds; what a run has not reached yet is None. A run whose config cannot be read is `unreadable`.
    """
    found = []
    for path in list_runs(runs_dir):
        record = read_json(path / "run.json")
        seconds = record["train_seconds"] + record["validation_seconds"] if "train_seconds" in record else None
        facts = {key: record.get(key) for key in ("dataset", "model", "status", "started", "epochs", "best_epoch")}
        facts |= {"run": name_of(path), "monitor": None, "value": None, "seconds": seconds}
        try:
            run = open_run(path)
        except RunError:
            facts["status"] = UNREADABLE
        else:
            monitor = run.config.training.monitor
            valid = run.metrics.get(f"valid/{run.config.evaluation.seen}", {})
            facts |= {"monitor": monitor, "value": valid.get(monitor)}
        found.append(facts)
    return found


def find_run(runs_dir: Path, name: str | None) -> Run:
    """The run called `name`: a folder, DATASET/MODEL/NAME, or any end of that path; None takes the latest with a model.

    Raises:
        RunError: there is none, or more than one.
    """
    return open_run(find_folder(runs_dir, name))


def name_of(folder: Path) -> str:
    """DATASET/MODEL/NAME of the run in a folder."""
    return "/".join(folder.parts[-3:])


def find_folder(runs_dir: Path, name: str | None) -> Path:
    """The folder of the run that `find_run` opens, whether it can be opened or not."""
    if name is None:
        trained = [path for path in list_runs(runs_dir) if (path / "model.safetensors").exists()]
        if not trained:
            raise RunError(
                f"no trained run in {runs_dir}", hint="Train one: actsr train --model ac-sasrec --preset demo"
            )
        return trained[-1]
    if (Path(name) / "run.json").is_file():
        return Path(name)
    wanted = Path(name).parts
    matches = [path for path in list_runs(runs_dir) if path.relative_to(runs_dir).parts[-len(wanted) :] == wanted]
    if not matches:
        raise RunError(f"no run '{name}' in {runs_dir}", hint="A run is called DATASET/MODEL/NAME.")
    if len(matches) > 1:
        names = ", ".join(str(path.relative_to(runs_dir)) for path in matches)
        raise RunError(f"'{name}' names {len(matches)} runs: {names}", hint="Give more of the path.")
    return matches[0]


def new_name() -> str:
    """Date and time, as a name."""
    return datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


def environment(command: list[str]) -> dict[str, Any]:
    """Versions and machine, for the record."""
    return {
        "command": command,
        "actsr": actsr_cli.__version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def now() -> str:
    """This moment in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; RunError where it is damaged."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RunError(f"{path} is damaged: {error}") from error
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON beside `path` and rename it into place."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text beside `path` and rename it into place."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _first_problem(error: ValidationError | yaml.YAMLError) -> str:
    """What is wrong with a config, in one line."""
    if isinstance(error, yaml.YAMLError):
        return " ".join(str(error).split())
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"


def _new_folder(parent: Path, name: str | None) -> Path:
    if name is not None:
        if name in ("", ".", "..") or Path(name).name != name:
            raise RunError(f"'{name}' is no name for a run: it must be one plain folder name")
        try:
            (parent / name).mkdir(parents=True)
        except FileExistsError:
            raise RunError(
                f"there is a run {parent / name} already", hint="Give another --name, or go on with it: --resume"
            ) from None
        return parent / name
    stamp = new_name()
    for attempt in range(1, 1000):
        path = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise RunError(f"no free name for a run in {parent}")
