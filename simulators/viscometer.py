"""The inline viscometer: the Rheonics SRV register map, Modbus TCP, input registers only (function 04).

Each parameter takes eight registers from 40: float32 high word first, int16 x 100 at +2, status word at +3.  A critical
error makes the value NaN.  The int16 saturates at 327.67, so it is useless for distillate.
(support.rheonics.com 81000297664, 81000297665, 81000297697)
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from simulators.device import Device, Fault
from simulators.link import TcpDoor
from simulators.modbus import ILLEGAL_ADDRESS, ModbusError, TcpTalker
from simulators.modbus_manners import MODBUS_FAULTS, ModbusManners
from simulators.plant import Plant

UNIT: Final = 1
FIRST: Final = 40
PARAMETERS: Final = 14
DEVICE_ERROR: Final = 514
_READABLE: Final = frozenset({*range(FIRST, FIRST + 8 * PARAMETERS), DEVICE_ERROR})

GENERAL_ERROR: Final = 1 << 0
HARDWARE: Final = 1 << 2
STARTING_UP: Final = 1 << 4
NOT_STABLE: Final = 1 << 8
STARTUP_S: Final = 3.0
FILTER_S: Final = 0.3
"""Time constant of the reading, wall time."""


def parameter_words(value: float, status: int) -> list[int]:
    """One parameter's eight registers: float32 ABCD, int16 x 100 saturated, status, four spare."""
    scaled = 0 if math.isnan(value) else max(-32768, min(32767, round(value * 100)))
    return [*struct.unpack(">HH", struct.pack(">f", value)), scaled & 0xFFFF, status, 0, 0, 0, 0]


class Viscometer(ModbusManners, Device):
    """The viscometer: bank, conduct and faults."""

    name = "viscometer"
    sentence = "The inline viscometer: Rheonics SRV map, Modbus TCP, input registers only."
    tags = frozenset({"viscosity", "density", "temperature"})
    own_faults: ClassVar = {
        "sensor_break": Fault("Critical error: every value is NaN, status bits 0 and 2 are set."),
        "unstable": Fault("It measures and says itself that it is not stable (status bit 8)."),
        "starting_up": Fault("It does not get past its start: NaN, and status bit 4."),
        "nan": Fault("The values are NaN and the status words say that all is well."),
        **MODBUS_FAULTS,
    }
    functions = frozenset({4})

    def __init__(self, plant: Plant, host: str, port: int) -> None:
        super().__init__()
        self._oil = plant.oil
        self._dice = random.Random(f"{plant.seed}:viscometer")
        self._reading = self._true()
        self._starting_s = 0.0
        self._tcp = TcpDoor(host, port, lambda send: TcpTalker(UNIT, self, send, self), self.gate)
        self.links = (self._tcp,)

    def addresses(self) -> dict[str, str]:
        return {"tcp": self._tcp.address}

    def truth(self) -> dict[str, Any]:
        shown = {tag: None if math.isnan(value) else value for tag, value in self.values().items()}
        return {**shown, "status": self.status}

    async def step(self, dt_s: float) -> None:
        self._starting_s = max(0.0, self._starting_s - dt_s)
        if "frozen" in self.faults:
            return
        share = -math.expm1(-dt_s / FILTER_S)
        for tag, true in self._true().items():
            noisy = true * (1.0 + self._dice.gauss(0.0, 0.0004))
            self._reading[tag] += (noisy - self._reading[tag]) * share

    def on_reboot(self) -> None:
        self._starting_s = STARTUP_S

    @property
    def status(self) -> int:
        status = 0
        if "sensor_break" in self.faults:
            status |= GENERAL_ERROR | HARDWARE
        if "unstable" in self.faults:
            status |= NOT_STABLE
        starting = self._starting_s > 0 or "starting_up" in self.faults
        return status | (STARTING_UP if starting else 0)

    def values(self) -> dict[str, float]:
        """What it measures: viscosity mPa.s, density g/cm3, temperature Cel; NaN while it cannot."""
        values = {**self._reading, **{tag: float(value) for tag, value in self.forced.items()}}
        if self.status & (GENERAL_ERROR | STARTING_UP) or "nan" in self.faults:
            return dict.fromkeys(values, math.nan)
        return values

    def read(self, address: int, count: int) -> Sequence[int]:
        """Input registers."""
        wanted = range(address, address + count)
        if not _READABLE.issuperset(wanted):
            raise ModbusError(ILLEGAL_ADDRESS)
        if address == DEVICE_ERROR:
            return [self.status & (GENERAL_ERROR | HARDWARE)]
        image = self._image()
        return image[address - FIRST : address - FIRST + count]

    def write(self, address: int, words: Sequence[int]) -> None:  # noqa: ARG002  # the bank's shape
        """There is nothing to write; functions 06 and 16 never get here."""
        raise ModbusError(ILLEGAL_ADDRESS)

    def _image(self) -> list[int]:
        values, status = self.values(), self.status
        viscosity, density, temperature = values["viscosity"], values["density"], values["temperature"]
        last_good = self._reading["viscosity"]
        kinematic = viscosity / density
        by_number = {0: viscosity, 1: density, 2: temperature, 3: kinematic, 5: viscosity, 7: temperature}
        by_number |= {12: viscosity, 13: last_good}
        image: list[int] = []
        for number in range(PARAMETERS):
            image += parameter_words(by_number.get(number, 0.0), status)
        return image

    def _true(self) -> dict[str, float]:
        oil = self._oil
        return {"viscosity": oil.viscosity_mpas, "density": oil.density_g_cm3, "temperature": oil.temperature_cel}
