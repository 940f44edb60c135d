"""What a take or an entered value is for: the check, the characteristic, the unit.  Refused where it fits none."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.errors import Refused
from gateway.model import Entry
from gateway.rules.work import VERIFICATION, Standard, Work


class Made(msgspec.Struct, frozen=True):
    """What the machine made so far."""

    units: int | None
    tray_size: int
    verify_from: int
    """Units made when verification began."""


def named(entry: Entry, work: Work | None, parked: Work | None) -> Work | None:
    """The open check, which is the one the entry names if it names one; None if none is open."""
    if entry.check is None or (work is not None and entry.check == work.check.id):
        return work
    if parked is not None and work is not None and entry.check == parked.check.id:
        raise Refused("verification_first", f"check {entry.check} comes after verification {work.check.id}")
    standing = f"{work.check.id} is" if work is not None else f"none of {entry.rule} is"
    raise Refused("no_such_check", f"check {entry.check} is not open; {standing}")


def characteristic(entry: Entry, work: Work | None, standards: Mapping[str, Standard], *, weighed: bool) -> str:
    """The one the entry names, else the first that lacks a sample."""
    ours = [each.name for each in standards.values() if each.weighed is weighed]
    name = entry.characteristic
    if name is not None and name not in standards:
        raise Refused("no_such_characteristic", f"no characteristic {name!r}; known: {', '.join(standards)}")
    if name is not None and name not in ours:
        how = "is entered, not weighed" if weighed else "is weighed, not entered: take it on the balance"
        raise Refused("wrong_source", f"{name} {how}")
    if work is None:
        return name or ours[0]
    chosen = name or work.next_of(ours)
    if chosen is None or work.lacks(chosen) <= 0:
        left = ", ".join(each for each in work.asked if work.lacks(each) > 0)
        raise Refused("complete", f"check {work.check.id} has these samples; still to come: {left}")
    return chosen


def unit_number(entry: Entry, work: Work | None, name: str, made: Made) -> int | None:
    """As the person says, or the unit the check is about: due, the next to verify, else the newest."""
    verifying = work is not None and work.check.why == VERIFICATION
    taken = [s.unit_no for s in work.check.samples if s.characteristic == name] if work is not None else []
    if entry.unit_no is not None:
        _fits(entry.unit_no, taken, made, verifying=verifying)
        return entry.unit_no
    if verifying:
        return max([made.verify_from, *(unit for unit in taken if unit is not None)]) + 1
    if work is not None and work.check.n == 1 and work.check.due_units is not None:
        return work.check.due_units
    return made.units


def _fits(unit_no: int, taken: list[int | None], made: Made, *, verifying: bool) -> None:
    """A tray of slack: the counter is read later than the unit is made."""
    if unit_no < 1 or (made.units is not None and unit_no > made.units + made.tray_size):
        text = f"unit {unit_no} is not one of this batch; {made.units} were made"
        raise Refused("wrong_unit_no", text, made=made.units)
    if verifying and unit_no <= made.verify_from:
        text = f"unit {unit_no} was made before the recalibration; verify units from {made.verify_from + 1} on"
        raise Refused("before_recalibration", text)
    if unit_no in taken:
        raise Refused("taken_already", f"unit {unit_no} is in this check already")
