"""Worker processes: each takes one trial of a study after another and trains it as a run."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from logging import getLogger
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

import optuna
import torch
from optuna.trial import Trial, TrialState

from actsr_cli.config import RunConfig
from actsr_cli.data.sequences import SequenceData
from actsr_cli.errors import ActsrError, DiskError, RunError
from actsr_cli.experiment.check import check_trainable
from actsr_cli.experiment.data import data_of_fingerprint
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.run import Origin, Run, new_run
from actsr_cli.experiment.teachers import pin_teachers
from actsr_cli.experiment.train import train_run
from actsr_cli.presets import with_values
from actsr_cli.training.interrupt import stop_on_interrupt
from actsr_cli.training.trainer import EpochRecord, Observer, TrainingState
from actsr_cli.tuning.queue import ERROR, RUN, claim, fail_and_repeat
from actsr_cli.tuning.study import Plan, in_time, open_study

_log = getLogger("actsr")


@contextmanager
def workers(plan: Plan, command: list[str]) -> Iterator[list[BaseProcess]]:
    """Start the plan's processes on this machine. On exit, terminate those that still run and wait for them.

    Args:
        plan: the study.
        command: the command line of the study, for the record of each run.
    """
    context = get_context("spawn")  # a forked torch would inherit the locks of its threads
    processes = [context.Process(target=work, args=(plan, index, command)) for index in range(plan.workers)]
    with _deaf():
        for process in processes:
            process.start()
    try:
        yield list(processes)
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join()


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started in this context ignore Ctrl-C: only this process handles it, and it stops the others.

    A Ctrl-C within the context reaches this process at its end.
    """
    if sys.platform == "win32":  # signals cannot be blocked there
        yield
        return
    resource_tracker.ensure_running()  # it would unblock the signal if it started later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(plan: Plan, index: int, command: list[str]) -> None:
    """Run trials until none is left, the time is up, or the worker is interrupted.

    Args:
        plan: the study.
        index: index of this worker.
        command: the command line of the study.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        _work(plan, index, command)
    except DiskError as error:
        _log.error("error: %s", error.message)
        sys.exit(error.exit_code)


def _work(plan: Plan, index: int, command: list[str]) -> None:
    study = open_study(plan)
    base = on_this_machine(plan, index)
    prepared = data_of_fingerprint(plan.config, plan.fingerprint, plan.data_dir)
    origin = Origin(command, preset=plan.preset, data_folder=prepared.folder, study=plan.title)
    with stop_on_interrupt() as interrupted:

        def stopping() -> bool:
            parent = parent_process()
            return interrupted() or (parent is not None and not parent.is_alive())

        while not stopping() and in_time(plan):
            claimed = claim(plan, study)
            if claimed is None:
                return
            trial, lock = claimed
            with lock:
                if not run_trial(plan, study, trial, base, prepared.data, origin, stopping):
                    return


def on_this_machine(plan: Plan, index: int) -> RunConfig:
    """The settings of a worker's trials, with its share of the threads and, if there are several GPUs, its own GPU."""
    training: dict[str, Any] = {}
    if plan.config.training.threads is None and plan.workers > 1:
        training["threads"] = max(1, (os.cpu_count() or 1) // plan.workers)
    if plan.config.training.device == "auto" and torch.cuda.device_count() > 1:
        training["device"] = f"cuda:{index % torch.cuda.device_count()}"
    return plan.config.model_copy(update={"training": plan.config.training.model_copy(update=training)})


def run_trial(
    plan: Plan,
    study: optuna.Study,
    trial: Trial,
    base: RunConfig,
    data: SequenceData,
    origin: Origin,
    stopping: Callable[[], bool],
) -> bool:
    """Train the run of a trial and report its result to the study.

    A trial that raises an error, such as incompatible settings or too little memory, has failed: the error is recorded,
    and the other trials continue. Returns False if the trial was interrupted; it is then enqueued again.
    """
    try:
        config = with_values(base, trial.params)
        check_trainable(config, data)
        config = pin_teachers(config, data, plan.runs_dir)
        name = f"{plan.name}-t{trial.number:03}"
        judge = _Judge(trial, config.training.monitor)
        with new_run(plan.runs_dir, config, data, name=name, origin=replace(origin, trial=trial.number)) as run:
            trial.set_user_attr(RUN, run.name)
            state = train_run(run, data, judge, stop=lambda: judge.gives_up or stopping(), runs_dir=plan.runs_dir)
    except DiskError:  # the other trials would fail, too; the next call repeats this one, which has not died
        with suppress(ActsrError, OSError):
            fail_and_repeat(study, trial.number)
        raise
    except Exception as error:  # noqa: BLE001 (the study shows it)
        trial.set_user_attr(ERROR, str(error) if isinstance(error, ActsrError) else f"{type(error).__name__}: {error}")
        study.tell(trial, state=TrialState.FAIL)
        return True
    return _tell(study, trial, run, state, given_up=judge.gives_up)


def _tell(study: optuna.Study, trial: Trial, run: Run, state: TrainingState, *, given_up: bool) -> bool:
    """Report the result of a run to the study; returns False if the run was interrupted."""
    if run.record.finished:
        study.tell(trial, state.best_value)
    elif given_up:
        run.update(status=Status.PRUNED)
        study.tell(trial, state=TrialState.PRUNED)
    else:
        fail_and_repeat(study, trial.number)
        return False
    return True


class _Judge(Observer):
    """Reports the best value so far after each validated epoch, and asks the pruner whether to stop the trial.

    Args:
        trial: the trial.
        monitor: the metric.
    """

    def __init__(self, trial: Trial, monitor: str) -> None:
        self.trial = trial
        self.monitor = monitor
        self.gives_up = False

    def epoch_finished(self, record: EpochRecord, state: TrainingState) -> None:
        if not record.metrics:
            return
        self.trial.report(state.best_value, record.epoch)
        self.gives_up = self.trial.should_prune()


def check_ends(processes: list[BaseProcess]) -> None:
    """Raise if a worker has ended with an unexpected error.

    Raises:
        RunError: a worker has a nonzero exit code.
    """
    failed = [process.exitcode for process in processes if process.exitcode]
    if failed:
        code, again = max(failed), "The same command continues the study and runs their trials again."
        killed = code < 0  # all of them
        how = f"were killed ({signal.Signals(-code).name})" if killed else f"ended with an error (exit code {code})"
        raise RunError(
            f"{len(failed)} of {len(processes)} workers {how}",
            hint=again if killed else f"The lines above show the error. {again}",
        )


def wait(processes: list[BaseProcess], seconds: float) -> bool:
    """Wait up to `seconds` for all processes to end; returns whether they have."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    return not any(process.is_alive() for process in processes)
