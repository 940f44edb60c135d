"""From a Modbus configuration to an open device: on a connection of its own, or at its place on a shared line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import msgspec

from gateway.drivers.modbus.acting import KINDS
from gateway.drivers.modbus.bus import Manners, line_key, shared_line
from gateway.drivers.modbus.device import ModbusDevice, Wanted
from gateway.drivers.modbus.layout import Part
from gateway.drivers.modbus.link import ModbusLink
from gateway.drivers.transport import StreamUrl, open_stream
from gateway.drivers.wire.modbus import TcpFraming
from gateway.drivers.wire.modbus_pdu import place

RTU_LATE_S: Final = 0.2
SHARED_LATE_S: Final = 1.0
"""Behind a TCP port that leads to several units the gateway there has a time limit of its own, mostly below 1 s."""


_TURN_S: Final = 0.005
"""What a device takes to begin its answer, at least."""


Place = tuple[str, int]
"""(table, PDU address)."""


class Line(msgspec.Struct, frozen=True):
    """The line a device stands on."""

    key: str
    """Which one: the port, whatever link leads to it."""
    unit: int
    shared: bool
    """One connection for all its devices."""
    settings: str
    """What all of them must say alike, for people: `9600 8N1`."""
    module: str = ""
    """Of one unit that is several devices, like a lamp and a relay on one module: its name, which all of them say."""
    writes: frozenset[Place] = frozenset()
    """The coils and registers that it may ever write."""

    def quarrel(self, other: Line, name: str) -> str:
        """Why it cannot be one line with that of device `name`; empty where it can."""
        if self.unit == other.unit and (not self.module or self.module != other.module):
            return (
                f"unit {self.unit} on {self.key} is already device {name}; where both are parts of one module, "
                "give both the same `module: NAME`"
            )
        if self.unit == other.unit and (both := self.writes & other.writes):
            table, at = min(both)
            return f"{place(table, at, 1)} of module {self.module} is already written by device {name}"
        if self.settings == other.settings:
            return ""
        return f"{self.key} is {self.settings} here, and {other.settings} in device {name}; give both the same"


def line_of(
    url: StreamUrl, unit: int, *, shared: bool, module: str = "", writes: frozenset[Place] = frozenset()
) -> Line:
    """A serial line, and RTU through a serial server, cannot but be shared; nor can a module of several devices."""
    shared = shared or bool(module) or url.scheme != "tcp"
    settings = _spoken(url.settings) if url.serial else ""
    if url.scheme == "tcp":
        settings = "shared" if shared else "not shared (`shared: true` is missing)"
    return Line(line_key(url), unit, shared, settings, module, writes)


def _spoken(settings: Any) -> str:
    handshake = "".join(f" {name}" for name in ("xonxoff", "rtscts") if settings[name])
    return "{baudrate} {bytesize}{parity}{stopbits}".format(**settings) + handshake


def silence_s(url: StreamUrl) -> float:
    """3.5 characters between two frames, 1.75 ms above 19200 baud (Modbus over Serial Line V1.02, 2.5.1.1)."""
    if not url.serial:
        return 0.0
    return 0.00175 if url.settings["baudrate"] > 19200 else 3.5 * url.character_s


class OnLine(Protocol):
    """A device that stands on a line, as far as its traffic goes."""

    @property
    def stream(self) -> StreamUrl: ...
    @property
    def parts(self) -> tuple[Part, ...]: ...
    @property
    def period_s(self) -> float: ...
    @property
    def min_gap_s(self) -> float: ...


def share_of(device: OnLine) -> float:
    """How much of its serial line's time one device's polls take: 1 is all of it.  0 where it is no serial line."""
    char_s = device.stream.character_s
    rest_s = max(device.min_gap_s, silence_s(device.stream))
    asking_s = sum((8 + _answer_bytes(part)) * char_s + 2 * rest_s + _TURN_S for part in device.parts)
    return asking_s / device.period_s if device.stream.serial else 0.0


def _answer_bytes(part: Part) -> int:
    bits = part.table in ("coil", "discrete")
    return 5 + ((part.block.count + 7) // 8 if bits else 2 * part.block.count)


@asynccontextmanager
async def opened(
    wanted: Wanted, where: str, url: StreamUrl, manners: Manners, *, shared: bool
) -> AsyncIterator[ModbusDevice]:
    """The device, open for the block.  DeviceError says why it cannot be."""
    kind = KINDS[wanted.halt is not None, wanted.heartbeat is not None]
    if shared:
        async with shared_line(url, where, manners, wanted.timeout_s) as port:
            yield kind(wanted, port)
        return
    link = ModbusLink(where, TcpFraming(), manners.gap_s, manners.late_s)
    async with open_stream(url, link, wanted.timeout_s):
        yield kind(wanted, link)
