"""What the commands do, for notebooks and programs: `import actsr_cli as actsr`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from actsr_cli import console
from actsr_cli.config import RunConfig
from actsr_cli.data.catalog import all_names
from actsr_cli.data.prepare import Prepared
from actsr_cli.data.readers import Columns
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.splits import SplitName
from actsr_cli.distributed import Workers, joined_workers
from actsr_cli.errors import ConfigError, nearest
from actsr_cli.evaluation.protocol import Candidates, Protocol, Seen
from actsr_cli.experiment.check import check_trainable
from actsr_cli.experiment.data import Preparation, Raw, data_of, prepare_for, prepare_raw
from actsr_cli.experiment.evaluate import Evaluation, evaluate_run, request_for
from actsr_cli.experiment.find import find_run, latest_run
from actsr_cli.experiment.launch import Launch, Launched, check_no_refit, ended, refit, train_new, train_series
from actsr_cli.experiment.recommend import open_recommender
from actsr_cli.experiment.resume import LONGER_KEYS, changed_keys, check_resumable, reconfigure, resume_run
from actsr_cli.experiment.run import Origin, Run
from actsr_cli.models.registry import parse_name
from actsr_cli.presets import ResolvedConfig, preset_for, preset_name, resolve
from actsr_cli.progress import training_progress
from actsr_cli.recommending.recommender import Recommender
from actsr_cli.training.device import use_threads

if TYPE_CHECKING:
    from actsr_cli.training.trainer import Observer

Place = str | Path | None
OnTrained = Callable[[Launched], None]


def load(
    run: str | Path | Run | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
    data_dir: Place = None,
    runs_dir: Place = None,
) -> Recommender:
    """The best model of a run, ready to recommend. It needs the run's folder alone, not its data.

    Args:
        run: a folder, DATASET/MODEL/NAME or its end; None takes the latest finished run.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; None leaves PyTorch's choice.
        batch_size: histories scored at a time; None takes the run's.
        data_dir: root of the data sets, for `recommend_users`. Default: ACTSR_DATA, or `dataset`.
        runs_dir: root of the runs. Default: ACTSR_RUNS, or `runs`.

    Raises:
        RunError: there is no such run, it has no model, or its files are damaged.
        ConfigError: the device is not there.
    """
    _check_counts(threads=threads, batch_size=batch_size)
    use_threads(threads)
    root = _runs(runs_dir)
    found = run if isinstance(run, Run) else latest_run(root, refits=True) if run is None else find_run(root, str(run))
    return open_recommender(found, _data(data_dir), device, batch_size)


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

    What is prepared is kept. A second call with the same input and settings opens it.

    Args:
        name: the data set: a name of the catalogue, or one of your own.
        file: its interactions; None reads the folder of this name, or the file that was given before.
        items: a file with titles and categories of items.
        format: of `file`; None tells by its suffix.
        columns: names of columns for `user`, `item`, `timestamp` and `rating`, and the `separator` of a CSV.
        preset: take the filters of this preset; None takes the data set's own preset, where there is one.
        settings: filters by key, such as {"user_core": 5}; they win over the preset.
        skip_bad_lines: count malformed lines instead of stopping at the first.
        force: prepare again even if it was done before.
        data_dir: root of the data sets. Default: ACTSR_DATA, or `dataset`.

    Raises:
        DataError: the input is missing or malformed, or nothing is left of it.
        ConfigError: a setting is refused.
    """
    raw = Raw(
        name,
        None if file is None else Path(file),
        None if items is None else Path(items),
        format,
        _columns(columns or {}),
    )
    with console.working(f"Preparing {name}") as say:
        return prepare_raw(
            raw,
            _data(data_dir),
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
        config: a YAML file of settings, which win over the preset.
        settings: settings by dotted key, such as {"training.epochs": 3}; they win over all others.
        name: last part of the run's name; None takes date and time.
        refit: then train a final model on all data, for as many epochs as validation chose. It is returned.
        data_dir: root of the data sets. Default: ACTSR_DATA, or `dataset`.
        runs_dir: root of the runs. Default: ACTSR_RUNS, or `runs`.

    Raises:
        ConfigError: a setting is refused.
        DataError: the data set is not there, or cannot be prepared.
        RunError: there is a run of this name already, or the training fails.
    """
    resolved = _resolved(model, preset, dataset, config, settings)
    return train_resolved(resolved, name=name, final=refit, data_dir=data_dir, runs_dir=runs_dir)[-1].run


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
    """Train one run per seed, from `training.seed` on; see `train`. The same call again trains only what is missing.

    Args:
        seeds: how many.
        model: see `train`.
        preset: see `train`.
        dataset: see `train`.
        config: see `train`.
        settings: see `train`.
        name: of the series; its runs are called NAME-sSEED.
        data_dir: see `train`.
        runs_dir: see `train`.

    Raises:
        RunError: a run of the series is there already with other settings; and see `train`.
        ConfigError: seeds is below 1; and see `train`.
    """
    _check_counts(seeds=seeds)
    resolved = _resolved(model, preset, dataset, config, settings)
    launched = train_resolved(resolved, name=name, seeds=seeds, data_dir=data_dir, runs_dir=runs_dir)
    return [each.run for each in launched]


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
    data_dir: Place = None,
    runs_dir: Place = None,
) -> Evaluation:
    """Measure how well a run ranks the held-out items; see `actsr evaluate`. The metrics are kept in the run, too.

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
        data_dir: root of the data sets. Default: ACTSR_DATA, or `dataset`.
        runs_dir: root of the runs. Default: ACTSR_RUNS, or `runs`.

    What is None is as the run was trained.

    Raises:
        RunError: there is no such run, it has no model, its data are gone, or nothing is held out.
        ConfigError: an option is none of its choices, options do not go together, or a metric is unknown.
    """
    _check_choices(split=(split, SplitName), seen=(seen, Seen), candidates=(candidates, Candidates))
    _check_counts(threads=threads, batch_size=batch_size, n_candidates=n_candidates)
    if isinstance(metrics, str) or isinstance(k, int):
        raise ConfigError("metrics and k are lists, such as metrics=['ndcg'], k=[10]")
    for cutoff in k or ():
        _check_counts(k=cutoff)
    use_threads(threads)
    opened = run if isinstance(run, Run) else find_run(_runs(runs_dir), None if run is None else str(run))
    data = data_of(opened, _data(data_dir)).data
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
    data_dir: Place = None,
    runs_dir: Place = None,
) -> Run:
    """Continue a run from its last finished epoch; see `actsr train --resume`.

    Args:
        run: a folder, DATASET/MODEL/NAME or its end.
        settings: what makes it longer, such as {"training.epochs": 50}, or where it is trained.
        refit: then train the final model on all data; of a finished run that alone. It is returned.
        data_dir: see `train`.
        runs_dir: see `train`.

    Raises:
        RunError: there is no such run, it cannot be continued, or the training fails.
        ConfigError: a setting is refused.
    """
    continued = continue_run(
        str(run.path if isinstance(run, Run) else run),
        overrides=_nulls(settings),
        options=settings,
        final=refit,
        data_dir=data_dir,
        runs_dir=runs_dir,
    )
    return continued[-1].run


def train_resolved(
    resolved: ResolvedConfig,
    *,
    name: str | None = None,
    seeds: int | None = None,
    final: bool = False,
    data_dir: Place = None,
    runs_dir: Place = None,
    on_trained: OnTrained | None = None,
) -> list[Launched]:
    """Train what resolved settings ask for; `train` and `train_seeds` are this with settings by name.

    Args:
        resolved: the settings and where they came from.
        name: last part of the run's name, or the name of the series.
        seeds: train one run per seed; None trains one run.
        final: then train a final model on all data.
        data_dir: see `train`.
        runs_dir: see `train`.
        on_trained: called with each trained run.

    Raises:
        RunError: see `train`.
    """
    with _workers() as workers:
        if resolved.preset is None and not any(source.startswith("file ") for source in resolved.sources.values()):
            _name_preset(resolved.config.dataset)
        with console.working("Preparing data") as say:
            config, prepared = workers.in_turn(lambda: prepare_for(resolved, _data(data_dir), on_step=say))
        workers.agree_on(prepared.data.fingerprint)
        for text in prepared.report.warnings:
            console.warn(text)
        check_trainable(config, prepared.data)
        if final and name is not None:
            check_no_refit(_runs(runs_dir), config, name)
        launch = _launch(_runs(runs_dir), workers, prepared, preset_name(resolved))
        trained = []
        for launched in _trained(config, prepared.data, launch, name, seeds, final):
            _tell(on_trained, launched)
            trained.append(launched)
        return trained


def continue_run(
    name: str | None,
    *,
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    final: bool = False,
    data_dir: Place = None,
    runs_dir: Place = None,
    on_trained: OnTrained | None = None,
) -> list[Launched]:
    """Continue a run, or only train the final model of a finished one; `resume` is this.

    Args:
        name: a folder, DATASET/MODEL/NAME or its end; None takes the latest finished run.
        overrides: `section.key=value` texts, below `options`.
        options: settings by dotted key.
        final: train the final model on all data, too.
        data_dir: see `train`.
        runs_dir: see `train`.
        on_trained: called with each trained run.

    Raises:
        RunError: see `resume`.
    """
    root = _runs(runs_dir)
    with _workers() as workers:
        run = find_run(root, name)
        wanted = resolve(file=run.path / "config.yaml", overrides=overrides, options=options).config
        if name is None:
            console.note(f"The latest finished run is {run.name}")
        if final:
            check_no_refit(root, run.config, run.record.name)
        only_final = final and run.record.finished and not LONGER_KEYS & changed_keys(run, wanted)
        if not only_final:
            check_resumable(run)
            run = reconfigure(run, wanted)
        prepared = workers.in_turn(lambda: data_of(run, _data(data_dir)))
        launch = _launch(root, workers, prepared, run.record.preset)
        trained = []
        if not only_final:
            console.note(f"Continuing {run.name}")
            with training_progress(run.config.training) as progress:
                trained.append(ended(run, resume_run(run, prepared.data, progress, workers), workers))
            _tell(on_trained, trained[-1])
        if final and not any(each.interrupted for each in trained):
            trained.append(refit(replace(run, config=wanted), prepared.data, launch))
            _tell(on_trained, trained[-1])
        return trained


def _trained(
    config: RunConfig, data: SequenceData, launch: Launch, name: str | None, seeds: int | None, final: bool
) -> Iterator[Launched]:
    """Each run once it is trained; none comes after an interrupted one."""
    if seeds is not None:
        yield from train_series(config, data, launch, seeds, name)
        return
    launched = train_new(config, data, launch, name)
    yield launched
    if final and not launched.interrupted:
        yield refit(launched.run, data, launch)


def _tell(on_trained: OnTrained | None, launched: Launched) -> None:
    if on_trained is not None:
        on_trained(launched)


def _resolved(
    model: str | None,
    preset: str | Path | None,
    dataset: str | None,
    config: str | Path | None,
    settings: Mapping[str, Any] | None,
) -> ResolvedConfig:
    """The settings of a training, from the arguments of `train`."""
    options: dict[str, Any] = {"dataset": dataset}
    if model is not None:
        backbone, kind = parse_name(model)
        options |= {"model.name": backbone, "calibration.kind": kind}
    file = None if config is None else Path(config)
    return resolve(preset=preset, file=file, overrides=_nulls(settings), options=options | dict(settings or {}))


def _nulls(settings: Mapping[str, Any] | None) -> list[str]:
    """Overrides for the settings that are None on purpose: of options, None is one that was not given."""
    return [f"{key}=null" for key, value in (settings or {}).items() if value is None]


def _columns(names: Mapping[str, str]) -> Columns:
    if unknown := [name for name in names if name not in Columns.model_fields]:
        raise ConfigError(f"no column '{unknown[0]}' to name; {nearest(unknown[0], Columns.model_fields)}")
    return Columns(**names)


def _check_choices(**chosen: tuple[str | None, Any]) -> None:
    """Raise ConfigError where a text is not None and none of its `Literal`."""
    for name, (value, choices) in chosen.items():
        if value is not None and value not in get_args(choices):
            raise ConfigError(f"{name} must be {' or '.join(get_args(choices))}, not {value!r}")


def _check_counts(**counts: int | None) -> None:
    """Raise ConfigError where a number is not None and no whole number of at least 1."""
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < 1):
            raise ConfigError(f"{name} must be a whole number of at least 1, not {value!r}")


def _launch(runs_dir: Path, workers: Workers, prepared: Prepared, preset: str | None) -> Launch:
    return Launch(
        runs_dir, Origin(sys.argv, preset, prepared.folder), workers, observe=partial(_observed, prepared.data)
    )


@contextmanager
def _observed(data: SequenceData, run: Run) -> Iterator[Observer]:
    """Progress of a new run in the terminal."""
    everything = "" if run.config.split.by != "none" else f" for {run.config.training.last_epoch} epochs on all data"
    console.note(f"Training {run.name}{everything}: {data.n_users:,} users, {data.n_items:,} items")
    with training_progress(run.config.training) as progress:
        yield progress


@contextmanager
def _workers() -> Iterator[Workers]:
    """The processes of this training, of which the first alone prints."""
    with joined_workers() as workers, console.silent(not workers.leads):
        yield workers


def _name_preset(dataset: str) -> None:
    """Say which preset there is for a data set."""
    if (fitting := preset_for(*all_names(dataset))) is not None:
        console.note(f"No preset given: using defaults. There is a preset for this data set: --preset {fitting}")


def _data(folder: Place) -> Path:
    return Path(folder or os.environ.get("ACTSR_DATA") or "dataset")


def _runs(folder: Place) -> Path:
    return Path(folder or os.environ.get("ACTSR_RUNS") or "runs")
