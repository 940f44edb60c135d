"""One Modbus connection: a future for each request, no streams, no queue.  Calls never overlap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, Protocol

from gateway.drivers.transport import Stream
from gateway.drivers.wire.modbus import FrameError, Framing, Refusal, Request, RtuFraming
from gateway.errors import DeviceError

_SOON_S: Final = 1e-4
"""So little time is none: no timer rings sooner."""


class Asks(Protocol):
    """What a device needs of its connection: its own, or its place on a line that it shares."""

    where: str
    loop: asyncio.AbstractEventLoop
    framing: Framing

    async def call(self, request: Request) -> bytes:
        """The whole answer; its data begins at `framing.data_at`.

        Refusal: the device answered with an exception.  DeviceError: link lost, or an answer that is none.
        """
        ...

    async def call_first(self, request: Request) -> bytes:
        """The same before everything that waits: for halts."""
        ...

    def ask_now(self, request: Request) -> Awaitable[bytes] | None:
        """Send it before anybody else has a turn; the answer, to be awaited.  None: not sent, the line is not free."""
        ...

    def failure(self, text: str | None = None) -> DeviceError: ...


class _Ahead(Awaitable[bytes]):
    """The answer to what `ask_now` sent."""

    __slots__ = ("_future", "_link")

    def __init__(self, link: ModbusLink, future: asyncio.Future[bytes]) -> None:
        self._link = link
        self._future = future

    def __await__(self) -> Generator[Any, None, bytes]:
        return self._link.answer(self._future).__await__()


class ModbusLink(Stream):
    """Sends a request, waits for its answer.

    Between two requests the line rests `gap_s`.  On RTU, after connecting and after a call was cancelled, the next one
    first listens until the late answer came by or `late_s` have passed since the abandoned request was sent.
    """

    most_per_s = 8_000_000
    """Many units stand behind one gateway; what is no frame ends the connection anyway."""

    def __init__(self, where: str, framing: Framing, gap_s: float = 0.0, late_s: float = 0.0) -> None:
        super().__init__(where)
        self.framing = framing
        self.gap_s = gap_s
        self.late_s = late_s
        self._future: asyncio.Future[bytes] | None = None
        self._broken: DeviceError | None = None
        self._sent_at = self._heard_at = self.loop.time()
        self._heard = asyncio.Event()

    async def call(self, request: Request) -> bytes:
        """See Asks."""
        return await self._call(request, self.transport.write)

    async def call_first(self, request: Request) -> bytes:
        """See Asks."""
        return await self._call(request, self.write_first)

    def ask_now(self, request: Request) -> Awaitable[bytes] | None:
        """See Asks."""
        if self._future is not None or self.gap_s or not self.framing.clean or self.lost or self._broken:
            return None
        future = self._sent(request, self.write_first)
        future.add_done_callback(self._over)
        return _Ahead(self, future)

    async def _call(self, request: Request, write: Callable[[bytes], None]) -> bytes:
        if self._future is not None:
            await asyncio.wait((self._future,))  # what `ask_now` sent is answered first
        if self.gap_s or not self.framing.clean:
            await self.rest()
        if self.lost is not None:
            raise self.failure()
        if self._broken is not None:
            raise self._broken
        return await self.answer(self._sent(request, write))

    def _sent(self, request: Request, write: Callable[[bytes], None]) -> asyncio.Future[bytes]:
        self._future = future = self.loop.create_future()
        self._sent_at = self.loop.time()
        write(self.framing.ask(request))
        return future

    def _over(self, future: asyncio.Future[bytes]) -> None:
        """Answered or failed, also where nobody waited for it any more."""
        if not future.cancelled():
            future.exception()
        if self._future is future:
            self._future = None

    async def answer(self, future: asyncio.Future[bytes]) -> bytes:
        """Wait for it; given up, its late answer is nobody's."""
        try:
            return await future
        except asyncio.CancelledError:
            self.framing.abandon()
            raise
        finally:
            if self._future is future:
                self._future = None

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        try:
            answer = self.framing.feed(data)
        except Refusal as refusal:
            self._fail(refusal)
        except FrameError as error:
            failure = self.failure(str(error))
            self._broken = failure if self.framing.fatal else None
            self._fail(failure)
        else:
            if answer is not None and self._future is not None and not self._future.done():
                self._future.set_result(answer)
        self._heard.set()

    def dropped(self, error: DeviceError) -> None:
        self._fail(error)
        self._heard.set()

    def _fail(self, error: Exception) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)

    async def rest(self) -> None:
        """Let a late answer pass, then leave the line silent for the gap."""
        while not self.framing.clean and self.lost is None:
            left = self._sent_at + self.late_s - self.loop.time()
            if left < _SOON_S and isinstance(self.framing, RtuFraming):
                await self.caught_up()
                self.framing.forget()
                break
            self._heard.clear()
            await self._wait(left)
        left = max(self._heard_at, self._sent_at) + self.gap_s - self.loop.time()
        if left > 0:
            await asyncio.sleep(left)

    async def _wait(self, seconds: float) -> None:
        """Until something was heard, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        except TimeoutError:
            return
