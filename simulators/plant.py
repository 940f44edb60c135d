"""The one model behind all devices: heat -> oil -> dose -> cartridge -> label.  Pure, seeded, stepped.

Two clocks: the oil lives in plant time (`speed` times wall time), the machines work in wall time (`rate` units a
second), so that a demonstration can let hours of heat pass without filling a hundred units a second.
"""

from __future__ import annotations

from simulators.filling import Cartridge, Filling, Pump
from simulators.labelling import Labelling
from simulators.oil import Oil


class Plant:
    """Step it; set `filling_on` and `labelling_on` from the machines' own states."""

    def __init__(
        self, seed: int, *, speed: float = 1.0, rate: float = 5.0, oil_cel: float = 50.0, tray_prefix: str = "L1"
    ) -> None:
        self.seed = seed
        self.speed = speed
        self.rate = rate
        """Units a second while the filler executes."""
        self.oil = Oil(temperature_cel=oil_cel)
        self.pump = Pump()
        self.filling = Filling(seed, self.pump, tray_prefix)
        self.labelling = Labelling(seed)
        self.filling_on = False
        self.labelling_on = False
        self.plant_s = 0.0
        self._due = 0.0

    def step(self, dt_s: float) -> list[Cartridge]:
        """Let `dt_s` seconds of wall time pass; returns the cartridges filled in it."""
        self.plant_s += dt_s * self.speed
        self.oil.step(dt_s * self.speed)
        made = self._fill(dt_s) if self.filling_on else []
        for cartridge in made:
            if not cartridge.rejected:
                self.labelling.arrive(cartridge)
        self.labelling.step(dt_s, self.labelling_on, self.labeller_per_s)
        return made

    def _fill(self, dt_s: float) -> list[Cartridge]:
        self._due += dt_s * self.rate
        whole = int(self._due)
        self._due -= whole
        return [self.filling.fill(self.oil) for _ in range(whole)]

    @property
    def labeller_per_s(self) -> float:
        """The applicator outruns the filler, so a queue after a stop melts away."""
        return max(1.0, 1.5 * self.rate)

    def truth(self) -> dict[str, float | int | str]:
        """What nobody on the line can see directly."""
        return {
            "temperature_cel": self.oil.temperature_cel,
            "setpoint_cel": self.oil.setpoint_cel,
            "power_pct": self.oil.power_pct,
            "viscosity_mpas": self.oil.viscosity_mpas,
            "density_g_cm3": self.oil.density_g_cm3,
            "dose_g": self.pump.dose_g(self.oil),
            "trim": self.pump.trim,
            "units": self.filling.count,
            "rejects": self.filling.rejects,
            "oil_used_g": self.filling.oil_used_g,
            "labels_issued": self.labelling.issued,
            "labels_applied": self.labelling.applied,
            "labels_damaged": self.labelling.damaged,
            "labels_remaining": self.labelling.remaining,
            "waiting_for_label": self.labelling.waiting,
            "plant_s": self.plant_s,
        }
