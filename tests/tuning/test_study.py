"""A study shared by processes: what each is given, and what becomes of a trial whose process dies."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from filelock import FileLock
from optuna.trial import TrialState
from rich.console import Console

from actsr_cli.commands.tune_view import StudyView
from actsr_cli.config import RunConfig
from actsr_cli.errors import RunError
from actsr_cli.presets import with_values
from actsr_cli.tuning.outcome import outcome_of
from actsr_cli.tuning.space import read_space
from actsr_cli.tuning.study import Plan, claim, counted, fail_and_repeat, open_study, total

SPACE = read_space({"model.layers": [1, 2, 3], "training.learning_rate": [1e-3, 1e-2]}, "here")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        name="one",
        sampler="grid",
        config=RunConfig(dataset="demo"),
        preset="demo",
        space=SPACE,
        fingerprint="abc",
        trials=None,
        pruning=True,
        storage=None,
        runs_dir=tmp_path / "runs",
        data_dir=tmp_path / "dataset",
    )


def run_all(plan: Plan, study: optuna.Study) -> list[dict[str, object]]:
    """The settings of all trials that are left, each finished with a value."""
    settings = []
    while (claimed := claim(plan, study)) is not None:
        trial, lock = claimed
        with lock:
            settings.append(dict(trial.params))
            study.tell(trial, float(trial.params["model.layers"]))
    return settings


def test_a_grid_is_run_once_whoever_asks(plan: Plan) -> None:
    assert total(plan) == 6
    one, other = open_study(plan), open_study(plan)
    first = claim(plan, one)
    second = claim(plan, other)
    assert first is not None and second is not None
    rest = run_all(plan, one)
    settings = [first[0].params, second[0].params, *rest]
    assert sorted(tuple(each.values()) for each in settings) == [
        (layers, rate) for layers in (1, 2, 3) for rate in (1e-3, 1e-2)
    ]
    assert claim(plan, other) is None


def test_a_part_of_a_grid_can_become_the_whole(plan: Plan) -> None:
    some = run_all(replace(plan, trials=2), open_study(replace(plan, trials=2)))
    assert len(some) == 2
    rest = run_all(plan, open_study(plan))
    assert len(rest) == 4
    assert not [each for each in rest if each in some]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_draws_are_repeatable_and_go_on(plan: Plan, tmp_path: Path, sampler: str) -> None:
    base = replace(plan, sampler=sampler, trials=5, runs_dir=tmp_path / "first")  # type: ignore[arg-type]
    straight = run_all(base, open_study(base))
    assert len(straight) == 5
    stopped = replace(base, runs_dir=tmp_path / "second", trials=2)
    begun = run_all(stopped, open_study(stopped))
    on = replace(stopped, trials=5)
    assert begun + run_all(on, open_study(on)) == straight


def test_a_stopped_trial_is_run_again_and_not_counted_twice(plan: Plan) -> None:
    study = open_study(plan)
    claimed = claim(plan, study)
    assert claimed is not None
    stopped, lock = claimed
    fail_and_repeat(study, stopped.number)
    lock.release()
    settings = run_all(plan, study)
    assert settings.count(stopped.params) == 1 and len(settings) == 6
    trials = study.get_trials()
    assert len(trials) == 7 and len(counted(trials)) == 6
    outcome = outcome_of(plan, study)
    assert (outcome.done, outcome.left) == ({"finished": 6, "pruned": 0, "failed": 0}, 0)
    assert outcome.best is not None and outcome.best.value == 3.0
    assert outcome.importances["model.layers"] > 0.9


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/studies.db"])
def test_the_trial_of_a_dead_process_is_run_again(plan: Plan, tmp_path: Path, storage: str | None) -> None:
    """Another process takes a trial and is killed; a third one that is alive keeps its own."""
    plan = replace(plan, storage=None if storage is None else storage.format(tmp_path))
    study = open_study(plan)
    alive = claim(plan, study)
    assert alive is not None
    killed = subprocess.run([sys.executable, "-c", TAKE_AND_DIE, str(tmp_path), plan.storage or ""], check=False)
    assert killed.returncode == -9
    (dead,) = [each for each in study.get_trials(states=(TrialState.RUNNING,)) if each.number != alive[0].number]
    settings = run_all(plan, study)
    assert settings.count(dead.params) == 1 and len(settings) == 5
    assert study.get_trials()[dead.number].state == TrialState.FAIL
    assert study.get_trials()[alive[0].number].state == TrialState.RUNNING
    assert outcome_of(plan, study).left == 1


TAKE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from actsr_cli.config import RunConfig
from actsr_cli.tuning.space import read_space
from actsr_cli.tuning.study import Plan, claim, open_study
space = read_space({"model.layers": [1, 2, 3], "training.learning_rate": [1e-3, 1e-2]}, "here")
folder = Path(sys.argv[1])
plan = Plan(
    name="one", sampler="grid", config=RunConfig(dataset="demo"), preset="demo", space=space, fingerprint="abc",
    trials=None, pruning=True, storage=sys.argv[2] or None, runs_dir=folder / "runs", data_dir=folder / "dataset",
)
claim(plan, open_study(plan))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_another_machine_trains_is_left_to_it(plan: Plan) -> None:
    study = open_study(plan)
    claimed = claim(plan, study)
    assert claimed is not None
    claimed[0].set_user_attr("owner", "elsewhere:/runs/one/0.lock")
    claimed[1].release()
    assert len(run_all(plan, study)) == 5
    assert outcome_of(plan, study).left == 1


def test_a_study_refuses_to_become_another(plan: Plan) -> None:
    open_study(plan)
    smaller = with_values(plan.config, {"model.hidden_size": 16})
    for other, what in (
        (replace(plan, config=smaller), "settings"),
        (replace(plan, space=SPACE[:1]), "search space"),
        (replace(plan, fingerprint="xyz", pruning=False), "pruning, data"),
    ):
        with pytest.raises(RunError, match=f"was begun with another {what}"):
            open_study(other)
    threads = with_values(plan.config, {"training.threads": 1})
    open_study(replace(plan, config=threads, trials=3, workers=2))  # changes no number


def test_a_new_study_refuses_the_runs_of_another(plan: Plan) -> None:
    (plan.runs_dir / "demo" / "sasrec" / "one-t003").mkdir(parents=True)
    with pytest.raises(RunError, match="there are runs of another study demo/sasrec/one"):
        open_study(plan)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/file.db", "nobase://here/there"])
def test_a_storage_that_cannot_be_opened(plan: Plan, url: str) -> None:
    with pytest.raises(RunError, match=r"storage .* cannot be opened"):
        open_study(replace(plan, storage=url))


def test_a_password_is_not_shown(plan: Plan) -> None:
    secret = replace(plan, storage="nobase://me:secret@here/there")
    assert secret.place == "nobase://me:***@here/there"
    with pytest.raises(RunError) as caught:
        open_study(secret)
    assert "secret" not in caught.value.message
    assert plan.place == str(plan.folder)


def test_a_lock_is_free_once_its_process_has_ended(tmp_path: Path) -> None:
    """What all of the above rests on."""
    take = f"import filelock, os; filelock.FileLock({str(tmp_path / 'a.lock')!r}).acquire(); os._exit(1)"
    subprocess.run([sys.executable, "-c", take], check=False)
    with FileLock(tmp_path / "a.lock").acquire(blocking=False) as lock:
        assert lock.lock_counter == 1


def test_the_living_table_shows_the_latest_and_the_best(plan: Plan) -> None:
    study = open_study(plan)
    for epochs, value in ((2, 0.5), (3, 0.25)):
        claimed = claim(plan, study)
        assert claimed is not None
        trial, lock = claimed
        for epoch in range(1, epochs + 1):
            trial.report(value * epoch / epochs, epoch)
        study.tell(trial, value)
        lock.release()
    running = claim(plan, study)
    assert running is not None
    running[0].report(0.125, 1)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(StudyView(plan, study)._table())
    rows = [line.replace("│", " ").split() for line in console.export_text().splitlines()]
    shown = {row[0]: row[1:] for row in rows if row and row[0].isdigit() and row[1] != "of"}
    assert [shown[number][0] for number in "012"] == ["finished", "finished", "running"]
    assert [shown[number][3:5] for number in "012"] == [["2", "0.5000"], ["3", "0.2500"], ["1", "0.1250"]]
    (caption,) = [row for row in rows if row[:4] == ["2", "of", "6", "trials"]]
    assert " ".join(caption[4:]) == "best: trial 0, hit@10 0.5000 about 0 min left"
