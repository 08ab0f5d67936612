"""Data sets from mirrors and local archives: what is installed, recorded, refused and left unchanged."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fetching import BEAUTY, BODY, QUICK, assert_installed, fetch, refusal
from loopback import (
    INTER,
    ITEM,
    LoopbackServer,
    beauty_zip,
    make_zip,
    refuse,
    running,
    serve,
)

from actsr_cli.data.catalog import find_entry, find_installed
from actsr_cli.data.fetch import (
    BUILTIN_MIRRORS,
    fetch_dataset,
    install_demo,
    install_from_file,
    list_mirrors,
)
from actsr_cli.data.manifest import read_manifest
from actsr_cli.data.readers import Columns
from actsr_cli.data.retry import RetryPolicy
from actsr_cli.data.sources import find_source, source_from_file
from actsr_cli.errors import DataError, DownloadError


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with running(BODY) as running_server:
        yield running_server


def test_files_land_under_the_catalogue_name_with_a_manifest(server: LoopbackServer, tmp_path: Path) -> None:
    progress: list[tuple[int, int | None]] = []
    installed = fetch(server, tmp_path, on_progress=lambda done, total: progress.append((done, total)))
    assert_installed(tmp_path)
    assert server.requests[0][0] == "/mirror/Amazon_ratings/Amazon_Beauty.zip"
    assert progress[0] == (0, len(BODY))
    assert progress[-1] == (len(BODY), len(BODY))
    manifest = json.loads((tmp_path / "amazon-beauty" / "manifest.json").read_text())
    assert manifest["source"] == f"{server.url}Amazon_ratings/Amazon_Beauty.zip"
    assert manifest["bytes"] == len(BODY)
    assert manifest["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert abs(datetime.now(UTC) - datetime.fromisoformat(manifest["date"])) < timedelta(minutes=5)
    assert manifest["members"] == [
        {"name": "amazon-beauty.inter", "bytes": len(INTER)},
        {"name": "amazon-beauty.item", "bytes": len(ITEM)},
        {"name": "notes.txt", "bytes": 200_000},
    ]
    assert installed.folder == tmp_path / "amazon-beauty"
    assert installed.manifest == read_manifest(installed.folder)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html; charset=utf-8", b"<p>Sign in</p>"),
        ("application/zip", b"\n <!DOCTYPE html><title>Sign in</title>"),
        ("application/octet-stream", b"<!-- portal --><HTML><body>Sign in</body></HTML>"),
    ],
)
def test_an_html_page_is_called_by_its_name(
    server: LoopbackServer, tmp_path: Path, content_type: str, body: bytes
) -> None:
    server.script.append(serve(body, content_type=content_type))
    assert "an HTML page, not an archive" in refusal(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<?xml version='1.0'?><Error/>", "not a zip archive"),
        (b"", "an empty file"),
        (BODY[:-40], "broken zip archive"),
        (BODY.replace(b"u1\ti2", b"u9\ti9"), r"broken zip archive: member 'Amazon_Beauty/Amazon_Beauty.inter'"),
    ],
)
def test_a_body_that_is_no_sound_zip_is_refused_and_not_kept(
    server: LoopbackServer, tmp_path: Path, body: bytes, words: str
) -> None:
    server.script.append(serve(body))
    assert words in refusal(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_next_mirror_is_asked_and_recorded(server: LoopbackServer, tmp_path: Path) -> None:
    notes: list[str] = []
    with running(b"<html>") as first:
        first.script.append(refuse(403))
        mirrors = [first.url, "http://127.0.0.1:9/closed", server.url]
        installed = fetch_dataset(BEAUTY, tmp_path, mirrors, policy=RetryPolicy(retries=0), on_note=notes.append)
    assert_installed(tmp_path)
    assert installed.manifest.source.startswith(server.url)
    assert "403 Forbidden; trying the next mirror" in notes[0]
    assert "127.0.0.1:9" in notes[1]


def test_a_refusal_by_all_prints_the_way_by_hand(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.extend([refuse(403)] * 2)
    said = refusal(server, tmp_path)
    assert said.startswith("no mirror has a valid archive of 'amazon-beauty'")
    for words in (
        f"{server.url}Amazon_ratings/Amazon_Beauty.zip: 403 Forbidden",
        "https://github.com/RUCAIBox/RecSysDatasets",
        "actsr download amazon-beauty --from-file Amazon_Beauty.zip",
        str(tmp_path / "amazon-beauty" / "amazon-beauty.inter"),
        "actsr preprocess amazon-beauty",
    ):
        assert words in said


def test_a_password_in_a_mirror_is_neither_said_nor_recorded(server: LoopbackServer, tmp_path: Path) -> None:
    secret = server.url.replace("http://", "http://me:hush@")
    server.script.append(refuse(403))
    with pytest.raises(DownloadError) as caught:
        fetch_dataset(BEAUTY, tmp_path, [secret], policy=QUICK)
    assert "hush" not in f"{caught.value}{caught.value.hint}"
    installed = fetch_dataset(BEAUTY, tmp_path, [secret], policy=QUICK)
    assert "hush" not in installed.manifest.model_dump_json()
    assert server.requests[1][1]["Authorization"].startswith("Basic ")


def test_a_checksum_is_verified(server: LoopbackServer, tmp_path: Path) -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    assert f"its sha256 is {digest}, not {'0' * 64}" in refusal(server, tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []
    fetch(server, tmp_path, sha256=digest.upper())
    assert_installed(tmp_path)


def test_an_archive_unlike_the_earlier_one_is_reported(server: LoopbackServer, tmp_path: Path) -> None:
    assert fetch(server, tmp_path).earlier_sha256 is None
    assert fetch(server, tmp_path).earlier_sha256 is None
    server.body = beauty_zip()
    assert fetch(server, tmp_path).earlier_sha256 == hashlib.sha256(BODY).hexdigest()
    assert not (tmp_path / "amazon-beauty" / "notes.txt").exists(), "a member of the earlier archive alone"
    assert_installed(tmp_path)


def test_data_in_place_survive_a_download_that_fails(server: LoopbackServer, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    (tmp_path / "amazon-beauty" / "mine.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "amazon-beauty").iterdir()}
    broken = make_zip({"a.inter": b"x", "../b.item": b"x"})
    server.script.extend([refuse(404), serve(BODY[:-40]), serve(broken)])
    for _ in range(3):
        refusal(server, tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "amazon-beauty").iterdir()} == before
    fetch(server, tmp_path)
    assert (tmp_path / "amazon-beauty" / "mine.txt").read_text() == "mine"


def test_leavings_of_a_killed_process_do_not_disturb(server: LoopbackServer, tmp_path: Path) -> None:
    """Partially unpacked files of a killed process are removed by the next one."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".amazon-beauty.{platform.node()}.{ended.pid}.partial"
    left.mkdir()
    (left / "amazon-beauty.inter").write_text("half")
    fetch(server, tmp_path)
    assert_installed(tmp_path)


