"""A dosing pump: the Modbus map of ProMinent's DULCO flex Control, unit 20, on TCP (a gateway) and RTU over a pty.

High word first; register 63 holds AABBCCDD to prove it.  Start/stop by bus is register 1200; the pump's own bit
"stopped" is bit 8 of 1000 (as the gamma/X lists it; unverified on a DULCO flex).  Register 61 is its own timeout in ms:
when nobody asks for longer it stops, and says so in bit 1 of 1200.  Not coupled to the line's filler.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from simulators.device import Device, Fault
from simulators.extras import Stand
from simulators.link import PtyDoor, TcpDoor
from simulators.modbus import ILLEGAL_ADDRESS, ILLEGAL_VALUE, ModbusError, RtuTalker, TcpTalker

UNIT: Final = 20
PATTERN: Final = 0xAABBCCDD
MANUAL, BATCH = 1, 3
TRIGGER: Final = 0x5555
HIGHEST_L_H: Final = 65.0
LITRES_A_REVOLUTION: Final = 0.01
RUN_DOWN_S: Final = 0.05
STOPPED, ERROR, WARNING = 1 << 8, 1 << 5, 1 << 6
BY_HAND, AIRLOCK = 1 << 7, 1 << 23
BLOCKAGE, HOSE_RUPTURE = 1 << 30, 1 << 1
SPANS: Final = (range(1, 14), range(61, 65), range(1000, 1042), range(1200, 1238))
"""Readable stretches; holes inside them read 0, anything else is exception 02."""
_READABLE: Final = frozenset(address for span in SPANS for address in span)
_FLOATS: Final = {1211: "target_rate", 1215: "batch_quantity"}
_REVERT_S: Final = 0.1
_WRITES_KEPT: Final = 200


class Dosing(Device):
    """The pump and its registers."""

    sentence = "A dosing pump with the Modbus map of ProMinent's DULCO flex Control, unit 20 (TCP and RTU)."
    tags = frozenset({"dosing_rate"})
    own_faults: ClassVar = {
        "ignores_stop": Fault("It takes the stop with a good answer and goes on dosing."),
        "reverts": Fault("It starts again by itself some seconds after a stop.", "seconds"),
        "refuses": Fault("Fieldbus is not active: every write is answered with exception 02."),
        "motor_blockage": Fault("The motor is blocked: nothing is dosed, error bit 30."),
        "hose_rupture": Fault("The hose leaks: warning bit 1."),
        "airlock": Fault("Air in the hose: half the quantity, status bit 23."),
        "swapped_words": Fault("Low word first, as if set up otherwise: the pattern in 63 tells."),
    }
    functions = frozenset({3, 6, 16})

    def __init__(self, stand: Stand) -> None:
        super().__init__()
        self.name = stand.name
        self.start_by_bus = True
        self.stopped_by_hand = False
        self.mode = MANUAL
        self.target_rate = 12.0
        self.batch_quantity = 0.05
        self.remaining = 0.0
        self.quantity = 0.0
        self.timeout_ms = 0
        self.timed_out = False
        self.writes: deque[dict[str, Any]] = deque(maxlen=_WRITES_KEPT)
        self._unasked_s = 0.0
        self._run_down_s = 0.0
        self._revert_s: float | None = None
        self._frozen: dict[int, int] | None = None
        loop = asyncio.get_running_loop()
        self._tcp = TcpDoor(stand.host, stand.port(), lambda send: TcpTalker(UNIT, self, send), self.gate)
        self._pty = PtyDoor(stand.tty(), lambda send: RtuTalker(UNIT, self, send, loop.time), self.gate)
        self.links = (self._tcp, self._pty)

    def addresses(self) -> dict[str, str]:
        return {"tcp": self._tcp.address, "serial": self._pty.address}

    def truth(self) -> dict[str, Any]:
        return {
            "turning": self.turning,
            "stopped": self.stopped,
            "start_by_bus": self.start_by_bus,
            "timed_out": self.timed_out,
            "quantity_l": self.quantity,
            "remaining_l": self.remaining,
            "writes": list(self.writes),
        }

    def operator(self, action: str) -> bool:
        """Its panel: `start`, `stop`; `reset` takes the stop by bus back, as whoever drives it does."""
        if action in ("start", "stop"):
            self.stopped_by_hand = action == "stop"
            return True
        if action == "reset":
            self.start_by_bus, self.timed_out = True, False
            return True
        return super().operator(action)

    @property
    def stopped(self) -> bool:
        """Its own bit: nothing will move it before somebody starts it, and the motor stands."""
        told = self.stopped_by_hand or self.timed_out or not self.start_by_bus
        return told and self._run_down_s <= 0 and not self._disobeys

    @property
    def turning(self) -> bool:
        """The motor itself."""
        if "motor_blockage" in self.faults or self.stopped:
            return False
        return self.mode == MANUAL or (self.mode == BATCH and self.remaining > 0)

    @property
    def _disobeys(self) -> bool:
        return "ignores_stop" in self.faults and not self.stopped_by_hand

    @property
    def rate(self) -> float:
        """Litres an hour."""
        return float(self.forced.get("dosing_rate", self.target_rate if self.turning else 0.0))

    async def step(self, dt_s: float) -> None:
        self._unasked_s += dt_s
        if self.timeout_ms and self._unasked_s > self.timeout_ms / 1000:
            self.timed_out = True
        if self.turning:
            self._dose(dt_s)
        self._run_down_s = max(0.0, self._run_down_s - dt_s)
        if self._revert_s is not None:
            self._revert_s -= dt_s
            if self._revert_s <= 0:
                self._revert_s, self.start_by_bus = None, True

    def faults_changed(self) -> None:
        self._frozen = (self._frozen or self._image()) if "frozen" in self.faults else None

    def on_reboot(self) -> None:
        self.remaining, self.timed_out, self._unasked_s = 0.0, False, 0.0

    def read(self, address: int, count: int) -> Sequence[int]:
        """Holding registers."""
        self._unasked_s = 0.0
        wanted = range(address, address + count)
        if not _READABLE.issuperset(wanted):
            raise ModbusError(ILLEGAL_ADDRESS)
        image = self._frozen or self._image()
        return [image.get(register, 0) for register in wanted]

    def write(self, address: int, words: Sequence[int]) -> None:
        """Start/stop (1200), targets, mode, batch trigger (1235), acknowledgement (1236)."""
        self._unasked_s = 0.0
        if "refuses" in self.faults or address not in {1200, *_FLOATS, 1229, 1235, 1236}:
            raise ModbusError(ILLEGAL_ADDRESS)
        self.writes.append({"register": address, "words": list(words), "mono_ns": time.monotonic_ns()})
        if address in _FLOATS:
            self._set_float(address, words)
        elif address == 1200:
            self._by_bus(start=bool(words[0] & 1))
        elif address == 1229:
            self._set_mode(words[0])
        elif words[0] != TRIGGER:
            raise ModbusError(ILLEGAL_VALUE)
        elif address == 1235:
            self.remaining = self.batch_quantity if self.mode == BATCH else 0.0

    def _by_bus(self, *, start: bool) -> None:
        if self.start_by_bus and not start:
            self._run_down_s = RUN_DOWN_S if self.turning else 0.0
            if "reverts" in self.faults:
                self._revert_s = float(self.faults["reverts"].get("seconds", _REVERT_S))
        self.start_by_bus = start
        self.timed_out = self.timed_out and not start

    def _set_mode(self, mode: int) -> None:
        if not 0 <= mode <= 4:
            raise ModbusError(ILLEGAL_VALUE)
        self.mode, self.remaining = mode, 0.0

    def _set_float(self, address: int, words: Sequence[int]) -> None:
        if len(words) != 2:
            raise ModbusError(ILLEGAL_VALUE)
        value = struct.unpack(">f", struct.pack(">HH", *words))[0]
        if not 0 <= value <= HIGHEST_L_H:
            raise ModbusError(ILLEGAL_VALUE)
        setattr(self, _FLOATS[address], value)

    def _dose(self, dt_s: float) -> None:
        made = self.target_rate / 3600 * dt_s
        made = min(made, self.remaining) if self.mode == BATCH else made
        self.remaining = max(0.0, self.remaining - made)
        self.quantity += made / 2 if "airlock" in self.faults else made

    def _image(self) -> dict[int, int]:
        faults = self.faults
        status = self.mode << 2 | STOPPED * self.stopped | BY_HAND * self.stopped_by_hand
        status |= ERROR * ("motor_blockage" in faults) | WARNING * ("hose_rupture" in faults)
        status |= AIRLOCK * ("airlock" in faults)
        longs = {
            63: PATTERN,
            1000: status,
            1002: BLOCKAGE * ("motor_blockage" in faults),
            1006: HOSE_RUPTURE * ("hose_rupture" in faults),
            1030: int(self.quantity / LITRES_A_REVOLUTION),
            1032: int(self.quantity / LITRES_A_REVOLUTION),
        }
        floats = {
            1018: self.rate,
            1020: HIGHEST_L_H,
            1034: self.quantity,
            1036: self.quantity,
            1040: self.remaining,
            1211: self.target_rate,
            1215: self.batch_quantity,
        }
        image = {61: self.timeout_ms, 1022: self.mode, 1217: 1, 1229: self.mode}
        image[1200] = int(self.start_by_bus) | int(self.timed_out) << 1
        image |= dict(zip(range(4, 9), struct.unpack(">5H", b"SIM0000001"), strict=True))
        for register, value in longs.items():
            image |= self._words(register, struct.pack(">I", value))
        for register, number in floats.items():
            image |= self._words(register, struct.pack(">f", number))
        return image

    def _words(self, register: int, packed: bytes) -> dict[int, int]:
        high, low = struct.unpack(">HH", packed)
        return dict(enumerate((low, high) if "swapped_words" in self.faults else (high, low), register))


def on_stand(stand: Stand) -> Dosing:
    """For `--with dosing`."""
    return Dosing(stand)
