"""`actsr download` as a user calls it: in this process for its output, in a separate process for being killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import INTER, LoopbackServer, beauty_zip, make_zip, refuse, running, serve, stall_after
from typer.testing import CliRunner, Result

from actsr_cli.app import app
from actsr_cli.data.catalog import CATALOG

BODY = beauty_zip(padding=300_000)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy for the loopback server, only the mirrors of the test, wide lines."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("ACTSR_MIRROR", raising=False)
    monkeypatch.delenv("ACTSR_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("actsr_cli.data.fetch.BUILTIN_MIRRORS", ())


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with running(BODY) as running_server:
        yield running_server


def actsr(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def manifest_of(folder: Path) -> dict[str, object]:
    manifest: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return manifest


@pytest.mark.parametrize("name", ["amazon-beauty", "beauty", "Amazon_Beauty"])
def test_a_name_and_its_aliases_land_in_one_place(server: LoopbackServer, tmp_path: Path, name: str) -> None:
    result = actsr("download", name, "--mirror", server.url, "--data-dir", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "amazon-beauty" / "amazon-beauty.inter").read_bytes() == INTER
    assert f"in {tmp_path / 'amazon-beauty'}" in result.stdout
    assert "actsr preprocess amazon-beauty" in result.stderr


def test_what_is_there_is_left_alone_unless_forced(server: LoopbackServer, tmp_path: Path) -> None:
    arguments = ("download", "beauty", "--mirror", server.url, "--data-dir", tmp_path)
    actsr(*arguments)
    again = actsr(*arguments)
    assert again.exit_code == 0
    assert "already there" in again.stderr
    assert len(server.requests) == 1
    server.body = beauty_zip()
    forced = actsr(*arguments, "--force")
    assert forced.exit_code == 0
    assert len(server.requests) == 2
    assert "is not the one downloaded earlier" in forced.stderr


@pytest.mark.parametrize("option", [("--from-file", "none.zip"), ("--sha256", "0" * 64)])
def test_an_archive_or_a_digest_for_data_that_are_there_is_refused(
    server: LoopbackServer, tmp_path: Path, option: tuple[str, str]
) -> None:
    arguments = ("download", "beauty", "--mirror", server.url, "--data-dir", tmp_path)
    assert actsr(*arguments).exit_code == 0
    refused = actsr(*arguments, *option)
    there = tmp_path / "amazon-beauty" / "amazon-beauty.inter"
    assert refused.exit_code == 1 and len(server.requests) == 1
    assert f"amazon-beauty is already there: {there}; {option[0]} would have no effect" in refused.stderr
    assert "Add --force" in refused.stderr
    assert "already there" not in actsr(*arguments, *option, "--force").stderr


def test_the_digest_of_the_data_that_are_there_asks_for_nothing(server: LoopbackServer, tmp_path: Path) -> None:
    digest = hashlib.sha256(BODY).hexdigest().upper()
    arguments = ("download", "beauty", "--mirror", server.url, "--data-dir", tmp_path, "--sha256", digest)
    assert actsr(*arguments).exit_code == 0
    again = actsr(*arguments)
    assert again.exit_code == 0 and "already there" in again.stderr and len(server.requests) == 1


def test_what_is_downloaded_is_what_is_read(tmp_path: Path) -> None:
    data = ("--data-dir", tmp_path / "data")
    other = tmp_path / "other.inter"
    assert actsr("download", "demo", *data).exit_code == 0
    lines = (tmp_path / "data" / "demo" / "demo.inter").read_text().splitlines(keepends=True)
    other.write_text("".join(lines[:200]))
    given = actsr("preprocess", "demo", "--preset", "none", "--from-file", other, *data)
    assert "/ 199 interactions" in given.stdout and f"Input: {other}\n" in given.stderr
    assert f"demo is registered as {other}, which is read instead" in actsr("download", "demo", *data).stderr
    forced = actsr("download", "demo", "--force", *data)
    assert f"demo was registered as {other}; from now on its own files are read" in forced.stderr
    own = actsr("preprocess", "demo", "--preset", "none", *data)
    assert "/ 19,630 interactions" in own.stdout and "Input:" not in own.stderr
    assert "registered" not in actsr("download", "demo", *data).stderr


def test_mirrors_come_from_options_then_from_the_environment(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(b"") as first, running(b"") as second:
        first.script.append(refuse(403))
        second.script.append(refuse(404))
        monkeypatch.setenv("ACTSR_MIRROR", f"{second.url}, {server.url}")
        result = actsr("download", "beauty", "--mirror", first.url, "--data-dir", tmp_path)
        assert result.exit_code == 0, result.output
        assert [len(asked.requests) for asked in (first, second, server)] == [1, 1, 1]
    assert str(manifest_of(tmp_path / "amazon-beauty")["source"]).startswith(server.url)


def test_a_refusal_ends_in_the_way_by_hand(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.append(refuse(403))
    result = actsr("download", "beauty", "--mirror", server.url, "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert "error: no mirror has a valid archive of 'amazon-beauty'" in result.stderr
    assert "https://github.com/RUCAIBox/RecSysDatasets" in result.stderr
    assert "--from-file Amazon_Beauty.zip" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".amazon-beauty.lock"]


def test_one_failure_does_not_lose_the_others(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.extend([refuse(403), serve(make_zip({"ml-100k.inter": INTER}))])
    result = actsr("download", "beauty", "ml-100k", "demo", "--mirror", server.url, "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert "1 of 3 data sets failed: amazon-beauty" in result.stderr
    assert "403 Forbidden" in result.stderr
    assert (tmp_path / "ml-100k" / "ml-100k.inter").read_bytes() == INTER
    assert (tmp_path / "demo" / "demo.inter").is_file()


def test_a_name_given_twice_is_fetched_once(server: LoopbackServer, tmp_path: Path) -> None:
    result = actsr("download", "beauty", "amazon-beauty", "--mirror", server.url, "--data-dir", tmp_path, "--force")
    assert result.exit_code == 0
    assert len(server.requests) == 1


def test_an_unknown_name_stops_everything_before_it_starts(server: LoopbackServer, tmp_path: Path) -> None:
    result = actsr("download", "beauty", "yelb", "--mirror", server.url, "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert "unknown data set 'yelb'; did you mean 'yelp'?" in result.stderr
    assert server.requests == []


def test_no_name_is_a_question_about_usage() -> None:
    result = actsr("download")
    assert result.exit_code == 2
    assert "--list" in result.stderr


def test_an_archive_at_hand(tmp_path: Path) -> None:
    archive = tmp_path / "Amazon_Beauty.zip"
    archive.write_bytes(BODY)
    result = actsr("download", "beauty", "--from-file", archive, "--data-dir", tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert manifest_of(tmp_path / "data" / "amazon-beauty")["source"] == str(archive)
    assert archive.read_bytes() == BODY


@pytest.mark.parametrize("names", [("beauty", "yelp"), ("demo",)])
@pytest.mark.parametrize("option", [("--from-file", "x.zip"), ("--sha256", "0" * 64)])
def test_an_archive_or_a_digest_belongs_to_one_name(names: tuple[str, ...], option: tuple[str, str]) -> None:
    result = actsr("download", *names, *option)
    assert result.exit_code == 2
    assert "exactly one NAME" in result.stderr


def test_a_digest_is_checked_for_form_and_content(server: LoopbackServer, tmp_path: Path) -> None:
    common = ("download", "beauty", "--mirror", server.url, "--data-dir", tmp_path, "--sha256")
    assert actsr(*common, "abc").exit_code == 2
    assert server.requests == []
    wrong = actsr(*common, "0" * 64)
    assert wrong.exit_code == 1
    assert "its sha256 is" in wrong.stderr


def test_retries_can_be_turned_off(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.extend([refuse(503)] * 3)
    result = actsr("download", "beauty", "--mirror", server.url, "--data-dir", tmp_path, "--retries", "0")
    assert result.exit_code == 1
    assert "503 Service Unavailable" in result.stderr
    assert len(server.requests) == 1


def test_the_list_shows_sizes_and_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTSR_DATA", str(tmp_path))
    assert actsr("download", "demo").exit_code == 0
    result = actsr("download", "--list")
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.split()}
    assert rows["demo"][-4:] == ["2,000", "340", "19,630", "yes"]
    assert rows["amazon-beauty"][-4:] == ["22,363", "12,101", "198,502", "no"]
    assert rows["ml-100k"][-4:] == ["943", "1,682", "100,000", "no"]
    assert len(rows) == len(result.stdout.splitlines()) == 1 + len(CATALOG)
    assert set(rows) >= {"amazon-sports-outdoors", "amazon-toys-games", "yelp"}


def test_the_list_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTSR_DATA", str(tmp_path))
    assert actsr("download", "demo").exit_code == 0
    told = {each["name"]: each for each in json.loads(actsr("download", "--list", "--json").stdout)}
    assert list(told) == [entry.name for entry in CATALOG]
    assert told["demo"]["file"] == str(tmp_path / "demo" / "demo.inter")
    beauty = told["amazon-beauty"]
    assert (beauty["users"], beauty["items"], beauty["interactions"], beauty["file"]) == (22363, 12101, 198502, None)
    assert "beauty" in beauty["aliases"]
    refused = actsr("download", "demo", "--json")
    assert refused.exit_code == 2 and "goes with --list only" in refused.stderr


def test_quiet_keeps_only_results(tmp_path: Path) -> None:
    result = actsr("--quiet", "download", "demo", "--data-dir", tmp_path)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "demo.inter" in result.stdout


def start_process(server: LoopbackServer, data_dir: Path) -> subprocess.Popen[str]:
    options = ["--mirror", server.url, "--data-dir", str(data_dir)]
    command = [sys.executable, "-m", "actsr_cli", "download", "beauty", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def wait_for_part(data_dir: Path, size: int, process: subprocess.Popen[str]) -> None:
    part = data_dir / "amazon-beauty.zip.part"
    for _ in range(6000):
        if part.exists() and part.stat().st_size == size:
            return
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)
    raise AssertionError("the part never came")


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGINT])
def test_a_process_ended_midway_is_resumed_by_the_next(
    server: LoopbackServer, tmp_path: Path, deadly: signal.Signals
) -> None:
    release = threading.Event()
    server.script.append(stall_after(150_000, release))
    process = start_process(server, tmp_path)
    try:
        wait_for_part(tmp_path, 150_000, process)
        process.send_signal(deadly)
        _, said = process.communicate(timeout=60)
    finally:
        release.set()
        process.kill()
    if deadly == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command continues the download" in said
        assert "Traceback" not in said
    assert not (tmp_path / "amazon-beauty").exists()
    second = start_process(server, tmp_path)
    output, said = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert server.ranges == [None, "bytes=150000-"]
    assert server.requests[1][1]["If-Range"] == '"one"'
    assert (tmp_path / "amazon-beauty" / "amazon-beauty.inter").read_bytes() == INTER
    assert sorted(path.name for path in tmp_path.iterdir()) == [".amazon-beauty.lock", "amazon-beauty"]
    assert "amazon-beauty.inter" in output


def test_what_a_kill_left_beside_an_installed_data_set_is_removed(tmp_path: Path, server: LoopbackServer) -> None:
    command = ("download", "beauty", "--mirror", server.url, "--data-dir", str(tmp_path))
    assert actsr(*command).exit_code == 0
    for name in ("amazon-beauty.zip.part", "amazon-beauty.zip.part.json"):
        (tmp_path / name).write_text("{}")
    assert "is already there" in actsr(*command).output
    assert list(tmp_path.glob("*.part*")) == []
