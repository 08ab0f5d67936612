"""`loss.teachers`: trained runs teach another one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from processes import SMALL, call, made_once
from records import change

from actsr_cli.sealed import file_checksum

TRAIN = ("train", "--model", "sasrec", *SMALL, "--epochs", "1")


def _two(folder: Path) -> None:
    call(*TRAIN, "--seeds", "2", "--name", "old", "--runs-dir", str(folder))


@pytest.fixture
def runs(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of the model, with a finished series of two."""
    shutil.copytree(made_once(tmp_path_factory, "teachers", _two), place / "runs")
    return place / "runs" / "demo" / "sasrec"


def taught(teachers: str, *more: str, name: str = "new") -> tuple[str, ...]:
    return (*TRAIN, "--name", name, "--set", f"loss.teachers=[{teachers}]", *more)


def record(run: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run / "run.json").read_text())
    return values


def refusal(*arguments: str) -> str:
    return " ".join(call(*arguments, exit_code=1).stderr.split())


def test_a_series_teaches_a_run_that_goes_on_exactly(runs: Path) -> None:
    call(*taught("demo/sasrec/old"))
    teachers = {
        f"demo/sasrec/old-s{seed}": file_checksum(runs / f"old-s{seed}" / "model.safetensors") for seed in (0, 1)
    }
    assert record(runs / "new")["teachers"] == teachers and record(runs / "old-s0")["teachers"] is None
    call("train", "--resume", "new", "--epochs", "2")
    call(*taught("old-s0, old-s1", "--epochs", "2", name="whole"))
    model = (runs / "new" / "model.safetensors").read_bytes()
    assert model == (runs / "whole" / "model.safetensors").read_bytes()
    call(*TRAIN, "--epochs", "2", "--name", "alone")
    assert model != (runs / "alone" / "model.safetensors").read_bytes()
    call(*taught("old", "--epochs", "2", "--set", "loss.teacher_share=0", name="none"))  # a share of nothing
    assert (runs / "none" / "model.safetensors").read_bytes() == (runs / "alone" / "model.safetensors").read_bytes()


def test_other_models_teach_and_learn(runs: Path) -> None:
    call("train", "--model", "gru4rec", *SMALL, "--epochs", "1", "--name", "gru")
    call(*taught("demo/gru4rec/gru, old-s1", "--refit"))
    call(*taught("new", "--model", "ac-sasrec", name="calibrated"))
    refitted = record(runs / "new-refit")
    assert refitted["status"] == "finished" and list(refitted["teachers"]) == ["demo/gru4rec/gru", "demo/sasrec/old-s1"]
    assert record(runs.parent / "ac-sasrec" / "calibrated")["teachers"].keys() == {"demo/sasrec/new"}


def test_a_teacher_that_has_changed_is_refused(runs: Path) -> None:
    call(*taught("old-s0"))
    call("train", "--resume", "old-s0", "--epochs", "2")
    said = refusal("train", "--resume", "new", "--epochs", "2")
    assert "sasrec/new cannot go on: its teachers have changed since it began (demo/sasrec/old-s0)" in said
    assert record(runs / "new")["status"] == "finished"


def test_what_cannot_teach_is_refused(runs: Path) -> None:
    """Before a run is created: each says which run, and why."""
    assert "no run 'odl' in" in refusal(*taught("odl"))
    call("train", "--model", "popularity", "--preset", "demo", "--name", "most")
    assert "most cannot be a teacher: popularity does not predict each next item" in refusal(*taught("most"))
    longer = ("--set", "model.max_length=21")
    assert "it reads 20 items, fewer than model.max_length (21)" in refusal(*taught("old-s0", *longer))
    other_split = ("--set", "split.by=time")
    assert "may know the items that are held out here" in refusal(*taught("old-s0", *other_split))
    call(*TRAIN, "--name", "all", "--refit")
    assert "all-refit cannot be a teacher: its split is another one" in refusal(*taught("all-refit"))
    assert "it was trained on other data" in refusal(*taught("old-s0", "--set", "data.user_core=6"))
    change(runs / "old-s1" / "run.json", status="interrupted")
    assert "old-s1 cannot be a teacher: it is interrupted, not finished" in refusal(*taught("old-s1"))
    cloze = ("train", "--model", "bert4rec", *SMALL, "--epochs", "1", "--set", "loss.teachers=[old-s0]")
    assert "needs a model that predicts each next item, and bert4rec does not" in refusal(*cloze)
    assert not (runs / "new").exists()


def test_shares_are_checked(runs: Path) -> None:
    shares = ("--set", "loss.teacher_share=0.6", "--set", "loss.label_smoothing=0.4")
    assert "must be less than 1 together" in refusal(*taught("old", *shares))
    assert "loss.teachers" in refusal(*TRAIN, "--set", "loss.name=bpr", "--set", "loss.teachers=[old]")
