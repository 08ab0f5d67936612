"""Damaged runs: each file is refused in one line, and other runs go on working."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import records
from samples import sequence_data
from shop import source

from actsr_cli import sealed
from actsr_cli.config import DataConfig, RunConfig
from actsr_cli.data import store
from actsr_cli.data.prepare import prepare
from actsr_cli.data.vocabulary import Vocabulary
from actsr_cli.errors import ActsrError, DataError, RunError
from actsr_cli.experiment.find import find_folder, find_run, latest_run, summaries
from actsr_cli.experiment.model import open_model
from actsr_cli.experiment.record import Status, read_record
from actsr_cli.experiment.run import Origin, Run, new_run, open_run
from actsr_cli.experiment.series import find_folders, find_group
from actsr_cli.models.registry import build_model
from actsr_cli.training.checkpoint import save_model

DATA = sequence_data([[1, 2, 3], [3, 4, 5]])


def create(runs: Path, name: str) -> Run:
    with new_run(runs, RunConfig(dataset="shop"), DATA, name=name) as run:
        run.update(status=Status.FINISHED, epochs=1)
        run.add_metrics("test/rank", {"hit@10": 0.5})
    return run


def open_all(path: Path) -> object:
    run = open_run(path)
    return run.record, run.config, run.metrics, run.vocabulary().item_names, run.vocabulary().counts.tolist()


DEEP = '{"a": ' * 50_000 + "1" + "}" * 50_000
CONTENTS = {
    "empty": b"",
    "half": b'{"layout": 2, "sta',
    "no object": b"[1, 2]",
    "null": b"null",
    "long number": b'{"layout": ' + b"9" * 5_000 + b"}",
    "deep": DEEP.encode(),
    "binary": bytes(range(256)),
    "surrogate": b'{"layout": 2, "status": "\\ud800"}',
    "not UTF-8": b'{"layout": "\xff"}',
    "NaN": b'{"layout": NaN}',
    "other types": b'{"layout": 2, "status": [], "users": "many"}',
    "no start": b'{"layout": 2, "status": "finished"}',
}


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "config.yaml"])
@pytest.mark.parametrize("content", CONTENTS)
def test_one_damaged_run_hinders_no_other(tmp_path: Path, name: str, content: str) -> None:
    good, bad = create(tmp_path, "good"), create(tmp_path, "bad")
    (bad.path / name).write_bytes(CONTENTS[content])
    if (name, content) != ("config.yaml", "empty"):
        with pytest.raises(RunError) as caught:
            open_all(bad.path)
        assert str(bad.path) in caught.value.message or name in caught.value.message
        assert "\n" not in caught.value.message and len(caught.value.message) < 700
    hinders_no_other(tmp_path, good, bad)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    good, bad = create(tmp_path, "good"), create(tmp_path, "bad")
    for name in ("metrics.json", "config.yaml", "items.parquet", "run.json"):
        (bad.path / name).unlink()
        (bad.path / name).mkdir()
        with pytest.raises(ActsrError):
            open_all(bad.path)
        hinders_no_other(tmp_path, good, bad)


def hinders_no_other(runs: Path, good: Run, bad: Run) -> None:
    assert {each.run: each.status for each in summaries(runs)}["shop/sasrec/good"] == Status.FINISHED
    assert open_all(find_run(runs, "good").path) == open_all(good.path)
    assert find_group(runs, "good").runs == (good,)
    assert find_folders(runs, "bad") == [bad.path] == [find_folder(runs, "shop/sasrec/bad")]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"started": None}, "started: field required"),
        ({"started": "yesterday"}, "started: value error"),
        ({"started": "0001-01-01T00:00:00+14:00"}, "started: value error, must be a time of these centuries"),
        ({"users": -1}, "users: input should be greater"),
        ({"items": 2**60}, "items: input should be less"),
        ({"epochs": 10**400}, "epochs: "),
        ({"value": float("inf")}, "value: "),
        ({"train_seconds": 1e300}, "train_seconds: "),
        ({"environment": []}, "environment: "),
        ({"layout": "x" * 5_000}, "another version of actsr"),
    ],
)
def test_what_a_forged_record_may_hold(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    path = create(tmp_path, "one").path / "run.json"
    values, _ = sealed.read_json(path)
    values = {key: value for key, value in (values | changes).items() if value is not None}
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match=problem) as caught:
        read_record(path.parent)
    assert len(caught.value.message) < 600


def test_what_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    run = create(tmp_path, "one")
    for name, old, new in (
        ("run.json", '"epochs": 1', '"epochs": 2'),
        ("metrics.json", "0.5", "0.6"),
        ("config.yaml", "layers: 2", "layers: 3"),
    ):
        text = (run.path / name).read_text()
        assert old in text
        (run.path / name).write_text(text.replace(old, new, 1))
        with pytest.raises(RunError, match=rf"{name} is damaged: its checksum does not fit.*or was changed by hand"):
            open_all(run.path)
        (run.path / name).write_text(text)
        open_all(run.path)


def test_a_record_cut_at_its_end_is_refused(tmp_path: Path) -> None:
    run = create(tmp_path, "one")
    text = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").write_text(text[: text.index("training:")])
    with pytest.raises(RunError, match="its checksum does not fit"):
        open_run(run.path)


def test_runs_of_earlier_versions_have_no_checksums_and_are_opened(tmp_path: Path) -> None:
    run = create(tmp_path, "one")
    before = run.config, run.metrics, run.vocabulary().item_names
    for name in ("run.json", "metrics.json"):
        values, _ = sealed.read_json(run.path / name)
        values.pop("files", None)
        (run.path / name).write_text(json.dumps(values))
    config = run.path / "config.yaml"
    config.write_text(config.read_text().partition("# checksum")[0])
    opened = open_run(run.path)
    assert opened.record.files is None
    assert (opened.config, opened.metrics, opened.vocabulary().item_names) == before


def flipped(path: Path, count: int, read: Callable[[], object]) -> None:
    """Flip bits of a file one by one: each is found, or what is read is the same."""
    whole, before = path.read_bytes(), read()
    chance = random.Random(str(path.name))  # noqa: S311
    for _ in range(count):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            now = read()
        except ActsrError as error:
            assert "\n" not in error.message
        else:
            assert now == before
    path.write_bytes(whole)


def test_every_flipped_bit_of_a_run_is_found(tmp_path: Path) -> None:
    run = create(tmp_path, "one")
    for name in ("run.json", "config.yaml", "metrics.json", "items.parquet"):
        flipped(run.path / name, 20, lambda: open_all(run.path))


def test_every_flipped_bit_of_prepared_data_is_found(tmp_path: Path) -> None:
    folder = prepare(source(tmp_path), DataConfig()).folder

    def read() -> object:
        data = store.load(folder)
        return store.load_record(folder), data.items.tolist(), data.offsets.tolist(), data.item_names, data.user_names

    names = sorted(path.name for path in folder.iterdir())
    assert names == ["items.npy", "items.parquet", "offsets.npy", "prepared.json", "timestamps.npy", "users.parquet"]
    for name in names:
        flipped(folder / name, 40, read)


def npy_header(text: str) -> bytes:
    """The start of an array file with this description."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("items", [0, 1, 1, 2, 2, 3], "items.npy has an item that is not in 1 to 3"),
        ("items", [1, 1, 1, 2, 2, 4], "items.npy has an item that is not in 1 to 3"),
        ("items", [-1, 1, 1, 2, 2, 3], "items.npy has an item"),
        ("offsets", [1, 3, 5, 6], "offsets.npy does not rise from 0"),
        ("offsets", [0, 7, 5, 6], "offsets.npy does not rise from 0"),
        ("offsets", [0, -4, 5, 6], "offsets.npy does not rise from 0"),
        ("timestamps", [1, 2, np.nan, 4, 5, 6], "timestamps.npy has a time that is no number"),
        ("timestamps", [1, 2, np.inf, 4, 5, 6], "timestamps.npy has a time that is no number"),
        ("items", np.ones(6), "items.npy holds 1 dimensions of float64, not one of int32"),
        ("items", np.ones((6, 1), dtype=np.int32), "items.npy holds 2 dimensions of int32"),
        ("items", np.array([None] * 6), "Python objects"),
        ("items", np.ones(7, dtype=np.int32), "do not fit together"),
    ],
)
def test_forged_arrays(tmp_path: Path, name: str, array: list[float] | np.ndarray, problem: str) -> None:
    folder = prepare(source(tmp_path), DataConfig()).folder
    kind = np.load(folder / f"{name}.npy").dtype
    forged = np.array(array, dtype=kind) if isinstance(array, list) else array
    np.save(folder / f"{name}.npy", forged)
    values, _ = sealed.read_json(folder / store.RECORD)
    sealed.write_json(folder / store.RECORD, values | {"checksums": None})
    with pytest.raises(DataError, match=problem):
        store.load(folder)


