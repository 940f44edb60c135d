"""The line to one Zebra: one question at a time, and an answer that comes late never answers the next one."""

from __future__ import annotations

import asyncio
import socket

from gateway.drivers.transport import Stream
from gateway.drivers.wire.zebra_hs import ASK_IDENTITY, ASK_STATUS, PAUSE, Message, ZebraHs
from gateway.errors import DeviceError


class ZebraLink(Stream):
    """Answers do not say which question they answer.

    After a cancelled question ~HI is asked; what comes before its answer is old.  While the printer is silent about its
    status ~HI tells a live link from a dead one.
    """

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self._codec = ZebraHs()
        self._future: asyncio.Future[Message] | None = None
        self._wanted: frozenset[str] = frozenset()
        self._stale = False
        self.alive_at = -1.0
        """Loop time of the last identity: the link was alive then."""
        self.unasked = 0
        """What nobody asked for: old answers, another host's, noise."""

    def watch_network(self, dead_after_s: float) -> None:
        """Let the kernel break a TCP connection whose far end acknowledges nothing any more."""
        there = self.transport.get_extra_info("socket")
        if there is None:
            return
        there.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(dead_after_s / 2)))
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(dead_after_s / 4)))
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * dead_after_s))

    async def identity(self) -> Message:
        """What it is.  DeviceError: the link is lost."""
        return await self._ask(ASK_IDENTITY, "identity")

    async def status(self) -> Message:
        """How it is; asked twice where the first answer is garbage.  DeviceError: the link is lost."""
        message = await self._status()
        return message if message.kind == "status" else await self._status()

    async def _status(self) -> Message:
        if self._stale:
            await self.identity()
            self._stale = False
        message = await self._ask(ASK_STATUS, "status", "garbage")
        self._stale = message.kind == "garbage"  # it may have been noise, with the answer still to come
        return message

    async def pause(self) -> None:
        """Say pause.  Nothing answers to it."""
        await self._say(PAUSE)

    async def _say(self, command: bytes) -> None:
        await self.caught_up()
        if self.lost is not None:
            raise self.failure()
        self.transport.write(command)

    async def _ask(self, question: bytes, *wanted: str) -> Message:
        await self._say(question)
        self._codec.clear()
        self._wanted = frozenset(wanted)
        self._future = future = self.loop.create_future()
        try:
            message: Message = await future
        except asyncio.CancelledError:
            self._stale = True
            raise
        finally:
            self._future = None
        return message

    def data_received(self, data: bytes) -> None:
        for message in self._codec.feed(data):
            if message.kind == "identity":
                self.alive_at = self.loop.time()
            if self._future is not None and not self._future.done() and message.kind in self._wanted:
                self._future.set_result(message)
            else:
                self.unasked += 1

    def dropped(self, error: DeviceError) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)
