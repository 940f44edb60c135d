"""The oil in the heated reservoir: temperature, viscosity, density.  Pure; time comes in as seconds.

Viscosity follows Vogel-Fulcher-Tammann, ln eta = A + B / (T - T0), the form that holds near the glass transition of
distillate.  The constants are chosen, not measured: 430 mPa.s at 62 Cel with 5 % terpenes, doubling every 6 K below.
Density 0.07 %/K (an assumption; measured range of such oils 960-1050 kg/m3, doi 10.1021/acs.jced.3c00105).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

KELVIN: Final = 273.15
REFERENCE_CEL: Final = 62.0
REFERENCE_MPAS: Final = 430.0
REFERENCE_TERPENE: Final = 0.05
VFT_B_K: Final = 1268.0
VFT_T0_K: Final = 230.0
TERPENE_SLOPE: Final = 22.0
"""d ln eta per unit mass fraction: one percent more terpenes thins the oil by a fifth."""
REFERENCE_DENSITY: Final = 1.005
EXPANSION_PER_K: Final = 7e-4


def viscosity_mpas(temperature_cel: float, terpene: float = REFERENCE_TERPENE) -> float:
    """Dynamic viscosity, mPa.s.  ValueError at or below the model's T0 (-43 Cel), where it has no value."""
    span_k = temperature_cel + KELVIN - VFT_T0_K
    if span_k <= 0:
        raise ValueError(f"{temperature_cel} Cel is below the range of the viscosity model")
    reference_k = REFERENCE_CEL + KELVIN - VFT_T0_K
    exponent = VFT_B_K / span_k - VFT_B_K / reference_k - TERPENE_SLOPE * (terpene - REFERENCE_TERPENE)
    return REFERENCE_MPAS * math.exp(exponent)


def density_g_cm3(temperature_cel: float) -> float:
    """Density, g/cm3: falls as the oil warms."""
    return REFERENCE_DENSITY * (1.0 - EXPANSION_PER_K * (temperature_cel - REFERENCE_CEL))


@dataclass
class Oil:
    """Reservoir, heater and controller: one thermal mass that loses heat to the room."""

    temperature_cel: float = 50.0
    setpoint_cel: float = REFERENCE_CEL
    ambient_cel: float = 22.0
    terpene: float = REFERENCE_TERPENE
    tau_s: float = 1120.0
    """Time constant of the loss.  At 62 Cel a dead heater costs 5 K in 150 s."""
    boost_k: float = 120.0
    """What full power would hold above the room."""
    gain_per_k: float = 0.25
    """Proportional gain: full power from 2.7 K below the setpoint."""
    enabled: bool = True
    """Control mode of the loop: auto or off."""
    element_ok: bool = True
    """False: the element is burnt out; the controller still calls for power and nothing warms."""
    sensor_ok: bool = True
    """False: the controller has lost its input and falls back to zero output."""
    power_pct: float = 0.0
    """What the controller calls for, 0..100."""

    def step(self, dt_s: float) -> None:
        """Let `dt_s` seconds of plant time pass."""
        self.power_pct = 100.0 * self._demand() if self.enabled and self.sensor_ok else 0.0
        heat = self.power_pct / 100.0 if self.element_ok else 0.0
        resting_cel = self.ambient_cel + heat * self.boost_k
        self.temperature_cel += (resting_cel - self.temperature_cel) * -math.expm1(-dt_s / self.tau_s)

    def _demand(self) -> float:
        """Share of full power: what the loss needs at the setpoint, and a push towards it."""
        holding = (self.setpoint_cel - self.ambient_cel) / self.boost_k
        return min(1.0, max(0.0, holding + self.gain_per_k * (self.setpoint_cel - self.temperature_cel)))

    @property
    def viscosity_mpas(self) -> float:
        return viscosity_mpas(self.temperature_cel, self.terpene)

    @property
    def density_g_cm3(self) -> float:
        return density_g_cm3(self.temperature_cel)
