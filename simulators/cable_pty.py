"""The fault proxy before a pty.  What it does wrong is `simulators.net`'s."""

from __future__ import annotations

import asyncio
import os
import tty
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from simulators.cable import Proxy
from simulators.link import Gate, PtyDoor, Send, Talker
from simulators.net import FROM_DEVICE, TO_DEVICE, Way

_REOPEN_S: Final = 0.1
_CHUNK: Final = 4096


class PtyProxy(Proxy):
    """Before one pty.  A line has no connections: cut, closed and refused are all a hang-up."""

    def __init__(self, path: Path, device: Path) -> None:
        super().__init__()
        self._device = device
        self._front = PtyDoor(path, self._converse, Gate())
        self._back = -1
        self._retry: asyncio.TimerHandle | None = None
        self._open = False
        self._ways: tuple[Way, Way] | None = None

    async def open(self) -> None:
        """Make the pty.  OSError if the folder cannot be written."""
        self._open = True
        await self._front.open()
        self._dial()

    async def close(self) -> None:
        """Hang up.  Safe twice."""
        self._open = False
        await self._hang_up()

    async def changed(self) -> None:
        if {"net_cut", "net_close", "net_refuse", "net_half_open"} & self.net.standing.keys():
            await self._hang_up()
        elif self._open:
            await self.open()
        for way in self._ways or ():
            way.pump()

    def truth(self) -> dict[str, Any]:
        """Where it is, and whether it reaches the device."""
        return {"address": self._front.address, "open": int(self._back >= 0)}

    def _converse(self, send: Send) -> Talker:
        up = Way(self.net, TO_DEVICE, self._to_device, self._cut)
        down = Way(self.net, FROM_DEVICE, send, self._cut)
        self._ways = (up, down)
        return _Pusher(up)

    async def _hang_up(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        for way in self._ways or ():
            way.stop()
        self._lose_device()
        await self._front.cut()

    def _cut(self) -> None:
        """So many bytes and no more: hang up, and offer the line anew."""
        task = asyncio.get_running_loop().create_task(self._again(), name="pty hangs up")
        _KEPT.add(task)
        task.add_done_callback(_KEPT.discard)

    async def _again(self) -> None:
        await self._hang_up()
        if self._open:
            await self.open()

    def _dial(self) -> None:
        if self._back >= 0 or not self._open:
            return
        try:
            self._back = os.open(self._device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:  # the device is off: its end of the cable is not there
            self._retry = asyncio.get_running_loop().call_later(_REOPEN_S, self._dial)
            return
        tty.setraw(self._back)
        asyncio.get_running_loop().add_reader(self._back, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._back, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # the device hung up
            data = b""
        if not data:
            self._lose_device()
            self._dial()
        elif self._ways is not None:
            self._ways[1].push(data)

    def _to_device(self, data: bytes) -> None:
        with suppress(OSError):  # gone or full: bytes on a serial line have no promise
            if self._back >= 0:
                os.write(self._back, data)

    def _lose_device(self) -> None:
        if self._back >= 0:
            asyncio.get_running_loop().remove_reader(self._back)
            os.close(self._back)
            self._back = -1


class _Pusher:
    """A talker that only passes on."""

    def __init__(self, way: Way) -> None:
        self._way = way

    def feed(self, data: bytes) -> None:
        self._way.push(data)


_KEPT: Final[set[asyncio.Task[None]]] = set()
