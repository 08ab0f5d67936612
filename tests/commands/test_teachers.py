"""`loss.teachers`: trained runs teach another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from processes import SMALL, call, made_once
from records import change

from actsr_cli.config.losses import CrossEntropyOptions
from actsr_cli.experiment.run import open_run
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


def teachers_of(run: Path) -> list[str]:
    """The teachers in the settings of a run."""
    loss = open_run(run).config.loss
    assert isinstance(loss, CrossEntropyOptions)
    return list(loss.teachers)


def pinned(name: str, runs_dir: Path) -> str:
    return f"{name}@{file_checksum(runs_dir / name / 'model.safetensors')}"


def refusal(*arguments: str) -> str:
    return " ".join(call(*arguments, exit_code=1).stderr.split())


def test_a_series_teaches_a_run_that_goes_on_exactly(runs: Path) -> None:
    call(*taught("demo/sasrec/old"))
    assert teachers_of(runs / "new") == [pinned(f"demo/sasrec/old-s{seed}", runs.parents[1]) for seed in (0, 1)]
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
    root = runs.parents[1]
    assert open_run(runs / "new-refit").record.finished
    assert teachers_of(runs / "new-refit") == [
        pinned(each, root) for each in ("demo/gru4rec/gru", "demo/sasrec/old-s1")
    ]
    assert teachers_of(root / "demo" / "ac-sasrec" / "calibrated") == [pinned("demo/sasrec/new", root)]


def test_a_run_keeps_its_teachers(runs: Path) -> None:
    """Whatever runs of such names there are later, and wherever its folder is."""
    call(*taught("old-s0"))
    call("train", "--model", "gru4rec", *SMALL, "--epochs", "1", "--name", "old-s0")
    elsewhere = runs.parents[2] / "copied"
    shutil.copytree(runs / "new", elsewhere)
    call("train", "--resume", "new", "--epochs", "2")
    call("train", "--resume", str(elsewhere), "--epochs", "2")
    assert (elsewhere / "model.safetensors").read_bytes() == (runs / "new" / "model.safetensors").read_bytes()


def test_a_teacher_that_has_changed_is_refused(runs: Path) -> None:
    """Also by a refit, and by a series that other models would teach."""
    call(*taught("old-s0", "--seeds", "2"))
    call("train", "--resume", "old-s0", "--epochs", "2")
    again = (("--resume", "new-s0", "--epochs", "2"), ("--resume", "new-s0", "--refit"))
    for arguments in again:
        said = refusal("train", *arguments)
        assert "the teacher demo/sasrec/old-s0 has changed: its model does not have the checksum" in said
    assert open_run(runs / "new-s0").record.finished and not (runs / "new-s0-refit").exists()
    assert "new-s0 has different settings or data than this series" in refusal(*taught("old-s0", "--seeds", "3"))
    shutil.rmtree(runs / "old-s0")
    for arguments in again:
        assert "there is no teacher demo/sasrec/old-s0 in" in refusal("train", *arguments)


def test_a_study_goes_on_with_the_same_teachers_only(runs: Path, place: Path) -> None:
    space = place / "space.yaml"
    space.write_text("model.layers: [1]\n")
    small = ("--preset", "demo", "--epochs", "1", "--set", "training.threads=1", "--set", "model.hidden_size=16")
    study = ("tune", "--grid", "--model", "sasrec", *small, "--space", str(space))
    call(*study, "--set", "loss.teachers=[old-s0]")
    call("train", "--resume", "old-s0", "--epochs", "2")
    assert "differs in: settings" in refusal(*study, "--set", "loss.teachers=[old-s0]")


def test_copies_of_one_run_are_several_teachers(runs: Path) -> None:
    shutil.copytree(runs / "old-s0", runs / "copy")
    call(*taught("copy, old-s0, old-s0"))
    assert [each.partition("@")[0] for each in teachers_of(runs / "new")] == ["demo/sasrec/copy", "demo/sasrec/old-s0"]


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
    (runs / "old-s0" / "model.safetensors").unlink()
    assert "old-s0 cannot be a teacher: its model.safetensors is missing" in refusal(*taught("old-s0"))
    cloze = ("train", "--model", "bert4rec", *SMALL, "--epochs", "1", "--set", "loss.teachers=[old-s0]")
    assert "needs a model that predicts each next item, and bert4rec does not" in refusal(*cloze)
    assert not (runs / "new").exists()


def test_shares_are_checked(runs: Path) -> None:
    shares = ("--set", "loss.teacher_share=0.6", "--set", "loss.label_smoothing=0.4")
    assert "must be less than 1 together" in refusal(*taught("old", *shares))
    assert "loss.teachers" in refusal(*TRAIN, "--set", "loss.name=bpr", "--set", "loss.teachers=[old]")
