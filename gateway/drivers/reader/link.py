"""An open reader: its connection, the queue of its lines, and the reading that each of them is."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, ClassVar, Final

import structlog

from gateway.drivers.transport import Door, Stream, StreamUrl, narrow
from gateway.drivers.wire.reader_lines import ELEMENTS, Frame, Framer, Read, parse
from gateway.errors import DeviceError
from gateway.model import Fault, Quality, Reading, Value

if TYPE_CHECKING:
    from gateway.drivers.reader.kind import ReaderConfig

log = structlog.get_logger()

TORN_S: Final = 0.05
"""A serial line that speaks so soon after it was opened was in the middle of a line: 48 characters at 9600 baud."""
BURST: Final = 64
BETWEEN_S: Final = 0.005
"""After so many reads without a pause, this long between two: a flood takes no more than its share of the loop."""
NOTHING_YET: Final = "nothing was read since the reader connected"
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
"""A reader that is silent for hours is well; one whose cable was pulled is noticed within some ten seconds."""


class ReaderLink(Stream):
    """Takes lines as they come and keeps them in order; what the queue cannot take is counted, oldest first."""

    most_per_s: ClassVar[int] = 100_000
    """Ten times what 115200 baud carry; a camera that says more in a burst waits, and loses nothing."""

    def __init__(self, where: str, config: ReaderConfig) -> None:
        super().__init__(where)
        self.config = config
        self.framer = Framer(config.form)
        self.heard_at = self.loop.time()
        self.arrived = 0
        """Lines since the connection was made, heartbeats apart."""
        self.dropped_lines = 0
        self._frames: deque[Frame] = deque()
        self._full = False
        self.full = False
        self._opened_at = self.loop.time()
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opened_at = self.heard_at = self.loop.time()
        self.framer = Framer(self.config.form)
        self.full = False
        _keep_alive(transport.get_extra_info("socket"))
        if self.config.greeting:
            self.transport.write(self.config.greeting.encode(self.config.encoding, "replace"))

    def data_received(self, data: bytes) -> None:
        now = self.loop.time()
        if self.config.stream.serial and self.heard_at == self._opened_at and now - self._opened_at < TORN_S:
            self.framer.torn = True
        self.heard_at = now
        frames = self.framer.feed(data, self.config.queue)
        skipped, self.framer.skipped = self.framer.skipped, 0
        self.arrived += skipped
        self._queue(frames)
        if skipped:
            self._lose(skipped)

    def dropped(self, error: DeviceError) -> None:
        del error
        self._queue(self.framer.end())
        self._wake()

    def _queue(self, frames: list[Frame]) -> None:
        if not frames:
            return
        self.arrived += len(frames)
        self._frames.extend(frames)
        excess = len(self._frames) - self.config.queue
        if excess > 0:
            self._drop(excess)
        if len(self._frames) * 2 > self.config.queue and self.lost is None and not self.full:
            self.transport.pause_reading()
            self.full = True
        self._wake()

    def _drop(self, excess: int) -> None:
        for _ in range(excess):
            self._frames.popleft()
        self._lose(excess)

    def _lose(self, lines: int) -> None:
        self.dropped_lines += lines
        if not self._full:
            self._full = True
            log.warning("reader is faster than its reads are taken", reader=self.where, next="lost reads are counted")

    def take(self) -> tuple[int, Frame] | None:
        """The oldest line that waits, and its number in this connection."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        if self.full and len(self._frames) * 4 < self.config.queue and self.lost is None:
            self.transport.resume_reading()
            self.full = self._full = False
        return self.arrived - len(self._frames), frame

    @property
    def waiting(self) -> bool:
        return bool(self._frames)

    async def wait(self, seconds: float) -> None:
        """Until a line is there or the connection ended, at most so long."""
        if self._frames or self.lost is not None:
            return
        self._waiter = waiter = self.loop.create_future()
        timer = self.loop.call_later(seconds, self._wake)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def check(self) -> str:
        """Why there is nothing to be known now; empty while the reader is there.  DeviceError: the link is lost."""
        if self.lost is not None:
            raise self.failure()
        quiet_s = self.loop.time() - self.heard_at
        if self.config.heartbeat and quiet_s > self.config.silence_s:
            raise self.failure(f"no heartbeat and no read for {quiet_s:.1f} s")
        return ""


class _Called(ReaderLink):
    """The reader connects to us, and again whenever it likes: its absence is a state, not the end."""

    def check(self) -> str:
        try:
            return super().check()
        except DeviceError as error:
            if self.lost is None:
                self.transport.abort()  # silent: the reader is to come again
            return f"no reader is connected: {error}"

    async def wait(self, seconds: float) -> None:
        if self.lost is not None and not self.waiting:
            self.up.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self.up.wait()
            except TimeoutError:
                return
        await super().wait(seconds)


