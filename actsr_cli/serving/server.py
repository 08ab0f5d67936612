"""The process that serves: it listens until a signal, and then ends what it has accepted."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import getLogger
from types import FrameType

import uvicorn

from actsr_cli.serving.connection import Connection
from actsr_cli.serving.guard import Guard
from actsr_cli.serving.limits import LARGEST_HEADER, SECONDS_IDLE, SECONDS_TO_STOP
from actsr_cli.serving.service import Service
from actsr_cli.serving.watch import Watch

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAST_CONNECTIONS = 0.05
"""Seconds after a signal in which connections are accepted that the system has accepted before."""
_LAST_REQUESTS = 0.5
"""Seconds after that in which requests on open connections are still answered."""

_log = getLogger("actsr")


def serve(
    service: Service,
    guard: Guard,
    bound: socket.socket,
    *,
    watch: Watch | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT. Then accept no connection, answer what was accepted, and return.

    Args:
        service: what answers.
        guard: its application.
        bound: a socket that is bound and does not listen yet.
        watch: looks for newer runs.
        on_start: called when the server listens.
    """
    config = uvicorn.Config(
        guard,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=SECONDS_IDLE,
        timeout_graceful_shutdown=round(SECONDS_TO_STOP - 1),
        h11_max_incomplete_event_size=LARGEST_HEADER,
    )
    getLogger("uvicorn.error").setLevel("ERROR")  # a client's garbage is no news
    server = _Server(config, service, guard, watch, on_start)
    asyncio.run(server.serve([bound]))
    if server.failure is not None:
        raise server.failure


class _Server(uvicorn.Server):
    """A server that answers what it has accepted before it closes connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        guard: Guard,
        watch: Watch | None,
        on_start: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._service, self._guard, self._watch, self._on_start = service, guard, watch, on_start
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.failure: BaseException | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        works = [self._service.batcher.run(), *([] if self._watch is None else [self._watch.run()])]
        self._tasks |= {asyncio.create_task(work) for work in works}
        for task in self._tasks:
            task.add_done_callback(self._ended)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for task in self._tasks:
            task.cancel()
        self._service.batcher.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Stop if a task ends by a mistake of ours: without it, requests would wait for ever."""
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.failure, self.should_exit, self.force_exit = failure, True, True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at a signal. uvicorn itself would raise the signal again at the end, and the process would die of it."""
        loop = asyncio.get_running_loop()

        def caught(_: int, __: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._begin_to_stop)

        before = {number: signal.signal(number, caught) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _begin_to_stop(self) -> None:
        if self._stopping:  # a second signal: no more patience
            self.should_exit = self.force_exit = True
            return
        self._stopping = True
        _log.info("Stopping")
        self._tasks.add(asyncio.create_task(self._drain()))

    async def _drain(self) -> None:
        """Accept no connection; answer the requests of open ones, and tell their clients that they are closed."""
        await asyncio.sleep(_LAST_CONNECTIONS)
        for server in self.servers:
            server.close()
        self._guard.stopping = True  # not earlier: a client that is told of it finds no open door
        await asyncio.sleep(_LAST_REQUESTS)
        self.should_exit = True
