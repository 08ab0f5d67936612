"""A connection that a slow client cannot hold, and that answers garbage in the form of all errors."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from actsr_cli.serving.limits import SECONDS_TO_READ, SECONDS_TO_WRITE
from actsr_cli.serving.refusal import RefusalError

_SHOWN = RefusalError(400, "this is not a request of HTTP/1.1", "header", "Send a request of HTTP/1.1.")


class Connection(H11Protocol):
    """The protocol of uvicorn with a time limit for headers, and for answers that nobody reads."""

    _reading: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(0)  # so that `pause_writing` tells of every byte that is not read
        super().connection_made(transport)
        self._watch_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_header()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self.loop.call_later(SECONDS_TO_WRITE, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writing = _end(self._writing)

    def connection_lost(self, exc: Exception | None) -> None:
        self._reading, self._writing = _end(self._reading), _end(self._writing)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer has begun
            self.transport.close()
            return
        body = _SHOWN.body
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        response = h11.Response(status_code=400, headers=headers, reason="Bad Request")
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch_header(self) -> None:
        """Begin to wait for the header of the next request, or end it when the header is there."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering or self.transport.is_closing():
            self._reading = _end(self._reading)
        elif self._reading is None:
            self._reading = self.loop.call_later(SECONDS_TO_READ, self.transport.abort)


def _end(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """No timer, after an end to the one that runs."""
    if timer is not None:
        timer.cancel()
    return None
