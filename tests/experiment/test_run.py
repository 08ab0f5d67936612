"""Runs on disk: names, look-up and records."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import records
import torch
from filelock import FileLock
from samples import sequence_data

from actsr_cli.config import NoSplit, RunConfig
from actsr_cli.errors import BusyError, RunError
from actsr_cli.experiment.find import Listed, find_folder, find_run, latest_run, list_runs, summaries
from actsr_cli.experiment.place import delete_run, has_finished_epoch
from actsr_cli.experiment.record import RunRecord, Status
from actsr_cli.experiment.run import Origin, Run, new_run, open_run
from actsr_cli.tensors import save_tensors
from actsr_cli.training.state import EpochRecord, TrainingState

DATA = sequence_data([[1, 2, 3]])


def create(
    runs_dir: Path,
    dataset: str = "beauty",
    name: str | None = None,
    *,
    status: Status = Status.FINISHED,
    origin: Origin | None = None,
) -> Run:
    with new_run(runs_dir, RunConfig(dataset=dataset), DATA, name=name, origin=origin) as run:
        run.update(status=status)
    return run


def test_a_run_opens_with_the_config_it_was_made_with(tmp_path: Path) -> None:
    run = create(tmp_path)
    assert open_run(run.path).config == run.config
    assert run.path.parent == tmp_path / "beauty" / "sasrec"
    assert run.record.fingerprint == DATA.fingerprint


def test_names_by_the_clock_never_collide(tmp_path: Path) -> None:
    assert len({create(tmp_path).path for _ in range(5)}) == 5


def test_the_latest_finished_run_is_taken(tmp_path: Path) -> None:
    create(tmp_path, "beauty", "a")
    create(tmp_path, "aardvark", "b")
    create(tmp_path, "zebra", "c", status=Status.FAILED)
    create(tmp_path, "zebra", "d", origin=Origin(study="zebra/sasrec/d", trial=0))
    create(tmp_path, "zebra", "e", origin=Origin(source="zebra/sasrec/c"))
    assert find_run(tmp_path, None).name == "aardvark/sasrec/b"
    assert latest_run(tmp_path, refits=True).name == "zebra/sasrec/e"
    assert [run.path.name for run in list_runs(tmp_path)] == ["a", "b", "c", "d", "e"]


def test_the_latest_run_is_the_one_that_ended_last(tmp_path: Path) -> None:
    """A resumed run counts by its end. A run without held-out items cannot be evaluated."""
    for name, ended in (("a", "2026-01-03"), ("b", "2026-01-02")):
        create(tmp_path, "beauty", name).update(ended=ended)
    with new_run(tmp_path, RunConfig(dataset="beauty", split=NoSplit()), DATA, name="c") as whole:
        whole.update(status=Status.FINISHED, ended="2026-01-04")
    assert latest_run(tmp_path).name == "beauty/sasrec/a"
    assert latest_run(tmp_path, refits=True).name == "beauty/sasrec/c"
    for name in ("a", "b"):
        delete_run(tmp_path / "beauty" / "sasrec" / name, tmp_path)
    with pytest.raises(RunError, match=r"no finished run in .* but 1 trained on all data"):
        latest_run(tmp_path)


def test_without_a_finished_run_it_is_said_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run in"):
        find_run(tmp_path, None)
    for status in (Status.INTERRUPTED, Status.RUNNING, Status.INTERRUPTED):
        create(tmp_path, status=status)
    create(tmp_path, origin=Origin(study="s", trial=1))
    with pytest.raises(RunError, match=r"no finished run in .* but 2 interrupted, 1 stopped, 1 trials of studies"):
        find_run(tmp_path, None)


def test_any_end_of_the_path_will_do_if_it_is_unique(tmp_path: Path) -> None:
    for dataset in ("beauty", "toys"):
        create(tmp_path, dataset, "first")
    assert find_run(tmp_path, "toys/sasrec/first").name == "toys/sasrec/first"
    assert find_run(tmp_path, str(tmp_path / "toys" / "sasrec" / "first")).name == "toys/sasrec/first"
    with pytest.raises(RunError, match="names 2 runs: beauty/sasrec/first, toys/sasrec/first"):
        find_run(tmp_path, "first")
    with pytest.raises(RunError, match="no run 'fist'") as caught:
        find_run(tmp_path, "fist")
    assert caught.value.hint == "Did you mean 'first'?"


@pytest.mark.parametrize("alias", ["amazon-beauty", "Amazon_Beauty", "AMAZON-BEAUTY"])
def test_a_data_set_has_several_names(tmp_path: Path, alias: str) -> None:
    create(tmp_path, "beauty", "x")
    create(tmp_path, "toys", "x")
    assert find_run(tmp_path, f"{alias}/sasrec/x").name == "beauty/sasrec/x"
    assert [each.run for each in summaries(tmp_path, dataset=alias)] == ["beauty/sasrec/x"]
    create(tmp_path, "amazon-beauty", "x")
    assert find_run(tmp_path, "amazon-beauty/sasrec/x").name == "amazon-beauty/sasrec/x"  # the exact name wins
    assert find_run(tmp_path, "beauty/sasrec/x").name == "beauty/sasrec/x"


def test_a_run_keeps_its_name_wherever_it_lies(tmp_path: Path) -> None:
    run = create(tmp_path / "runs", "beauty", "first")
    moved = tmp_path / "elsewhere"
    shutil.move(run.path, moved)
    assert open_run(moved).name == "beauty/sasrec/first"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert find_run(tmp_path / "runs", "elsewhere").name == "beauty/sasrec/first"
    renamed = tmp_path / "runs" / "beauty" / "sasrec" / "second"
    shutil.move(moved, renamed)
    for name in ("first", "second", "beauty/sasrec/second"):
        assert find_folder(tmp_path / "runs", name) == renamed


def test_the_command_that_continues_a_run_has_its_number_of_processes(tmp_path: Path) -> None:
    run = create(tmp_path, status=Status.INTERRUPTED)
    assert run.record.resumed_by("my run") == "actsr train --resume 'my run'"
    run.update(processes=2)
    assert run.record.resumed_by("one", "--refit") == "actsr train --resume one --processes 2 --refit"


def test_records_and_metrics_are_merged(tmp_path: Path) -> None:
    run = create(tmp_path, status=Status.RUNNING)
    run.update(status=Status.FINISHED, epochs=3)
    run.add_metrics("test/rank", {"hit@10": 0.5})
    run.add_metrics("valid/rank", {"hit@10": 0.25})
    assert (run.record.status, run.record.users, run.record.epochs) == (Status.FINISHED, 1, 3)
    assert '"hit@10": 0.5' in (run.path / "metrics.json").read_text()
    assert not list(run.path.glob("*.partial"))
    stored = json.loads((run.path / "run.json").read_text())
    assert RunRecord.model_validate({key: stored[key] for key in stored if key != "checksum"}) == run.record


def test_damaged_runs(tmp_path: Path) -> None:
    run = create(tmp_path)
    (run.path / "config.yaml").write_text("training: {epochs: none at all}")
    with pytest.raises(RunError, match="cannot be read"):
        open_run(run.path)
    (run.path / "run.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        open_run(run.path)
    (listed,) = list_runs(tmp_path)
    assert isinstance(listed, Listed) and listed.record is None and "is damaged" in str(listed.problem)
    assert [each.status for each in summaries(tmp_path)] == [Status.UNREADABLE]
    with pytest.raises(RunError, match="is not the folder of a run"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "done"}, "run.json is damaged: status: "),
        ({"colour": "red"}, "run.json is damaged: colour: extra inputs are not permitted"),
        ({"layout": None}, "was made by actsr 0.1, which this version does not open: train it again"),
        ({"layout": 3}, "has layout 3 of another version of actsr"),
    ],
)
def test_a_record_is_checked(tmp_path: Path, change: dict[str, object], message: str) -> None:
    run = create(tmp_path)
    records.change(run.path / "run.json", **change)
    with pytest.raises(RunError) as caught:
        open_run(run.path)
    assert message in caught.value.message and "\n" not in caught.value.message
    (summary,) = summaries(tmp_path)
    assert (summary.run, summary.status, summary.value) == (f"beauty/sasrec/{run.path.name}", Status.UNREADABLE, None)


def test_a_new_run_is_held_from_the_first_moment(tmp_path: Path) -> None:
    with new_run(tmp_path, RunConfig(dataset="beauty"), DATA, name="a") as run:
        statuses = [run.status]
        with pytest.raises(RunError, match=f"is being trained by process {os.getpid()} on host"):
            delete_run(run.path, tmp_path)
    assert [*statuses, run.status] == [Status.RUNNING, Status.STOPPED]


def test_a_run_without_a_process_is_stopped(tmp_path: Path) -> None:
    run = create(tmp_path, status=Status.RUNNING)
    statuses = [run.status]
    with run.training_lock():
        statuses.append(run.status)
        with pytest.raises(RunError, match=f"is being trained by process {os.getpid()} on host"):
            run.check_not_training()
        with pytest.raises(RunError, match=f"is being trained by process {os.getpid()} on host"), run.training_lock():
            pass
        with pytest.raises(RunError, match=f"is being trained by process {os.getpid()} on host"):
            delete_run(run.path, tmp_path)
    statuses.append(run.status)
    assert summaries(tmp_path, status=Status.STOPPED)
    run.update(status=Status.FINISHED)
    with FileLock(run.path / "run.lock"):
        statuses.append(run.status)
    assert statuses == [Status.STOPPED, Status.RUNNING, Status.STOPPED, Status.FINISHED]


def test_a_checkpoint_of_the_start_is_no_finished_epoch(tmp_path: Path) -> None:
    first = EpochRecord(1, {}, {}, 1.0, 1.0)
    for history, expected in (([], False), ([first], True)):
        state = json.dumps(TrainingState(history).to_dict())
        save_tensors(tmp_path / "checkpoint.safetensors", {"model.a": torch.zeros(1)}, {"state": state})
        assert has_finished_epoch(tmp_path) is expected
    (tmp_path / "checkpoint.safetensors").write_bytes(b"damaged")
    assert has_finished_epoch(tmp_path)


def test_metrics_of_processes_that_write_at_once_are_all_kept(tmp_path: Path) -> None:
    run = create(tmp_path)
    code = (
        "import sys; from pathlib import Path; from actsr_cli.experiment.run import open_run; "
        "run = open_run(Path(sys.argv[1])); [run.add_metrics(f'{sys.argv[2]}/{n}', {'hit@10': n}) for n in range(20)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, run.path, name]) for name in "ab"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    assert len(run.metrics) == 40


def test_metrics_of_another_epoch_are_replaced(tmp_path: Path) -> None:
    run = create(tmp_path)
    for values in ({"epoch": 1, "hit@5": 0.25, "rank": 8.0}, {"epoch": 1, "hit@10": 0.5, "rank": 7.0}):
        run.add_metrics("test/rank", values)
    assert run.metrics["test/rank"] == {"epoch": 1, "hit@5": 0.25, "hit@10": 0.5, "rank": 7.0}
    run.add_metrics("test/rank", {"epoch": 2, "rank": 6.0})
    assert run.metrics["test/rank"] == {"epoch": 2, "rank": 6.0}


def test_damaged_metrics_are_written_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = create(tmp_path)
    (run.path / "metrics.json").write_text("{")
    run.add_metrics("test/rank", {"hit@10": 0.5})
    assert run.metrics == {"test/rank": {"hit@10": 0.5}} and "it is written anew" in caplog.text


@pytest.mark.parametrize("kind", ["of another version", "hidden files", "a file"])
def test_what_is_no_run_of_this_version_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "beauty" / "sasrec" / "one"
    if kind == "of another version":
        create(tmp_path, name="one")
        records.change(path / "run.json", layout=3)
        (path / "weights.bin").write_text("years of work")
    elif kind == "hidden files":
        (path / ".git").mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True)
        path.write_text("a note")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match="there is a"):
        create(tmp_path, name="one")
    assert set(before) <= set(tmp_path.rglob("*"))


def test_a_process_whose_run_was_deleted_writes_nothing_into_a_new_one_of_its_name(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from test_run import DATA, RunConfig, new_run\n"
        "with new_run(Path(sys.argv[1]), RunConfig(dataset='beauty'), DATA, name='one'):\n"
        "    print('made', flush=True)\n"
        "    input()"
    )
    with new_run(tmp_path, RunConfig(dataset="beauty"), DATA, name="one") as run:
        run.update(epochs=1)
        delete_run(run.path, tmp_path, force=True)
        paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
        other = subprocess.Popen(
            [sys.executable, "-c", code, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        assert other.stdout is not None and other.stdout.readline() == "made\n"
        before = (run.path / "run.json").read_bytes()
        with pytest.raises(BusyError, match=r"was deleted, and process .* trains a new run of this name"):
            run.update(epochs=2)
        assert (run.path / "run.json").read_bytes() == before
        other.communicate("\n", timeout=60)
