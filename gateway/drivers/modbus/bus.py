"""One line, many units: the devices of this process that stand on one serial port, or behind one TCP port, share it.

The first device that connects opens the line, the last one closes it.  One request is on the wire at a time; those who
wait take turns, one request each.  A halt goes before all that waits.  A unit that does not answer keeps the others
waiting for its `late` at most, and then stands behind them: it is asked again once all others had their turn.  When the
line breaks everybody knows at once; when nobody on it answers any more it is closed, to be opened anew.

Who connects again, and when, is the station's business: nothing here tries anything twice.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

import msgspec

from gateway.drivers.modbus.link import ModbusLink
from gateway.drivers.transport import StreamUrl, open_now
from gateway.drivers.wire.modbus import Framing, Refusal, Request, RtuFraming, TcpFraming
from gateway.errors import DeviceError


class Manners(msgspec.Struct, frozen=True):
    """What one device asks of the line."""

    unit: int
    gap_s: float
    """Rest between any two frames; the line keeps the longest that any of its devices wants."""
    late_s: float
    """How long after a request an answer may still come: so long it may keep the others waiting."""


class Port:
    """One device's place on a shared line."""

    def __init__(self, bus: Bus, where: str, manners: Manners) -> None:
        self.where = where
        self.manners: Final = manners
        self.loop = bus.line.loop
        self.framing: Framing = bus.line.framing
        self._bus: Final = bus

    async def call(self, request: Request) -> bytes:
        """See Asks."""
        return await self._bus.call(self, request, first=False)

    async def call_first(self, request: Request) -> bytes:
        """See Asks."""
        return await self._bus.call(self, request, first=True)

    def ask_now(self, request: Request) -> None:
        """See Asks.  Whoever shares a line takes turns, halts first."""
        del request

    def failure(self, text: str | None = None) -> DeviceError:
        return DeviceError(f"{self.where}: {text or self._bus.line.lost}")


class _Line(ModbusLink):
    """The connection itself: tells its bus when it is gone, and goes when it cannot be trusted any more."""

    bus: Bus

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._broken is not None:
            self.hang_up(f"closed after a wrong answer ({self._broken})")

    def hang_up(self, reason: str) -> None:
        """Close at once; whoever waits is told why."""
        if self.lost is None:
            self.lost = reason
            self.transport.abort()
            self._fail(self.failure())
            self.bus.down()

    def connection_lost(self, exc: BaseException | None) -> None:
        reason = self.lost
        super().connection_lost(exc)
        self.lost = reason or self.lost

    def dropped(self, error: DeviceError) -> None:
        super().dropped(error)
        self.bus.down()


class _Turn(msgspec.Struct, frozen=True, eq=False):
    port: Port
    given: asyncio.Future[None]


