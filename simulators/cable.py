"""The fault proxies: what all have in common, and the one before a TCP port.  What goes wrong is `simulators.net`."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from simulators.device import Fault
from simulators.net import FROM_DEVICE, FULL, NET_FAULTS, TO_DEVICE, Net, Way
from simulators.ports import kept

_RST: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on with no time: close sends RST."""
_CONNECT_S: Final = 5.0


class Proxy:
    """A spoiled cable (`simulators.device.Cable`)."""

    known: Mapping[str, Fault] = NET_FAULTS

    def __init__(self) -> None:
        self.net = Net()

    async def open(self) -> None:
        """Offer the cable.  OSError if it cannot be."""
        raise NotImplementedError

    async def close(self) -> None:
        """Take it away.  Safe twice."""
        raise NotImplementedError

    async def stand(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """See Cable."""
        whole = self.net.stand(name, args)
        await self.changed()
        return whole

    async def lift(self, name: str) -> None:
        """See Cable."""
        if name in self.net.standing:
            self.net.lift(name)
            await self.changed()

    async def changed(self) -> None:
        """The faults of `net` changed: make it so."""
        raise NotImplementedError

    def truth(self) -> dict[str, Any]:
        """What it did and holds, for the control."""
        raise NotImplementedError


def reset(transport: asyncio.Transport) -> None:
    """Close with RST, whatever was still to be sent."""
    with suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    transport.abort()


class _End(asyncio.Protocol):
    """One of the two connections of a session: the client's, or ours to the device."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.way: Way | None = None
        self.gone: Callable[[], None] = _nothing
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def into(self, way: Way) -> None:
        """From now on what comes goes that way."""
        self.way = way
        assert self.transport is not None
        way.room = self.transport.resume_reading
        early, self._early = self._early, b""
        if early:
            way.push(early)

    def data_received(self, data: bytes) -> None:
        if self.way is None:
            self._early += data
            return
        self.way.push(data)
        if self.way.queued > FULL and self.transport is not None:
            self.transport.pause_reading()

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it so
        self.gone()


class _Client(_End):
    """The client's side: begins a session when it comes."""

    def __init__(self, proxy: TcpProxy) -> None:
        super().__init__()
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._proxy.arrived(self)


class _Session:
    """A client, the device, and the two ways between them."""

    def __init__(self, proxy: TcpProxy, client: _Client, device: _End) -> None:
        self._proxy, self._client, self._device = proxy, client, device
        self.orphan = False
        """The device's side is gone and the client was not told."""
        self.up = Way(proxy.net, TO_DEVICE, device.send, self.reset)
        self.down = Way(proxy.net, FROM_DEVICE, self._to_client, self.reset)
        client.gone, device.gone = self._client_gone, self._device_gone
        client.into(self.up)
        device.into(self.down)

    def pump(self) -> None:
        self.up.pump()
        self.down.pump()

    def reset(self) -> None:
        """Both sides, with RST."""
        self._end(reset)

    def close(self) -> None:
        """Both sides, in good order."""
        self._end(_close)

    def forget_device(self) -> None:
        """Half-open: the device's side goes, the client hears nothing."""
        self.orphan = True
        if self._device.transport is not None:
            reset(self._device.transport)

    def _to_client(self, data: bytes) -> None:
        if not self.orphan:
            self._client.send(data)

    def _end(self, close: Callable[[asyncio.Transport], None]) -> None:
        self._proxy.sessions.discard(self)
        self.up.stop()
        self.down.stop()
        for end in (self._client, self._device):
            if end.transport is not None and not end.transport.is_closing():
                close(end.transport)

    def _client_gone(self) -> None:
        self._end(_close)

    def _device_gone(self) -> None:
        if not self.orphan and not self._proxy.net.swallows(FROM_DEVICE):
            self._end(_close)  # its end shows at the client as it came: closed


class TcpProxy(Proxy):
    """Before one TCP port.  `target` is asked for at each connection, so the device may move."""

    def __init__(self, host: str, port: int, target: Callable[[], tuple[str, int]]) -> None:
        super().__init__()
        self.host, self.port = host, port
        self.sessions: set[_Session] = set()
        self.accepted = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._wall: list[socket.socket] = []
        self._dialling: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen.  Port 0: any free one, kept from then on.  OSError if it is taken."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self.port = self.port or kept(self.host, self)
            self._server = await loop.create_server(lambda: _Client(self), self.host, self.port)

    async def close(self) -> None:
        """No more connections, none left.  Safe twice."""
        self._shut()
        self._fall()
        self._all(_Session.reset)
        for task in tuple(self._dialling):
            task.cancel()

    async def changed(self) -> None:
        standing = self.net.standing
        if "net_unreachable" in standing:
            self._shut()
            await self._build_wall()
        elif "net_refuse" in standing:
            self._shut()
            self._fall()
        else:
            self._fall()
            await self.open()
        if {"net_cut", "net_refuse"} & standing.keys():
            self._all(_Session.reset)
        elif "net_close" in standing:
            self._all(_Session.close)
        elif "net_half_open" in standing:
            self._all(_Session.forget_device)
        self._all(_Session.pump)

    def truth(self) -> dict[str, Any]:
        """Connections accepted so far, open now, and who of them speaks to nobody."""
        orphans = sum(session.orphan for session in self.sessions)
        return {
            "address": f"{self.host}:{self.port}",
            "accepted": self.accepted,
            "open": len(self.sessions),
            "orphans": orphans,
        }

    def arrived(self, client: _Client) -> None:
        """A connection was made to us."""
        assert client.transport is not None
        self.accepted += 1
        standing = self.net.standing
        if "net_cut" in standing:
            reset(client.transport)
        elif "net_close" in standing:
            client.transport.close()
        else:
            task = asyncio.get_running_loop().create_task(self._dial(client), name=f"proxy {self.port}")
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)

    async def _dial(self, client: _Client) -> None:
        assert client.transport is not None
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, device = await asyncio.get_running_loop().create_connection(_End, *self._target())
        except OSError:
            reset(client.transport)
            return
        self.sessions.add(session := _Session(self, client, device))
        if client.transport.is_closing():
            session.reset()

    def _all(self, do: Callable[[_Session], None]) -> None:
        for session in tuple(self.sessions):
            do(session)

    def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _build_wall(self) -> None:
        """A listener nobody accepts from, its queue full: Linux drops the SYN of whoever comes next."""
        if self._wall:
            return
        wall = socket.socket()
        wall.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wall.bind((self.host, self.port))
        wall.listen(0)
        self._wall = [wall]
        for _ in range(2):
            stuffing = socket.socket()
            stuffing.setblocking(False)
            stuffing.connect_ex((self.host, self.port))
            self._wall.append(stuffing)
        await asyncio.sleep(0)

    def _fall(self) -> None:
        for each in reversed(self._wall):
            each.close()
        self._wall = []


def _close(transport: asyncio.Transport) -> None:
    transport.close()


def _nothing() -> None:
    """Nobody listens."""
