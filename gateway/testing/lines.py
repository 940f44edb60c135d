"""Far ends of lines for tests: a listening socket or a pty, muted, cut and healed at the test's word.

What comes is given to `hear`, which gives the answers.  A peer of the driver suite is one of these and some lines that
know what the device would say.
"""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import Callable
from pathlib import Path

from gateway.demo.ports import free_port


class Line:
    """A far end on TCP or on a pty: takes bytes, gives answers, keeps them back, breaks off."""

    def __init__(self, hear: Callable[[bytes], list[bytes]]) -> None:
        self._hear = hear
        self._kept: list[bytes] | None = None
        self.heard = b""

    def take(self, data: bytes) -> None:
        self.heard += data
        for answer in self._hear(data):
            if self._kept is None:
                self.send(answer)
            else:
                self._kept.append(answer)

    def send(self, data: bytes) -> None:
        raise NotImplementedError

    async def mute(self) -> None:
        self._kept = []

    async def unmute(self) -> None:
        kept, self._kept = self._kept or [], None
        for answer in kept:
            self.send(answer)

    async def cut(self) -> None:
        raise NotImplementedError

    async def heal(self) -> None:
        raise NotImplementedError


class TcpLine(Line):
    """One listening port; the newest connection is the one that is talked to."""

    def __init__(self, hear: Callable[[bytes], list[bytes]]) -> None:
        super().__init__(hear)
        self.port = 0
        self._server: asyncio.Server | None = None
        self.transports: list[asyncio.Transport] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def heal(self) -> None:
        loop = asyncio.get_running_loop()
        self.port = self.port or free_port()
        self._server = await loop.create_server(lambda: _Door(self), "127.0.0.1", self.port)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for transport in self.transports:
            transport.abort()
        self.transports.clear()
        await asyncio.sleep(0)

    def send(self, data: bytes) -> None:
        if self.transports:
            self.transports[-1].write(data)


class _Door(asyncio.Protocol):
    def __init__(self, line: TcpLine) -> None:
        self._line = line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._line.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        self._line.take(data)


class PtyLine(Line):
    """The master's side of a pty; cut closes it: the serial port hangs up."""

    def __init__(self, hear: Callable[[bytes], list[bytes]], path: Path) -> None:
        super().__init__(hear)
        self.path = path
        self._master = -1

    async def heal(self) -> None:
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        self._slave = slave  # kept open: the master must not hang up when nobody has opened the port yet
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def _readable(self) -> None:
        self.take(os.read(self._master, 4096))

    async def cut(self) -> None:
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)
        self._master = -1
        self.path.unlink(missing_ok=True)

    def send(self, data: bytes) -> None:
        if self._master >= 0:
            os.write(self._master, data)