def _archive() -> bytes:
    buffer = BytesIO()
    np.savez(buffer, offsets=np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (_archive(), "is no array, but an archive of arrays"),
        (b"PK\x03\x04 and no archive", "has no header of an array"),
        (npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999999999999,), }"), "no header"),
        (
            npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (4"),
            "no header of an array|Cannot parse header",
        ),
    ],
)
def test_files_that_are_no_arrays(tmp_path: Path, content: bytes, problem: str) -> None:
    folder = prepare(source(tmp_path), DataConfig()).folder
    (folder / "offsets.npy").write_bytes(content)
    values, _ = sealed.read_json(folder / store.RECORD)
    sealed.write_json(folder / store.RECORD, values | {"checksums": None})
    with pytest.raises(DataError, match=problem):
        store.load(folder)


def test_a_forged_size_takes_no_memory(tmp_path: Path) -> None:
    run = create(tmp_path, "one")
    config = run.config
    save_model(run.model_file, build_model(config.model, config.calibration, DATA.n_items, DATA.n_users), epoch=1)
    assert open_model(open_run(run.path))[1] == 1
    for items in (2**52, 10**9):
        records.change(run.path / "run.json", items=items)
        with pytest.raises(RunError, match="does not fit the model of this run"):
            open_model(open_run(run.path))


