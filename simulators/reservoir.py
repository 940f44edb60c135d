"""The heated reservoir's controller: the Watlow EZ-ZONE PM register map, on Modbus TCP and RTU over a pty.

float32 with the LOW word first; temperatures on the wire in degF whatever the display shows, until register 2490 is set
to degC (EZ-ZONE communications manual p.13; PM user guide p.64).  Writing any holding register costs EEPROM life on the
real one.  Enumerations are from the manual's parenthesised numbers: control mode off 62, auto 10, manual 54; input
error none 61, open 65; alarm state none 61.  Unverified on hardware: the alarm and limit blocks read as resting.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from simulators.device import Device, Fault
from simulators.link import PtyDoor, TcpDoor
from simulators.modbus import DEVICE_FAILURE, ILLEGAL_ADDRESS, ILLEGAL_VALUE, ModbusError, RtuTalker, TcpTalker
from simulators.modbus_manners import MODBUS_FAULTS, ModbusManners
from simulators.plant import Plant

UNIT: Final = 1
FAHRENHEIT, CELSIUS = 30, 15
AUTO, OFF = 10, 62
NO_ERROR, OPEN = 61, 65
NO_ALARM: Final = 61
HIGHEST_CEL: Final = 93.0
"""The reservoir's own limit, 200 degF."""
SPANS: Final = (
    range(360, 368),
    range(440, 444),
    range(684, 692),
    range(1496, 1498),
    range(1546, 1548),
    range(1596, 1598),
    range(1646, 1648),
    range(1880, 1910),
    range(2160, 2174),
    range(2490, 2492),
    range(2510, 2512),
)
"""Readable stretches; holes inside them read 0, anything else is exception 02."""
_READABLE: Final = frozenset(address for span in SPANS for address in span)
_WRITABLE: Final = frozenset({1880, 2160, 2161, 2490})


def float_words(value: float) -> tuple[int, int]:
    """float32 -> (low word, high word), as this controller sends them."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return low, high


def words_float(low: int, high: int) -> float:
    return float(struct.unpack(">f", struct.pack(">HH", high, low))[0])


class Reservoir(ModbusManners, Device):
    """The controller: bank, conduct and faults of both its links."""

    name = "reservoir"
    sentence = "The heated reservoir's controller: Watlow EZ-ZONE PM map on Modbus TCP and RTU."
    tags = frozenset({"temperature", "setpoint", "power", "sensor_status", "control_mode"})
    own_faults: ClassVar = {
        "heater_failure": Fault("The element is burnt out: full power, and the oil cools."),
        "sensor_break": Fault(
            "The sensor is open: the last value is held, only the status word says so, heating stops."
        ),
        "degrees_flipped": Fault(
            "After a service the wire speaks the other of degF and degC; the register says which."
        ),
        "worn_out": Fault("Its memory is worn out: writes are answered with exception 04 and kept by nobody."),
        **MODBUS_FAULTS,
    }
    functions = frozenset({3, 6, 16})

    def __init__(self, plant: Plant, host: str, port: int, tty: Path) -> None:
        super().__init__()
        self._oil = plant.oil
        self._unit_code = FAHRENHEIT
        self._held: dict[str, float] = {}
        self.nvm_writes = 0
        """Registers written so far: each costs memory life (100,000 on controllers of this kind)."""
        self._flipped = False
        loop = asyncio.get_running_loop()
        self._tcp = TcpDoor(host, port, lambda send: TcpTalker(UNIT, self, send, self), self.gate)
        self._pty = PtyDoor(tty, lambda send: RtuTalker(UNIT, self, send, loop.time, self), self.gate)
        self.links = (self._tcp, self._pty)

    def addresses(self) -> dict[str, str]:
        return {"tcp": self._tcp.address, "serial": self._pty.address}

    def truth(self) -> dict[str, Any]:
        return {**self.values(), "wire_unit": self._unit_code, "nvm_writes": self.nvm_writes}

    def values(self) -> dict[str, float]:
        """What the controller shows now, by tag; temperatures in Cel."""
        values: dict[str, float] = {
            "temperature": self._oil.temperature_cel,
            "setpoint": self._oil.setpoint_cel,
            "power": self._oil.power_pct,
            "sensor_status": OPEN if "sensor_break" in self.faults else NO_ERROR,
            "control_mode": AUTO if self._oil.enabled else OFF,
        }
        return {**values, **self._held, **{tag: float(value) for tag, value in self.forced.items()}}

    def faults_changed(self) -> None:
        if ("degrees_flipped" in self.faults) is not self._flipped:
            self._flipped = not self._flipped
            self._unit_code = FAHRENHEIT if self._unit_code == CELSIUS else CELSIUS
        now = self.values()
        if "frozen" in self.faults:
            self._held = self._held if len(self._held) > 1 else now
        elif "sensor_break" in self.faults:
            self._held = {"temperature": now["temperature"]}
        else:
            self._held = {}
        self._oil.element_ok = "heater_failure" not in self.faults
        # on an input error the real controller falls back to zero output: the oil cools behind a steady number
        self._oil.sensor_ok = "sensor_break" not in self.faults

    def read(self, address: int, count: int) -> Sequence[int]:
        """Holding registers."""
        wanted = range(address, address + count)
        if not _READABLE.issuperset(wanted):
            raise ModbusError(ILLEGAL_ADDRESS)
        image = self._image()
        return [image.get(register, 0) for register in wanted]

    def write(self, address: int, words: Sequence[int]) -> None:
        """Setpoint (2160), control mode (1880) and wire unit (2490); the rest is read-only."""
        registers = range(address, address + len(words))
        if not _WRITABLE.issuperset(registers):
            raise ModbusError(ILLEGAL_ADDRESS)
        if "worn_out" in self.faults:
            raise ModbusError(DEVICE_FAILURE)
        self.nvm_writes += len(words)
        image = {**self._image(), **dict(zip(registers, words, strict=True))}
        setpoint_cel = self._from_wire(words_float(image[2160], image[2161]))
        mode, unit_code = image[1880], image[2490]
        if not 0.0 <= setpoint_cel <= HIGHEST_CEL or mode not in (AUTO, OFF) or unit_code not in (FAHRENHEIT, CELSIUS):
            raise ModbusError(ILLEGAL_VALUE)
        if {2160, 2161} & set(registers):
            self._oil.setpoint_cel = setpoint_cel
        self._oil.enabled = mode == AUTO
        self._unit_code = unit_code

    def _image(self) -> dict[int, int]:
        values = self.values()
        floats = {
            360: self._to_wire(values["temperature"]),
            366: self._to_wire(self._oil.ambient_cel),
            684: self._to_wire(0.0),
            686: self._to_wire(HIGHEST_CEL),
            1904: values["power"],
            1906: 0.0,
            1908: values["power"],
            2160: self._to_wire(values["setpoint"]),
            2172: self._to_wire(values["setpoint"]),
        }
        image = {
            362: int(values["sensor_status"]),
            442: OPEN,
            690: NO_ALARM,
            1880: AUTO if self._oil.enabled else OFF,
            1882: int(values["control_mode"]),
            2490: self._unit_code,
            2510: self._unit_code,
            **dict.fromkeys((1496, 1546, 1596, 1646), NO_ALARM),
        }
        for register, value in floats.items():
            image[register], image[register + 1] = float_words(value)
        return image

    def _to_wire(self, cel: float) -> float:
        return cel if self._unit_code == CELSIUS else cel * 1.8 + 32.0

    def _from_wire(self, value: float) -> float:
        return value if self._unit_code == CELSIUS else (value - 32.0) / 1.8
