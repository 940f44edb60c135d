"""Putting fault proxies before the links of a device: they take its public port and path, it moves behind them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from simulators.cable import Proxy, TcpProxy
from simulators.cable_pty import PtyProxy
from simulators.link import Link, PtyDoor


class _Ported(Protocol):
    host: str
    port: int
    front: int


async def stand_before(links: Sequence[Link]) -> list[Proxy]:
    """A proxy before each link, open already; the links are still to be opened.  OSError if a port is taken."""
    return [await _before_pty(link) if isinstance(link, PtyDoor) else await _before_port(link) for link in links]


async def _before_pty(door: PtyDoor) -> Proxy:
    door.front, door.path = door.path, door.path.with_name(f"{door.path.name}.behind")
    proxy = PtyProxy(door.front, door.path)
    await proxy.open()
    return proxy


async def _before_port(link: Link) -> Proxy:
    door: _Ported = link  # type: ignore[assignment]  # TcpDoor and OpcUaLink: every link that is no pty has a port
    proxy = TcpProxy(door.host, door.port, partial(_address, door))
    await proxy.open()
    door.front, door.port = proxy.port, 0
    return proxy


def _address(door: _Ported) -> tuple[str, int]:
    return door.host, door.port
