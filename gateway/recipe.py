"""The master record of a product: targets, limits, plans, label content, theoretical yield.  Pure data.

ISA-88 master recipe, as far as the line needs it.  Numbers that are compared with weighings are Decimal: what the
YAML says, to the digit.
"""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, field_validator

from gateway.plans import Characteristic, Plan
from gateway.window import Exact, Frozen, Window

__all__ = [
    "Characteristic",
    "Exact",
    "Frozen",
    "Label",
    "Plan",
    "Recipe",
    "Reconcile",
    "Step",
    "Window",
    "Yield",
]


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
    windows: dict[str, Window] = Field(default_factory=dict)
    plans: dict[str, Plan] = Field(default_factory=dict)
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
