"""`python -m simulators.proxy --before NAME=HOST:PORT[@LISTEN]`: fault proxies before real or simulated ports.

A process of its own.  It prints one JSON line {"ready": true, ...} when all of it listens; its faults come over the
control (one JSON object a line: verbs list, fault, heal, truth, addresses, quit) or by `linegate fault`.  A path in
place of HOST:PORT is a serial line; LISTEN is then the path of the pty to offer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulators.back_door import BackDoor
from simulators.cable import Proxy, TcpProxy
from simulators.cable_pty import PtyProxy
from simulators.device import Device, UnknownError


@dataclass(frozen=True)
class Before:
    """One proxy as it is asked for."""

    name: str
    target: str
    """host:port, or the path of a serial port."""
    listen: str
    """Port on our host, 0 for any free one; or the path of the pty to make."""


def parse_before(text: str) -> Before:
    """`reservoir=10.0.0.5:502@5021`, `balance=/dev/ttyS1@run/balance.tty`.  ValueError says what is wrong."""
    name, _, rest = text.partition("=")
    target, _, listen = rest.partition("@")
    if not name or not target:
        raise ValueError(f"{text!r} is not NAME=HOST:PORT[@LISTEN]")
    if target.startswith(("/", ".")):
        if not listen:
            raise ValueError(f"{text!r}: a serial line needs a path to offer: {name}={target}@PATH")
        return Before(name, target, listen)
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal() or not (listen or "0").isdecimal():
        raise ValueError(f"{text!r} is not NAME=HOST:PORT[@LISTEN], both ports as numbers")
    return Before(name, target, listen or "0")


class _Proxied(Device):
    """What stands behind a proxy: we know nothing of it but its cable."""

    sentence = "A cable with a fault proxy on it."
    tags = frozenset()

    def __init__(self, name: str, proxy: Proxy) -> None:
        super().__init__()
        self.name = name
        self.proxy = proxy
        self.cables = (proxy,)

    def known_faults(self) -> dict[str, frozenset[str]]:
        return dict(self.proxy.known)

    def addresses(self) -> dict[str, str]:
        return {"address": str(self.proxy.truth()["address"])}

    def truth(self) -> dict[str, Any]:
        return {**self.proxy.truth(), "faults": self.faults}


class Proxies:
    """A floor of proxies only (`simulators.back_door.Floor`)."""

    def __init__(self, host: str, wanted: Sequence[Before]) -> None:
        self.devices: dict[str, Device] = {}
        self._proxies: list[Proxy] = []
        for before in wanted:
            proxy = _make(host, before)
            self._proxies.append(proxy)
            self.devices[before.name] = _Proxied(before.name, proxy)

    async def open(self) -> None:
        """OSError with the name if a port is taken."""
        for name, proxy in zip(self.devices, self._proxies, strict=True):
            try:
                await proxy.open()
            except OSError as error:
                raise OSError(f"the proxy before {name} cannot listen: {error.strerror or error}") from error

    async def close(self) -> None:
        for proxy in self._proxies:
            await proxy.close()

    def device(self, name: str) -> Device:
        """UnknownError if none of that name."""
        if name not in self.devices:
            raise UnknownError(f"no proxy stands before {name!r}; there are {', '.join(self.devices)}")
        return self.devices[name]

    def addresses(self) -> dict[str, Any]:
        return {name: device.addresses() for name, device in self.devices.items()}

    def truth(self) -> dict[str, Any]:
        return {"devices": {name: device.truth() for name, device in self.devices.items()}}


def _make(host: str, before: Before) -> Proxy:
    if before.target.startswith(("/", ".")):
        return PtyProxy(Path(before.listen), Path(before.target))
    target_host, _, port = before.target.rpartition(":")
    return TcpProxy(host, int(before.listen), lambda: (target_host, int(port)))


async def serve(floor: Proxies, host: str, control_port: int) -> None:
    """Until a signal or `quit`.  OSError if a port is taken."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    door = BackDoor(floor, ended.set)
    try:
        await floor.open()
        port = await door.open(host, control_port)
        ready = {"ready": True, "addresses": {"control": f"{host}:{port}", **floor.addresses()}}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await ended.wait()
        await door.close()
    finally:
        await floor.close()


def main() -> int:
    """Start, serve, say what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m simulators.proxy", description="Fault proxies, for tests.")
    parser.add_argument("--before", action="append", default=[], metavar="NAME=HOST:PORT[@LISTEN]", required=True)
    parser.add_argument("--host", default="127.0.0.1", help="where the proxies and the control listen")
    parser.add_argument("--control", type=int, default=0, help="port of the control (0: any free one)")
    given = parser.parse_args()
    try:
        floor = Proxies(given.host, [parse_before(text) for text in given.before])
        asyncio.run(serve(floor, given.host, given.control))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"proxy: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
