"""Counts: what the machines' own counters brought since the start, and what people entered.  Pure.

A machine's counter runs over many batches and may fall back to 0 in one: a Meter turns its readings into a count of
this batch.  People's counts add up; a correction names the entry it replaces, which stays where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from gateway.batch.words import tells
from gateway.counting import made, unsigned
from gateway.errors import Refused
from gateway.model import Json, Principal

ENTER_ROLES: Final = ("operator", "technician", "supervisor", "qa", "mes")
"""Who may enter a count: the first of these the person has stands in the record."""


LARGEST: Final = Decimal(10) ** 12
"""No count or quantity of a batch is as large.  What is would be lost in the digits of a sum, or overflow it."""
FINEST: Final = -9
"""Decimals a quantity may have."""


class Quantity(msgspec.Struct, frozen=True):
    """Something a person counts or weighs for the reconciliation."""

    name: str
    unit: str
    text: str


QUANTITIES: Final[Mapping[str, Quantity]] = {
    each.name: each
    for each in (
        Quantity("labels_issued", "{count}", "labels issued to the line"),
        Quantity("labels_damaged", "{count}", "labels damaged by hand, beside those the labeller counted"),
        Quantity("labels_samples", "{count}", "labels kept as specimens or proofs"),
        Quantity("labels_returned", "{count}", "labels returned to the label store"),
        Quantity("labels_destroyed", "{count}", "labels destroyed under witness"),
        Quantity("oil_charged", "g", "oil charged to the reservoir"),
        Quantity("oil_remaining", "g", "oil left in the reservoir and returned"),
        Quantity("oil_waste", "g", "oil lost: purge, cleaning, spills"),
        Quantity("units_good", "{count}", "finished units handed on, counted by hand"),
        Quantity("units_rejected", "{count}", "units rejected by people, beside those the filler rejected"),
        Quantity("units_destroyed", "{count}", "units destroyed by in-process tests"),
        Quantity("units_retained", "{count}", "units kept as retained samples"),
    )
}


class Counters(msgspec.Struct, frozen=True):
    """The machines' raw counters at one moment; None where the machine does not say."""

    units: int | None
    """Filler, ProdProcessedCount: units filled, good or not."""
    rejects: int | None = None
    """Filler, ProdDefectiveCount: those of them it rejected itself."""
    labels: int | None = None
    """Labeller: labels applied."""
    labels_damaged: int | None = None
    """Labeller: labels it spoiled itself."""


class Meter(msgspec.Struct, frozen=True):
    """One counter, followed through a batch."""

    last: int | None = None
    """The raw reading; None before the first."""
    total: int = 0
    """Counted since the start."""
    resets: int = 0
    """Times the raw counter fell back.  What it counted between its last reading and the fall is not known."""
    late: bool = False
    """First seen after the start: what came before is not known."""

    def read(self, value: int | None, within_ns: int | None = None) -> Meter:
        """The meter after a raw reading, so long after the last one; None: nobody knows how long.

        A fall means a restart of the machine, which began again at 0, or a counter that was set back.  Below 0 it says
        nothing, unless it is a register read with a sign.
        """
        if value is None or (value := unsigned(value, self.last or 0, within_ns)) < 0 or value == self.last:
            return self
        if self.last is None:
            return Meter(value, self.total, self.resets, late=True)
        total, fell = self.total + made(value, self.last, within_ns), value < self.last
        return Meter(value, total, self.resets + fell, self.late)

    @property
    def known(self) -> bool:
        return self.last is not None


class CountEntry(msgspec.Struct, frozen=True):
    """A count or quantity a person entered.  The caller fills the first five; `entered` adds the rest."""

    quantity: str
    """A name of QUANTITIES."""
    value: Decimal
    unit: str
    comment: str = ""
    supersedes: int | None = None
    """The id of the entry it corrects; the comment is the reason then."""
    roll: str = ""
    """The roll it is about, where it is one roll's; a correction without one is about the roll of what it corrects."""
    id: int = 0
    """Counted per batch from 1."""
    person: str = ""
    full_name: str = ""
    role: str = ""
    time_ns: int = 0


