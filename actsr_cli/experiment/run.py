"""The folder of a run: its files, and how it is created and opened.

runs/DATASET/MODEL/NAME/
    config.yaml             the resolved configuration
    run.json                the record: state, data, best epoch, machine
    items.parquet           raw ids and titles of the items; users.parquet if the model uses user ids
    history.csv             one row per epoch
    metrics.json            metrics by split and protocol
    model.safetensors       parameters of the best epoch
    checkpoint.safetensors  the full state after the last finished epoch
    run.lock, run.owner     lock of the process that trains the run, and who that is
    .metrics.lock           lock of metrics.json
    checkpoint-batch.safetensors  the full state within the epoch after that
    tensorboard/            TensorBoard events

A run is self-contained: its folder can be copied to another place or machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from actsr_cli import locks, sealed
from actsr_cli.errors import ConfigError, RunError
from actsr_cli.experiment import lock
from actsr_cli.experiment.place import BATCH_CHECKPOINT, CHECKPOINT, CONFIG, MODEL, check_name, free_place, new_name
from actsr_cli.experiment.record import Changes, Environment, RunRecord, Status, damaged, now, read_record, save_record
from actsr_cli.files import move_to, remove_folder, scratch_folder
from actsr_cli.models.registry import display_name, find_model
from actsr_cli.plugins import named_by_run, trust
from actsr_cli.words import shortened

if TYPE_CHECKING:  # whoever lists runs waits for none of these
    from actsr_cli.config import RunConfig
    from actsr_cli.data.sequences import SequenceData
    from actsr_cli.data.vocabulary import Vocabulary


_log = getLogger("actsr")


@dataclass(frozen=True)
class Origin:
    """Where a run comes from, for its record.

    Attributes:
        command: the command line.
        preset: name or file of the preset.
        data_folder: the folder of the prepared data.
        study, trial: the study and the number of the trial, if the run is a trial.
        source: the original run, if this run is a refit on all data.
        imported: what the weights come from, if no training: a file of another program, or the runs of an ensemble.
    """

    command: Sequence[str] = ()
    preset: str | None = None
    data_folder: Path | None = None
    study: str | None = None
    trial: int | None = None
    source: str | None = None
    imported: str | None = None


@dataclass(frozen=True, repr=False)
class Run:
    """A run on disk.

    Attributes:
        path: its folder.
        config: its resolved configuration.
        name: DATASET/MODEL/NAME.
    """

    path: Path
    config: RunConfig
    name: str

    def __repr__(self) -> str:
        record = self.record
        best = (
            "" if record.value is None else f", best {record.monitor} {record.value:.4f} in epoch {record.best_epoch}"
        )
        return f"Run({self.name}, {self.status}{best})"

    @property
    def model_file(self) -> Path:
        return self.path / MODEL

    @property
    def checkpoint_file(self) -> Path:
        """The state after the last finished epoch, or before the first."""
        return self.path / CHECKPOINT

    @property
    def batch_checkpoint_file(self) -> Path:
        """The state within the epoch after that, if the training was stopped there or the epoch is long."""
        return self.path / BATCH_CHECKPOINT

    @property
    def record(self) -> RunRecord:
        """The current record of the run."""
        return read_record(self.path)

    @property
    def status(self) -> Status:
        """The current status: `stopped` if the record says running but no process trains the run."""
        return status_of(self.path, self.record)

    @property
    def metrics(self) -> dict[str, Any]:
        """The contents of metrics.json; empty if the file does not exist."""
        path = self.path / "metrics.json"
        if not path.exists():
            return {}
        try:
            values, fits = sealed.read_json(path)
        except (sealed.DamageError, OSError) as error:
            raise damaged(path, getattr(error, "strerror", None) or error) from error
        if not fits or not all(isinstance(measured, dict) for measured in values.values()):
            raise damaged(path, "it holds no metrics" if fits else sealed.CHANGED)
        return values

    def vocabulary(self) -> Vocabulary:
        """The items of the run, and its users if the model uses user ids.

        Raises:
            DataError: the files are missing or damaged.
            RunError: the files belong to another run.
        """
        from actsr_cli.data.vocabulary import Vocabulary

        record = self.record
        vocabulary = Vocabulary.load(self.path, record.files)
        users = len(vocabulary.user_names or ()) if find_model(self.config.model.name).needs_users else record.users
        if (vocabulary.n_items, users) != (record.items, record.users):
            raise RunError(f"the vocabulary in {self.path} does not belong to this run: it has other items or users")
        return vocabulary

    def trust_code(self) -> None:
        """Allow importing the model and the loss that the run's folder names: the user trusts them."""
        trust(self.config.model.name, self.config.loss.name)

    @property
    def model_is_trained(self) -> bool:
        """Whether its model is trained by gradients, so that it has epochs and checkpoints."""
        return find_model(self.config.model.name).trained

    def write_config(self) -> None:
        """Write the configuration to config.yaml."""
        import yaml

        text = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False)
        sealed.write_sealed(self.path / CONFIG, text)

    def update(self, **changes: Unpack[Changes]) -> None:
        """Change entries of the record.

        Raises:
            BusyError: another process trains the run.
        """
        self.check_ours()
        save_record(self.path, self.record.updated(**changes))

    def add_metrics(self, key: str, values: Mapping[str, Any]) -> None:
        """Add `values` to those of their epoch under `key` in metrics.json; a damaged file is replaced, and logged."""
        with locks.held(self.path / ".metrics.lock", f"the metrics of {self.name}", "written", waits=True):
            try:
                before = self.metrics
            except RunError as error:
                _log.warning("%s; it is written anew", error.message)
                before = {}
            former = before.get(key, {})
            kept = former if former.get("epoch") == values.get("epoch") else {}  # with other cut-offs
            sealed.write_json(self.path / "metrics.json", before | {key: {**kept, **values}})

    def clear(self) -> None:
        """Delete what a training has written, and write the configuration: the run can be trained anew."""
        of_epochs = map(self.path.joinpath, ("history.csv", "metrics.json"))
        for file in (self.model_file, self.checkpoint_file, self.batch_checkpoint_file, *of_epochs):
            file.unlink(missing_ok=True)
        if (board := self.path / "tensorboard").exists():
            remove_folder(board)
        self.write_config()

    def training_lock(self) -> AbstractContextManager[None]:
        """Hold the lock of the process that trains the run within this context.

        Raises:
            BusyError: another process holds the lock.
        """
        return lock.held(self.path, self.name)

    def check_ours(self) -> None:
        """Raise BusyError if the run was deleted while it was trained, and another process trains one of its name."""
        lock.check_ours(self.path, self.name)

    def check_not_training(self) -> None:
        """Raise BusyError if another process trains the run."""
        lock.check_free(self.path, self.name)


