"""`actsr tune` from the command line: trials as runs, the best one as a preset, and resuming after a kill."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
import yaml
from processes import SMALL, ProcessHere, call, start, wait_until, warm
from records import change

from actsr_cli.errors import RunError
from actsr_cli.tuning import output

DRAW = output._draw
TINY = (*SMALL[:2], "--set", "model.hidden_size=16", "--set", "model.layers=1", "--set", "training.threads=1")
SPACE = """
training.learning_rate: [1.0e-3, 1.0e-2]
model.hidden_dropout: {low: 0.1, high: 0.3, steps: 2}
calibration.mask_weight: [0.1, 0.3]
"""
PLAIN = SPACE.rpartition("calibration")[0]


@pytest.fixture(autouse=True)
def _workers_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of `call` run in this process, unless a test undoes it; those of `start` have processes of their own.

    No pictures are drawn, which takes longer than the trials.
    """
    monkeypatch.setattr(output, "_draw", lambda *_: None)
    monkeypatch.setattr("actsr_cli.tuning.worker.get_context", Mock(return_value=Mock(Process=ProcessHere)))


@pytest.fixture
def space(place: Path) -> str:
    (place / "space.yaml").write_text(SPACE)
    return str(place / "space.yaml")


def record(run: Path) -> dict[str, object]:
    values: dict[str, object] = json.loads((run / "run.json").read_text())
    return values