class Bus:
    """One open line and those who share it."""

    def __init__(self, line: _Line) -> None:
        self.line: Final = line
        self.members: set[Port] = set()
        self.silent: set[int] = set()
        """Units whose last request was not answered."""
        self._first: deque[_Turn] = deque()
        self._waiting: deque[_Turn] = deque()
        self._doubted: deque[_Turn] = deque()
        self._busy = False
        self._served = 0
        """Turns given since a silent unit had one."""
        self._asked: tuple[Port, float, asyncio.Timeout] | None = None
        """Who was asked, when (loop time), and the limit that holds once somebody else waits."""
        line.bus = self

    def join(self, port: Port) -> None:
        self.members.add(port)
        self.line.gap_s = max(member.manners.gap_s for member in self.members)

    async def leave(self, port: Port) -> None:
        """The last one closes the line."""
        self.members.discard(port)
        if not self.members:
            self.line.hang_up("closed")
            await self.line.aclose()

    def down(self) -> None:
        """The line is gone: all who wait are told."""
        for queue in (self._first, self._waiting, self._doubted):
            while queue:
                turn = queue.popleft()
                if not turn.given.done():
                    turn.given.set_exception(turn.port.failure())

    async def call(self, port: Port, request: Request, *, first: bool) -> bytes:
        await self._enter(port, first=first)
        try:
            await self.line.rest()
            answer = await self._ask(port, request, first=first)
        except Refusal:
            self.silent.discard(port.manners.unit)
            raise
        finally:
            self._asked = None
            self._next()
        self.silent.discard(port.manners.unit)
        return answer

    async def _ask(self, port: Port, request: Request, *, first: bool) -> bytes:
        line, late_s = self.line, port.manners.late_s
        line.where, line.late_s = port.where, late_s
        asked_at = line.loop.time()
        try:
            async with asyncio.timeout(None) as limit:
                self._asked = port, asked_at, limit
                if self._others_wait():
                    self._hurry()
                return await (line.call_first(request) if first else line.call(request))
        except TimeoutError:
            self._unanswered(port)
            raise port.failure(
                f"{request.text}: no answer within {late_s * 1000:g} ms, and others wait for the line; "
                "if it is only slow, give it a longer `late`"
            ) from None
        except asyncio.CancelledError:
            if line.loop.time() - asked_at >= late_s:
                self._unanswered(port)
            raise

    async def _enter(self, port: Port, *, first: bool) -> None:
        """Wait for a turn."""
        if self.line.lost is not None:
            raise port.failure()
        if not self._busy:
            self._busy = True
            return
        turn = _Turn(port, self.line.loop.create_future())
        doubted = port.manners.unit in self.silent
        (self._first if first else self._doubted if doubted else self._waiting).append(turn)
        self._hurry()
        try:
            await turn.given
        except asyncio.CancelledError:
            if not turn.given.cancelled() and turn.given.exception() is None:
                self._next()  # it was given in the very turn of the loop in which nobody wanted it any more
            raise

    def _next(self) -> None:
        """Pass the line on."""
        turn = self._choose()
        if turn is None:
            self._busy = False
        else:
            turn.given.set_result(None)

    def _choose(self) -> _Turn | None:
        """Halts; then one each in turn; who is silent only when all others had theirs since, or none wants one."""
        for queue in (self._first, self._waiting, self._doubted):
            while queue and queue[0].given.done():
                queue.popleft()
        if self._first:
            return self._first.popleft()
        if self._doubted and (not self._waiting or self._served >= len(self.members)):
            self._served = 0
            return self._doubted.popleft()
        if not self._waiting:
            return None
        self._served += 1
        return self._waiting.popleft()

    def _others_wait(self) -> bool:
        return any(not turn.given.done() for queue in (self._first, self._waiting, self._doubted) for turn in queue)

    def _hurry(self) -> None:
        """Somebody waits: who was asked has its `late`, and no longer."""
        if self._asked is None:
            return
        port, asked_at, limit = self._asked
        if limit.when() is None:
            limit.reschedule(max(self.line.loop.time(), asked_at + port.manners.late_s))

    def _unanswered(self, port: Port) -> None:
        """Remember it; where nobody answers any more the fault may be the line's: it is opened anew."""
        self.silent.add(port.manners.unit)
        if all(member.manners.unit in self.silent for member in self.members):
            self.line.hang_up("nobody on this line answers: it is opened again")


class _Berth:
    """Where the bus of one line is kept, open or not."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.bus: Bus | None = None
        self.settings: object = None
        self.failed: tuple[float, str] | None = None
        """When (loop time) and why it could not be opened last."""


_BERTHS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Berth]]] = WeakKeyDictionary()


def line_key(url: StreamUrl) -> str:
    """What two URLs of one line have in common: the port, by whatever link in /dev it is called."""
    return os.path.realpath(url.path) if url.serial else f"{url.scheme}://{url.host.lower()}:{url.port}"


@asynccontextmanager
async def shared_line(url: StreamUrl, where: str, manners: Manners, timeout_s: float) -> AsyncIterator[Port]:
    """A place on the line of this URL, which is opened where it is not open.  DeviceError says why it cannot be."""
    bus, port = await _join(url, where, manners, timeout_s)
    try:
        yield port
    finally:
        await bus.leave(port)


async def _join(url: StreamUrl, where: str, manners: Manners, timeout_s: float) -> tuple[Bus, Port]:
    loop = asyncio.get_running_loop()
    berth = _BERTHS.setdefault(loop, {}).setdefault(line_key(url), _Berth())
    came = loop.time()
    async with berth.lock:
        if berth.failed is not None and berth.failed[0] >= came:
            raise DeviceError(f"{where}: {berth.failed[1]}")  # somebody tried while we waited
        if berth.bus is None or berth.bus.line.lost is not None:
            berth.bus = await _opened(berth, url, where, manners, timeout_s)
        elif berth.settings != url.settings:
            raise DeviceError(f"{where}: the port is open with other settings; give all its devices the same")
        port = Port(berth.bus, where, manners)
        berth.bus.join(port)
        return berth.bus, port


async def _opened(berth: _Berth, url: StreamUrl, where: str, manners: Manners, timeout_s: float) -> Bus:
    if berth.bus is not None:
        await berth.bus.line.aclose()  # a port is locked, and a device may take but one connection
    framing: Framing = TcpFraming() if url.scheme == "tcp" else RtuFraming()
    line = _Line(where, framing, manners.gap_s, manners.late_s)
    bus = Bus(line)
    berth.bus, berth.settings = None, url.settings
    try:
        await open_now(url, line, timeout_s)
    except DeviceError as error:
        berth.failed = line.loop.time(), str(error).removeprefix(f"{where}: ")
        raise
    return bus
