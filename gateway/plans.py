"""Sampling plans, as the recipe has them: when a check falls due, of what, within which limits, how tared.  Pure data.

Four sets of limits are told apart and all are kept: warning (`window.warn_low/warn_high`), action (`window.low/high`),
`specification` and `legal`.  `fails_at` says beyond which of them a sample fails; further in is a warning.
"""

from __future__ import annotations

import itertools
import re
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from gateway.units import UNITS, Duration, duration_s
from gateway.window import Exact, Frozen, Window

SMALL: Final = Decimal("0.2")
"""Of the tolerance: what three times the spread of a fixed tare may be.  WELMEC 6.9 allows the check this much."""
_PER_UNITS: Final = re.compile(r"^\s*([1-9]\d{0,8})\s*units?\s*$")

Event = Literal["start", "stop", "adjustment", "release"]
Bound = Literal["action", "specification", "legal"]


class Range(Frozen):
    """Limits of one set, in the unit of the characteristic's window."""

    low: Exact | None = None
    high: Exact | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low is None and self.high is None:
            raise ValueError("has no limit: give low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: limits the wrong way round")
        return self


class Mean(Range):
    """Limits of the mean of a check's samples; beyond low..high it fails, beyond warn_low..warn_high is a warning."""

    warn_low: Exact | None = None
    warn_high: Exact | None = None


class Tare(Frozen):
    """How the empty weight is taken off.

    paired: the same tracked cartridge is weighed empty first.
    group: n empties together, then the same n filled; gives the mean of n, and nothing of each.
    fixed: one recorded weight for all, with the standard deviation it was found to have.
    """

    mode: Literal["paired", "group", "fixed"]
    n: int | None = Field(None, ge=2, le=1000)
    weight: Exact | None = None
    spread: Exact | None = Field(None, gt=0)
    """One standard deviation of single tares: no two of them weigh the same."""
    unit: str = "g"

    @model_validator(mode="after")
    def _complete(self) -> Tare:
        wanted = {"group": ("n",), "fixed": ("weight", "spread"), "paired": ()}[self.mode]
        for name in ("n", "weight", "spread"):
            given = getattr(self, name) is not None
            if given is not (name in wanted):
                raise ValueError(f"a {self.mode} tare {'takes no' if given else 'needs its'} {name}")
        if UNITS.get(self.unit, ("",))[0] != "mass":
            raise ValueError(f"{self.unit!r} is no unit of mass")
        return self


class Characteristic(Frozen):
    """One thing a check looks at.

    variable: weighed, brought by an instrument's tag, or entered; each sample within limits, and their mean.
    attribute: a count of defects, entered, at most `accept`.
    """

    name: str
    kind: Literal["variable", "attribute"]
    source: Literal["weighing", "entry", "tag"] = "entry"
    window: Window | None = None
    """Warning limits (warn_low, warn_high) and action limits (low, high) of each sample."""
    specification: Range | None = None
    legal: Range | None = None
    mean: Mean | None = None
    fails_at: Bound = "action"
    """A sample beyond this set fails the check, and halts."""
    uncertainty: Exact | None = Field(None, ge=0)
    """Expanded (k = 2), of what an instrument or a person brings; closer to a limit is indeterminate."""
    tare: Tare | None = None
    accept: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Characteristic:
        if self.kind == "variable" and self.window is None:
            raise ValueError(f"{self.name}: a variable characteristic needs a window")
        if self.kind == "attribute" and self.source != "entry":
            raise ValueError(f"{self.name}: an attribute is entered, not weighed or measured")
        if self.tare is not None and self.source != "weighing":
            raise ValueError(f"{self.name}: only what is weighed has a tare")
        tolerance = self.tolerance() if self.window is not None else None
        if self.uncertainty is not None and tolerance is not None and self.uncertainty > tolerance:
            wide = f"an uncertainty of {self.uncertainty:f} is more than the tolerance of {tolerance:f}"
            raise ValueError(f"{self.name}: {wide}: even a perfect unit would prove nothing")
        return self

    @model_validator(mode="after")
    def _nested(self) -> Characteristic:
        """Warning within action within specification within legal; the set that fails is there."""
        if self.window is None:
            return self
        sets = [(name, ends) for name, ends in self.sets().items() if ends is not None]
        for (inner, a), (outer, b) in itertools.pairwise(sets):
            if (a[0] is not None and b[0] is not None and a[0] < b[0]) or (
                a[1] is not None and b[1] is not None and a[1] > b[1]
            ):
                raise ValueError(f"{self.name}: the {inner} limits lie outside the {outer} limits")
        if self.sets()[self.fails_at] is None and (self.fails_at != "action" or self.specification or self.legal):
            raise ValueError(f"{self.name}: fails at its {self.fails_at} limits, but has none")
        return self

    @model_validator(mode="after")
    def _tared(self) -> Characteristic:
        """A fixed tare only where its spread is small; a group only with limits for the mean."""
        tare = self.tare
        if tare is None or self.window is None:
            return self
        if tare.mode == "group" and self.mean is None:
            raise ValueError(f"{self.name}: a group weighing gives only the mean; give its limits in `mean`")
        if tare.mode == "fixed":
            self._spread_is_small(tare)
        return self

    def _spread_is_small(self, tare: Tare) -> None:
        tolerance = self.tolerance()
        if tolerance is None or tare.spread is None or self.window is None:
            raise ValueError(f"{self.name}: a fixed tare needs a target and limits to hold its spread against")
        unit = self.window.unit
        factor = Decimal(str(UNITS[tare.unit][1])) / Decimal(str(UNITS[unit][1]))
        three = 3 * tare.spread * factor
        if three > SMALL * tolerance:
            times = f"{float(three / tolerance):.3g} times" if tolerance else "beyond"
            raise ValueError(
                f"{self.name}: 3 x the tare's spread is {three.normalize():f} {unit}, {times} the tolerance of "
                f"{tolerance:f} {unit}; it may be a fifth of it, {(SMALL * tolerance).normalize():f} {unit}: weigh "
                "paired or as a group"
            )

    def sets(self) -> dict[str, tuple[Decimal | None, Decimal | None] | None]:
        """The four sets, innermost first; None where there is none."""
        window = self.window
        assert window is not None
        ends = {
            "warning": (window.warn_low, window.warn_high),
            "action": (window.low, window.high),
            "specification": (self.specification.low, self.specification.high) if self.specification else (None, None),
            "legal": (self.legal.low, self.legal.high) if self.legal else (None, None),
        }
        return {name: None if pair == (None, None) else pair for name, pair in ends.items()}

    def tolerance(self) -> Decimal | None:
        """From the target to the nearer limit that fails; half the width where there is no target."""
        low, high = self.sets()[self.fails_at] or (None, None)
        target = self.window.target if self.window else None
        if target is None:
            return (high - low) / 2 if low is not None and high is not None else None
        gaps = [abs(end - target) for end in (low, high) if end is not None]
        return min(gaps) if gaps else None