def test_an_archive_at_hand_is_installed_and_stays(tmp_path: Path) -> None:
    archive = tmp_path / "mine.zip"
    archive.write_bytes(BODY)
    installed = install_from_file(BEAUTY, archive, tmp_path / "data")
    assert_installed(tmp_path / "data")
    assert archive.read_bytes() == BODY
    assert installed.manifest.source == str(archive)


def test_an_archive_at_hand_is_refused_by_its_name(tmp_path: Path) -> None:
    archive = tmp_path / "mine.zip"
    with pytest.raises(DownloadError, match=r"no archive '.*mine.zip'"):
        install_from_file(BEAUTY, archive, tmp_path / "data")
    archive.write_text("user_id:token\titem_id:token\n")
    with pytest.raises(DownloadError, match=r"mine.zip': not a zip archive"):
        install_from_file(BEAUTY, archive, tmp_path / "data")
    archive.write_bytes(BODY)
    with pytest.raises(DownloadError, match="sha256"):
        install_from_file(BEAUTY, archive, tmp_path / "data", sha256="0" * 64)
    with pytest.raises(DownloadError, match="'demo' is generated"):
        install_from_file(find_entry("demo"), archive, tmp_path / "data")
    assert archive.read_bytes() == BODY
    assert not (tmp_path / "data" / "amazon-beauty").exists()


def test_the_demo_is_installed_with_a_manifest(tmp_path: Path) -> None:
    installed = install_demo(find_entry("demo"), tmp_path)
    assert [member.name for member in installed.manifest.members] == ["demo.inter", "demo.item"]
    assert installed.manifest.source == "generated by actsr with seed 2024"
    assert find_installed(find_entry("demo"), tmp_path) == tmp_path / "demo" / "demo.inter"


def test_a_download_ends_the_registration_of_another_file(tmp_path: Path) -> None:
    demo, data_dir, other = find_entry("demo"), tmp_path / "data", tmp_path / "other.inter"
    other.write_bytes(INTER)
    titles = tmp_path / "titles.csv"
    titles.write_text("item,title\ni001,Up\n")
    source_from_file(data_dir, "demo", other, None, Columns()).with_items(titles).register()
    assert install_demo(demo, data_dir).unregistered == (other, titles)
    own = find_source(data_dir, "demo")
    assert own.files == (data_dir / "demo" / "demo.inter", data_dir / "demo" / "demo.item")
    own.with_items(titles).register()
    assert install_demo(demo, data_dir).unregistered == ()
    assert find_source(data_dir, "demo").item_file == titles, "titles that were given are still remembered"


def test_a_damaged_registration_stops_before_anything_changes(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "source.json").write_text("{")
    with pytest.raises(DataError, match=r"source\.json is damaged"):
        install_demo(find_entry("demo"), tmp_path)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["source.json"]


@pytest.mark.parametrize("folder", ["amazon-beauty", "Amazon_Beauty", "beauty"])
def test_files_put_there_by_hand_count_as_there(tmp_path: Path, folder: str) -> None:
    assert find_installed(BEAUTY, tmp_path) is None
    (tmp_path / folder).mkdir()
    (tmp_path / folder / f"{folder}.inter").write_bytes(INTER)
    assert find_installed(BEAUTY, tmp_path) == tmp_path / folder / f"{folder}.inter"


def test_mirrors_are_asked_in_order_each_once() -> None:
    listed = "https://c/x/, http://d  https://a"
    assert list_mirrors(["https://a/", "https://b"], listed) == (
        "https://a/",
        "https://b/",
        "https://c/x/",
        "http://d/",
        *BUILTIN_MIRRORS,
    )


@pytest.mark.parametrize("mirror", ["ftp://a/", "/srv/data", "https://", "https://a/?token=1", "http://[::1", "a.b"])
def test_a_mirror_that_is_no_address_is_refused(mirror: str) -> None:
    with pytest.raises(DownloadError, match="is not an address"):
        list_mirrors([mirror])
