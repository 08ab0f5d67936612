"""Runs on disk: how they are named, found and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import sequence_data

from actsr_cli.config import RunConfig
from actsr_cli.errors import RunError
from actsr_cli.experiment.run import Run, create_run, find_run, list_runs, open_run

DATA = sequence_data([[1, 2, 3]])


def create(runs_dir: Path, dataset: str = "beauty", name: str | None = None, *, trained: bool = True) -> Run:
    run = create_run(runs_dir, RunConfig(dataset=dataset), DATA, name=name, command=["actsr", "train"])
    if trained:
        run.model_file.touch()
    return run


def test_a_run_opens_with_the_config_it_was_made_with(tmp_path: Path) -> None:
    run = create(tmp_path)
    assert open_run(run.path).config == run.config
    assert run.path.parent == tmp_path / "beauty" / "sasrec"
    assert run.record["fingerprint"] == DATA.fingerprint


def test_names_by_the_clock_never_collide(tmp_path: Path) -> None:
    assert len({create(tmp_path).path for _ in range(5)}) == 5


def test_the_latest_run_with_a_model_is_taken(tmp_path: Path) -> None:
    create(tmp_path, "beauty", "a")
    create(tmp_path, "aardvark", "b")
    create(tmp_path, "zebra", "c", trained=False)
    assert find_run(tmp_path, None).name == "aardvark/sasrec/b"
    assert [path.name for path in list_runs(tmp_path)] == ["a", "b", "c"]


def test_any_end_of_the_path_will_do_if_it_is_unique(tmp_path: Path) -> None:
    for dataset in ("beauty", "toys"):
        create(tmp_path, dataset, "first")
    assert find_run(tmp_path, "toys/sasrec/first").name == "toys/sasrec/first"
    assert find_run(tmp_path, str(tmp_path / "toys" / "sasrec" / "first")).name == "toys/sasrec/first"
    with pytest.raises(RunError, match="names 2 runs: beauty/sasrec/first, toys/sasrec/first"):
        find_run(tmp_path, "first")
    with pytest.raises(RunError, match="no run 'second'"):
        find_run(tmp_path, "second")
    with pytest.raises(RunError, match="no trained run"):
        find_run(tmp_path / "empty", None)


def test_records_and_metrics_are_merged(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.update(status="finished")
    run.add_metrics("test/rank", {"hit@10": 0.5})
    run.add_metrics("valid/rank", {"hit@10": 0.25})
    assert run.record["status"] == "finished" and run.record["users"] == 1
    assert '"hit@10": 0.5' in (run.path / "metrics.json").read_text()
    assert not list(run.path.glob("*.partial"))


def test_damaged_runs(tmp_path: Path) -> None:
    run = create(tmp_path)
    (run.path / "config.yaml").write_text("training: {epochs: none at all}")
    with pytest.raises(RunError, match="cannot be read"):
        open_run(run.path)
    (run.path / "run.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        list_runs(tmp_path)
    with pytest.raises(RunError, match="is not the folder of a run"):
        open_run(tmp_path)