@contextmanager
def new_run(
    runs_dir: Path, config: RunConfig, data: SequenceData, *, name: str | None = None, origin: Origin | None = None
) -> Iterator[Run]:
    """Create the folder of a new run, and hold its lock within this context, in which the run is trained.

    The folder appears when it is complete. A run of this name without a finished epoch is replaced, which is logged.

    Args:
        runs_dir: root of the runs.
        config: the resolved configuration.
        data: the training data; their fingerprint and vocabulary are stored.
        name: last part of the name of the run; None: date and time.
        origin: where the run comes from, for the record.

    Raises:
        RunError: a run of this name exists already, or the name is not a valid folder name.
        BusyError: another process trains a run of this name.
        DiskError: the folder cannot be written.
    """
    from actsr_cli.data.vocabulary import Vocabulary

    if name is not None:
        check_name(name)
    record = _first_record(config, data, origin or Origin(), name or new_name())
    parent = runs_dir / record.dataset / record.model
    with ExitStack() as trained:
        with scratch_folder(parent / record.name) as scratch:
            Run(scratch, config, record.title).write_config()
            files = Vocabulary.of(data, users=find_model(config.model.name).needs_users).save(scratch)
            with lock.creating(runs_dir):
                path = free_place(parent, name)
                record = record.model_copy(update={"name": path.name, "files": files})
                save_record(scratch, record)
                move_to(path, scratch)
                run = Run(path, config, record.title)
                trained.enter_context(run.training_lock())
        yield run


def _first_record(config: RunConfig, data: SequenceData, origin: Origin, name: str) -> RunRecord:
    """The record of a run that begins."""
    return RunRecord(
        status=Status.RUNNING,
        dataset=config.dataset,
        model=display_name(config),
        name=name,
        preset=origin.preset,
        study=origin.study,
        trial=origin.trial,
        source=origin.source,
        imported=origin.imported,
        fingerprint=data.fingerprint,
        data_folder=None if origin.data_folder is None else origin.data_folder.resolve(),
        users=data.n_users,
        items=data.n_items,
        interactions=data.n_interactions,
        started=now(),
        monitor=config.training.monitor,
        environment=Environment.here(origin.command),
    )


def open_run(path: Path) -> Run:
    """Open the run in folder `path`.

    Raises:
        RunError: the folder is not a run, or its version or config does not fit this version.
    """
    from pydantic import ValidationError

    from actsr_cli.config import RunConfig
    from actsr_cli.config.reading import parse_yaml

    record = read_record(path)
    config = path / CONFIG
    if not has_config(path):
        raise RunError(f"{path} is damaged: it has no {CONFIG}")
    try:
        text, fits = sealed.read_sealed(config)
        settings = RunConfig.model_validate(parse_yaml(text))
    except (sealed.DamageError, ConfigError, ValidationError) as error:
        raise RunError(
            f"{config} cannot be read: {shortened(_first_problem(error), 300)}",
            hint="The run is damaged or from another version of actsr. To delete it: actsr runs delete.",
        ) from error
    if fits is False or (fits is None and record.files is not None):
        raise damaged(config, f"{sealed.CHANGED}. The settings of a run are a record of how it was trained")
    for named in (settings.model.name, settings.loss.name):
        named_by_run(named)
    return Run(path.resolve(), settings, record.title)


def has_config(path: Path) -> bool:
    """Whether there are settings in a run's folder; they may not fit this version."""
    return (path / CONFIG).is_file()


def status_of(path: Path, record: RunRecord) -> Status:
    """The status of the run in a folder, from its record and from whether a process trains it."""
    if record.status is not Status.RUNNING or lock.holder(path) is not None:
        return record.status
    now_recorded = read_record(path).status  # it may have ended since the record was read
    return Status.STOPPED if now_recorded is Status.RUNNING else now_recorded


def _first_problem(error: Exception) -> str:
    """The first problem of a config, in one line."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
