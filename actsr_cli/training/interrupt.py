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

    Python handles signals only in the main thread: in any other thread the function always returns False.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request_stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        restore()

    for number in before:
        signal.signal(number, request_stop)
    try:
        yield lambda: bool(received)
    finally:
        restore()
