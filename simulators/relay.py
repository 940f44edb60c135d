"""A remote I/O module whose relay lies in the run circuit of a machine without any interface.  Modbus TCP.

Coil 0 is the relay, energised = the machine may run.  Discrete input 0 reads the relay's mirror contact (closed only
while the run circuit is open), input 1 its normally open auxiliary contact, input 2 the machine's own "running" lamp.
Contacts are force-guided: a welded main contact keeps the mirror contact open.  Holding register 32 and input register
48 hold all relays and all inputs (ioLogik E1200 series manual, p. A-15).  The module drops the relay when nobody has
asked it for `WATCHDOG_S`, and gives it back only by a write or at its own page.

The machine seals itself in: it stops when the circuit opens, and starts only by its own button.  Without a simulated
filler on the line it is the line's filler.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from simulators.device import Device, Fault, Value
from simulators.extras import Stand
from simulators.link import TcpDoor
from simulators.modbus import ILLEGAL_ADDRESS, ModbusError, TcpTalker

UNIT: Final = 1
WATCHDOG_S: Final = 5.0
DROP_S: Final = 0.01
"""From the write to the contacts."""
FAILURE: Final = 4
_REVERT_S: Final = 0.1
_WRITES_KEPT: Final = 200


class Relay(Device):
    """The module, its relay, and the machine behind it."""

    sentence = "A remote I/O relay in the run circuit of a machine without any interface (Modbus TCP)."
    tags = frozenset({"contact_open", "contact_closed", "running"})
    own_faults: ClassVar = {
        "welded": Fault("The main contact stays closed whatever the coil does; the machine may go on running."),
        "stuck_coil": Fault("Writes are answered well and change nothing."),
        "refuses": Fault("Every write is answered with exception 04."),
        "second_master": Fault("Somebody else energises the relay again some seconds after each write.", "seconds"),
        "broken_wire": Fault("Both contact inputs read off, whatever the contacts do."),
        "shorted_wire": Fault("Both contact inputs read on, whatever the contacts do."),
        "no_watchdog": Fault("The module keeps its relay when nobody asks it any more."),
        "no_seal_in": Fault("The machine is wired wrongly: it starts by itself when the circuit closes."),
    }
    functions = frozenset({1, 2, 3, 4, 5, 15})

    def __init__(self, stand: Stand) -> None:
        super().__init__()
        self.name = stand.name
        self.coil = True
        """As after power-on: the module is set up to permit."""
        self.closed = True
        """The main contact."""
        self.running = False
        self.tripped = False
        self.writes: deque[dict[str, Any]] = deque(maxlen=_WRITES_KEPT)
        self._plant = None if "filler" in stand.devices else stand.plant
        self._unasked_s = 0.0
        self._moving_s = 0.0
        self._revert_s: float | None = None
        self._frozen: tuple[bool, bool, bool] | None = None
        self._tcp = TcpDoor(stand.host, stand.port(), lambda send: TcpTalker(UNIT, self, send), self.gate)
        self.links = (self._tcp,)

    def addresses(self) -> dict[str, str]:
        return {"tcp": self._tcp.address}

    def truth(self) -> dict[str, Any]:
        return {
            "coil": self.coil,
            "closed": self.closed,
            "running": self.running,
            "tripped": self.tripped,
            "inputs": self.inputs(),
            "writes": list(self.writes),
        }

    def operator(self, action: str) -> bool:
        """`start` and `stop` at the machine, `permit` at the module's own page."""
        if action == "start":
            self.running = self.closed
            return self.running
        if action == "stop":
            self.running = False
            return True
        if action == "permit":
            self._energise(on=True)
            return True
        return super().operator(action)

    def coerce(self, tag: str, value: Value) -> Value:  # noqa: ARG002  # all of them are bits
        return bool(value)

    async def step(self, dt_s: float) -> None:
        self._unasked_s += dt_s
        if self._unasked_s > WATCHDOG_S and self.coil and "no_watchdog" not in self.faults:
            self.tripped = True
            self._energise(on=False)
        if self._revert_s is not None:
            self._revert_s -= dt_s
            if self._revert_s <= 0:
                self._revert_s = None
                self._energise(on=True)
        self._moving_s = max(0.0, self._moving_s - dt_s)
        if self._moving_s == 0.0:
            self._settle()
        if self._plant is not None:
            self._plant.filling_on = self.running

    def on_reboot(self) -> None:
        self.coil, self.tripped, self._unasked_s = True, False, 0.0

    def faults_changed(self) -> None:
        self._settle()
        self._frozen = (self._frozen or self.inputs()) if "frozen" in self.faults else None

    def inputs(self) -> tuple[bool, bool, bool]:
        """What the three inputs read."""
        if self._frozen is not None:
            return self._frozen
        contacts = (not self.closed, self.closed)
        if "broken_wire" in self.faults:
            contacts = (False, False)
        elif "shorted_wire" in self.faults:
            contacts = (True, True)
        forced = self.forced
        return (
            bool(forced.get("contact_open", contacts[0])),
            bool(forced.get("contact_closed", contacts[1])),
            bool(forced.get("running", self.running)),
        )

    def read_bits(self, function: int, address: int, count: int) -> Sequence[bool]:
        """Coils 0-5 (only 0 is wired), inputs 0-5 (0 to 2 are)."""
        self._unasked_s = 0.0
        bits = [self.coil] if function == 1 else list(self.inputs())
        bits += [False] * (6 - len(bits))
        if address + count > len(bits):
            raise ModbusError(ILLEGAL_ADDRESS)
        return bits[address : address + count]

    def write_bits(self, address: int, bits: Sequence[bool]) -> None:
        self._unasked_s = 0.0
        if address + len(bits) > 6:
            raise ModbusError(ILLEGAL_ADDRESS)
        if "refuses" in self.faults:
            raise ModbusError(FAILURE)
        self.writes.append({"coil": address, "values": list(bits), "mono_ns": time.monotonic_ns()})
        if address == 0 and "stuck_coil" not in self.faults:
            self._energise(on=bits[0])
            if "second_master" in self.faults:
                self._revert_s = float(self.faults["second_master"].get("seconds", _REVERT_S))

    def read(self, address: int, count: int) -> Sequence[int]:
        """Holding 32: the relays; input 48: the inputs."""
        self._unasked_s = 0.0
        words = {32: int(self.coil), 48: sum(1 << at for at, bit in enumerate(self.inputs()) if bit)}
        if count != 1 or address not in words:
            raise ModbusError(ILLEGAL_ADDRESS)
        return [words[address]]

    def write(self, address: int, words: Sequence[int]) -> None:  # noqa: ARG002  # the bank's shape
        """Registers are not written; functions 06 and 16 never get here."""
        raise ModbusError(ILLEGAL_ADDRESS)

    def _energise(self, *, on: bool) -> None:
        self.coil = on
        self.tripped = self.tripped and not on
        self._moving_s = DROP_S

    def _settle(self) -> None:
        """The contacts follow the coil, the machine follows the contacts."""
        before, self.closed = self.closed, self.coil or "welded" in self.faults
        if not self.closed:
            self.running = False
        elif not before and "no_seal_in" in self.faults:
            self.running = True


def on_stand(stand: Stand) -> Relay:
    """For `--with relay`."""
    return Relay(stand)
