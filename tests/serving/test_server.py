"""Real servers: bad clients, floods, stops and newer runs under load, random requests by the schema."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import records
import schemathesis
import servers
from hypothesis import HealthCheck, Phase, given, settings
from pages import blocks, commands, read
from processes import made_once, wait_until
from schemathesis.specs.openapi.checks import positive_data_acceptance
from servers import ASKED, JSON, Server, serving, trained
from test_docker import last

from actsr_cli.experiment.record import now
from actsr_cli.serving.limits import (
    ALL_BODIES,
    LARGEST_BODY,
    LONGEST_HISTORY,
    LONGEST_LIST,
    MOST_CANDIDATES,
    MOST_HISTORIES,
    MOST_REQUESTS,
    SECONDS_TO_READ,
    SECONDS_TO_WRITE,
)

SHORT = 0.7
"""Seconds that clients have in place of those of `limits.py`."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        trained(folder, "one")

    return made_once(tmp_path_factory, "served", make)


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[Server]:
    """A server with little patience."""
    names = ("connection.SECONDS_TO_READ", "guard.SECONDS_TO_READ", "connection.SECONDS_TO_WRITE")
    with serving(runs, changed={f"actsr_cli.serving.{name}": SHORT for name in names}) as made:
        yield made
        code, said = made.stop(signal.SIGINT)
        assert (code, said.splitlines()[1:]) == (0, ["Stopping"])  # nothing that a client did was an error of ours


HEAD = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def lives(server: Server) -> bool:
    status, told = server.ask("POST", "/recommend", json.loads(ASKED))
    return status == 200 and len(told["lists"][0]["items"]) == 3


def test_garbage_is_answered_in_the_form_of_all_errors(server: Server) -> None:
    for garbage in (
        b"\x16\x03\x01\x02\x00",
        b"GET /\r\n\r\n",
        b"A" * 100_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ):
        with server.raw() as client:
            client.sendall(garbage + b"\r\n\r\n")
            answer = b""
            while more := client.recv(4096):
                answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and json.loads(body)["error"]["where"] == "header"
    assert lives(server)


def test_a_broken_chunk_is_refused(server: Server) -> None:
    with server.raw() as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert lives(server)


def trickle(client: socket.socket, data: bytes) -> float:
    """Send a byte at a time until the server ends the connection; the seconds until then."""
    begun = time.monotonic()
    client.settimeout(0.05)
    for place in range(len(data)):
        try:
            client.sendall(data[place : place + 1])
            if client.recv(4096) is not None:
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begun


def test_a_slow_client_is_cut_off(server: Server) -> None:
    with server.raw() as silent, server.raw() as slow:
        assert SHORT / 2 < trickle(slow, b"GET /health HTTP/1.1\r\nX-Long: " + b"x" * 1000) < 10
        silent.settimeout(10)
        with pytest.raises(ConnectionResetError):
            silent.recv(1)  # it never sent anything
            raise ConnectionResetError
    with server.raw() as slow:
        slow.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        slow.settimeout(10)
        answer = slow.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer
    with server.raw() as deaf:  # asks on and on, and never reads
        deaf.settimeout(0.5)
        begun = time.monotonic()
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            while time.monotonic() < begun + 10:
                try:
                    deaf.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
                except TimeoutError:
                    continue
    assert lives(server)


