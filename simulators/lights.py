"""A stack light and horn on a remote I/O module: Modbus TCP, and RTU on a pty.

Coils 0 to 4 drive red, amber, blue, green and horn; discrete inputs 0 to 4 are current monitors that say which of them
really draw current, `FOLLOW_S` after the write.  Holding register 4384 (1120 hex) is the module's communication
watchdog, ms: when nobody asked it anything for so long, all outputs fall and stay down until a coil is written; 0, as
after power-on, holds them for ever, which is what such modules do unless told otherwise (Turck FGEN manual, 9.5).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from simulators.device import Device, Fault
from simulators.extras import Stand
from simulators.link import PtyDoor, Send, Talker, TcpDoor
from simulators.modbus import ILLEGAL_ADDRESS, ILLEGAL_VALUE, ModbusError, RtuTalker, TcpTalker

UNIT: Final = 1
LAMPS: Final = ("red", "amber", "blue", "green", "horn")
WATCHDOG: Final = 4384
FAILURE: Final = 4
FOLLOW_S: Final = 0.02
_CHANGES_KEPT: Final = 500


class _Heard:
    """A conversation that the module's watchdog hears too."""

    def __init__(self, lights: Lights, talker: Talker) -> None:
        self._lights, self._talker = lights, talker

    def feed(self, data: bytes) -> None:
        self._lights.heard()
        self._talker.feed(data)


class Lights(Device):
    """The module and its lamps."""

    sentence = "A stack light and horn on remote I/O: red, amber, blue, green, horn (Modbus TCP, RTU on a pty)."
    tags = frozenset(LAMPS)
    own_faults: ClassVar = {
        "broken": Fault("A lamp burns out: its coil takes every write, nothing lights.", "lamp"),
        "stuck": Fault("A lamp's output transistor is shorted: it burns whatever its coil says.", "lamp"),
        "stuck_coils": Fault("Writes are answered well and change nothing."),
        "refuses": Fault("Every write is answered with exception 04."),
        "no_coil": Fault("A coil is not there: exception 02 for any request that touches it.", "lamp"),
        "no_watchdog": Fault("The module holds its lamps when nobody asks it any more, whatever its register says."),
    }
    functions = frozenset({1, 2, 3, 5, 6, 15})

    def __init__(self, stand: Stand) -> None:
        super().__init__()
        self.name = stand.name
        self.coils = [False] * len(LAMPS)
        self.watchdog_ms = 0
        self.tripped = 0
        """How often the watchdog dropped the outputs."""
        self.writes = 0
        self.since_ns = dict.fromkeys(LAMPS, 0)
        """Monotonic time of each lamp's last change."""
        self.changes: deque[dict[str, Any]] = deque(maxlen=_CHANGES_KEPT)
        """What burnt when, oldest first."""
        self._burning = [False] * len(LAMPS)
        self._drawn = [False] * len(LAMPS)
        self._lag_s = 0.0
        self._quiet_s = 0.0
        self._tcp = TcpDoor(stand.host, stand.port(), self._converse, self.gate)
        self._pty = PtyDoor(stand.tty(), self._converse_rtu, self.gate)
        self.links = (self._tcp, self._pty)

    def addresses(self) -> dict[str, str]:
        return {"tcp": self._tcp.address, "serial": self._pty.address}

    def truth(self) -> dict[str, Any]:
        """`burning`, `since_ns` (monotonic) and the last `changes`: what a person before the tower has seen."""
        return {
            "burning": [name for name, on in zip(LAMPS, self._burning, strict=True) if on],
            "coils": dict(zip(LAMPS, self.coils, strict=True)),
            "since_ns": dict(self.since_ns),
            "changes": list(self.changes),
            "watchdog_ms": self.watchdog_ms,
            "tripped": self.tripped,
            "writes": self.writes,
        }

    @property
    def burning(self) -> set[str]:
        return {name for name, on in zip(LAMPS, self._burning, strict=True) if on}

    async def step(self, dt_s: float) -> None:
        self._quiet_s += dt_s
        limit_s = self.watchdog_ms / 1000
        if limit_s and self._quiet_s > limit_s and any(self.coils) and "no_watchdog" not in self.faults:
            self.coils = [False] * len(LAMPS)
            self.tripped += 1
            self._light()
        self._lag_s -= dt_s
        if self._lag_s <= 0:
            self._drawn = list(self._burning)

    def on_reboot(self) -> None:
        self.coils = [False] * len(LAMPS)
        self.watchdog_ms = 0
        self._light()

    def faults_changed(self) -> None:
        for fault in ("broken", "stuck", "no_coil"):
            lamp = self.faults.get(fault, {}).get("lamp", "red")
            if lamp not in LAMPS:
                del self.faults[fault]
                raise ValueError(f"there is no lamp {lamp!r}; there are {', '.join(LAMPS)}")
        self._light()

    def heard(self) -> None:
        """Somebody asked something."""
        self._quiet_s = 0.0

    # -- Modbus -----------------------------------------------------------------------------------

    def read_bits(self, function: int, address: int, count: int) -> Sequence[bool]:
        self._there(address, count, coils=function == 1)
        return (self.coils if function == 1 else self._drawn)[address : address + count]

    def write_bits(self, address: int, bits: Sequence[bool]) -> None:
        self._there(address, len(bits), coils=True)
        if "refuses" in self.faults:
            raise ModbusError(FAILURE)
        self.writes += 1
        if "stuck_coils" not in self.faults and "frozen" not in self.faults:
            self.coils[address : address + len(bits)] = list(bits)
            self._light()

    def read(self, address: int, count: int) -> Sequence[int]:
        if (address, count) != (WATCHDOG, 1):
            raise ModbusError(ILLEGAL_ADDRESS)
        return [self.watchdog_ms]

    def write(self, address: int, words: Sequence[int]) -> None:
        if address != WATCHDOG or len(words) != 1:
            raise ModbusError(ILLEGAL_ADDRESS)
        if words[0] > 60_000:
            raise ModbusError(ILLEGAL_VALUE)
        self.watchdog_ms = words[0]

    def _there(self, address: int, count: int, *, coils: bool) -> None:
        missing = self.faults.get("no_coil")
        hole = LAMPS.index(missing.get("lamp", "red")) if missing is not None and coils else -1
        if address + count > len(LAMPS) or address <= hole < address + count:
            raise ModbusError(ILLEGAL_ADDRESS)

    def _light(self) -> None:
        """What burns now, by coils and faults; each change is remembered."""
        now_ns = time.monotonic_ns()
        for at, name in enumerate(LAMPS):
            on = bool(self.forced.get(name, self.coils[at]))
            if self._is("stuck", name):
                on = True
            if self._is("broken", name):
                on = False
            if on != self._burning[at]:
                self._burning[at] = on
                self.since_ns[name] = now_ns
                self.changes.append({"lamp": name, "on": on, "mono_ns": now_ns})
                self._lag_s = FOLLOW_S

    def _is(self, fault: str, lamp: str) -> bool:
        return fault in self.faults and self.faults[fault].get("lamp", "red") == lamp

    def _converse(self, send: Send) -> Talker:
        return _Heard(self, TcpTalker(UNIT, self, send))

    def _converse_rtu(self, send: Send) -> Talker:
        return _Heard(self, RtuTalker(UNIT, self, send, asyncio.get_running_loop().time))


def on_stand(stand: Stand) -> Device:
    """For the registry of extras."""
    return Lights(stand)
