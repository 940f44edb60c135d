"""Where a device meets its cable: a TCP listener or a pty, which can be cut, restored and struck dumb."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from simulators.ports import kept

Send = Callable[[bytes], None]
_CHUNK: Final = 4096


class Talker(Protocol):
    """One conversation: bytes in by `feed`, answers out by the `send` it was made with."""

    def feed(self, data: bytes) -> None: ...


Make = Callable[[Send], Talker]


class Gate:
    """Shared by all links of a device: while `silent`, it accepts everything and answers nothing."""

    silent = False


class Link(Protocol):
    """A cable: `open` and `cut` may follow each other for ever."""

    async def open(self) -> None: ...

    async def cut(self) -> None: ...

    @property
    def address(self) -> str: ...


class _Session(asyncio.Protocol):
    """One TCP client."""

    def __init__(self, door: TcpDoor) -> None:
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._door.transports.add(transport)
        self._transport = transport
        self._talker = self._door.make(self._send)
        self._door.talkers.add(self._talker)

    def data_received(self, data: bytes) -> None:
        if not self._door.gate.silent:
            self._talker.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it so
        self._door.transports.discard(self._transport)
        self._door.talkers.discard(self._talker)

    def _send(self, data: bytes) -> None:
        if not self._door.gate.silent and not self._transport.is_closing():
            self._transport.write(data)


class TcpDoor:
    """A TCP listener.  Port 0 takes any free one at the first `open` and keeps it."""

    def __init__(self, host: str, port: int, make: Make, gate: Gate) -> None:
        self.host, self.port = host, port
        self.make, self.gate = make, gate
        self.front = 0
        """Port of the proxy before it, which is what people are told."""
        self.transports: set[asyncio.Transport] = set()
        self.talkers: set[Talker] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen.  OSError if the port is taken."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        self.port = self.port or kept(self.host, self)
        self._server = await loop.create_server(lambda: _Session(self), self.host, self.port)

    async def cut(self) -> None:
        """Close every connection and refuse new ones."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for transport in tuple(self.transports):
            transport.abort()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.front or self.port}"


class PtyDoor:
    """A serial line: the master is ours, `path` is a symlink to the slave.  Cutting it hangs the line up."""

    def __init__(self, path: Path, make: Make, gate: Gate) -> None:
        self.path, self.make, self.gate = path, make, gate
        self.front: Path | None = None
        """Path of the proxy before it, which is what people are told."""
        self.talkers: set[Talker] = set()
        self._master = self._slave = -1

    async def open(self) -> None:
        """Make the pty and point the symlink at it.  OSError if the folder cannot be written."""
        if self._master >= 0:
            return
        self._master, self._slave = pty.openpty()
        # our own slave handle keeps the master alive while no client has the line open
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self._slave))
        self._talker = self.make(self._send)
        self.talkers.add(self._talker)
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    async def cut(self) -> None:
        """Hang up and take the path away."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1
        self.talkers.clear()
        self.path.unlink(missing_ok=True)

    @property
    def address(self) -> str:
        return str(self.front or self.path)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return
        if not self.gate.silent:
            self._talker.feed(data)

    def _send(self, data: bytes) -> None:
        # a client that does not read loses bytes, as on a real line without handshake
        with contextlib.suppress(BlockingIOError):
            if self._master >= 0 and not self.gate.silent:
                os.write(self._master, data)
