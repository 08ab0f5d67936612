"""The journal of a study outlives full disks and killed processes."""

from __future__ import annotations

import resource
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage

from actsr_cli.errors import DiskError
from actsr_cli.tuning.journal import Journal

optuna.logging.set_verbosity(optuna.logging.ERROR)


def study(file: Path) -> optuna.Study:
    return optuna.create_study(study_name="a", storage=JournalStorage(Journal(file)), load_if_exists=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A journal of three trials."""
    file = tmp_path_factory.mktemp("study") / "journal.log"
    study(file).optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    return file.read_bytes()


@settings(max_examples=60)
@given(data=st.data())
def test_a_torn_last_line_is_dropped_and_the_study_goes_on(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    """Cut anywhere; or, after a power cut, with the length of the file on the disk but not its end."""
    cut = data.draw(st.integers(0, len(whole)))
    lost = data.draw(st.sampled_from([b"", b"\0" * 7, b"\0" * 5000, b'{"op_code":\n']))
    file = tmp_path_factory.mktemp("torn") / "journal.log"
    file.write_bytes(whole[:cut] + (lost if cut < len(whole) or not lost.endswith(b"\n") else b""))
    again = study(file)
    kept = sum(trial.state.is_finished() for trial in again.trials)
    again.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert sum(trial.state.is_finished() for trial in study(file).trials) == kept + 1
    lines = file.read_bytes().splitlines(keepends=True)
    before = whole[:cut].splitlines(keepends=True)
    same = [line for line in before if line.endswith(b"\n")]
    assert lines[: len(same)] == same


def test_a_disk_that_fills_while_a_line_is_written_costs_that_line_alone(tmp_path: Path) -> None:
    """The system takes nine bytes of a line and refuses the rest."""
    file = tmp_path / "journal.log"
    one = study(file)
    before = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 9, limits[1]))
    try:
        with pytest.raises(DiskError, match=r"journal.log cannot be written: file too large"):
            one.set_user_attr("key", "value" * 9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    one.set_user_attr("key", "value")
    assert study(file).user_attrs == {"key": "value"}
