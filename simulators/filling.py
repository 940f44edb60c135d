"""The dosing pump and the cartridges it fills.  Pure; every cartridge's dice are its own (seed and unit number)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from simulators.oil import REFERENCE_DENSITY, Oil

TRAY_SIZE: Final = 100


@dataclass
class Pump:
    """A volumetric pump: it moves a volume, so the mass follows the density; thick oil slips back past the piston."""

    setpoint_g: float = 1.0
    trim: float = 1.0
    """Calibration factor on the volume."""
    drift_per_unit: float = -1e-6
    """Wear of nozzle and seals: relative change of the trim with each dose."""
    clog: float = 1.0
    """Share of the dose a partly blocked nozzle lets through."""
    knee_mpas: float = 600.0
    slip: float = 0.06
    """Loss of dose for each time the viscosity exceeds the knee by the knee."""

    def dose_g(self, oil: Oil) -> float:
        """Mean mass of one dose with the oil as it is, g."""
        volume_ml = self.setpoint_g / REFERENCE_DENSITY * self.trim * self.clog
        excess = max(0.0, oil.viscosity_mpas / self.knee_mpas - 1.0)
        return volume_ml * oil.density_g_cm3 * max(0.0, 1.0 - self.slip * excess)

    def recalibrate(self, oil: Oil) -> None:
        """What a technician does: clean the nozzle, then trim until the dose is on target in this very oil."""
        self.clog = 1.0
        dose_g = self.dose_g(oil)
        if dose_g > 0:
            self.trim *= self.setpoint_g / dose_g


@dataclass(frozen=True)
class Cartridge:
    """One filled unit, kept so that it can be weighed later.  Numbers count from 1."""

    number: int
    tray: str
    position: int
    tare_g: float
    net_g: float
    rejected: bool
    """Thrown out by the filler's own capper check; its nest in the tray stays empty."""


def tray_of(prefix: str, number: int) -> tuple[str, int]:
    """Unit number -> (tray, position 1..100); a reject keeps its number and leaves a gap."""
    tray, nest = divmod(number - 1, TRAY_SIZE)
    return f"{prefix}-T{tray + 1:03d}", nest + 1


@dataclass
class Filling:
    """Makes cartridges while the filler executes."""

    seed: int
    pump: Pump
    tray_prefix: str = "L1"
    dose_sigma_g: float = 0.004
    tare_mean_g: float = 4.2
    tare_sigma_g: float = 0.3
    """Empty cartridges differ by more than half a gram: only a paired tare can judge 0.02 g."""
    reject_chance: float = 0.004

    def __post_init__(self) -> None:
        self.cartridges: dict[int, Cartridge] = {}
        self.rejects = 0
        self.oil_used_g = 0.0

    @property
    def count(self) -> int:
        return len(self.cartridges)

    def fill(self, oil: Oil) -> Cartridge:
        """Fill the next cartridge with the oil as it is now."""
        number = self.count + 1
        dice = random.Random(f"{self.seed}:unit:{number}")
        net_g = max(0.0, self.pump.dose_g(oil) + dice.gauss(0.0, self.dose_sigma_g))
        tare_g = max(1.0, dice.gauss(self.tare_mean_g, self.tare_sigma_g))
        tray, position = tray_of(self.tray_prefix, number)
        made = Cartridge(number, tray, position, tare_g, net_g, dice.random() < self.reject_chance)
        self.cartridges[number] = made
        self.rejects += made.rejected
        self.oil_used_g += net_g
        self.pump.trim *= 1.0 + self.pump.drift_per_unit
        return made