@pytest.mark.parametrize("expect", ["", "100-continue"])
@pytest.mark.parametrize("length", [None, 100_000_000])
def test_a_body_of_100_mb_takes_no_memory_and_is_told_so(server: Server, expect: str, length: int | None) -> None:
    before = server.peak_megabytes
    client = server.connection()
    client.putrequest("POST", "/recommend")
    client.putheader("Content-Type", "application/json")
    client.putheader(*(("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))))
    if expect:
        client.putheader("Expect", expect)
    client.endheaders()
    block = b"x" * 1_000_000
    if not expect or length is None:
        for _ in range(100):
            client.send(b"%x\r\n%s\r\n" % (len(block), block) if length is None else block)
    answer = client.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["where"]) == (413, "body")
    assert server.peak_megabytes < before + 20
    assert lives(server)


def test_clients_that_are_gone_break_no_batch(server: Server) -> None:
    head = (
        b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    for _ in range(5):
        gone = [server.raw() for _ in range(10)]
        for client in gone:
            client.sendall(head + ASKED)
        half = server.raw()
        half.sendall(head + ASKED[:5])
        for client in (*gone, half):
            client.close()
        assert lives(server)
    assert server.metric("actsr_queue_histories") == 0


def test_numbers_tell_what_was_done(server: Server) -> None:
    before = server.metric("actsr_batch_histories_sum")
    server.ask("POST", "/recommend", {"histories": [["i001"], ["i002"]]})
    assert server.metric("actsr_batch_histories_sum") == before + 2
    text = server.ask("GET", "/metrics")[1]
    assert 'actsr_model_info{run="d/ac-sasrec/one"} 1.0' in text
    assert 'actsr_requests_total{route="/recommend",status="200"}' in text
    assert server.ask("GET", "/ready") == (200, {"run": "d/ac-sasrec/one", "items": 11, "needs_timestamps": False})


def test_the_commands_of_the_page_of_the_documentation_work(server: Server) -> None:
    page = "docs/serve.md"
    asked = [each for block in blocks(page, read(page)) for each in commands(block) if each.program == "curl"]
    assert len(asked) >= 4
    for each in asked:
        words = [word.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}") for word in each.words]
        done = subprocess.run([*words, "--fail-with-body"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{each.place}: {done.stdout}{done.stderr}"
        assert done.stdout
    wanted: list[str | float] = ["1 MiB", MOST_HISTORIES, LONGEST_HISTORY, MOST_CANDIDATES, LONGEST_LIST, MOST_REQUESTS]
    wanted += ["128 MiB", SECONDS_TO_READ, SECONDS_TO_WRITE]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", read(page).partition("| limit | |")[2], re.MULTILINE)
    for (_, told), limit in zip(rows, wanted, strict=True):
        assert told.startswith(limit if isinstance(limit, str) else f"{limit:,.0f}")
    assert LARGEST_BODY == 2**20 and ALL_BODIES == 128 * 2**20


def test_the_health_check_of_the_image(server: Server) -> None:
    code = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])[2]
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    for port, fails in ((server.port, False), (nobody, True)):
        done = subprocess.run(
            [sys.executable, "-c", code.replace(":8000/", f":{port}/")], capture_output=True, check=False
        )
        assert bool(done.returncode) is fails


def test_random_requests_by_the_schema(server: Server) -> None:
    found: Any = schemathesis.openapi.from_url(f"{server.url}/openapi.json").get_all_operations()
    operations = [each.ok() for each in found]
    assert len(operations) == 7
    for operation in operations:
        _ask_at_random(operation)


def _ask_at_random(operation: Any) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=10,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def ask(case: Any) -> None:
        answer = case.call()
        excluded = [positive_data_acceptance] if case.method == "POST" else []  # the model may know none of the items
        case.validate_response(answer, excluded_checks=excluded)

    ask()


def flood(server: Server, stop: Event, clients: int = 6) -> Callable[[], tuple[list[int], list[str], list[str]]]:
    """Ask on and on in open connections until `stop`, or until the server refuses connections.

    Returns:
        A function that waits for the end: the statuses, the runs that answered, and each request that had no answer.
    """

    def one() -> tuple[list[int], list[str], list[str]]:
        statuses, names, lost = [], [], []
        while not stop.is_set():
            connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
            try:
                connection.connect()
            except OSError:
                break
            with_answer = True
            while with_answer and not stop.is_set():
                try:
                    connection.request("POST", "/recommend", ASKED, JSON)
                    answer = connection.getresponse()
                    told = json.loads(answer.read())
                except (OSError, HTTPException) as error:
                    lost.append(repr(error))
                    break
                statuses.append(answer.status)
                names += [told["run"]] if answer.status == 200 else []
                with_answer = not answer.will_close
            connection.close()
        return statuses, names, lost

    pool = ThreadPoolExecutor(clients)
    asked = [pool.submit(one) for _ in range(clients)]

    def ended() -> tuple[list[int], list[str], list[str]]:
        statuses, names, lost = zip(*(each.result(60) for each in asked), strict=True)
        return list(chain(*statuses)), list(chain(*names)), list(chain(*lost))

    return ended


def test_a_full_queue_says_so_and_a_stop_loses_nothing(runs: Path) -> None:
    slow = {"actsr_cli.serving.answers.recommendations": servers.slow_recommendations}
    with serving(runs, "--queue", "3", "--batch", "2", changed=slow) as server:
        ended = flood(server, Event(), clients=8)
        time.sleep(1)
        told: Any = None
        status = 0
        while status != 429:
            status, told = server.ask("POST", "/recommend", json.loads(ASKED))
        assert "the queue is full" in told["error"]["what"]
        assert server.ask("GET", "/health") == (200, {"alive": True})
        begun = time.monotonic()
        code, said = server.stop()
        assert time.monotonic() - begun < 10
        assert (code, said.splitlines()[1:]) == (0, ["Stopping"])
        statuses, _, lost = ended()
        assert lost == [] and set(statuses) == {200, 429}


def test_while_it_stops_it_is_not_ready_and_answers_what_is_on_its_way(runs: Path) -> None:
    with serving(runs, changed={"actsr_cli.serving.server._LAST_REQUESTS": 2.0}) as server:
        late, asking = server.connection(), server.connection()
        for each in (late, asking):
            each.connect()
        server.process.send_signal(signal.SIGTERM)
        status = 0
        while status != 503:
            late.request("GET", "/ready")
            answer = late.getresponse()
            status, told = answer.status, json.loads(answer.read())
        assert answer.getheader("connection") == "close"
        assert told["error"]["what"] == "the server stops"
        asking.request("POST", "/recommend", ASKED, JSON)
        assert asking.getresponse().status == 200
        with pytest.raises(ConnectionRefusedError):
            server.raw()
        server.process.communicate(20)
        assert server.process.returncode == 0


def test_newer_runs_take_over_under_load_and_broken_ones_do_not(runs: Path, tmp_path: Path) -> None:
    mine = tmp_path / "runs"
    shutil.copytree(runs, mine)
    folder = mine / "d" / "ac-sasrec"

    def appear(name: str, **changes: str) -> None:
        """A run like the first, but later, which appears at once."""
        made = tmp_path / name
        shutil.copytree(folder / "one", made)
        records.change(made / "run.json", name=name, ended=now(), **changes)
        if name == "broken":
            (made / "model.safetensors").write_bytes((made / "model.safetensors").read_bytes()[:-100])
        made.rename(folder / name)

    with serving(mine, "one", "--watch", changed={"actsr_cli.serving.watch.SECONDS": 0.1}) as server:
        stop = Event()
        ended = flood(server, stop, clients=4)
        appear("failed", status="failed")
        appear("refit", source="d/ac-sasrec/one")
        appear("broken")
        wait_until(lambda: server.metric("actsr_model_broken_total") == 1, server.process)
        assert server.ask("GET", "/ready")[1]["run"] == "d/ac-sasrec/one"
        shutil.copyfile(folder / "one" / "model.safetensors", folder / "broken" / "model.safetensors")  # copied at last
        wait_until(lambda: server.ask("GET", "/ready")[1]["run"] == "d/ac-sasrec/broken", server.process)
        appear("two")
        wait_until(lambda: server.ask("GET", "/ready")[1]["run"] == "d/ac-sasrec/two", server.process)
        assert lives(server)
        stop.set()
        statuses, names, lost = ended()
        assert lost == [] and set(statuses) == {200}
        assert set(names) == {f"d/ac-sasrec/{name}" for name in ("one", "broken", "two")}
        assert names.index("d/ac-sasrec/two") > 0
        assert (server.metric("actsr_model_swaps_total"), server.metric("actsr_model_broken_total")) == (2, 1)
        code, said = server.stop()
        assert code == 0
        assert "The newer run d/ac-sasrec/broken cannot be served; the old one stays: " in said
        assert said.count("cannot be served") == 1 and "Serving d/ac-sasrec/two now" in said


def test_a_key_from_the_environment(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTSR_API_KEY", "a-key-of-16-chars")
    with serving(runs) as server:
        assert server.ask("GET", "/items")[0] == 401
        assert server.ask("GET", "/items", headers={"Authorization": "Bearer a-key-of-16-chars"})[0] == 200
        assert server.ask("GET", "/ready")[0] == 200
        command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert b"a-key-of-16-chars" not in command


def test_a_mistake_of_ours_ends_the_server_and_leaves_nobody_waiting(runs: Path) -> None:
    broken = {"actsr_cli.serving.watch.SECONDS": 0.1, "actsr_cli.serving.watch.successors": None}
    with serving(runs, "--watch", changed=broken) as server:
        _, said = server.process.communicate(30)
        assert server.process.returncode == 1 and "'NoneType' object is not callable" in said