class Listener:
    """The port a reader connects to.  The newest connection is the reader: it was power-cycled, the old one is dead."""

    def __init__(self, where: str, config: ReaderConfig) -> None:
        self.link = _Called(where, config)

    async def open(self, url: StreamUrl) -> None:
        """Listen.  DeviceError if the port cannot be had."""
        try:
            self._server = await self.link.loop.create_server(lambda: _Caller(self.link), url.host, url.port)
        except OSError as error:
            raise self.link.failure(f"cannot listen: {error.strerror or error}") from error
        for sock in self._server.sockets:
            narrow(sock, self.link)  # each connection made to it has what it has

    async def aclose(self) -> None:
        self._server.close()
        await self.link.aclose()


class _Caller(Door):
    """One connection to our port; what an older one still says goes nowhere."""

    def __init__(self, link: ReaderLink) -> None:
        super().__init__(link)
        self._link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._link.lost is None:
            self._link.transport.abort()
            self._link.dropped(self._link.failure("another connection took its place"))
        self._transport = transport
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._link.transport is self._transport:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._link.transport is self._transport:
            super().connection_lost(exc)


class Reader:
    """An open reader.  The first poll tells where the count begins; each further one is one read, or a period."""

    def __init__(self, config: ReaderConfig, link: ReaderLink) -> None:
        self.identity: Mapping[str, str] = {}
        self._config = config
        self._link = link
        self._began = False
        self._in_a_row = 0
        self._count = self._reads = self._no_reads = self._garbled = 0
        self._last = Read(b"", None, reason=NOTHING_YET)

    async def poll(self) -> Reading:
        if not self._began:
            self._began = True
            return self._reading(self._link.check() if not self._link.waiting else "")
        await asyncio.sleep(BETWEEN_S if self._in_a_row >= BURST else 0)
        self._in_a_row = self._in_a_row + 1 if self._link.waiting else 0
        await self._link.wait(self._config.period_s)
        taken = self._link.take()  # nothing is awaited from here on: a cancelled poll loses no read
        if taken is None:
            return self._reading(self._link.check())
        self._count, frame = taken
        self._last = read = parse(frame, self._config.form)
        self._reads += read.read is True
        self._no_reads += read.read is False
        self._garbled += read.read is None
        return self._reading()

    def _reading(self, away: str = "") -> Reading:
        """The last read, and the counts; all of it bad while nobody is there."""
        values, faults = self._values()
        if away:
            return Reading((None,) * len(values), dict.fromkeys(range(len(values)), Fault(Quality.BAD, away)))
        bad = {at: Fault(Quality.BAD, reason) for at, reason in faults.items()}
        return Reading(tuple(values), bad, raw=self._last.raw or None)

    def _values(self) -> tuple[list[Value], dict[int, str]]:
        """In the order of the tags; position -> why there is none."""
        last, config, faults = self._last, self._config, dict[int, str]()
        values: list[Value] = [last.code if last.read else None, last.read]
        if last.read is None:
            faults[1] = last.reason
        if not last.read:
            faults[0] = last.reason
        values += [self._count, self._reads, self._no_reads, self._garbled, self._link.dropped_lines]
        for name in config.extra:
            value, why = _field(last, name, number=name in config.numbers)
            _put(values, faults, value, why)
        if config.aim:
            _put(values, faults, last.symbology or None, last.reason or "the line has no symbology identifier")
        for name in ELEMENTS if config.gs1 else ():
            why = last.reason or last.gs1_reason or f"the code says no {name}"
            _put(values, faults, last.elements.get(name), why)
        return values, faults


def _put(values: list[Value], faults: dict[int, str], value: Value, why: str) -> None:
    if value is None:
        faults[len(values)] = why
    values.append(value)


def _field(read: Read, name: str, *, number: bool) -> tuple[Value, str]:
    text = read.fields.get(name, "")
    if not text:
        return None, read.reason or f"the line says no {name}"
    if not number:
        return text, ""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None, f"{name}: {text!r} is not a number"
    return (value, "") if value.is_finite() else (None, f"{name}: {text!r} is not a number")


def _keep_alive(door: socket.socket | None) -> None:
    """TCP asks a silent reader whether it is still there."""
    if door is None or door.family not in (socket.AF_INET, socket.AF_INET6):
        return
    door.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # Linux has all of them
            door.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
