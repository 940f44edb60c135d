"""May this scale judge that weight?  USP <41>: minimum weight and the uncertainty of one weighing.  Pure.

M_min = 2000 s, and s never below 0.41 d: at best 820 d.  d is the readability, s the standard deviation of at least
ten weighings.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from pydantic import Field, model_validator

from gateway.rules.inputs import convert
from gateway.rules.standard import NONE, Standard
from gateway.units import UNITS
from gateway.window import Exact, Frozen

TIMES: Final = 2000
LEAST_OF_D: Final = Decimal("0.41")
DIGITS: Final = 12
"""Before or after the point: no weight has more."""
FEWEST: Final = 10
"""Weighings for a repeatability (USP <41>)."""


class Scale(Frozen):
    """What is known of a balance."""

    d: Exact = Field(gt=0)
    """Readability: one step of its last digit."""
    repeatability: Exact | None = Field(None, ge=0)
    """One standard deviation, of at least ten weighings; without it the best that `d` allows is taken."""
    uncertainty: Exact | None = Field(None, ge=0)
    """Expanded (k = 2), of one weighing; without it two standard deviations."""
    unit: str = "g"

    @model_validator(mode="after")
    def _mass(self) -> Scale:
        if UNITS.get(self.unit, ("",))[0] != "mass":
            raise ValueError(f"{self.unit!r} is no unit of mass")
        return self

    def deviation(self) -> Decimal:
        """s, never taken below 0.41 d."""
        return max(self.repeatability or Decimal(0), LEAST_OF_D * self.d)

    def minimum(self) -> Decimal:
        """M_min, in the scale's unit."""
        return TIMES * self.deviation()

    def expanded(self, unit: str, least: Decimal = NONE) -> Decimal:
        """U (k = 2) of one weighing, at least what the plan says of it.  ValueError where the units do not convert."""
        own = self.uncertainty if self.uncertainty is not None else 2 * self.deviation()
        return max(convert(own, self.unit, unit), least)

    def found(self, repeatability: Decimal, unit: str) -> Scale:
        """The same scale as a daily check found it.  ValueError where the units do not convert."""
        return self.model_copy(update={"repeatability": convert(repeatability, unit, self.unit)})

    def unfit(self, one: Standard) -> str:
        """Why it cannot judge this; empty if it can.  ValueError where the units do not convert."""
        return self._too_little(one) or self._too_unsure(one)

    def _too_unsure(self, one: Standard) -> str:
        """Not even a unit amid its limits would pass."""
        tolerance, sure = one.tolerance(), one.sure(self.expanded(one.unit, one.uncertainty))
        if tolerance is None or sure <= tolerance:
            return ""
        tare = f" with its {one.tare.mode} tare" if one.tare is not None else ""
        how_sure, room = (f"{_plain(Decimal(f'{each:.3g}'))} {one.unit}" for each in (sure, tolerance))
        return (
            f"a weighing of {one.name}{tare} is sure to {how_sure}; from the target to the nearer limit it is {room}: "
            "even a perfect unit would prove nothing; use a finer scale"
        )

    def _too_little(self, one: Standard) -> str:
        name, unit, net = one.name, one.unit, one.about() * (one.tare.n if one.tare is not None else 1)
        least = convert(self.minimum(), self.unit, unit)
        if least <= net:
            return ""
        s, d = self.repeatability, f"d = {self.d:f} {self.unit}"
        by_s = s is not None and s > LEAST_OF_D * self.d
        how = f"2000 x s with s = {s:f} {self.unit}" if by_s else f"820 x d with {d}"
        return (
            f"this scale's minimum weight is {_plain(least)} {unit} (USP <41>: {how}), more than the {_plain(net)} "
            f"{unit} of {name}: it cannot judge it; use a finer scale"
        )


def repeatability(weighings: Sequence[Decimal]) -> Decimal:
    """The standard deviation of repeated weighings of one weight.  ValueError: fewer than ten."""
    if any(each <= 0 or not -DIGITS < each.adjusted() < DIGITS for each in weighings):
        raise ValueError("repeatability is that of a weight that lay on it each time; there is one that is none")
    if len(weighings) < FEWEST:
        raise ValueError(f"repeatability takes at least {FEWEST} weighings (USP <41>), not {len(weighings)}")
    return deviation(weighings)


def deviation(values: Sequence[Decimal]) -> Decimal:
    """The sample's standard deviation (n - 1)."""
    mean = sum(values, Decimal(0)) / len(values)
    return (sum(((value - mean) ** 2 for value in values), Decimal(0)) / (len(values) - 1)).sqrt()


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
