"""The master record of a product: targets, limits, plans, label content, theoretical yield.  Pure data.

ISA-88 master recipe, as far as the line needs it.  Numbers that are compared with weighings are Decimal: what the
YAML says, to the digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from gateway.plans import Characteristic, Plan
from gateway.window import Exact, Frozen, Window

__all__ = [
    "Characteristic",
    "Exact",
    "Frozen",
    "GateName",
    "GateRule",
    "Label",
    "Plan",
    "Recipe",
    "Reconcile",
    "Setpoint",
    "Step",
    "Window",
    "Yield",
]


GateName = Literal["clearance", "sanitation", "oil", "setpoints", "instruments", "people", "label", "clock", "evidence"]
"""What may keep a batch from its start."""
Role = Literal["operator", "technician", "supervisor", "qa", "maintenance"]

COVERED_BY: Final[dict[GateName, str]] = {
    "clearance": "area-before",
    "sanitation": "sanitation",
    "oil": "oil-release",
    "label": "label-proof",
}
"""Gates that signatures open: gate -> the word a step must have in its `covers`."""


class Setpoint(Frozen):
    """What a machine must be set to, read back from it before the start and watched during the batch."""

    value: bool | Exact | None = None
    program: str | None = None
    """To the letter, where the machine names what it runs."""
    unit: str = "1"
    tolerance: Exact = Field(Decimal(0), ge=0)
    """In this unit."""

    @model_validator(mode="after")
    def _fits(self) -> Setpoint:
        if (self.value is None) == (self.program is None):
            raise ValueError("give either a value or the name of a program")
        if self.tolerance and not isinstance(self.value, Decimal):
            raise ValueError("a tolerance needs a number")
        return self

    @property
    def wanted(self) -> bool | Decimal | str:
        if self.value is not None:
            return self.value
        return self.program or ""


class GateRule(Frozen):
    """How one gate is kept."""

    override: tuple[Role, ...] = ()
    """Who may open it all the same, with a reason; nobody where it is empty."""
    needs: tuple[str, ...] = ()
    """Of `instruments`: names or kinds that this product needs; without it, all of the register."""


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

    labels_percent: Exact = Field(Decimal("1.0"), ge=0, le=100)
    units_percent: Exact = Field(Decimal("0.5"), ge=0, le=100)
    oil_percent: Exact = Field(Decimal("3.0"), ge=0, le=100)


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
    scanned: tuple[str, ...] = Field((), exclude_if=lambda kinds: not kinds)
    """Of these kinds every lot must be scanned at the line; one that never was is a finding of the batch.

    Not in the document where it is empty: the hashes of recipes that were approved before it came stay theirs.
    """
    before_start: tuple[Step, ...] = ()
    before_close: tuple[Step, ...] = ()
    setpoints: dict[str, Setpoint] = Field(default_factory=dict)
    """Tag -> what the machine must be set to: `filler/dose_setpoint: {value: 1.000, unit: g, tolerance: 0.001}`."""
    gates: dict[GateName, GateRule] | None = None
    """What must hold before the start.  Without it: whatever the recipe itself gives a gate to go by."""
    yields: Yield
    reconcile: Reconcile = Field(default_factory=Reconcile)

    @field_validator("plans", mode="after")
    @classmethod
    def _named(cls, plans: dict[str, Plan]) -> dict[str, Plan]:
        return {name: plan.model_copy(update={"name": name}) for name, plan in plans.items()}

    @field_validator("gates", mode="before")
    @classmethod
    def _plain_gates(cls, gates: Any) -> Any:
        """`clock:` alone is `clock: {}`; a list of names is a mapping of them."""
        if isinstance(gates, (list, tuple)):
            return {name: {} for name in gates} if all(isinstance(name, str) for name in gates) else gates
        return {name: rule or {} for name, rule in gates.items()} if isinstance(gates, dict) else gates

    @model_validator(mode="after")
    def _scans_what_it_has(self) -> Recipe:
        unknown = [kind for kind in self.scanned if kind not in self.materials]
        if unknown:
            known = ", ".join(self.materials) or "none"
            raise ValueError(f"scanned: {', '.join(unknown)} is not among the recipe's materials ({known})")
        return self

    @model_validator(mode="after")
    def _gates_can_open(self) -> Recipe:
        for name, rule in (self.gates or {}).items():
            if name == "evidence" and rule.override:
                raise ValueError("gates.evidence: what cannot be recorded is not done; nobody overrides that")
            if rule.needs and name != "instruments":
                raise ValueError(f"gates.{name}: `needs` names instruments; this gate has none")
            word = COVERED_BY.get(name)
            if word is not None and not any(word in step.covers for step in self.before_start):
                raise ValueError(f"gates.{name}: no step before the start signs for it; give one `covers: [{word}]`")
        if "setpoints" in (self.gates or {}) and not self.setpoints:
            raise ValueError("gates.setpoints: the recipe names no setpoints")
        if "label" in (self.gates or {}) and self.label is None:
            raise ValueError("gates.label: the recipe has no label")
        return self

    def asked(self, instruments: Iterable[str] = ()) -> dict[GateName, GateRule]:
        """The gates of this recipe; `instruments`: those the line's register has."""
        if self.gates is not None:
            return {**self.gates, "evidence": GateRule()}
        found: list[GateName] = [name for name, word in COVERED_BY.items() if self._signed_for(word)]
        if self.label is None and "label" in found:
            found.remove("label")
        found += ["setpoints"] if self.setpoints else []
        found += ["instruments"] if any(instruments) else []
        return {name: GateRule() for name in (*found, "people", "evidence")}

    def _signed_for(self, word: str) -> bool:
        return any(word in step.covers for step in self.before_start)
