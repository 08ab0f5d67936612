"""The commands as functions, for notebooks and programs: `import actsr_cli as actsr`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, get_args

from actsr_cli import console
from actsr_cli.data.readers.columns import COLUMN_OPTIONS, Columns
from actsr_cli.data.splits import SplitName
from actsr_cli.errors import ConfigError, nearest
from actsr_cli.evaluation.protocol import Candidates, Protocol, Seen
from actsr_cli.experiment.data import Preparation, Raw, data_of, prepare_raw
from actsr_cli.experiment.evaluate import Evaluation, evaluate_run, request_for
from actsr_cli.experiment.launch import Launched
from actsr_cli.experiment.recommend import open_recommender
from actsr_cli.experiment.run import Run
from actsr_cli.models.registry import model_settings
from actsr_cli.presets import ResolvedConfig, resolve
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.sessions import Place, continue_run, data_root, opened_run, train_resolved
from actsr_cli.training.device import use_threads


def load(
    run: str | Path | Run | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
    trust_code: bool = False,
    data_dir: Place = None,
    runs_dir: Place = None,
) -> Recommender:
    """Load the best model of a run as a recommender. It needs only the run's folder, not its data.

    Args:
        run: a folder, DATASET/MODEL/NAME or its end; None takes the latest finished run.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; None leaves PyTorch's choice.
        batch_size: histories scored at a time; None takes the run's.
        trust_code: import the run's model even if it is code that only the run's folder names, see docs/trust.md.
        data_dir: root of the data sets, for `recommend_users`. Default: ACTSR_DATA, or `dataset`.
        runs_dir: root of the runs. Default: ACTSR_RUNS, or `runs`.

    Raises:
        RunError: there is no such run, it has no model, or its files are damaged.
        ConfigError: the device is not there.
    """
    _check_counts(threads=threads, batch_size=batch_size)
    use_threads(threads)
    found = opened_run(run, runs_dir, trust_code, refits=True)
    return open_recommender(found, data_root(data_dir), device, batch_size)


def prepare(
    name: str,
    file: str | Path | None = None,
    *,
    items: str | Path | None = None,
    format: str | None = None,  # noqa: A002  # the name of the command's option
    columns: Mapping[str, str] | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    skip_bad_lines: bool = False,
    force: bool = False,
    data_dir: Place = None,
) -> Preparation:
    """Turn raw interactions into prepared sequences; see `actsr preprocess`.

    The prepared data are saved. A second call with the same input and settings opens them.

    Args:
        name: the data set: a name of the catalogue, or one of your own.
        file: its interactions. Default: the files in the folder of this name, or the file that was given before.
        items: a file with titles and categories of items.
        format: format of `file`. Default: by its suffix.
        columns: names of columns for `user`, `item`, `timestamp` and `rating`, the `separator` of a table, its
            `encoding`, and `header`: "none" for a table without names of columns, which are numbers then, from "1".
        preset: take the filters of this preset. Default: the data set's own preset, if there is one.
        settings: filters by key, such as {"user_core": 5}; they override the preset.
        skip_bad_lines: skip and count malformed lines instead of stopping at the first.
        force: prepare again even if it was done before.
        data_dir: root of the data sets. Default: ACTSR_DATA, or `dataset`.

    Raises:
        DataError: the input is missing or malformed, or no interactions are left.
        ConfigError: a setting is refused.
    """
    if unknown := sorted(set(columns or {}) - set(COLUMN_OPTIONS)):
        raise ConfigError(f"unknown column '{unknown[0]}'; {nearest(unknown[0], COLUMN_OPTIONS)}")
    raw = Raw(
        name,
        None if file is None else Path(file),
        None if items is None else Path(items),
        format,
        Columns(**(columns or {})),
    )
    with console.working(f"Preparing {name}") as say:
        return prepare_raw(
            raw,
            data_root(data_dir),
            preset=preset,
            options={f"data.{key}": value for key, value in (settings or {}).items()},
            on_bad_line="skip" if skip_bad_lines else "error",
            force=force,
            on_step=say,
        )


def train(
    model: str | None = None,
    *,
    preset: str | Path | None = None,
    dataset: str | None = None,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str | None = None,
    refit: bool = False,
    data_dir: Place = None,
    runs_dir: Place = None,
) -> Run:
    """Train a model to its best validation epoch; see `actsr train`. Progress goes to standard error.

    Args:
        model: a name of `actsr models`, such as `ac-sasrec`; None takes the preset's.
        preset: a preset by name or file.
        dataset: the data set; None takes the preset's.
        config: a YAML file of settings, which override the preset.
        settings: settings by dotted key, such as {"training.epochs": 3}; they override all others.
        name: last part of the run's name. Default: date and time.
        refit: then train a final model on all data, for as many epochs as validation chose, and return it.
        data_dir: root of the data sets. Default: ACTSR_DATA, or `dataset`.
        runs_dir: root of the runs. Default: ACTSR_RUNS, or `runs`.

    Raises:
        ConfigError: a setting is refused.
        DataError: the data set does not exist, or cannot be prepared.
        RunError: a run of this name exists already, or the training fails.
    """
    resolved = _resolved(model, preset, dataset, config, settings)
    return _ended(train_resolved(resolved, name=name, final=refit, data_dir=data_dir, runs_dir=runs_dir))[-1]


def train_seeds(
    seeds: int,
    model: str | None = None,
    *,
    preset: str | Path | None = None,
    dataset: str | None = None,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str | None = None,
    data_dir: Place = None,
    runs_dir: Place = None,
) -> list[Run]:
    """Train one run per seed, from `training.seed` upwards; see `train`. A repeated call trains only the missing runs.

    Args:
        seeds: number of runs.
        model: see `train`.
        preset: see `train`.
        dataset: see `train`.
        config: see `train`.
        settings: see `train`.
        name: name of the series; its runs are called NAME-sSEED.
        data_dir: see `train`.
        runs_dir: see `train`.

    Raises:
        RunError: a run of the series exists with other settings; and see `train`.
        ConfigError: seeds is below 1; and see `train`.
    """
    _check_counts(seeds=seeds)
    resolved = _resolved(model, preset, dataset, config, settings)
    return _ended(train_resolved(resolved, name=name, seeds=seeds, data_dir=data_dir, runs_dir=runs_dir))


def evaluate(
    run: str | Path | Run | None = None,
    *,
    split: SplitName = "test",
    seen: Seen | None = None,
    candidates: Candidates | None = None,
    n_candidates: int | None = None,
    metrics: Sequence[str] | None = None,
    k: Sequence[int] | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    trust_code: bool = False,
    data_dir: Place = None,
    runs_dir: Place = None,
) -> Evaluation:
    """Measure how well a run ranks the held-out items; see `actsr evaluate`. The metrics are also saved in the run.

    Args:
        run: a folder, DATASET/MODEL/NAME or its end; None takes the latest finished run.
        split: rank the targets of this split: `test` or `valid`.
        seen: items of the history: `rank` them (protocol A), `exclude` them (B), or `exclude-repeats` (B as published).
        candidates: rank a target among `all` items, or among a sample: `uniform` or `popularity`.
        n_candidates: sampled items per target.
        metrics: names of metrics, or ["all"].
        k: cut-offs.
        batch_size: histories scored at a time.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; None leaves PyTorch's choice.
        trust_code: see `load`.
        data_dir: root of the data sets. Default: ACTSR_DATA, or `dataset`.
        runs_dir: root of the runs. Default: ACTSR_RUNS, or `runs`.

    Arguments that are None take the run's settings.

    Raises:
        RunError: there is no such run, it has no model, its data are missing, or it has no held-out items.
        ConfigError: an option has an invalid value, options conflict, or a metric is unknown.
    """
    _check_choices(split=(split, SplitName), seen=(seen, Seen), candidates=(candidates, Candidates))
    _check_counts(threads=threads, batch_size=batch_size, n_candidates=n_candidates)
    if isinstance(metrics, str) or isinstance(k, int):
        raise ConfigError("metrics and k are lists, such as metrics=['ndcg'], k=[10]")
    metrics = None if metrics is None else list(metrics)  # they may be arrays
    k = None if k is None else list(k)
    if [] in (metrics, k):
        raise ConfigError("metrics and k must name at least one")
    for cutoff in k or ():
        _check_counts(k=cutoff)
    use_threads(threads)
    opened = opened_run(run, runs_dir, trust_code)
    data = data_of(opened, data_root(data_dir)).data
    settings = opened.config.evaluation
    protocol = Protocol.chosen(settings, seen, candidates, n_candidates)
    request = request_for(
        settings, data, protocol, split=split, metrics=metrics, k=k, batch_size=batch_size, device=device
    )
    with console.step_progress() as progress:
        bar = progress.add_task(f"ranking {opened.name}", total=None, status="")
        return evaluate_run(
            opened, data, request, lambda done, total: progress.update(bar, completed=done, total=total)
        )


def resume(
    run: str | Path | Run,
    *,
    settings: Mapping[str, Any] | None = None,
    refit: bool = False,
    trust_code: bool = False,
    data_dir: Place = None,
    runs_dir: Place = None,
) -> Run:
    """Continue a run from its last finished epoch; see `actsr train --resume`.

    Args:
        run: a folder, DATASET/MODEL/NAME or its end.
        settings: settings that may change, such as {"training.epochs": 50} or the device.
        refit: then train the final model on all data and return it; if the run is finished, train only that model.
        trust_code: see `load`.
        data_dir: see `train`.
        runs_dir: see `train`.

    Raises:
        RunError: there is no such run, it cannot be continued, or the training fails.
        ConfigError: a setting is refused.
    """
    continued = continue_run(
        str(opened_run(run, runs_dir, trust_code).path),
        settings=settings,
        final=refit,
        data_dir=data_dir,
        runs_dir=runs_dir,
    )
    return _ended(continued)[-1]


def _ended(launched: Sequence[Launched]) -> list[Run]:
    """The runs of a training.

    Raises:
        KeyboardInterrupt: it was interrupted; the best model so far is saved.
    """
    for each in launched:
        if each.interrupted:
            console.warn(f"interrupted. Continue: resume('{each.run.name}')")
            raise KeyboardInterrupt
    return [each.run for each in launched]


def _resolved(
    model: str | None,
    preset: str | Path | None,
    dataset: str | None,
    config: str | Path | None,
    settings: Mapping[str, Any] | None,
) -> ResolvedConfig:
    """The settings of a training, from the arguments of `train`."""
    chosen: dict[str, Any] = {} if dataset is None else {"dataset": dataset}
    chosen |= model_settings(model)
    file = None if config is None else Path(config)
    return resolve(preset=preset, file=file, settings=chosen | dict(settings or {}))


def _check_choices(**chosen: tuple[str | None, Any]) -> None:
    """Raise ConfigError if a text is neither None nor a value of its `Literal`."""
    for name, (value, choices) in chosen.items():
        if value is not None and value not in get_args(choices):
            raise ConfigError(f"{name} must be {' or '.join(get_args(choices))}, not {value!r}")


def _check_counts(**counts: int | None) -> None:
    """Raise ConfigError if a number is neither None nor a whole number of at least 1."""
    for name, value in counts.items():
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= value <= 2**20
        ):
            raise ConfigError(f"{name} must be a whole number of at least 1, not {value!r}; the largest is 1,048,576")
