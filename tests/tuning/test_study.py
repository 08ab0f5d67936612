"""A study shared by processes: which trials each one gets, and what happens if a process dies."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import optuna
import pytest
from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState, create_trial
from rich.console import Console
from samples import sequence_data

from actsr_cli.commands.tune_view import StudyView
from actsr_cli.config import RunConfig
from actsr_cli.config.models import SASRecOptions
from actsr_cli.errors import RunError
from actsr_cli.experiment.record import Status
from actsr_cli.experiment.run import Origin
from actsr_cli.presets import load_preset, with_values
from actsr_cli.tuning.attempts import AGAIN, DEATHS, counted
from actsr_cli.tuning.draws import draws
from actsr_cli.tuning.outcome import outcome_of, winner
from actsr_cli.tuning.output import write_outcome
from actsr_cli.tuning.queue import LIVES, RUN, _has_died, claim, fail_and_repeat
from actsr_cli.tuning.space import grid, read_space
from actsr_cli.tuning.study import Plan, open_study, total
from actsr_cli.tuning.trials import trial_cells
from actsr_cli.tuning.worker import check_ends, run_trial

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
    """Finish all remaining trials with a value, and return their settings."""
    settings = []
    while (claimed := claim(plan, study)) is not None:
        trial, lock = claimed
        with lock:
            settings.append(dict(trial.params))
            trial.set_user_attr(RUN, f"demo/sasrec/one-t{trial.number:03}")
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


def test_a_whole_grid_can_be_cut_short(plan: Plan) -> None:
    study = open_study(plan)
    claimed = claim(plan, study)
    assert claimed is not None
    with claimed[1]:
        study.tell(claimed[0], 1.0)
    few = replace(plan, trials=2)
    assert len(run_all(few, open_study(few))) == 1
    assert outcome_of(few, study).left == 0 and outcome_of(plan, study).left == 4


def test_a_repetition_beyond_the_number_of_trials_waits_for_its_turn(plan: Plan) -> None:
    study = open_study(plan)
    held = [claim(plan, study) for _ in range(3)]
    settings = [each[0].params for each in held if each is not None]
    assert held[0] is not None and len(settings) == 3
    study.tell(held[0][0], 1.0)
    for each in (held[2], held[1]):
        assert each is not None
        fail_and_repeat(study, each[0].number)
        each[1].close()
    few = replace(plan, trials=2)
    assert run_all(few, open_study(few)) == [settings[1]]
    assert outcome_of(few, study).left == 0
    rest = run_all(plan, open_study(plan))
    assert len(rest) == 4 and settings[2] in rest
    assert outcome_of(plan, study).left == 0


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_machines_that_share_a_storage_take_different_trials(
    plan: Plan, tmp_path: Path, sampler: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has its own folders and locks. A third machine counts before the others ask, and claims a trial too late."""
    base = replace(plan, sampler=sampler, trials=6, storage=f"sqlite:///{tmp_path}/studies.db")  # type: ignore[arg-type]
    machines = [replace(base, runs_dir=tmp_path / name) for name in ("first", "second", "third")]
    studies = [open_study(machine) for machine in machines]
    held = [claim(machine, study) for machine, study in zip(machines[:2], studies, strict=False)]
    settings = [each[0].params for each in held if each is not None]
    settings += run_all(machines[0], studies[0])
    assert len({tuple(each.values()) for each in settings}) == len(settings) == 6
    view = StudyView(machines[0], studies[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actsr_cli.tuning.queue.counted", lambda trials: [])  # the state before the others asked
        assert claim(machines[2], studies[2]) is None
    assert len(studies[0].get_trials()) == 7 and len(counted(studies[0].get_trials())) == 6
    view.update()
    assert "waits to be run again" not in capsys.readouterr().err


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_another_seed_draws_other_settings(plan: Plan, tmp_path: Path, sampler: str) -> None:
    space = read_space({"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}, "here")
    drawn: list[set[object]] = []
    for seed in range(4):
        config = with_values(plan.config, {"training.seed": seed})
        other = replace(plan, sampler=sampler, trials=8, space=space, config=config, runs_dir=tmp_path / str(seed))  # type: ignore[arg-type]
        study = open_study(other)
        rates: list[object] = []
        while (claimed := claim(other, study)) is not None:
            rates.append(claimed[0].params["training.learning_rate"])
            study.tell(claimed[0], 1.0)
            claimed[1].close()
        drawn.append(set(rates))
    assert [len(rates) for rates in drawn] == [8] * 4 and len(set().union(*drawn)) == 32


def test_a_random_search_draws_nothing_twice_and_ends_with_the_space(plan: Plan, tmp_path: Path) -> None:
    """Two processes take trials in turn; a trial that died is run again with its settings, and shifts no other."""
    for folder, dies in (("smooth", False), ("rough", True)):
        base = replace(plan, sampler="random", trials=20, runs_dir=tmp_path / folder)
        one, other = open_study(base), open_study(base)
        assert total(base) == 6
        first = claim(base, one)
        assert first is not None
        first[1].close()
        if dies:
            fail_and_repeat(one, first[0].number)
        else:
            one.tell(first[0], 1.0)
        settings = [*([] if dies else [first[0].params]), *run_all(replace(base, trials=3), other), *run_all(base, one)]
        assert sorted(tuple(each.values()) for each in settings) == sorted(tuple(each.values()) for each in grid(SPACE))
        assert claim(base, other) is None and outcome_of(base, one).left == 0
        assert settings == draws(SPACE, plan.config.training.seed, 6)


def test_tpe_suggests_nothing_twice_and_ends_with_the_space(plan: Plan) -> None:
    """What it prefers is tried once, also where a model has no other keys; a repetition of a dead trial is no other."""
    keys = {"model.name": ["sasrec", "popularity"], "model.layers": [1, 2, 3, 4], "model.heads": [1, 2, 4]}
    base = replace(plan, sampler="tpe", trials=20, space=read_space(keys, "here"))
    study = open_study(base)
    settings: list[dict[str, object]] = []
    while (claimed := claim(base, study)) is not None:
        trial, lock = claimed
        with lock:
            if trial.number == 3:
                fail_and_repeat(study, trial.number)
                continue
            if trial.number == 6:  # its process dies before it has drawn all keys
                study.tell(trial, state=TrialState.FAIL)
                study.enqueue_trial({"model.name": trial.params["model.name"]}, user_attrs={AGAIN: 6, DEATHS: 1})
                continue
            settings.append(dict(trial.params))
            study.tell(trial, 1.0 if trial.params["model.name"] == "popularity" else 0.0)
    assert len(settings) == 13 == len({tuple(each.items()) for each in settings})


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
    lock.close()
    settings = run_all(plan, study)
    assert settings.count(stopped.params) == 1 and len(settings) == 6
    trials = study.get_trials()
    assert len(trials) == 7 and len(counted(trials)) == 6
    outcome = outcome_of(plan, study)
    assert (outcome.done, outcome.left) == ({Status.FINISHED: 6, Status.PRUNED: 0, Status.FAILED: 0}, 0)
    assert outcome.best is not None and outcome.best.value == 3.0
    assert outcome.importance.shares["model.layers"] > 0.9


def test_a_stopped_trial_does_not_compete_with_its_repetition(plan: Plan) -> None:
    """Six constant curves: the last is among the best third at the first rung, if the first counts once."""
    study, curves = open_study(plan), [0.5, 0.3, 0.45, 0.48, 0.4, 0.49]
    claimed = claim(plan, study)
    assert claimed is not None
    stopped, lock = claimed
    for epoch in range(1, 5):
        stopped.report(curves[0], epoch)
        assert not stopped.should_prune()
    fail_and_repeat(study, stopped.number)
    lock.close()
    pruned = []
    for curve in curves:
        claimed = claim(plan, study)
        assert claimed is not None
        with claimed[1]:
            claimed[0].report(curve, 3)
            pruned.append(claimed[0].should_prune())
            study.tell(claimed[0], curve)
    assert pruned == [False, True, True, True, True, False]


def test_a_trial_that_was_stopped_before_its_settings_were_noted(plan: Plan) -> None:
    study = open_study(plan)
    claimed = claim(plan, study)
    assert claimed is not None
    whole, lock = claimed
    lock.close()
    fail_and_repeat(study, whole.number)
    again = study.ask()  # like `claim`, but without the second key
    SPACE[0].suggest(again)
    fail_and_repeat(study, again.number)
    settings = run_all(plan, study)
    assert len(settings) == 6 and len({tuple(each.values()) for each in settings}) == 6
    assert whole.params in settings


def test_what_kills_its_process_every_time_has_failed(plan: Plan) -> None:
    """A free lock means that the process is dead."""
    study, begun = open_study(plan), []
    for _ in range(LIVES):
        claimed = claim(plan, study)
        assert claimed is not None
        claimed[1].close()
        begun.append(claimed[0].params)
    assert begun == [begun[0]] * LIVES
    rest = run_all(plan, study)
    assert len(rest) == 5 and begun[0] not in rest
    outcome = outcome_of(plan, study)
    assert (outcome.done[Status.FAILED], outcome.left) == (1, 0)
    assert StudyView(plan, study).first_error() == "; the first one failed: its process was killed 3 times"


def test_a_trial_that_ends_while_it_is_looked_at_has_not_died(plan: Plan) -> None:
    study = open_study(plan)
    claimed = claim(plan, study)
    assert claimed is not None
    (seen_running,) = study.get_trials(states=(TrialState.RUNNING,))
    study.tell(claimed[0], 1.0)
    claimed[1].close()
    assert not _has_died(plan, study, seen_running)


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/studies.db"])
def test_the_trial_of_a_dead_process_is_run_again(plan: Plan, tmp_path: Path, storage: str | None) -> None:
    """Another process claims a trial and is killed. A third process, which is alive, keeps its trial."""
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
from actsr_cli.tuning.space import grid, read_space
from actsr_cli.tuning.queue import claim
from actsr_cli.tuning.study import Plan, open_study
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
    claimed[0].set_user_attr("owner", "the locks of another machine")
    claimed[1].close()
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
        with pytest.raises(RunError, match=f"already exists and differs in: {what}"):
            open_study(other)
    with pytest.raises(RunError, match="already exists and differs in: the order of its search space"):
        open_study(replace(plan, space=SPACE[::-1]))
    threads = with_values(plan.config, {"training.threads": 1})
    open_study(replace(plan, config=threads, trials=3, workers=2))  # does not change results


def test_a_new_study_refuses_the_runs_of_another(plan: Plan) -> None:
    runs = plan.runs_dir / "demo" / "sasrec"
    (runs / "one-t2-t000").mkdir(parents=True)  # a run of the study one-t2
    open_study(plan)
    shutil.rmtree(plan.folder)
    (runs / "one-t003").mkdir()
    with pytest.raises(RunError, match=r"there are runs of another study one, such as .*one-t003"):
        open_study(plan)


def test_a_study_of_several_models_needs_room_in_each_of_their_folders(plan: Plan) -> None:
    (plan.runs_dir / "demo" / "ac-sasrec" / "one-t000").mkdir(parents=True)
    (plan.runs_dir / "demo" / "gru4rec" / "one-t000").mkdir(parents=True)
    for other in ({"loss.name": ["ce", "bpr"]}, {"calibration.kind": ["none", "spatial"]}):
        open_study(replace(plan, space=read_space(other, "here")))
        shutil.rmtree(plan.folder)
    chooses = read_space({"calibration.kind": ["none", "full"]}, "here")
    with pytest.raises(RunError, match=r"there are runs of another study one, such as .*ac-sasrec/one-t000"):
        open_study(replace(plan, space=chooses))


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
    """All tests above rely on this."""
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
        lock.close()
    running = claim(plan, study)
    assert running is not None
    running[0].report(0.125, 1)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(StudyView(plan, study)._table())
    rows = [line.replace("│", " ").split() for line in console.export_text().splitlines()]
    shown = {row[0]: row[1:] for row in rows if row and row[0].isdigit() and row[1] != "of"}
    assert [shown[number][0] for number in "012"] == ["0.5000", "0.2500", "0.1250"]
    assert [shown[number][1] for number in "012"] == ["finished", "finished", "running"]
    assert [shown[number][4] for number in "012"] == ["2", "3", "1"]
    (caption,) = [row for row in rows if row[:4] == ["2", "of", "6", "trials"]]
    assert " ".join(caption[4:]) == "best: trial 0, hit@10 0.5000 about 0 min left"


@pytest.mark.parametrize(
    ("error", "noted"),
    [
        (RuntimeError("can't allocate memory"), "RuntimeError: can't allocate memory"),
        (RunError("the loss is nan"), "the loss is nan"),
    ],
)
def test_an_error_of_one_trial_is_noted(plan: Plan, error: Exception, noted: str) -> None:
    study = open_study(plan)
    claimed = claim(plan, study)
    assert claimed is not None
    data = sequence_data([[1, 2, 3, 4], [4, 3, 2, 1]])
    with pytest.MonkeyPatch.context() as patch, claimed[1]:
        patch.setattr("actsr_cli.tuning.worker.train_run", Mock(side_effect=error))
        assert run_trial(plan, study, claimed[0], plan.config, data, Origin(["actsr"]), stopping=lambda: False)
    assert outcome_of(plan, study).done[Status.FAILED] == 1
    assert StudyView(plan, study).first_error() == f"; the first one failed: {noted}"


def test_a_killed_worker_leaves_no_lines_to_look_at() -> None:
    again = "The same command continues the study and runs their trials again."
    for code, message, hint in (
        (-9, "1 of 2 workers were killed (SIGKILL)", again),
        (1, "1 of 2 workers ended with an error (exit code 1)", f"The lines above show the error. {again}"),
    ):
        with pytest.raises(RunError) as caught:
            check_ends([Mock(exitcode=0), Mock(exitcode=code)])
        assert (caught.value.message, caught.value.hint) == (message, hint)
    check_ends([Mock(exitcode=0)])


def test_a_setting_that_is_none_is_not_one_that_a_trial_lacks(plan: Plan) -> None:
    space = read_space({"training.gradient_clip": [None, 1.0], "model.layers": [1, 2]}, "here")
    domain: dict[str, BaseDistribution] = {"training.gradient_clip": CategoricalDistribution([None, 1.0])}
    trial = create_trial(params={"training.gradient_clip": None}, distributions=domain, value=0.5)
    assert trial_cells(replace(plan, space=space), trial)[3:5] == ("none", "")


def test_the_winner_is_a_preset_wherever_it_was_trained(plan: Plan) -> None:
    study = open_study(plan)
    run_all(plan, study)
    outcome = outcome_of(plan, study)
    assert outcome.best is not None
    write_outcome(plan, study, outcome, "actsr tune --set 'description=two\n\nlines: x\r\x85\u2028\x1b[31m'")
    preset = load_preset(str(plan.folder / "best.yaml"))
    assert preset.values["data"] == RunConfig().data.model_dump()  # not the latest prepared data
    assert preset.values["split"] == {"by": "last"}
    found = preset.config
    assert isinstance(found.model, SASRecOptions) and found.model.layers == 3
    assert found == with_values(plan.config, {**outcome.best.params, "description": found.description})
    with pytest.raises(RunError, match="was deleted or is on another machine"):
        winner(plan, outcome)
