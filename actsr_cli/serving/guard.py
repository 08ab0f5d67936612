"""Stands before the application: refuses requests early, reads their bodies within bounds, and counts them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, nullcontext
from typing import Any

from actsr_cli.serving.access import PROBES, Access
from actsr_cli.serving.limits import ALL_BODIES, LARGEST_BODY, MOST_REQUESTS, SECONDS_TO_READ
from actsr_cli.serving.metrics import Metrics
from actsr_cli.serving.refusal import RefusalError, full

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_CLOSE = (b"connection", b"close")


class GoneError(Exception):
    """The client has gone."""


class Guard:
    """An application of ASGI around another one.

    Args:
        inner: the application.
        access: who may ask.
        metrics: where requests are counted.

    Attributes:
        active: number of requests that are read, computed or answered now.
        held: bytes of their bodies so far.
        stopping: whether the server stops: each connection is closed after its answer.
    """

    def __init__(self, inner: Application, access: Access, metrics: Metrics) -> None:
        self._inner = inner
        self._access = access
        self._metrics = metrics
        self.active = self.held = 0
        self.stopping = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        waiting = b"expect" in headers
        begun, status = time.perf_counter(), 499  # if no answer begins, the client has gone
        taken = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                closing = self.stopping or waiting  # a client that waits for leave to send its body may never send it
                message["headers"] = [*message["headers"], *_more_headers(dict(message["headers"]), closing)]
            await send(message)

        async def take() -> Message:
            nonlocal waiting, taken
            waiting = False
            message = await receive()
            size = len(message.get("body", b""))
            taken += size
            self.held += size
            if self.held > ALL_BODIES:
                raise full(f"the bodies of all requests together have {self.held:,} bytes")
            return message

        try:
            with nullcontext() if scope["path"] in PROBES else self._counted():
                self._access.check(scope["path"], headers)
                body = await _body(headers, take)
                await self._inner(scope, _again(body, take), answer)
        except RefusalError as refusal:
            await _refuse(refusal, answer)
        except GoneError:
            pass  # nobody is there to read an answer; it is counted as 499
        finally:
            self.held -= taken
            route = getattr(scope.get("route"), "path_format", "none")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self.active >= MOST_REQUESTS:
            raise full(f"{self.active} requests are answered at the same time")
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1


def _more_headers(given: dict[bytes, bytes], closing: bool) -> list[tuple[bytes, bytes]]:
    """The headers of every answer that has not them already."""
    more = [*_HEADERS, *([_CLOSE] if closing else [])]
    return [each for each in more if each[0] not in given]


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The body of a request.

    Raises:
        RefusalError: it is too large, or comes too slowly.
        GoneError: the client has gone.
    """
    if headers.get(b"content-length", b"0").isdigit() and int(headers.get(b"content-length", b"0")) > LARGEST_BODY:
        raise _too_large()
    parts, size, more = [], 0, True
    try:
        async with asyncio.timeout(SECONDS_TO_READ):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise GoneError
                parts.append(message.get("body", b""))
                size, more = size + len(parts[-1]), message.get("more_body", False)
                if size > LARGEST_BODY:
                    raise _too_large()
    except TimeoutError:
        what = f"the body did not arrive within {SECONDS_TO_READ:.0f} seconds"
        raise RefusalError(408, what, "body", "Send it faster, or less of it.", {"Connection": "close"}) from None
    return b"".join(parts)


def _too_large() -> RefusalError:
    what = f"the body is larger than {LARGEST_BODY:,} bytes"
    return RefusalError(413, what, "body", "Split it into several requests.")


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return left.pop() if left else await receive()

    return give


async def _refuse(refusal: RefusalError, send: Send) -> None:
    """Answer with an error. What still comes of the request is thrown away by the connection."""
    body = refusal.body
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
