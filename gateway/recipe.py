"""The master record of a product: targets, limits, plans, label content, theoretical yield.  Pure data.

ISA-88 master recipe, as far as the line needs it.  Numbers that are compared with weighings are Decimal: what the
YAML says, to the digit.
"""

from __future__ import annotations

import itertools
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from gateway.units import Duration


def _exact(value: object) -> Decimal:
    """As written, to the digit.  ValueError if it is no number (InvalidOperation would escape pydantic)."""
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number") from None


Exact = Annotated[Decimal, BeforeValidator(_exact, json_schema_input_type=float | str)]
"""A number as it was written: 0.05 is 0.05."""


class Frozen(BaseModel):
    """Immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Window(Frozen):
    """Limits of a continuous value.  Outside low..high is an alarm, outside warn_low..warn_high a warning."""

    unit: str
    target: Exact | None = None
    low: Exact | None = None
    high: Exact | None = None
    warn_low: Exact | None = None
    warn_high: Exact | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Window:
        ordered = [
            (name, getattr(self, name))
            for name in ("low", "warn_low", "target", "warn_high", "high")
            if getattr(self, name) is not None
        ]
        for (name_a, a), (name_b, b) in itertools.pairwise(ordered):
            if a > b:
                raise ValueError(f"{name_a} {a} is above {name_b} {b}: limits the wrong way round")
        if all(getattr(self, name) is None for name in ("low", "high", "warn_low", "warn_high")):
            raise ValueError("has no limit: give at least one of low, high, warn_low, warn_high")
        return self


class Characteristic(Frozen):
    """One thing a check looks at.

    variable: measured on a balance or entered, each sample within limits.
    attribute: a count of defects, entered, at most `accept`.
    """

    name: str
    kind: Literal["variable", "attribute"]
    source: Literal["weighing", "entry"] = "entry"
    window: Window | None = None
    accept: int = 0

    @model_validator(mode="after")
    def _fits(self) -> Characteristic:
        if self.kind == "variable" and self.window is None:
            raise ValueError(f"{self.name}: a variable characteristic needs a window")
        if self.kind == "attribute" and self.source == "weighing":
            raise ValueError(f"{self.name}: an attribute is entered, not weighed")
        return self


class Plan(Frozen):
    """A sampling plan: how often, how many, of what, and how long a check may wait."""

    name: str = ""
    """Its key in the recipe; filled in there."""
    every_s: Duration | None = Field(None, alias="every")
    """Of production time: time the machine was running."""
    every_units: int | None = Field(None, ge=1)
    n: int = Field(ge=1)
    characteristics: tuple[Characteristic, ...] = Field(min_length=1)
    grace_s: Duration = Field(300.0, alias="grace")
    """A check not judged this long after it fell due is missed."""
    grace_units: int | None = Field(None, ge=1)
    """The same, in units made since."""

    @model_validator(mode="after")
    def _triggered(self) -> Plan:
        if (self.every_s is None) == (self.every_units is None):
            raise ValueError("give exactly one of every (time) and every_units")
        return self


class Label(Frozen):
    """What the label must say; batch, UID and THC come from the order and its COA."""

    warning_code: str
    thc_tolerance: Exact = Decimal(0)
    """Percentage points between the label's THC % and the COA's."""
    offset_mm: Window | None = None


class Step(Frozen):
    """A signature the record needs: who means what by it."""

    id: str
    text: str
    """What was done, as the person signs it."""
    meaning: str = "performed"
    role: str = "operator"
    second_role: str | None = None
    """A second person with this role verifies."""
    covers: tuple[str, ...] = ()
    """Items of the record's checklist this signature answers: docs/batch-record.md lists the words."""


class Yield(Frozen):
    """Theoretical yield and the bounds that call for an investigation (21 CFR 211.186(b)(7))."""

    oil_per_unit: Exact
    """Grams of oil in one unit."""
    min_percent: Exact
    max_percent: Exact


class Reconcile(Frozen):
    """Preset limits for reconciliation, in percent of what was issued (21 CFR 211.125(c))."""

    labels_percent: Exact = Decimal("1.0")
    units_percent: Exact = Decimal("0.5")
    oil_percent: Exact = Decimal("3.0")


class Recipe(Frozen):
    """One version of one product's master record."""

    id: str
    version: str
    name: str
    sku: str
    approved_by: str
    tray_size: int = Field(100, ge=1)
    windows: dict[str, Window] = {}
    plans: dict[str, Plan] = {}
    verification_units: int = Field(5, ge=1)
    """After a recalibration the next so many units are all checked."""
    label: Label | None = None
    materials: tuple[str, ...] = ()
    """Kinds the order must bring a lot for: oil, cartridge, label."""
    before_start: tuple[Step, ...] = ()
    before_close: tuple[Step, ...] = ()
    yields: Yield
    reconcile: Reconcile = Reconcile()

    @field_validator("plans", mode="after")
    @classmethod
    def _named(cls, plans: dict[str, Plan]) -> dict[str, Plan]:
        return {name: plan.model_copy(update={"name": name}) for name, plan in plans.items()}
