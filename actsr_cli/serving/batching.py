"""Puts requests together that come at about the same time, and computes them in one thread beside the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

from actsr_cli.serving.limits import Limits
from actsr_cli.serving.refusal import full

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
T = TypeVar("T")
Compute = Callable[[Sequence[Asked]], Sequence[Answer | Exception]]


@dataclass(frozen=True)
class _Waiting(Generic[Asked, Answer]):
    """A request in the queue: what is asked, its number of histories, when it came, and where its answer goes."""

    asked: Asked
    size: int
    came: float
    answer: asyncio.Future[Answer]


@dataclass
class Batcher(Generic[Asked, Answer]):
    """Collects requests, and computes a batch of them at a time. It belongs to one event loop.

    Attributes:
        compute: answers a batch in the thread; an exception in place of an answer goes to its request alone.
        limits: how many histories a batch and the queue hold, and how long a request waits.
        on_batch: called with the histories and the seconds of each batch.
        arriving: tells how many requests there are, with those that are still being read. As soon as all of them are
            here, a batch waits no longer.
        held: histories that are accepted and not answered.
    """

    compute: Compute[Asked, Answer]
    limits: Limits
    on_batch: Callable[[int, float], None] = lambda _histories, _seconds: None
    arriving: Callable[[], float] = lambda: inf
    held: int = 0
    _requests: int = 0
    _queue: deque[_Waiting[Asked, Answer]] = field(default_factory=deque)
    _queued: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="model"))

    async def ask(self, asked: Asked, size: int) -> Answer:
        """The answer to a request, computed with others in one batch.

        Args:
            asked: the request.
            size: its number of histories.

        Raises:
            RefusalError: the queue is full, or the request was answered so.
        """
        loop = asyncio.get_running_loop()
        with self._place(size):
            waiting = _Waiting[Asked, Answer](asked, size, loop.time(), loop.create_future())
            self._queue.append(waiting)
            self._queued += size
            self._changed.set()
            return await waiting.answer

    async def alone(self, work: Callable[[], T], cost: int) -> T:
        """The result of some other work in the same thread, which counts like `cost` histories in the queue.

        Raises:
            RefusalError: the queue is full.
        """
        with self._place(cost):
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run(self) -> None:
        """Compute batches until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._collect()
            batch = self._take()
            begun = time.perf_counter()
            answers = await loop.run_in_executor(self._thread, self._answers, [each.asked for each in batch])
            self.on_batch(sum(each.size for each in batch), time.perf_counter() - begun)
            for each, answer in zip(batch, answers, strict=True):
                if each.answer.done():  # the request was cancelled
                    continue
                if isinstance(answer, Exception):
                    each.answer.set_exception(answer)
                else:
                    each.answer.set_result(answer)

    def close(self) -> None:
        """End the thread after what it computes."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _collect(self) -> None:
        """Wait for a first request, and then for others until the batch is full or the first has waited enough."""
        while not self._queue:
            self._changed.clear()
            await self._changed.wait()
        with suppress(TimeoutError):  # the first has waited enough
            async with asyncio.timeout_at(self._queue[0].came + self.limits.wait):
                while self._queued < self.limits.batch and self.arriving() > self._requests:
                    self._changed.clear()
                    await self._changed.wait()

    def _take(self) -> list[_Waiting[Asked, Answer]]:
        """The requests of the next batch; one that is larger than a batch is alone in it."""
        batch = [self._queue.popleft()]
        size = batch[0].size
        while self._queue and size + self._queue[0].size <= self.limits.batch:
            batch.append(self._queue.popleft())
            size += batch[-1].size
        self._queued -= size
        return batch

    def _answers(self, batch: Sequence[Asked]) -> Sequence[Answer | Exception]:
        """The answers to a batch; if it fails as a whole, each request is answered alone: one spoils no others."""
        try:
            return self.compute(batch)
        except Exception as error:  # noqa: BLE001 (it is raised where the request is answered)
            return [error] if len(batch) == 1 else [self._answers([each])[0] for each in batch]

    @contextmanager
    def _place(self, size: int) -> Iterator[None]:
        """Hold a place in the queue; one that is larger than the queue only gets in while it is empty."""
        if self.held and self.held + size > self.limits.queue:
            raise full(f"the queue is full: {self.held} histories wait")
        self.held += size
        self._requests += 1
        try:
            yield
        finally:
            self.held -= size
            self._requests -= 1
