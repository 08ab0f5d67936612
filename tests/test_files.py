"""Files are written atomically, and all writes in the package use files.py."""

from __future__ import annotations

import ast
import errno
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel

import actsr_cli
from actsr_cli.errors import DiskError
from actsr_cli.files import (
    move_into,
    move_to,
    remove_folder,
    replacing,
    replacing_folder,
    scratch_folder,
    write_record,
    write_text,
)
from actsr_cli.tensors import load_tensors, save_tensors

PACKAGE = Path(actsr_cli.__file__).parent
INTO_SCRATCH = "writes into a scratch folder of files.py"
RESUMABLE = "an unfinished download is to stay"
STREAMED = "writes to the place beside the file that `writing` got from replacing"
BY_HAND = {
    "data/archive.py:_unpack": INTO_SCRATCH,
    "data/transfer.py:start": RESUMABLE,
    "data/transfer.py:_append": RESUMABLE,
    "distributed.py:failures_reported": "tells the launcher in its temporary folder why a process has failed",
    "recommending/export.py:_write_graph": INTO_SCRATCH,
    "recommending/reading.py:_on_disk": "copies standard input into a temporary folder",
    "recommending/writing.py:_csv": STREAMED,
    "recommending/writing.py:_parquet": STREAMED,
    "recommending/writing.py:_json_lines": STREAMED,
}
"""Functions that may write without files.py, with the reason."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(tmp_path) == ["a.txt"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.txt", tmp_path / "folder"
    path.write_text("old")
    folder.mkdir()
    (folder / "b").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), replacing_folder(folder) as scratch:
        (scratch / "b").write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and (folder / "b").read_text() == "old"
    assert names(tmp_path) == ["a.txt", "folder"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    for content in ("one", "two"):
        with replacing_folder(folder) as scratch:
            (scratch / content).write_text(content)
        assert names(folder) == [content] and names(folder.parent) == ["folder"]


def test_readers_find_every_file_of_a_folder_while_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename, seen = tmp_path / "folder", Path.replace, []

    def watched(source: Path, target: Path) -> Path:
        seen.append(names(folder))
        result = rename(source, target)
        seen.append(names(folder))
        return result

    for content in ("old", "new"):
        with replacing_folder(folder) as scratch:
            for name in ("a", "b", *(["gone"] if content == "old" else [])):
                (scratch / name).write_text(content)
            monkeypatch.setattr(Path, "replace", watched)
    assert seen == [["a", "b", "gone"]] * 4
    assert names(folder) == ["a", "b"] and {(folder / name).read_text() for name in "ab"} == {"new"}


def test_a_new_folder_is_not_moved_onto_another_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with (
        pytest.raises(DiskError, match="folder cannot be written: directory not empty"),
        scratch_folder(folder) as ours,
    ):
        (ours / "ours").touch()
        folder.mkdir()
        (folder / "theirs").touch()
        move_to(folder, ours)
    assert names(folder) == ["theirs"] and names(tmp_path) == ["folder"]


def test_a_folder_is_removed_while_its_successor_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with scratch_folder(folder) as successor:
        (successor / "new").touch()
        remove_folder(folder)
        assert not folder.exists()
        move_to(folder, successor)
    assert names(folder) == ["new"] and names(tmp_path) == ["folder"]
    remove_folder(folder)
    assert names(tmp_path) == []


def test_moving_into_a_folder_keeps_what_else_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for content in ("old", "new"):
        with scratch_folder(folder) as scratch:
            (scratch / "a").write_text(content)
            (scratch / "b").write_text(content)
            move_into(folder, scratch, ["a"])
        (folder / "mine").write_text("mine")
    assert [(folder / name).read_text() for name in names(folder)] == ["new", "old", "mine"]
    assert names(tmp_path) == ["data"]


class _Record(BaseModel):
    name: str
    folder: Path = Path()


def test_texts_and_records(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "ü\r\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == "ü\r\nb\n".encode()
    write_record(tmp_path / "r.json", _Record(name="x"), without=("folder",))
    assert (tmp_path / "r.json").read_text() == '{\n  "name": "x"\n}\n'


def test_leavings_of_ended_processes_are_swept_and_those_of_others_stay(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = platform.node()
    gone = [
        f".a.txt.{here}.{ended.pid}.partial",
        f".another.txt.{here}.{ended.pid}.partial",
        f".b.txt.old-{here}.{os.getppid()}.partial",
    ]
    stay = [
        f".a.txt.{here}.{os.getppid()}.partial",
        f".a.txt.elsewhere-{here}.{ended.pid}.partial",
        f".a.txt.{here}.what.partial",
    ]
    for name in gone + stay:
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("half")
    (tmp_path / ".file.txt.partial").write_text("not ours")
    two_days_ago = time.time() - 2 * 24 * 60 * 60
    for path in (tmp_path / gone[2], tmp_path / gone[2] / "half", tmp_path / stay[0], tmp_path / stay[0] / "half"):
        os.utime(path, (two_days_ago, two_days_ago))
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == sorted([*stay, ".file.txt.partial", "a.txt"])


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from actsr_cli import tensors
real = tensors.save_file
def killed(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
tensors.save_file = killed
tensors.save_tensors(Path(sys.argv[1]), {"a": torch.ones(10_000)}, {})
"""


def test_what_a_killed_save_leaves_is_hidden_and_swept(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, {"a": torch.zeros(3)}, {})
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -signal.SIGKILL
    (left,) = (name for name in names(tmp_path) if name != path.name)
    assert left.startswith(".model.safetensors.") and load_tensors(path)[0]["a"].tolist() == [0, 0, 0]
    write_text(tmp_path / "another", "")
    assert names(tmp_path) == ["another", "model.safetensors"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_every_file_follows_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        save_tensors(tmp_path / "model", {"a": torch.zeros(3)}, {})
        write_text(tmp_path / "text", "")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~mask}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no other way to see what is flushed")