def _known_span(text: str) -> str:
    if _PER_UNITS.match(text) is None and duration_s(text) <= 0:
        raise ValueError("random checks need some time or some units to fall into")
    return text


class Random(Frozen):
    """So many checks in each span, at moments nobody at the line can know."""

    per: Annotated[str, AfterValidator(_known_span)]
    """`100 units`, or running time like `15min`."""
    n: int = Field(1, ge=1, le=100)

    @model_validator(mode="after")
    def _fits(self) -> Random:
        if self.per_units is not None and self.n > self.per_units:
            raise ValueError(f"{self.n} checks do not fit into {self.per}")
        return self

    @property
    def per_units(self) -> int | None:
        match = _PER_UNITS.match(self.per)
        return int(match[1]) if match else None

    @property
    def per_s(self) -> float | None:
        return None if self.per_units is not None else duration_s(self.per)


class Plan(Frozen):
    """A sampling plan: what makes a check fall due, how many, of what, and how long it may wait."""

    name: str = ""
    """Its key in the recipe; filled in there."""
    version: str = ""
    """The site's own word; what a check records beside it is the hash of the whole plan."""
    every_s: Duration | None = Field(None, alias="every", gt=0)
    """Of production time: time the machine was running."""
    every_units: int | None = Field(None, ge=1)
    random: Random | None = None
    after: tuple[Event, ...] = ()
    """After the machine's start in this batch, a stop, a recorded adjustment, the release of a halt."""
    n: int = Field(ge=1)
    characteristics: tuple[Characteristic, ...] = Field(min_length=1)
    grace_s: Duration = Field(300.0, alias="grace")
    """A check not judged this long after it fell due is missed."""
    grace_units: int | None = Field(None, ge=1)
    """The same, in units made since."""
    reweigh: int = Field(0, ge=0, le=9)
    """How many re-weighings a check may have, all of them with a person and a reason."""
    indeterminate: Literal["halt", "alarm"] = "halt"
    """What a check means that cannot be judged; it is never a pass."""

    @model_validator(mode="after")
    def _triggered(self) -> Plan:
        if self.every_s is None and self.every_units is None and self.random is None and not self.after:
            raise ValueError("nothing makes a check fall due: give every (time), every_units, random or after")
        return self

    @model_validator(mode="after")
    def _may_fail(self) -> Plan:
        for each in self.characteristics:
            if each.kind == "attribute" and each.accept >= self.n:
                raise ValueError(f"{each.name}: accepts {each.accept} defects of {self.n} units: it could never fail")
        return self

    @property
    def counts_units(self) -> bool:
        by_random = self.random is not None and self.random.per_units is not None
        return self.every_units is not None or self.grace_units is not None or by_random