def check(entry: CountEntry, entries: Iterable[CountEntry], person: Principal) -> str:
    """The role in which the person enters it.  Raises Refused with what is wrong."""
    known = QUANTITIES.get(entry.quantity)
    if known is None:
        raise Refused("unknown_quantity", f"{entry.quantity!r} is not counted; known: {', '.join(QUANTITIES)}")
    if entry.unit != known.unit:
        raise Refused("wrong_unit", f"{entry.quantity} is entered in {known.unit}, not in {entry.unit!r}")
    if not _is_quantity(entry.value, whole=known.unit == "{count}"):
        shown = str(entry.value)[:40]
        raise Refused("bad_value", f"{shown} is not a {'count' if known.unit == '{count}' else 'quantity'}")
    _check_correction(entry, entries)
    role = next((role for role in ENTER_ROLES if role in person.roles), None)
    if role is None:
        raise Refused("role_missing", f"{person.name} may not enter counts; that needs one of {', '.join(ENTER_ROLES)}")
    return role


def _is_quantity(value: Decimal, *, whole: bool) -> bool:
    """Finite, not negative, of a size and fineness whose sums are exact."""
    if not value.is_finite() or not 0 <= value < LARGEST or int(value.as_tuple().exponent) < FINEST:
        return False
    return not whole or value == value.to_integral_value()


def _check_correction(entry: CountEntry, entries: Iterable[CountEntry]) -> None:
    if entry.supersedes is None:
        return
    standing = {one.id: one for one in in_force(entries)}
    corrected = standing.get(entry.supersedes)
    if corrected is None:
        raise Refused(
            "no_such_entry",
            f"entry {entry.supersedes} does not stand; standing: {', '.join(map(str, standing)) or 'none'}",
        )
    if corrected.quantity != entry.quantity:
        raise Refused("no_such_entry", f"entry {corrected.id} is about {corrected.quantity}, not {entry.quantity}")
    if not tells(entry.comment):
        raise Refused("reason_missing", f"a correction of entry {corrected.id} needs a reason")


def same_roll(entry: CountEntry, entries: Iterable[CountEntry]) -> CountEntry:
    """A correction that names no roll is about the roll of what it corrects."""
    corrected = next((one for one in entries if one.id == entry.supersedes), None)
    if entry.roll or corrected is None:
        return entry
    return msgspec.structs.replace(entry, roll=corrected.roll)


def in_force(entries: Iterable[CountEntry]) -> list[CountEntry]:
    """Those no correction has replaced, in the order they were made."""
    everything = list(entries)
    replaced = {entry.supersedes for entry in everything if entry.supersedes is not None}
    return [entry for entry in everything if entry.id not in replaced]


def total(entries: Iterable[CountEntry], quantity: str) -> Decimal | None:
    """The sum of what stands for a quantity; None where nobody entered it."""
    values = [entry.value for entry in in_force(entries) if entry.quantity == quantity]
    return sum(values, Decimal(0)) if values else None


def body(entry: CountEntry, entries: Iterable[CountEntry]) -> dict[str, Json]:
    """The body of `batch.entered`: what was entered, what it replaces, and what stands for the quantity now."""
    everything = [*entries, entry]
    corrected = next((one for one in everything if one.id == entry.supersedes), None)
    return {
        "entry": str(entry.id),
        "quantity": entry.quantity,
        "text": QUANTITIES[entry.quantity].text,
        "value": str(entry.value),
        "unit": entry.unit,
        "total": str(total(everything, entry.quantity)),
        "person": entry.person,
        "full_name": entry.full_name,
        "role": entry.role,
        "time": str(entry.time_ns),
        "comment": entry.comment,
        **({"roll": entry.roll} if entry.roll else {}),
        "supersedes": None if corrected is None else str(corrected.id),
        "previous": None if corrected is None else str(corrected.value),
        **({"previous_roll": corrected.roll} if corrected is not None and corrected.roll != entry.roll else {}),
    }