def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    flush, rename = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        events.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        flush(descriptor)

    def renamed(source: Path, target: Path) -> Path:
        events.append("rename")
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    write_text(tmp_path / "a", "x")
    partial, *others = events
    assert partial.endswith(".partial/a") and others == ["rename", str(tmp_path)]


REASONS = {
    errno.ENOSPC: "no space left on device",
    errno.EDQUOT: "disk quota exceeded",
    errno.EROFS: "read-only file system",
    errno.EIO: "input/output error",
    errno.EACCES: "permission denied",
    errno.ENOENT: "no such file or directory",
}


@pytest.mark.parametrize("number", REASONS)
@pytest.mark.parametrize("event", ["mkdir", "open", "fsync", "replace"])
def test_a_disk_that_fails_at_any_moment_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str, number: int
) -> None:
    path = tmp_path / "a"
    write_text(path, "old")

    def failing(first: Any, *_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number), str(tmp_path / "a") if event == "fsync" else str(first))

    monkeypatch.setattr(os if event == "fsync" else Path, event, failing)
    with pytest.raises(DiskError) as raised:
        write_text(path, "new")
    monkeypatch.undo()
    assert raised.value.message == f"{path} cannot be written: {REASONS[number]}" and raised.value.hint
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


def test_a_folder_that_was_deleted_does_not_come_back(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"a.txt cannot be written: no such file or directory"):
        write_text(tmp_path / "deleted" / "a.txt", "")
    assert names(tmp_path) == []


def test_an_error_of_another_file_is_not_one_of_writing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        (tmp_path / "input").read_text()


def is_a_rename(call: ast.Call, function: str) -> bool:
    """Whether a call renames a file. `Path.replace` has one argument, `str.replace` two, in dataclasses keywords."""
    if function in ("os.replace", "os.rename", "os.renames", "shutil.move"):
        return True
    return isinstance(call.func, ast.Attribute) and (
        call.func.attr in ("replace", "rename") and len(call.args) == 1 and not call.keywords
    )


def is_a_write(call: ast.Call, function: str) -> bool:
    """Whether a call writes to a file; `frame.to_csv()` without a path returns text."""
    name = function.rpartition(".")[2]
    if name in ("write_text", "write_bytes") and isinstance(call.func, ast.Attribute):
        return True
    if name in ("to_csv", "to_parquet", "to_json", "to_feather", "to_pickle"):
        return bool(call.args) or any(keyword.arg in ("path_or_buf", "path") for keyword in call.keywords)
    if name == "open":
        modes = map(text_of, [*call.args, *(keyword.value for keyword in call.keywords)])
        return any(set(mode) & set("wax+") and len(mode) <= 3 for mode in modes)
    return name in ("savefig", "print_png", "save_file", "write_table") or function in (
        "np.save",
        "np.savez",
        "np.savez_compressed",
        "torch.save",
        "json.dump",
        "pickle.dump",
        "shutil.copy",
        "shutil.copyfile",
    )


def text_of(node: ast.AST) -> str:
    """The value of a text constant; empty for other nodes."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def hand_written(tree: ast.AST, function: str = "", safe: bool = False) -> Iterator[tuple[str, str]]:
    """(function, code) of every write outside `with replacing(…)` and of every hand-made name of a partial file."""
    for node in ast.iter_child_nodes(tree):
        inner, covered = function, safe
        if isinstance(node, ast.FunctionDef):
            inner, covered = node.name, False
        elif isinstance(node, ast.With):
            calls = [item.context_expr.func for item in node.items if isinstance(item.context_expr, ast.Call)]
            covered = safe or any(ast.unparse(call) in ("replacing", "replacing_folder") for call in calls)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if is_a_rename(node, called) or (is_a_write(node, called) and not safe):
                yield inner, ast.unparse(node)
        elif text_of(node).endswith((".partial", ".tmp")):
            yield inner, text_of(node)
        yield from hand_written(node, inner, covered)


@pytest.mark.parametrize(
    "code",
    [
        "partial.replace(path)",
        "partial.rename(path)",
        "os.replace(partial, path)",
        "path.write_text('x', encoding='utf-8')",
        "path.write_bytes(b'')",
        "table.to_csv(path, index=False)",
        "table.to_parquet(path)",
        "figure.savefig(path)",
        "np.save(path / 'x.npy', array)",
        "open(path, 'w')",
        "path.open('ab', buffering=0)",
        "path.with_name(f'{path.name}.partial')",
        "with scratch_folder(path) as scratch:\n    (scratch / 'a').write_text('x')",
        "with replacing(path) as partial:\n    def f():\n        path.write_text('x')",
    ],
)
def test_writing_by_hand_is_noticed(code: str) -> None:
    assert len(list(hand_written(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "text.replace('a', 'b')",
        "replace(record, note='x')",
        "date.replace(tzinfo=UTC)",
        "frame.rename(columns=names)",
        "write_text(path, table.to_csv(index=False))",
        "path.open('rb')",
        "with replacing(path) as partial:\n    table.to_csv(partial)",
        "with replacing(path) as partial, partial.open('wb') as file:\n    np.savez_compressed(file, **tensors)",
    ],
)
def test_what_is_no_writing_by_hand(code: str) -> None:
    assert not list(hand_written(ast.parse(code)))


def test_every_file_is_written_through_files() -> None:
    found = {
        f"{path.relative_to(PACKAGE).as_posix()}:{function}": code
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "files.py"
        for function, code in hand_written(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {place: code for place, code in found.items() if place not in BY_HAND} == {}
    assert found.keys() >= BY_HAND.keys(), "an exception that is none any more"
