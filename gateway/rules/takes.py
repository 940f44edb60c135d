"""What a take or an entered value is for: the check, the characteristic, the unit.  Refused where it fits none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from gateway.errors import Refused
from gateway.model import Entry
from gateway.rules.standard import INDETERMINATE, Standard
from gateway.rules.triggers import EVENT
from gateway.rules.work import VERIFICATION, Work
from gateway.verdicts import Sample

TARE = "tare"


class Take(msgspec.Struct, frozen=True):
    """What the next stable weight, or the next value of an instrument, will be bound to."""

    rule: str
    check: str
    """Empty: a tare, which belongs to no check yet."""
    characteristic: str
    unit_no: int | None
    tray: str | None
    person: str
    armed_ns: int = 0
    """Wall clock."""
    stage: str = ""
    """`tare`: the empty one."""
    item: str = ""
    tare: Decimal | None = None
    """What is to be taken off."""
    reweigh: int = 0
    why: str = ""
    again: int | None = None
    """Which of the check's samples is weighed again."""


class Made(msgspec.Struct, frozen=True):
    """What the machine made so far."""

    units: int | None
    tray_size: int
    verify_from: int
    """Units made when verification began."""


def named(entry: Entry, work: Work | None, waiting: Sequence[Work]) -> Work | None:
    """The open check, which is the one the entry names if it names one; None if none is open."""
    if entry.check is None or (work is not None and entry.check == work.check.id):
        return work
    if work is not None and any(entry.check == each.check.id for each in waiting):
        why = "verification " if work.check.why == VERIFICATION else ""
        code = "verification_first" if why else "not_its_turn"
        raise Refused(code, f"check {entry.check} comes after {why}{work.check.id}")
    standing = f"{work.check.id} is" if work is not None else f"none of {entry.rule} is"
    raise Refused("no_such_check", f"check {entry.check} is not open; {standing}")


def characteristic(entry: Entry, work: Work | None, standards: Mapping[str, Standard], *, taken: bool) -> str:
    """The one the entry names, else the first that lacks a sample.  `taken`: by a take, else entered."""
    ours = [each.name for each in standards.values() if each.taken is taken]
    name = entry.characteristic
    if name is not None and name not in standards:
        raise Refused("no_such_characteristic", f"no characteristic {name!r}; known: {', '.join(standards)}")
    if name is not None and name not in ours:
        raise Refused("wrong_source", f"{name} {_how(standards[name])}")
    if work is None:
        return name or ours[0]
    chosen = name or work.next_of(ours)
    if chosen is None or work.lacks(chosen) <= 0:
        left = ", ".join(each for each in work.asked if work.lacks(each) > 0) or "nothing"
        raise Refused("complete", f"check {work.check.id} has these samples; still to come: {left}")
    return chosen


def _how(standard: Standard) -> str:
    words = {
        "entry": "is entered, not weighed",
        "weighing": "is weighed, not entered: take it on the balance",
        "tag": "is brought by its instrument, not entered: take it there",
    }
    return words[standard.source]


def again(entry: Entry, work: Work | None, standards: Mapping[str, Standard], most: int) -> tuple[Work, int, Sample]:
    """The open check, and its sample that is to be weighed once more.  Refused: not this one, not again, no reason."""
    if not any(each.isalnum() for each in entry.text):
        raise Refused("reason_missing", "a re-weighing needs its reason: say what was wrong with the weighing")
    if work is None or not work.can_be_missed:
        raise Refused("no_such_check", "no check is open: what was judged is not weighed away; take one on request")
    if work.reweighed >= most:
        allowed = f"the plan allows {most} re-weighing{'s' * (most != 1)} a check"
        raise Refused("reweigh_limit", f"{allowed}; {work.check.id} had {work.reweighed}", allowed=most)
    fitting = [
        (at, each)
        for at, each in enumerate(work.check.samples)
        if not each.superseded
        and standards[each.characteristic].weighed
        and entry.characteristic in {None, each.characteristic}
        and entry.unit_no in {None, each.unit_no}
        and entry.item in {"", each.item}
    ]
    if not fitting:
        raise Refused("no_such_sample", f"check {work.check.id} has no such weighing to do again")
    doubtful = [(at, each) for at, each in fitting if each.verdict == INDETERMINATE]
    return (work, *(doubtful or fitting)[-1])


def unit_number(entry: Entry, work: Work | None, name: str, made: Made) -> int | None:
    """As the person says, or the unit the check is about: due, the next to verify, else (after an event) the newest."""
    verifying = work is not None and work.check.why == VERIFICATION
    taken = [s.unit_no for s in work.standing if s.characteristic == name] if work is not None else []
    if entry.unit_no is not None:
        _fits(entry.unit_no, taken, made, verifying=verifying)
        return entry.unit_no
    if verifying:
        return max([made.verify_from, *(unit for unit in taken if unit is not None)]) + 1
    if work is not None and work.check.n == 1 and work.check.due_units is not None and work.trigger != EVENT:
        return work.check.due_units
    return made.units or None


def entered_unit(entry: Entry, work: Work, standard: Standard, made: Made) -> int | None:
    """Of a value that a person enters: as the person says, else the unit the check is about."""
    verifying = work.check.why == VERIFICATION
    if entry.unit_no is None and not (verifying and standard.accept is None):
        return work.check.due_units or None
    return unit_number(entry, work, standard.name, made)


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