def test_a_command_with_bytes_that_are_no_text_is_recorded(tmp_path: Path) -> None:
    with new_run(tmp_path, RunConfig(dataset="shop"), DATA, origin=Origin(command=["actsr", "\udcff"])) as run:
        assert run.record.environment.command == ("actsr", r"\udcff")


def test_a_vocabulary_of_other_files_is_refused(tmp_path: Path) -> None:
    run, other = create(tmp_path, "one"), tmp_path / "other"
    other.mkdir()
    Vocabulary.of(sequence_data([[5, 4, 3]]), users=False).save(other)
    shutil.copy(other / "items.parquet", run.path)
    with pytest.raises(DataError, match=r"items.parquet: its checksum does not fit"):
        run.vocabulary()
    os.unlink(run.path / "items.parquet")  # noqa: PTH108
    with pytest.raises(DataError, match="is missing"):
        run.vocabulary()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", ".a", "a\0b", "a\nb", "a\x1b", "\udcff", "x" * 1_000, " a"]
)
def test_names_of_runs(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="is not a valid name for a run") as caught:
        create(tmp_path, name)
    assert len(caught.value.message) < 250 and not list(tmp_path.iterdir())
    for look_up in (find_run, find_folder, find_group):
        with pytest.raises((RunError, OSError)):
            look_up(tmp_path, name or "nothing")


def test_the_latest_run_skips_what_cannot_be_read(tmp_path: Path) -> None:
    create(tmp_path, "good")
    (create(tmp_path, "bad").path / "run.json").write_text("")
    assert latest_run(tmp_path).name == "shop/sasrec/good"
    records.change(tmp_path / "shop/sasrec/good/run.json", status="failed")
    with pytest.raises(RunError, match="1 unreadable, 1 failed"):
        latest_run(tmp_path)
