"""The weighing cell and its pan: settling, noise, draught, tare.  Pure; lives in wall time, whatever the speed."""

from __future__ import annotations

import math
import random
from typing import Final

CAPACITY_G: Final = 220.0
READABILITY_G: Final = 0.0001
NOISE_G: Final = 0.00003
SETTLE_TAU_S: Final = 0.07
"""A cartridge of 5 g is steady to the last digit after about one second."""
QUIET_S: Final = 0.2
"""How long the reading must stand still to be called stable."""
DRAUGHT_EVERY_S: Final = 120.0
DRAUGHT_S: Final = 0.6
DRAUGHT_G: Final = 0.003


class Pan:
    """What lies on it, and what the display says."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(f"{seed}:pan")
        self.load_g = 0.0
        self.tare_g = 0.0
        self._zero_g = 0.0
        self._cell_g = 0.0
        self._noise_g = 0.0
        self._quiet_s = QUIET_S
        self._draught_s = 0.0
        self.restless = False
        """Never settles: a fan, a lorry, a cable against the pan."""
        self.frozen = False
        self.needs_quiet_s = QUIET_S
        """How long this one must stand still: slow balances take 1.5 s."""

    def place(self, gross_g: float, tare_g: float) -> None:
        """A person puts a cartridge on and tares with the weight the same cartridge had when empty."""
        self.load_g, self.tare_g, self._quiet_s = gross_g, tare_g, 0.0

    def remove(self) -> None:
        """Pan empty, tare cleared."""
        self.load_g, self.tare_g, self._quiet_s = 0.0, 0.0, 0.0

    def step(self, dt_s: float) -> None:
        """Let wall time pass."""
        if self.frozen:
            return
        self._cell_g += (self.load_g - self._cell_g) * -math.expm1(-dt_s / SETTLE_TAU_S)
        self._draught_s = max(0.0, self._draught_s - dt_s)
        if self._dice.random() < dt_s / DRAUGHT_EVERY_S:
            self._draught_s = DRAUGHT_S
        unsteady = self.restless or self._draught_s > 0
        self._noise_g = self._dice.gauss(0.0, DRAUGHT_G if unsteady else NOISE_G)
        moving = abs(self.load_g - self._cell_g) >= READABILITY_G / 2
        self._quiet_s = 0.0 if unsteady or moving else self._quiet_s + dt_s

    @property
    def stable(self) -> bool:
        return self._quiet_s >= self.needs_quiet_s

    @property
    def gross_g(self) -> float:
        return self._cell_g - self._zero_g + self._noise_g

    @property
    def net_g(self) -> float:
        return self.gross_g - self.tare_g

    @property
    def overload(self) -> bool:
        return self.load_g > CAPACITY_G

    @property
    def underload(self) -> bool:
        return self.load_g < -1.0

    def tare(self) -> float:
        """Take what lies there as tare; returns it."""
        self.tare_g = round(self.gross_g, 4)
        return self.tare_g

    def zero(self) -> bool:
        """Set zero; False: too much on the pan (more than 2 % of the capacity)."""
        if abs(self._cell_g) > 0.02 * CAPACITY_G:
            return False
        self._zero_g, self.tare_g = self._cell_g, 0.0
        return True
