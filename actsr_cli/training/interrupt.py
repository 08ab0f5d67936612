"""Ctrl-C as a request: the loop finishes its batch before it stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Within this context, SIGINT and SIGTERM only make the yielded function return True; a second one acts as usual.

    The functions of contexts around this one return True, too: otherwise, whoever trains one run after another would go
    on if the signal came when a run had nothing left to stop.

    Python handles signals only in the main thread: in any other thread the function always returns False.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    request = _Request()
    for number in request.before:
        signal.signal(number, request)
    try:
        yield lambda: request.received
    finally:
        if not request.received:
            request.restore()


class _Request:
    """Handles the first signal.

    Attributes:
        received: whether it has come.
        before: what handled each signal before.
    """

    def __init__(self) -> None:
        self.received = False
        self.before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        self.restore()
        around = self.before[signal.Signals(number)]
        if isinstance(around, _Request):
            around(number, frame)

    def restore(self) -> None:
        """Let signals be handled as before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
