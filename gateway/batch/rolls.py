"""Rolls of labels: which one was on the applicator, and what became of each of its labels.  Exact, pure.

21 CFR 211.125(c): issued, used and returned are reconciled, discrepancies outside narrow preset limits investigated.  A
roll's own applied and spoilt labels are the applicator's counters between its loading and the next one's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.batch.counts import LARGEST, CountEntry, in_force, total
from gateway.batch.order import Material
from gateway.batch.words import tells
from gateway.errors import Refused

if TYPE_CHECKING:
    from gateway.batch.reconcile import Equation, Tally

LABELS: Final = "labels"
PREFIX: Final = "labels of roll "
"""What the name of a roll's equation begins with."""
LONGEST: Final = 64


class Roll(msgspec.Struct, frozen=True):
    """One roll on the applicator."""

    id: str
    lot: str
    issued: Decimal
    applied_at: int
    """The batch's count of applied labels when it was loaded."""
    damaged_at: int
    time_ns: int
    person: str
    applied_until: int | None = None
    """The same when the next one was loaded; None while it is on."""
    damaged_until: int | None = None

    def applied(self, now: int) -> int:
        return (now if self.applied_until is None else self.applied_until) - self.applied_at

    def damaged(self, now: int) -> int:
        return (now if self.damaged_until is None else self.damaged_until) - self.damaged_at


def changed(rolls: Sequence[Roll], new: Roll) -> tuple[Roll, ...]:
    """The new roll is on, the one before it off."""
    if not rolls:
        return (new,)
    off = msgspec.structs.replace(rolls[-1], applied_until=new.applied_at, damaged_until=new.damaged_at)
    return (*rolls[:-1], off, new)


def check(rolls: Sequence[Roll], roll: str, lot: str, issued: Decimal, materials: Sequence[Material]) -> str:
    """The lot of the roll.  Refused: bad_roll, roll_known, no_such_lot."""
    if not roll.strip() or len(roll) > LONGEST or not roll.isprintable():
        raise Refused("bad_roll", f"a roll is named by 1 to {LONGEST} printable characters")
    if any(is_same(one.id, roll) for one in rolls):
        raise Refused("roll_known", f"roll {roll} was loaded already; give a roll that comes back a name of its own")
    if not issued.is_finite() or not 0 < issued < LARGEST or issued != issued.to_integral_value():
        raise Refused("bad_value", f"{str(issued)[:40]} is not a count of labels")
    if len(lot) > LONGEST or not lot.isprintable():
        raise Refused("bad_roll", f"a lot is named by {LONGEST} printable characters at most")
    lots = [one.lot for one in materials if one.kind == "label"]
    if not lot and len(lots) == 1:
        return lots[0]
    if lots and lot not in lots:
        raise Refused("no_such_lot", f"{lot or 'no lot'} is none of the order's label lots: {', '.join(lots)}")
    return lot


def is_same(one: str, other: str) -> bool:
    """Names of rolls are typed by people: `r-1 ` is R-1."""
    return one.strip().casefold() == other.strip().casefold()


def refuse_elsewhere(roll: str, issued: Decimal, others: Iterable[tuple[str, Tally, bool]]) -> None:
    """A roll that was on another batch has no more labels than came back of it.  Refused: roll_known.

    `others`: the other batches, by number, with what was counted of them, and whether they take counts still.  Of one
    that takes none, and where nobody counted, no more can be left than was not applied.
    """
    for number, tally, counts in others:
        for one in tally.rolls:
            if is_same(one.id, roll):
                _refuse_more(one, issued, number, tally, counts=counts)


def _refuse_more(roll: Roll, issued: Decimal, number: str, tally: Tally, *, counts: bool) -> None:
    """By any batch that had it, whichever was the last: a roll only grows shorter, and a clock may be set back."""
    mine = [entry for entry in in_force(tally.entries) if entry.roll == roll.id]
    back = total(mine, "labels_returned")
    if back is None and counts:
        raise Refused("roll_known", f"roll {roll.id} was loaded for batch {number}; count its rest there first")
    if back is None:
        had = total(mine, "labels_issued")
        had = roll.issued if had is None else had
        back = had - roll.applied(tally.labels.total) - roll.damaged(tally.labels_damaged.total)
    if issued > back:
        text = f"of roll {roll.id} batch {number} left {back} labels; it cannot bring {issued} now"
        raise Refused("roll_known", text, left=str(back))


def check_entry(rolls: Sequence[Roll], entry: CountEntry) -> CountEntry:
    """The entry, with its roll's name as it was loaded.  Refused: no_such_roll, wrong_quantity."""
    if not entry.roll:
        return entry
    if not entry.quantity.startswith("labels_"):
        raise Refused("wrong_quantity", f"{entry.quantity} is not counted by roll")
    name = next((one.id for one in rolls if is_same(one.id, entry.roll)), None)
    if name is None:
        known = ", ".join(one.id for one in rolls) or "none"
        raise Refused("no_such_roll", f"no roll {entry.roll!r} was loaded; known: {known}")
    return msgspec.structs.replace(entry, roll=name)


def investigated(disposition: str, found: Sequence[Equation], reasons: Mapping[str, str]) -> None:
    """Labels that are wrong, or that nobody counted, hold the batch: one word for everything does not release it.

    Refused: labels_held.
    """
    held = {f"count.unreconciled:{one.name}": one for one in unreconciled(found)}
    silent = [key for key in held if not tells(reasons.get(key, ""))]
    if disposition == "released" and silent:
        told = "; ".join(f"{key} ({_short(held[key])})" for key in silent)
        text = f"labels do not reconcile, and that holds the batch: give the outcome of an investigation for {told}"
        raise Refused("labels_held", text, findings=silent)


def _short(one: Equation) -> str:
    if one.missing:
        return f"never counted: {', '.join(one.missing)}"
    return f"{one.difference} of {one.left} labels"


def unreconciled(found: Sequence[Equation]) -> list[Equation]:
    """Label equations that do not hold, or cannot be computed."""
    return [one for one in found if one.name.startswith(LABELS) and not one.ok]


def off(found: Sequence[Equation]) -> list[Equation]:
    """Rolls whose count is whole and wrong, or that brought more than they had: what holds the applicator."""
    return [one for one in found if one.name.startswith(PREFIX) and not one.ok and not one.missing]
