"""The one thread that touches the stores' files.  It spends its time inside SQLite and zlib, not in Python."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from itertools import count
from typing import Any, TypeVar

import structlog

log = structlog.get_logger()
T = TypeVar("T")
_Job = Callable[[], None]


class Turn(IntEnum):
    """Whose turn is first.  Jobs are small (a commit, a page of reading), so nobody waits long."""

    PULSE = -1
    """Does the thread come back from its job?  However much waits behind it."""
    COMMIT = 0
    TELEMETRY = 1
    READ = 2
    LAST = 9


class Writer:
    """A thread with a queue of jobs, most urgent first, in order within one urgency."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._jobs: queue.PriorityQueue[tuple[int, int, _Job | None]] = queue.PriorityQueue()
        self._number = count()
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def post(self, job: _Job, turn: Turn = Turn.COMMIT) -> None:
        """Queue a job that looks after its own errors.  Any thread; never blocks."""
        self._jobs.put((turn, next(self._number), job))

    async def run(self, job: Callable[[], T], turn: Turn = Turn.READ) -> T:
        """Run a job there and bring back its result or its error."""
        future: asyncio.Future[T] = self.loop.create_future()
        self.post(lambda: self._answer(future, job), turn)
        return await future

    def tell(self, callback: Callable[[], object]) -> None:
        """Call back on the loop; nothing happens where the loop has ended."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(callback)

    def _answer(self, future: asyncio.Future[T], job: Callable[[], T]) -> None:
        try:
            result = job()
        except Exception as error:  # noqa: BLE001  # boundary: it belongs to whoever asked
            self.tell(partial(_settle, future, None, error))
        else:
            self.tell(partial(_settle, future, result, None))

    def _work(self) -> None:
        while True:
            _, _, job = self._jobs.get()
            if job is None:
                return
            try:
                job()
            except Exception:  # boundary: a bug in one job must not end the thread that keeps the evidence
                log.exception("store job failed")

    async def close(self) -> None:
        """Finish what is queued, then end the thread."""
        self._jobs.put((Turn.LAST, next(self._number), None))
        await self.loop.run_in_executor(None, self._thread.join)


def _settle(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
