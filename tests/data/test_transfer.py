"""Downloads from a real server that drops connections, stalls, sends wrong headers and refuses."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from fetching import BEAUTY, BODY, assert_installed, fetch, refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import (
    Answer,
    LoopbackServer,
    beauty_zip,
    drop_after,
    refuse,
    running,
    serve,
    serve_without_range,
    stall_after,
)

from actsr_cli.data.retry import RetryPolicy
from actsr_cli.data.transfer import PartialFile
from actsr_cli.data.transfer import download as transfer


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with running(BODY) as running_server:
        yield running_server


def kept(data_dir: Path) -> bytes | None:
    part = data_dir / "amazon-beauty.zip.part"
    return part.read_bytes() if part.exists() else None


@pytest.mark.parametrize("reset", [True, False])
def test_a_dropped_connection_is_resumed_with_the_validator(
    server: LoopbackServer, tmp_path: Path, reset: bool
) -> None:
    notes: list[str] = []
    server.script.append(drop_after(100_000, reset=reset))
    fetch(server, tmp_path, on_note=notes.append)
    assert_installed(tmp_path)
    assert len(server.requests) == 2
    headers = server.requests[1][1]
    first = int(headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < first <= 100_000
    assert headers["If-Range"] == '"one"'
    assert headers["Accept-Encoding"] == "identity"
    assert len(notes) == 1
    assert "trying again" in notes[0]


def test_the_date_is_the_validator_where_the_etag_is_weak(server: LoopbackServer, tmp_path: Path) -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    server.script.append(drop_after(50_000, reset=False, etag='W/"weak"', last_modified=date))
    fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert server.requests[1][1]["If-Range"] == date


def test_without_a_validator_it_starts_over(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.append(drop_after(50_000, reset=False, server="plain"))
    fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert server.ranges == [None, None]


def test_a_server_without_range_starts_over(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.extend([drop_after(50_000, reset=False), serve_without_range])
    fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert server.ranges == [None, "bytes=50000-"]


def test_a_file_that_changed_between_tries_starts_over(server: LoopbackServer, tmp_path: Path) -> None:
    def change_then_drop(answer: Answer) -> None:
        drop_after(50_000, reset=False)(answer)
        answer.server.body, answer.server.etag = beauty_zip(padding=90_000), '"two"'

    server.script.append(change_then_drop)
    installed = fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert server.ranges == [None, "bytes=50000-"]
    assert installed.manifest.sha256 == hashlib.sha256(beauty_zip(padding=90_000)).hexdigest()


@pytest.mark.parametrize(
    ("stated", "etag"),
    [
        ("bytes 40000-99999/{total}", '"one"'),
        ("bytes 50000-99999/77", '"one"'),
        ("pages 1-2/3", '"one"'),
        ("bytes 50000-99999/{total}", '"two"'),
    ],
)
def test_a_206_that_does_not_go_on_where_we_stopped_starts_over(
    server: LoopbackServer, tmp_path: Path, stated: str, etag: str
) -> None:
    lie = serve(b"?" * 50_000, 206, content_range=stated.format(total=len(BODY)), etag=etag)
    server.script.extend([drop_after(50_000, reset=False), lie])
    fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert server.ranges == [None, "bytes=50000-", None]


def test_a_206_that_nobody_asked_for_is_not_appended(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.append(serve(b"?" * 10, 206, content_range="bytes 5-14/20"))
    fetch(server, tmp_path)
    assert_installed(tmp_path)


def test_a_416_starts_over_unless_everything_is_there(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.extend([drop_after(50_000, reset=False), refuse(416, content_range="bytes */7")])
    fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert server.ranges == [None, "bytes=50000-", None]


def test_a_complete_part_of_unknown_length_is_told_by_416(server: LoopbackServer, tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "amazon-beauty.zip.part")
    partial.path.write_bytes(BODY)
    record = {"url": f"{server.url}{BEAUTY.archive}", "validator": '"one"', "total": None}
    (tmp_path / "amazon-beauty.zip.part.json").write_text(json.dumps(record))
    fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert server.ranges == [f"bytes={len(BODY)}-"]


def test_a_part_of_another_address_is_not_continued(server: LoopbackServer, tmp_path: Path) -> None:
    (tmp_path / "amazon-beauty.zip.part").write_bytes(BODY[:1000])
    record = {"url": "http://elsewhere/x.zip", "validator": '"one"', "total": len(BODY)}
    (tmp_path / "amazon-beauty.zip.part.json").write_text(json.dumps(record))
    fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert server.ranges == [None]


def test_a_body_that_is_always_short_ends_in_words_and_keeps_the_part(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.extend([drop_after(60_000, reset=False, server="plain")] * 4)
    said = refusal(server, tmp_path)
    assert len(server.requests) == 4, "one try and three retries"
    assert "without sending complete message body" in said
    assert "60,000 bytes kept" in said
    assert kept(tmp_path) == BODY[:60_000]


def test_what_was_kept_is_the_start_of_the_next_call(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.append(drop_after(60_000, reset=False))
    refusal(server, tmp_path, policy=RetryPolicy(retries=0))
    assert kept(tmp_path) == BODY[:60_000]
    fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert server.ranges == [None, "bytes=60000-"]


def test_retries_count_failures_that_bring_nothing_new(server: LoopbackServer, tmp_path: Path) -> None:
    def continue_a_little(answer: Answer) -> None:
        first = int(answer.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = answer.server.body
        answer.start(
            206,
            content_length=len(body) - first,
            content_range=f"bytes {first}-{len(body) - 1}/{len(body)}",
            etag=answer.server.etag,
        )
        answer.wfile.write(body[first : first + 10_000])

    server.script.append(drop_after(10_000, reset=False))
    server.script.extend([continue_a_little] * 8)
    fetch(server, tmp_path, policy=RetryPolicy(retries=1, first_wait=0.001))
    assert_installed(tmp_path)
    assert len(server.requests) == 10


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failures_are_tried_again(server: LoopbackServer, tmp_path: Path, status: int) -> None:
    server.script.extend([refuse(status), refuse(status)])
    fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert len(server.requests) == 3


def test_retries_are_bounded(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.extend([refuse(503)] * 10)
    assert "503 Service Unavailable" in refusal(server, tmp_path)
    assert len(server.requests) == 4


def test_silence_is_a_failure_and_resumed(server: LoopbackServer, tmp_path: Path) -> None:
    release = threading.Event()
    server.script.append(stall_after(70_000, release))
    fetch(server, tmp_path, policy=RetryPolicy(retries=1, first_wait=0.001, timeout=0.3))
    release.set()
    assert_installed(tmp_path)
    assert server.ranges == [None, "bytes=70000-"]


def waits(server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: RetryPolicy) -> list[float]:
    """Records the seconds that a download would sleep, without sleeping."""
    slept: list[float] = []
    monkeypatch.setattr("actsr_cli.data.transfer.time.sleep", slept.append)
    fetch(server, tmp_path, policy=policy)
    return slept


def test_back_off_doubles_up_to_the_longest_wait(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script.extend([refuse(503)] * 4)
    policy = RetryPolicy(retries=4, first_wait=1.0, longest_wait=5.0)
    assert waits(server, tmp_path, monkeypatch, policy) == [1.0, 2.0, 4.0, 5.0]


def test_retry_after_in_seconds_is_honoured(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script.append(refuse(429, retry_after=7))
    assert waits(server, tmp_path, monkeypatch, RetryPolicy()) == [7.0]


def test_retry_after_as_a_date_is_honoured(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = datetime.now(UTC) + timedelta(seconds=40)
    server.script.append(refuse(503, retry_after=format_datetime(then, usegmt=True)))
    (slept,) = waits(server, tmp_path, monkeypatch, RetryPolicy())
    assert 0 < slept <= 40


def test_a_garbled_retry_after_is_ignored(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script.append(refuse(503, retry_after="soon"))
    assert waits(server, tmp_path, monkeypatch, RetryPolicy()) == [1.0]


def test_a_retry_after_beyond_reason_gives_the_mirror_up(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.append(refuse(503, retry_after=86_400))
    assert "asks to wait 86400 s" in refusal(server, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "words"), [(403, "403 Forbidden"), (404, "404 Not Found"), (410, "410 Gone")])
def test_a_final_refusal_is_not_repeated(server: LoopbackServer, tmp_path: Path, status: int, words: str) -> None:
    server.script.extend([refuse(status)] * 3)
    assert words in refusal(server, tmp_path)
    assert len(server.requests) == 1


def test_an_encoded_body_is_refused(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.append(serve(b"\x1f\x8b", content_encoding="gzip"))
    assert "encoded (gzip)" in refusal(server, tmp_path)


def test_redirects_are_followed(server: LoopbackServer, tmp_path: Path) -> None:
    server.script.append(refuse(302, location=f"{server.url}moved.zip"))
    fetch(server, tmp_path)
    assert_installed(tmp_path)
    assert server.requests[1][0] == "/mirror/moved.zip"


@settings(max_examples=25)
@given(drops=st.lists(st.integers(0, 3000), max_size=6), etagged=st.booleans(), seed=st.integers(0, 250))
def test_whatever_breaks_the_file_is_the_body(
    tmp_path_factory: pytest.TempPathFactory, drops: list[int], etagged: bool, seed: int
) -> None:
    body = bytes((seed + position * 7) % 251 for position in range(3001))
    partial = PartialFile(tmp_path_factory.mktemp("part") / "x.zip.part")
    with running(body) as server:
        for count in drops:
            server.script.append(drop_after(count, reset=False, **({} if etagged else {"server": "plain"})))
        policy = RetryPolicy(retries=len(drops), first_wait=0.0)
        transfer(f"{server.url}x.zip", partial, policy, None, None)
    assert partial.path.read_bytes() == body
