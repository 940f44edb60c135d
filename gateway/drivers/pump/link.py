"""The line to one Watson-Marlow pump: one question at a time, and a late answer never answers the next one."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.drivers.transport import Stream
from gateway.drivers.wire.watson_marlow import (
    LEAST_GAP_S,
    Line,
    WatsonMarlow,
    ask_pulses,
    ask_running,
    ask_status,
    stop,
)
from gateway.errors import DeviceError

_LONGEST_ANSWER_S: Final = 0.1
"""A status takes 60 ms at 9600 baud; noise that never ends keeps no command back for longer."""


class PumpLink(Stream):
    """Answers come in the order of the questions, and do not say what they answer.

    After a cancelled call the tacho is asked for: whatever comes before a line of digits is old, and a status can then
    only be the answer to the next question.  Lines of digits may still be old: what they say is never the only proof.
    """

    def __init__(self, where: str, number: int) -> None:
        super().__init__(where)
        self._number = number
        self._codec = WatsonMarlow()
        self._future: asyncio.Future[Line] | None = None
        self._wanted: frozenset[str] = frozenset()
        self._stale = False
        self._said_at = self._heard_at = 0.0
        self.unasked = 0
        """Lines nobody asked for: old answers, noise, another master's traffic."""
        self.garbage = ""
        """What was last unreadable, and why."""

    async def status(self) -> Line:
        """What the pump is and does; asked twice where the first answer is garbage.  DeviceError: the link is lost."""
        line = await self._status()
        return line if line.kind == "status" else await self._status()

    async def _status(self) -> Line:
        if self._stale:
            await self._ask(ask_pulses(self._number), "digits")
            self._stale = False
        line = await self._ask(ask_status(self._number), "status", "garbage")
        self._stale = line.kind == "garbage"  # it may have been noise, with the answer still to come
        return line

    async def running(self) -> bool:
        """The pump's own short word (ZY); true for anything but 0."""
        line = await self._ask(ask_running(self._number), "digits")
        return line.count != 0

    async def stop(self) -> None:
        """Say stop.  Nothing answers to it."""
        await self._say(stop(self._number))

    async def _say(self, command: bytes) -> None:
        await self._rest()
        if self.lost is not None:
            raise self.failure()
        self._said_at = self.loop.time()
        self.transport.write(command)

    async def _rest(self) -> None:
        """10 ms of silence: on two wires nothing is said into an answer that still comes, awaited or not."""
        latest = self.loop.time() + _LONGEST_ANSWER_S
        while True:
            await self.caught_up()
            ends = min(latest, max(self._said_at, self._heard_at) + LEAST_GAP_S)
            if self.loop.time() >= ends:
                return
            await asyncio.sleep(ends - self.loop.time())

    async def _ask(self, question: bytes, *wanted: str) -> Line:
        await self._say(question)
        self._codec.clear()
        self._wanted = frozenset(wanted)
        self._future = future = self.loop.create_future()
        try:
            line: Line = await future
        except asyncio.CancelledError:
            self._stale = True
            raise
        finally:
            self._future = None
        return line

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        for line in self._codec.feed(data):
            if line.kind == "echo":
                continue
            self.garbage = line.reason or self.garbage
            if self._future is not None and not self._future.done() and line.kind in self._wanted:
                self._future.set_result(line)
            else:
                self.unasked += 1

    def dropped(self, error: DeviceError) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)
