"""What a station's task waits for, and how it is called away from that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.errors import DeviceError

EARLY_S: Final = 0.001
"""uvloop counts whole milliseconds: a timer may ring so much early, and to wait for the rest is to spin."""
NEVER: Final = float("inf")
T = TypeVar("T")


class Interrupted(Exception):  # noqa: N818  # not an error: something more urgent came up
    """What was in flight was given up for what goes before it."""


class Attention:
    """One task's.  Only that task waits; anybody on the loop may rouse or interrupt it."""

    __slots__ = ("_address", "_interrupted", "_running", "_wake", "_woken")

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address
        self._wake: asyncio.Future[None] | None = None
        self._woken = False
        self._running: asyncio.Timeout | None = None
        self._interrupted = False

    def rouse(self) -> None:
        """End a wait; what is in flight at the device goes on."""
        self._woken = True
        if self._wake is not None:
            _finish(self._wake)

    def interrupt(self) -> None:
        """End a wait, and give up what is in flight."""
        self.rouse()
        if self._running is not None and not self._running.expired():
            self._interrupted = True
            self._running.reschedule(asyncio.get_running_loop().time())

    def collect(self) -> None:
        """All that it was roused for is looked at now."""
        self._woken = False

    async def wait(self, until: float) -> None:
        """Until then (loop time), or until roused.  The wake-up is spent here; what it was for stays."""
        if self._woken:
            self._woken = False
            return
        loop = asyncio.get_running_loop()
        if until - loop.time() < EARLY_S:
            return
        wake: asyncio.Future[None] = loop.create_future()
        self._wake = wake
        timer = loop.call_at(until, _finish, wake)
        try:
            await wake
        finally:
            timer.cancel()
            self._wake = None
            self._woken = False

    async def within(self, timeout_s: float, work: Awaitable[T], *, news_s: float = 0.0) -> T:
        """Do it, with a budget; `news_s` longer where it waits for news.  Raises Interrupted or DeviceError."""
        try:
            async with asyncio.timeout(timeout_s + news_s) as self._running:
                return await work
        except TimeoutError:
            if self._interrupted:
                raise Interrupted from None
            raise DeviceError(f"{self._address()} did not answer within {timeout_s:g} s") from None
        finally:
            self._running = None
            self._interrupted = False


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
