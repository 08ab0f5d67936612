"""A real HTTP server on loopback that serves one archive and can simulate failures."""

from __future__ import annotations

import io
import socket
import struct
import threading
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\ti1\t5\t10\nu1\ti2\t4\t20\n"
ITEM = b"item_id:token\ttitle:token_seq\ni1\tsoap\ni2\tcomb\n"


def make_zip(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of `members` by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)  # of a time that is always the same
    return buffer.getvalue()


def beauty_zip(padding: int = 0) -> bytes:
    """A small archive of Amazon Beauty, with `padding` additional bytes that do not compress."""
    members = {"Amazon_Beauty/Amazon_Beauty.inter": INTER, "Amazon_Beauty/Amazon_Beauty.item": ITEM}
    if padding:
        members["Amazon_Beauty/notes.txt"] = bytes(position * 131 % 251 for position in range(padding))
    return make_zip(members, zipfile.ZIP_STORED)


class Answer(BaseHTTPRequestHandler):
    """Handles one request: records it, then answers with the next scripted failure, or properly."""

    server: LoopbackServer

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers.items())))
        behaviour = self.server.script.popleft() if self.server.script else serve_properly
        behaviour(self)

    def log_message(self, *args: object) -> None:
        """Do nothing: tests need no log."""

    def start(self, status: int, **headers: str | int) -> None:
        """Send status line and headers; `content_length` becomes Content-Length."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-").title(), str(value))
        self.end_headers()

    def reset(self) -> None:
        """Break the connection with a TCP reset, like a failing network."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


Behaviour = Callable[[Answer], None]


class LoopbackServer(ThreadingHTTPServer):
    """Serves `body` at every path; each request takes the next behaviour of `script` first."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.body = body
        self.etag = '"one"'
        self.script: deque[Behaviour] = deque()
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/mirror/"

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of every request so far."""
        return [headers.get("Range") for _, headers in self.requests]

    def handle_error(self, request: object, client_address: object) -> None:
        """Do nothing: clients that disconnect are part of the tests."""


@contextmanager
def running(body: bytes) -> Iterator[LoopbackServer]:
    """Run a server in a separate thread."""
    server = LoopbackServer(body)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def serve_properly(answer: Answer) -> None:
    """Send the whole body, or the requested Range if its If-Range matches."""
    body, etag = answer.server.body, answer.server.etag
    wanted = answer.headers.get("Range")
    if not wanted or answer.headers.get("If-Range") != etag:
        answer.start(200, content_length=len(body), etag=etag, content_type="application/zip")
        answer.wfile.write(body)
        return
    first = int(wanted.removeprefix("bytes=").removesuffix("-"))
    if first >= len(body):
        answer.start(416, content_range=f"bytes */{len(body)}", content_length=0)
        return
    span = f"bytes {first}-{len(body) - 1}/{len(body)}"
    answer.start(206, content_length=len(body) - first, content_range=span, etag=etag)
    answer.wfile.write(body[first:])


def serve_without_range(answer: Answer) -> None:
    """Send the whole body, like a server without support for Range and ETag."""
    answer.start(200, content_length=len(answer.server.body))
    answer.wfile.write(answer.server.body)


def drop_after(count: int, *, reset: bool = True, **headers: str) -> Behaviour:
    """Announce the whole body, send its first `count` bytes, and reset the connection (or just close it)."""

    def behave(answer: Answer) -> None:
        answer.start(200, content_length=len(answer.server.body), **(headers or {"etag": answer.server.etag}))
        answer.wfile.write(answer.server.body[:count])
        if reset:
            answer.reset()

    return behave


def refuse(status: int, **headers: str | int) -> Behaviour:
    """Answer with `status` and no archive."""

    def behave(answer: Answer) -> None:
        answer.start(status, content_length=0, **headers)

    return behave


def serve(body: bytes, status: int = 200, **headers: str | int) -> Behaviour:
    """Answer with another body."""

    def behave(answer: Answer) -> None:
        answer.start(status, content_length=len(body), **headers)
        answer.wfile.write(body)

    return behave


def stall_after(count: int, release: threading.Event) -> Behaviour:
    """Send the first `count` bytes, then nothing until `release` is set."""

    def behave(answer: Answer) -> None:
        answer.start(200, content_length=len(answer.server.body), etag=answer.server.etag)
        answer.wfile.write(answer.server.body[:count])
        answer.wfile.flush()
        release.wait(60)

    return behave
