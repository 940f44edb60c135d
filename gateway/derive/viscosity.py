"""Derived kind `viscosity`: a viscosity as it would be at a reference temperature.

    viscosity_60: {kind: viscosity, viscosity: viscometer/viscosity, temperature: viscometer/temperature,
                   at: {unit: Cel, value: 60}, model: {kind: andrade, a: -12.1, b: 6100, from: 50, to: 80}}

Compared raw, oil that is merely warm looks thin: a temperature problem would be alarmed twice.  A kinematic viscosity
(mm2/s, cSt) becomes a dynamic one (mPa.s, cP) only with a density.  Beyond the fitted temperatures there is no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final, Literal

from pydantic import Field

from gateway.derive import dimensions
from gateway.derive.base import DerivedConfig, Input, Memoryless, Result, none
from gateway.derive.models import GAS, ZERO_CEL, Model
from gateway.derive.time_above import Level
from gateway.recipe import Frozen

MPA_S: Final = 1e-3


class ModelConfig(Frozen):
    """A fitted model: what `linegate fit viscosity` prints."""

    kind: Literal["andrade", "arrhenius", "vft"]
    a: float
    """ln of mPa.s."""
    b: float | None = None
    """Kelvin; of arrhenius give `ea`."""
    ea: float | None = None
    """Activation energy, kJ/mol; only of arrhenius."""
    t0: float = 0.0
    """Kelvin; only of vft."""
    low: float = Field(alias="from")
    """Lowest and highest temperature it was fitted over, Cel."""
    high: float = Field(alias="to")
    fitted: str = ""
    """From which points, when, by whom; for people."""

    def made(self) -> Model:
        """ValueError: it cannot be one."""
        slope = self.ea * 1000 / GAS if self.ea is not None else self.b
        if slope is None or (self.ea is not None) == (self.b is not None):
            raise ValueError("a model needs exactly one of `b` (kelvin) and `ea` (kJ/mol)")
        if slope <= 0:
            raise ValueError(
                f"{'ea' if self.ea is not None else 'b'} must be above 0: warm oil is thinner than cold oil"
            )
        if self.t0 and self.kind != "vft":
            raise ValueError(f"{self.kind} has no t0: that is vft")
        if self.t0 < 0:
            raise ValueError(
                f"t0 is in kelvin, and {self.t0:g} K is none; of {self.t0:g} Cel write {self.t0 + ZERO_CEL:g}"
            )
        return Model(self.kind, self.a, slope, self.low + ZERO_CEL, self.high + ZERO_CEL, self.t0)


class ViscosityConfig(DerivedConfig):
    kind: Literal["viscosity"] = "viscosity"
    viscosity: str
    temperature: str
    density: str | None = None
    """Needed where the viscosity is kinematic."""
    at: Level
    """The reference temperature."""
    model: ModelConfig
    unit: Literal["mPa.s", "cP", "Pa.s"] = "mPa.s"

    def names(self) -> Mapping[str, str]:
        named = {"viscosity": self.viscosity, "temperature": self.temperature}
        return named if self.density is None else {**named, "density": self.density}

    def build(self, units: Mapping[str, str]) -> Viscosity:
        """ValueError: a unit does not fit, the density is missing, or the reference is outside the model."""
        kinematic = dimensions.alike(units["viscosity"], "mm2/s")
        if kinematic and self.density is None:
            raise ValueError(f"{self.viscosity} is kinematic ({units['viscosity']}); name the tag of the density")
        if not kinematic and self.density is not None and dimensions.alike(units["viscosity"], "mPa.s"):
            raise ValueError(
                f"{self.viscosity} is dynamic ({units['viscosity']}): a density changes nothing, leave it out"
            )
        if not kinematic and not dimensions.alike(units["viscosity"], "mPa.s"):
            raise ValueError(f"{self.viscosity} is in {units['viscosity']}, which is no viscosity")
        if not dimensions.alike(units["temperature"], "K"):
            raise ValueError(f"{self.temperature} is in {units['temperature']}, which is no temperature")
        if self.density and not dimensions.alike(units["density"], "g/cm3"):
            raise ValueError(f"{self.density} is in {units['density']}, which is no density")
        if not dimensions.alike(self.at.unit, "K"):
            raise ValueError(f"at: {self.at.unit} is no unit of temperature; write {{unit: Cel, value: ...}}")
        factor, offset = dimensions.to_si(self.at.unit)
        made = Viscosity(self.model.made(), self.at.value * factor + offset, units, self.unit, kinematic=kinematic)
        made.model.log_eta(made.reference_k)
        return made


class Viscosity(Memoryless):
    """Compensates."""

    def __init__(
        self, model: Model, reference_k: float, units: Mapping[str, str], unit: str, *, kinematic: bool
    ) -> None:
        self.model = model
        self.reference_k = reference_k
        self._scales = {name: dimensions.to_si(code) for name, code in units.items()}
        self._kinematic = kinematic
        self._unit_si = dimensions.to_si(unit)[0]

    def compute(self, inputs: Mapping[str, Input], now_ns: int) -> Result:
        del now_ns
        si = {name: each.number * self._scales[name][0] + self._scales[name][1] for name, each in inputs.items()}
        for name in ("viscosity", "density") if self._kinematic else ("viscosity",):
            if not si[name] > 0:
                return none(f"{inputs[name].name}: a {name} of {inputs[name].number:g} is none")
        eta = si["viscosity"] * si["density"] if self._kinematic else si["viscosity"]
        try:
            found = self.model.compensate(eta, si["temperature"], self.reference_k) / self._unit_si
        except ValueError as error:
            return none(str(error))
        except OverflowError:
            found = inf
        if not 0 < found < inf:
            return none(f"{eta / MPA_S:g} mPa.s has no viscosity at the reference that one could write")
        return Result(found)