def test_a_grid_from_trials_to_a_preset(place: Path, space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("tune", "--grid", *TINY, "--epochs", "2", "--space", space)
    refused = " ".join(call(*options, "--model", "sasrec", exit_code=1).stderr.split())
    assert "calibration none has no such key, it belongs to adversarial and full" in refused
    assert not (place / "runs").exists()
    Path(space).write_text(PLAIN)
    first = call(*options, "--model", "sasrec", "--trials", "3", "--test")
    study = place / "runs" / "studies" / "demo" / "sasrec" / "grid"
    said = " ".join(first.stderr.split())
    assert "grid search of 3 trials over training.learning_rate, model.hidden_dropout" in said
    assert "3 finished" in first.stdout
    assert "test split" in first.stdout and "Protocol A" in first.stdout and "Protocol B" in first.stdout

    with monkeypatch.context() as patch:
        patch.setattr("actsr_cli.tuning.worker.get_context", lambda _: warm())
        patch.setattr(output, "_draw", DRAW)
        whole = call(*options, "--model", "sasrec", "--workers", "2")
    runs = sorted((place / "runs" / "demo" / "sasrec").iterdir())
    assert [run.name for run in runs] == [f"grid-t00{number}" for number in range(4)]
    assert all(record(run)["study"] == "demo/sasrec/grid" and record(run)["preset"] == "demo" for run in runs)
    settings = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
    assert {each["training"]["learning_rate"] for each in settings} == {0.001, 0.01}
    table = pd.read_csv(study / "trials.csv")
    values = dict(zip(table["number"], table["value"], strict=True))
    reached = [json.loads((run / "metrics.json").read_text())["valid/exclude"]["ndcg@10"] for run in runs]
    assert [values[number] for number in range(4)] == pytest.approx(reached)
    best = max(values, key=lambda number: values[number])
    assert "4 finished" in whole.stdout
    said = " ".join(whole.stdout.split())
    assert re.search(r"Importance of the settings: .*interactions and chance \d+% .*\(all 4 combinations\)", said)

    text = (study / "best.yaml").read_text()
    assert f"best of study demo/sasrec/grid (trial {best}, validation ndcg@10 {values[best]:.4f})" in text
    call("train", "--preset", str(study / "best.yaml"), "--name", "again", "--threads", "1")
    again = yaml.safe_load((place / "runs/demo/sasrec/again/config.yaml").read_text())
    assert {**again, "description": ""} == {**settings[best], "description": ""}
    metrics = json.loads((place / "runs/demo/sasrec/again/metrics.json").read_text())
    assert metrics["valid/exclude"]["ndcg@10"] == pytest.approx(values[best])

    page = (study / "study.html").read_text()
    assert f"demo/sasrec/grid-t00{best}" in page and len(page) < 1.5e6
    for name in ("optimization_history", "slice", "param_importances", "intermediate_values"):
        assert (study / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_random_search_ends_with_its_space(place: Path) -> None:
    (place / "space.yaml").write_text("model.hidden_dropout: [0.1, 0.2]\ntraining.schedule: [constant]")
    options = ("--random", *TINY, "--model", "sasrec", "--epochs", "1", "--space", str(place / "space.yaml"))
    result = call("tune", *options)
    assert "random search of 2 trials over" in " ".join(result.stderr.split())
    assert "The search space has only 2 combinations: the study ends after them" in " ".join(result.stderr.split())
    assert "Importance of the settings: not shown, only one key varies" in " ".join(result.stdout.split())
    assert len(list((place / "runs" / "demo" / "sasrec").iterdir())) == 2
    told = json.loads(call("tune", *options, "--json").stdout)
    assert (told["importances"], told["interactions"]) == ({}, None)
    assert told["importances_note"] == "only one key varies"


def test_a_killed_worker_matters_only_if_its_trials_are_left(place: Path, space: str) -> None:
    options = ("tune", "--grid", *TINY, "--epochs", "1", "--trials", "1", "--space", space, "--name")
    killed = Mock(side_effect=RunError("1 of 2 workers were killed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actsr_cli.tuning.worker.check_ends", killed)
        assert "1 of 2 workers were killed; the others have finished the study" in call(*options, "done").stderr
        patch.setattr("actsr_cli.tuning.worker.claim", Mock(return_value=None))
        assert "1 of 2 workers were killed" in call(*options, "left", exit_code=1).stderr


def test_the_winner_is_tested_by_the_protocol_of_the_study_too(place: Path, space: str) -> None:
    Path(space).write_text("training.learning_rate: [1.0e-3]")
    options = ("--grid", *TINY, "--epochs", "1", "--model", "sasrec", "--space", space, "--test")
    told = json.loads(call("tune", *options, "--set", "evaluation.seen=exclude-repeats", "--json").stdout)
    assert list(told["test"]) == ["exclude-repeats", "rank", "exclude"]


def test_only_the_winner_is_tested_and_only_on_request(place: Path, space: str) -> None:
    call("tune", "--random", "--trials", "2", "--name", "few", *TINY, "--epochs", "1", "--space", space)
    runs = sorted((place / "runs" / "demo" / "ac-sasrec").iterdir())
    metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
    assert [set(each) for each in metrics] == [{"valid/exclude", "checksum"}] * 2
    best = max(range(2), key=lambda number: metrics[number]["valid/exclude"]["ndcg@10"])
    call("evaluate", f"few-t00{best}", "--metrics", "rank", "--seen", "rank")  # not all that a test measures
    call("tune", "--random", "--trials", "2", "--name", "few", *TINY, "--epochs", "1", "--space", space, "--test")
    metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
    found = [set(each) for each in metrics]
    assert found[best] == {"valid/exclude", "test/rank", "test/exclude", "checksum"}
    assert found[1 - best] == {"valid/exclude", "checksum"}
    again = ("--random", "--trials", "2", "--name", "few", *TINY, "--epochs", "1", "--space", space)
    with pytest.MonkeyPatch.context() as patch:  # nothing is evaluated twice
        patch.setattr("actsr_cli.experiment.evaluate.evaluate_run", pytest.fail)
        told = json.loads(call("tune", *again, "--test", "--json").stdout)
    assert told["study"] == "demo/ac-sasrec/few" and told["left"] == 0
    assert told["ended"] == {"finished": 2, "pruned": 0, "failed": 0}
    assert [trial["number"] for trial in told["trials"]] == [best, 1 - best]
    assert told["trials"][0]["value"] == metrics[best]["valid/exclude"]["ndcg@10"]
    assert told["trials"][0]["run"] == f"demo/ac-sasrec/few-t00{best}" and told["trials"][0]["epochs"] == 1
    assert set(told["trials"][0]["params"]) == set(yaml.safe_load(SPACE)) and told["trials"][0]["seconds"] > 0
    assert told["test"].keys() == {"rank", "exclude"}
    assert told["test"]["rank"].keys() == told["test"]["exclude"].keys()
    assert told["test"]["rank"]["hit@10"] == metrics[best]["test/rank"]["hit@10"]
    change(runs[best] / "metrics.json", **{"test/rank": metrics[best]["test/rank"] | {"epoch": 9, "hit@10": 2.0}})
    of_another_epoch = json.loads(call("tune", *again, "--test", "--json").stdout)
    assert of_another_epoch["test"] == told["test"]
    assert yaml.safe_load(Path(told["preset"]).read_text())["dataset"] == "demo"


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_study_goes_on_where_it_was(place: Path, space: str, stop: signal.Signals) -> None:
    """All processes are killed or interrupted in the second trial; the same command completes the study."""
    study = ("tune", "--grid", *TINY, "--set", "training.patience=99", "--no-pruning", "--space", space)
    options = (*study, "--trials", "2", "--epochs", "3")
    runs = place / "runs" / "demo" / "ac-sasrec"
    process = start(*options, held=1)
    wait_until(lambda: (runs / "grid-t001" / "history.csv").exists(), process)
    if stop == signal.SIGKILL:
        for child in children_of(process.pid):
            os.kill(child, signal.SIGKILL)
    process.send_signal(stop)
    _, messages = process.communicate(timeout=120)
    assert "Traceback" not in messages
    listed = json.loads(call("runs", "--json").stdout)
    assert [each["status"] for each in listed if each["run"].endswith("t001")] == [
        "stopped" if stop == signal.SIGKILL else "interrupted"
    ]
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command continues the study" in messages
        assert "trial   1   stopped, waits to be run again" in messages
        assert record(runs / "grid-t001")["status"] == "interrupted"
    finished = (runs / "grid-t000" / "model.safetensors").read_bytes()
    on = call(*options)
    assert "2 finished" in on.stdout
    assert (runs / "grid-t000" / "model.safetensors").read_bytes() == finished
    again = sorted(run.name for run in runs.iterdir())
    assert again == ["grid-t000", "grid-t001", "grid-t002"]
    settings = [yaml.safe_load((runs / name / "config.yaml").read_text()) for name in again]
    assert settings[1] == settings[2] != settings[0]
    listed = {each["run"]: each["status"] for each in json.loads(call("runs", "--json").stdout)}
    assert listed["demo/ac-sasrec/grid-t001"] == ("stopped" if stop == signal.SIGKILL else "interrupted")
    assert listed["demo/ac-sasrec/grid-t002"] == "finished"


@pytest.mark.parametrize("seconds", [0.0, 1.5])
def test_ctrl_c_while_the_workers_start(place: Path, space: str, seconds: float) -> None:
    """Ctrl-C in a terminal reaches every process of the group, also those that still import torch."""
    options = ("--grid", *TINY, "--workers", "2", "--epochs", "50", "--space", space)
    process = start("tune", *options, trials="spawn")
    study = place / "runs" / "studies" / "demo" / "ac-sasrec" / "grid"
    wait_until(lambda: (study / "journal.log").exists() and len(children_of(process.pid)) == 2, process)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in messages and "the same command continues the study" in messages


def children_of(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread may end meanwhile
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def test_what_falls_behind_is_given_up(place: Path) -> None:
    """Trials that cannot learn are pruned at the first rung, and their runs are marked as pruned."""
    (place / "space.yaml").write_text("training.learning_rate: [1.0e-2, 1.0e-7, 1.1e-7, 1.2e-7]")
    options = ("tune", "--grid", *TINY, "--set", "training.patience=99", "--epochs", "5", "--model", "sasrec")
    call(*options, "--space", str(place / "space.yaml"))
    runs = sorted((place / "runs" / "demo" / "sasrec").iterdir())
    states = [(record(run)["status"], record(run)["epochs"]) for run in runs]
    assert states.count(("pruned", 3)) >= 1
    assert all(state in (("pruned", 3), ("finished", 5)) for state in states)
    assert "pruned" in call("runs", "--status", "pruned").stdout


def test_without_a_preset_all_settings_of_the_latest_finished_run_are_taken(place: Path, space: str) -> None:
    nothing = call("tune", "--grid", "--space", space, exit_code=1)
    said = " ".join(nothing.stderr.split())
    assert "no preset is given, and there is no run in" in said
    own = ("--set", "model.inner_size=24", "--set", "data.max_length=12", "--seed", "3")
    call("train", "--model", "sasrec", *SMALL, *own, "--epochs", "1", "--name", "one")
    call("train", "--model", "popularity", *SMALL[:2], "--name", "two")
    call("runs", "delete", "two", "--yes")
    options = ("tune", "--grid", "--trials", "1", "--epochs", "2", "--set", "training.threads=1")
    said = " ".join(call(*options).stderr.split())
    assert "taking all settings of the latest finished run, demo/sasrec/one, which had preset demo" in said
    assert "over training.learning_rate, model.hidden_dropout" in said  # the preset's is for masks
    assert "preset demo is not used: it was made for calibration.kind=full, not none" in said
    trial = place / "runs" / "demo" / "sasrec" / "grid-t000"
    one, config = (yaml.safe_load((run / "config.yaml").read_text()) for run in (trial.parent / "one", trial))
    assert record(trial)["preset"] == "demo" and config["training"]["epochs"] == 2
    for section in ("data", "split", "evaluation"):
        assert config[section] == one[section]
    differing = {key for part in ("model", "training") for key in one[part] if one[part][key] != config[part][key]}
    assert differing <= {"learning_rate", "hidden_dropout", "epochs"} and config["training"]["seed"] == 3
    call(*options, "--name", "more")  # trials do not count as the latest run
    more = yaml.safe_load((trial.parent / "more-t000" / "config.yaml").read_text())
    assert more["model"]["inner_size"] == 24


def test_data_of_ones_own_need_no_preset(place: Path) -> None:
    rows = [f"u{user},i{(user * step) % 9},{step}" for user in range(30) for step in range(4 + user % 3)]
    (place / "log.csv").write_text("user,item,time\n" + "\n".join(rows) + "\n")
    call("preprocess", "shop", "--from-file", str(place / "log.csv"), "--max-length", "5")
    small = ("--set", "model.hidden_size=16", "--set", "model.layers=1", "--threads", "1")
    call("train", "--model", "sasrec", "--dataset", "shop", "--epochs", "1", "--name", "one", *small)
    said = " ".join(call("tune", "--random", "--trials", "1").stderr.split())
    assert "taking all settings of the latest finished run, shop/sasrec/one" in said and "had preset" not in said
    assert "over training.learning_rate, model.hidden_dropout" in said
    config = yaml.safe_load((place / "runs" / "shop" / "sasrec" / "random-t000" / "config.yaml").read_text())
    assert config["data"]["max_length"] == 5 and config["model"]["hidden_size"] == 16


def test_settings_that_do_not_go_together_are_failed_trials(place: Path) -> None:
    (place / "space.yaml").write_text("model.heads: [1, 3]")
    mixed = call("tune", "--grid", *TINY, "--model", "sasrec", "--epochs", "1", "--space", str(place / "space.yaml"))
    assert "hidden_size 16 is not a multiple of heads 3" in " ".join(mixed.stderr.split())
    assert "1 finished, 1 failed" in " ".join(mixed.stdout.split())
    (place / "space.yaml").write_text("model.heads: [3, 5]")
    options = ("tune", "--grid", *TINY, "--model", "sasrec", "--name", "none", "--space", str(place / "space.yaml"))
    none = call(*options, exit_code=1)
    said = " ".join(none.stderr.split())
    assert "no trial of study demo/sasrec/none has finished; the first one failed: " in said


def in_one_line(*options: str) -> str:
    refused = call("tune", *options, exit_code=1)
    assert "Traceback" not in refused.output
    return " ".join(refused.stderr.split())


def test_errors_are_one_line(place: Path, space: str) -> None:
    said: Callable[..., str] = in_one_line
    assert "give one of --grid, --random and --tpe" in said(*TINY)
    assert "not several" in said("--grid", "--tpe", *TINY)
    assert "no file nowhere.yaml" in said("--grid", *TINY, "--space", "nowhere.yaml")
    assert "is not a valid name for a study" in said("--grid", *TINY, "--name", "a/b")
    assert "storage nonsense cannot be opened" in said("--grid", *TINY, "--storage", "nonsense")
    assert "did you mean" in said("--grid", "--preset", "beuty")
    assert "on the validation split, and split.by is none" in said("--grid", *TINY, "--set", "split=none")
    call("tune", "--grid", *TINY, "--space", space, "--trials", "1", "--epochs", "1")
    assert "already exists and differs in: search space" in said("--grid", *TINY, "--epochs", "1")


def test_what_has_a_value_already_is_not_searched(place: Path, space: str) -> None:
    options = ("tune", "--grid", *TINY, "--space", space, "--epochs", "1", "--set", "training.learning_rate=1e-4")
    said = " ".join(call(*options, "--set", "calibration.mask_weight=0.2").stderr.split())
    assert "Not searched: training.learning_rate, already set by --set" in said
    assert "grid search of 2 trials over model.hidden_dropout" in said
    runs = sorted((place / "runs" / "demo" / "ac-sasrec").iterdir())
    assert {yaml.safe_load((run / "config.yaml").read_text())["training"]["learning_rate"] for run in runs} == {1e-4}
    everything = ("--set", "model.hidden_dropout=0.2", "--set", "calibration.mask_weight=0.2", "--name", "none")
    assert "nothing is left to search for ac-sasrec" in call(*options, *everything, exit_code=1).stderr


def test_no_trial_begins_after_the_time_is_up(place: Path, space: str) -> None:
    late = call("tune", "--grid", *TINY, "--space", space, "--timeout", "0", exit_code=1)
    assert "no trial of study demo/ac-sasrec/grid has finished" in late.stderr
    assert not (place / "runs" / "demo").exists()
