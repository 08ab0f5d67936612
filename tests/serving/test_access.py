"""Who may ask: API keys, other sites in a browser, addresses; and the form of every error."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import call
from shelves import shelf

from actsr_cli.errors import ConfigError
from actsr_cli.experiment.record import RunRecord
from actsr_cli.serving.access import Access, access, bound_socket
from actsr_cli.serving.app import application
from actsr_cli.serving.limits import LARGEST_BODY, Limits
from actsr_cli.serving.service import Served, Service

KEY, OTHER = "k" * 16, "another-key-of-20-ch"
JSON = {"Content-Type": "application/json"}
LOCAL = access("127.0.0.1", None, None)
NO_RECORD: dict[str, Any] = {}
Request = tuple[str, str, Any, Mapping[str, str]]


def told(requests: Sequence[Request], allowed: Access = LOCAL, host: str = "localhost:8000") -> list[httpx.Response]:
    """The answers of an application to some requests, one after the other."""

    async def ask() -> list[httpx.Response]:
        service = Service(Served(RunRecord.model_construct(**NO_RECORD), shelf("sasrec", titles=True)), Limits())
        transport = httpx.ASGITransport(app=application(service, allowed), raise_app_exceptions=False)
        task = asyncio.create_task(service.batcher.run())
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            found = [
                await client.request(method, path, content=body if isinstance(body, bytes) else None, headers=headers)
                if isinstance(body, bytes | None)
                else await client.request(method, path, json=body, headers=headers)
                for method, path, body, headers in requests
            ]
        task.cancel()
        service.batcher.close()
        return found

    return asyncio.run(ask())


def error(answer: httpx.Response) -> dict[str, str]:
    """The error of an answer, which has the form of all errors."""
    body = answer.json()
    assert body.keys() == {"error"} and body["error"].keys() == {"what", "where", "what_to_do"}
    assert all(isinstance(each, str) and each for each in body["error"].values())
    assert answer.headers["content-type"] == "application/json"
    return dict(body["error"])


@pytest.mark.parametrize("keys", [KEY, f"{OTHER}\n{KEY}\n"])
def test_a_key_is_needed_for_all_but_the_page_and_the_probes(keys: str) -> None:
    allowed = access("192.0.2.7", None, keys)
    ask: Request = ("POST", "/recommend", {"history": ["i1"]}, {})
    paths = ("/recommend", "/explain", "/items", "/items/i1/similar", "/metrics", "/openapi.json", "/nothing")
    for answer in told([("GET", path, None, {}) for path in paths], allowed, host="shop.example"):
        assert answer.status_code == 401 and error(answer)["what"] == "there is no API key"
        assert answer.headers["www-authenticate"] == "Bearer"
    wrong = [f"Bearer {KEY}x", "Bearer", "Bearer ", KEY, f"Basic {KEY}", f"Bearer {KEY.upper()}"]
    for answer in told([(*ask[:3], {"Authorization": each}) for each in wrong], allowed, host="shop.example"):
        assert answer.status_code == 401 and error(answer)["what"] == "the API key is wrong"
    right = [f"Bearer {KEY}", f"bearer {KEY}"]
    answers = told([(*ask[:3], {"Authorization": each}) for each in right], allowed, host="shop.example")
    assert [answer.status_code for answer in answers] == [200, 200]
    answers = told([("GET", path, None, {}) for path in ("/", "/health", "/ready")], allowed, host="shop.example")
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert "shelves" not in answers[0].text and "Title" not in answers[0].text


def test_the_description_tells_of_keys_only_where_they_are_needed() -> None:
    [answer] = told([("GET", "/openapi.json", None, {})])
    assert "securitySchemes" not in answer.json()["components"]
    [answer] = told([("GET", "/openapi.json", None, {"Authorization": f"Bearer {KEY}"})], access("::1", None, KEY))
    assert answer.json()["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_names_of_loopback(host: str) -> None:
    [answer] = told([("GET", "/health", None, {"Host": host})])
    assert answer.status_code == 200
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "[", "a@b", "127.0.0.2", "8000"]
)
def test_a_name_that_leads_to_this_machine_is_refused(host: str) -> None:
    [answer] = told([("GET", "/items", None, {"Host": host})])
    assert answer.status_code == 400 and error(answer)["where"] == "header.Host"


def test_a_page_of_another_site_is_refused() -> None:
    ask: Request = ("POST", "/recommend", {"history": ["i1"]}, {})
    origins = ["http://evil.example", "null", "http://localhost:9999", "https://evil.example:8000", "http://["]
    for answer in told([(*ask[:3], {"Origin": origin}) for origin in origins]):
        assert answer.status_code == 403 and error(answer)["where"] == "header.Origin"
    [answer] = told([(*ask[:3], {"Origin": "http://localhost:8000"})])
    assert answer.status_code == 200
    body = b'{"history": ["i1"]}'  # what a form or a script of another site may send unasked
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        [answer] = told([("POST", "/recommend", body, {"Content-Type": kind} if kind else {})])
        assert answer.status_code == 415 and error(answer)["where"] == "header.Content-Type"
    [answer] = told([("OPTIONS", "/recommend", None, {"Origin": "http://localhost:8000"})])
    assert answer.status_code == 405


BAD: list[tuple[Any, str, str]] = [
    ({}, "body.history", "Field required"),
    ({"history": "i1"}, "body.history", "valid dictionary"),
    ({"history": ["i1"], "histories": [["i1"]]}, "body.history", "Extra inputs"),
    ({"histories": []}, "body.histories", "at least 1 item"),
    ({"histories": [["i1"]] * 101}, "body.histories", "at most 100"),
    ({"history": ["i1"] * 5001}, "body.history", "at most 5000"),
    ({"histories": [["i1"], ["i1", 1.5]]}, "body.histories.1.1", "valid string or Input should be a valid integer"),
    ({"history": ["i1"], "k": 0}, "body.k", "greater than or equal to 1"),
    ({"history": ["i1"], "k": 501}, "body.k", "less than or equal to 500"),
    ({"history": ["i1"], "k": True}, "body.k", "valid integer"),
    ({"history": ["i1"], "seen": "hide"}, "body.seen", "'exclude' or 'rank'"),
    ({"history": ["i1"], "kk": 3}, "body.kk", "Extra inputs"),
    ({"history": {"items": ["i1"], "timestamps": [1, 2]}}, "body.history", "2 timestamps for 1 items"),
    ({"histories": [["i1"], {"items": ["i1", "i2"], "timestamps": [2, 1]}]}, "body.histories.1", "order items by time"),
    ({"history": ["i1"], "only": ["zz"]}, "body", "knows none of `only`"),
    (b"[", "body.1", "JSON"),
    (b"\xff\xfe", "body", "JSON"),
    (b'{"history": [' * 20000, "body", "parsing"),
    (b'{"history": ["\\ud800"]}', "body.history.0", "Unicode"),
    (b'{"history": [' + b"9" * 5000 + b"]}", "body", "parsing"),
    (b'{"history": {"items": ["i1"], "timestamps": [NaN]}}', "body.history.timestamps.0", "finite"),
    (b"", "body", "Field required"),
    (b"null", "body", ""),
]


def test_what_cannot_be_read_is_refused_with_its_place() -> None:
    for (body, where, what), answer in zip(
        BAD, told([("POST", "/recommend", each[0], JSON) for each in BAD]), strict=True
    ):
        assert answer.status_code in (400, 422), body
        found = error(answer)
        assert found["where"].startswith(where) and what in found["what"], (body, found)


def test_items_that_are_not_there() -> None:
    asked: list[Request] = [
        ("GET", "/items/zz/similar", None, {}),
        ("GET", "/items/a%2Fb/similar", None, {}),
        ("POST", "/explain", {"history": ["i1"], "item": "zz"}, JSON),
        ("GET", "/nothing", None, {}),
    ]
    assert [(each.status_code, bool(error(each))) for each in told(asked)] == [(404, True)] * 4
    [answer] = told([("POST", "/explain", {"history": ["zz"]}, JSON)])
    assert answer.status_code == 422 and "no item of the history is known" in error(answer)["what"]
    [answer] = told([("DELETE", "/recommend", None, {})])
    assert answer.status_code == 405 and error(answer)["where"] == "method" and answer.headers["allow"] == "POST"
    [answer] = told([("GET", "/items?query=" + "x" * 201, None, {})])
    assert answer.status_code == 422 and error(answer)["where"] == "query.query"


def test_a_mistake_of_ours_has_the_form_of_all_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actsr_cli.serving.answers.search", lambda *_: 1 // 0)
    [answer] = told([("GET", "/items", None, {})])
    assert answer.status_code == 500 and "zero" not in json.dumps(error(answer))


def test_a_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    [answer] = told([("POST", "/recommend", b" " * (LARGEST_BODY + 1), JSON)])
    assert answer.status_code == 413 and error(answer)["where"] == "body"
    [answer] = told([("POST", "/recommend", b'{"history": []}' + b" " * (LARGEST_BODY - 15), JSON)])
    assert answer.status_code == 200


def test_bodies_that_take_too_much_together_are_refused_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actsr_cli.serving.guard.ALL_BODIES", 50)
    large, small = (b'{"history": []}' + b" " * more for more in (40, 5))
    refused, answered = told([("POST", "/recommend", large, JSON), ("POST", "/recommend", small, JSON)])
    assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
    assert error(refused)["where"] == "server"
    assert answered.status_code == 200


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7", "::", "fe80::1%eth0"])  # noqa: S104
def test_other_machines_need_a_key(address: str) -> None:
    with pytest.raises(ConfigError, match="can be reached from other machines, and there is no API key"):
        access(address, None, None)
    assert not access(address, None, KEY).local


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_needs_none(address: str) -> None:
    assert access(address, None, "") == Access((), local=True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no API key"),
        ("\n \n", "holds no API key"),
        ("short", "unsafe"),
        (f"{KEY}\nwith a blank in it", "unsafe"),
    ],
)
def test_keys_that_are_none(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        access("127.0.0.1", file, None)
    with pytest.raises(ConfigError, match=problem):
        access("127.0.0.1", None, text or " ")
    with pytest.raises(ConfigError, match="two sources"):
        access("127.0.0.1", file, KEY)


def test_a_file_of_keys_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_bytes(f"\ufeff{KEY}\r\n".encode())
    assert access("127.0.0.1", tmp_path / "keys.txt", None) == access("127.0.0.1", None, KEY)


def test_the_command_refuses_before_it_loads_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTSR_API_KEY", raising=False)
    result = call("serve", "--host", "0.0.0.0", "--port", "0", "--runs-dir", str(tmp_path), exit_code=1)  # noqa: S104
    assert "there is no API key" in result.stderr and "--api-key-file" in result.stderr
    with bound_socket("127.0.0.1", 0) as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        result = call("serve", "--port", port, "--runs-dir", str(tmp_path), exit_code=1)
        assert f"127.0.0.1:{port} cannot be used" in result.stderr
    assert "there is no run in" in call("serve", "--port", "0", "--runs-dir", str(tmp_path), exit_code=1).stderr
    with pytest.raises(ConfigError, match="there is no host 'no host'"):
        bound_socket("no host", 0)


def test_small_answers_are_sent_at_once() -> None:
    with bound_socket("localhost", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP  # else asyncio leaves Nagle's algorithm on, and answers take 40 ms


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actsr_cli.commands.serve.find_spec", lambda name: None if name == "uvicorn" else name)
    result = call("serve", exit_code=1)
    assert result.stderr == "error: serving needs uvicorn\nInstall them: pip install 'actsr[serve]'\n"
