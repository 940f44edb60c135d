"""The alarm of one rule, and what verdicts make of it.

One alarm a rule.  An occurrence is what a person acknowledges: a condition that comes back, or turns more severe, is
another one, so that an acknowledgement of what was seen never covers what was not (OPC UA Part 9: an old EventId).

While an alarm is hidden its condition is noted, not shown.  An alarm that halts is never hidden: a halting verdict
ends whatever hid it, and nothing hides it again before it is over and was acknowledged.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.alarms.table import ACTIVE, HIDDEN, LATCHED, AlarmEvent, AlarmState, entry, following
from gateway.model import Json, Priority, Severity
from gateway.verdicts import Verdict

_S, _E = AlarmState, AlarmEvent

UNSEEN: Final = frozenset({_S.UNACK, _S.RTN_UNACK, _S.LATCHED_UNACK})


class Shelf(msgspec.Struct, frozen=True):
    """Who put the alarm aside, why, and until when.  Times: wall clock, Unix ns."""

    by: str
    reason: str
    since_ns: int
    until_ns: int


class Withdrawal(msgspec.Struct, frozen=True):
    """Who took the alarm out of service, and why."""

    by: str
    reason: str
    since_ns: int


class Alarm(msgspec.Struct, frozen=True):
    """The alarm of one rule.  Times: wall clock, Unix ns."""

    rule: str
    occurrence: int
    """Counted from 1; what an acknowledgement names.  0: it was never raised."""
    state: AlarmState
    priority: Priority
    severity: Severity
    subject: str
    text: str
    value: str | None
    limit: str | None
    unit: str
    raised_ns: int
    cleared_ns: int | None = None
    acked_by: str | None = None
    acked_ns: int | None = None
    comment: str = ""
    latches: bool = False
    """Once raised it stands until it was acknowledged and reset."""
    blind: bool = False
    """About input that is missing or bad, not about a value."""
    halted: bool = False
    """It has halted, and is not over and acknowledged yet: nothing hides it."""
    active: bool = False
    """While hidden: does the condition hold now?"""
    latched: bool = False
    """While hidden: is there something to reset?"""
    owed: bool = False
    """While hidden: was it shown when logic hid it, and acknowledged by nobody?"""
    shelf: Shelf | None = None
    withdrawal: Withdrawal | None = None
    suppressors: tuple[str, ...] = ()
    """What suppresses it by design: `link:filler`, another rule, a tag."""


def blank(rule: str, priority: Priority = Priority.MEDIUM, subject: str = "") -> Alarm:
    """The alarm of a rule that never raised one: something to shelve, suppress or take out of service."""
    return Alarm(rule, 0, _S.NORMAL, priority, Severity.NORMAL, subject, "", None, None, "1", 0)


def raised(
    previous: Alarm | None,
    verdict: Verdict,
    wall_ns: int,
    *,
    latches: bool = False,
    suppressors: tuple[str, ...] = (),
) -> Alarm:
    """The alarm after a verdict that is not normal.

    The same condition, no more severe, stays the same occurrence.  A lesser flash changes nothing while something
    more severe is not acknowledged.  `suppressors`: what suppresses this verdict now.
    """
    assert verdict.severity is not Severity.NORMAL, "a normal verdict clears"
    before = previous or blank(verdict.rule, verdict.priority, verdict.subject)
    if verdict.severity is Severity.HALT:
        before = bared(before)
    elif not before.halted:
        before = _under(before, suppressors)
    if is_hidden(before):
        return _noted(before, verdict, latches=latches)
    if _covered(before, verdict):
        return before
    if not verdict.fleeting and is_active(before) and verdict.severity <= before.severity:
        return msgspec.structs.replace(before, latches=latches, **facts(verdict))
    return _begun(before, verdict, wall_ns, latches=latches)


def _begun(before: Alarm, verdict: Verdict, wall_ns: int, *, latches: bool) -> Alarm:
    """Another occurrence."""
    halts = verdict.severity is Severity.HALT
    event = (_E.FLASH_HALT if halts else _E.FLASH) if verdict.fleeting else (_E.HALT if halts else _E.RAISE)
    state = following(before.state, event, latches=latches)
    assert state is not None, "whatever stands can be raised"
    return Alarm(
        occurrence=before.occurrence + 1,
        state=state,
        raised_ns=wall_ns,
        cleared_ns=wall_ns if verdict.fleeting else None,
        latches=latches,
        halted=halts or before.halted,
        **facts(verdict),
    )


def _covered(previous: Alarm, verdict: Verdict) -> bool:
    return verdict.fleeting and verdict.severity < previous.severity and not is_acknowledged(previous)


def _noted(alarm: Alarm, verdict: Verdict, *, latches: bool) -> Alarm:
    """The condition of a hidden alarm began, changed, or flashed by.  What is suppressed is explained: no latch."""
    active = not verdict.fleeting
    latched = alarm.latched or (latches and alarm.state is not _S.SUPPRESSED)
    return msgspec.structs.replace(alarm, active=active, latches=latches, latched=latched, **facts(verdict))


def cleared(alarm: Alarm, wall_ns: int) -> Alarm:
    """The condition is gone."""
    if not is_active(alarm):
        return alarm
    if is_hidden(alarm):
        return msgspec.structs.replace(alarm, active=False, cleared_ns=wall_ns)
    state = following(alarm.state, _E.CLEAR, latches=alarm.latches)
    assert state is not None, "whatever stands can clear"
    return settled(msgspec.structs.replace(alarm, state=state, cleared_ns=wall_ns))


# -- hiding, and coming back: one state is shown, though several things may hide ---------------------


def hidden(alarm: Alarm, *, seen: bool, **by: Json) -> Alarm:
    """Out of sight, by what `by` says.  `seen`: a person did it, who knows what was shown."""
    kept: dict[str, Json] = {}
    if not is_hidden(alarm):
        latched = alarm.state in LATCHED or (alarm.latches and alarm.state in ACTIVE)
        kept = {"active": is_active(alarm), "latched": latched, "owed": alarm.state in UNSEEN}
    if seen:
        kept["owed"] = False
    alarm = msgspec.structs.replace(alarm, **kept, **by)
    return msgspec.structs.replace(alarm, state=hiding(alarm) or alarm.state)


def back(alarm: Alarm, wall_ns: int) -> Alarm:
    """Something that hid it does so no longer: to what still does, else by what holds now."""
    still = hiding(alarm)
    if still is not None:
        return msgspec.structs.replace(alarm, state=still)
    state = entry(active=alarm.active, latched=alarm.latched, owed=alarm.owed)
    alarm = _shown(alarm, state)
    if state in (_S.UNACK, _S.LATCHED_UNACK):
        alarm = msgspec.structs.replace(
            alarm,
            occurrence=alarm.occurrence + 1,
            raised_ns=wall_ns,
            cleared_ns=None if state is _S.UNACK else alarm.cleared_ns or wall_ns,
            acked_by=None,
            acked_ns=None,
            comment="",
        )
    return settled(alarm)


def bared(alarm: Alarm) -> Alarm:
    """Nothing hides it any more: it halts."""
    if not is_hidden(alarm):
        return alarm
    return _shown(msgspec.structs.replace(alarm, shelf=None, withdrawal=None, suppressors=()), _S.NORMAL)


def _under(alarm: Alarm, suppressors: tuple[str, ...]) -> Alarm:
    """As it is with these suppressors, before a verdict is taken."""
    if suppressors == alarm.suppressors:
        return alarm
    if suppressors:
        return hidden(alarm, seen=False, suppressors=suppressors)
    alarm = msgspec.structs.replace(alarm, suppressors=())
    state = hiding(alarm)
    return _shown(alarm, _S.NORMAL) if state is None else msgspec.structs.replace(alarm, state=state)


def hiding(alarm: Alarm) -> AlarmState | None:
    """What hides it, the strongest first: what a person did outweighs logic."""
    if alarm.withdrawal is not None:
        return _S.OUT_OF_SERVICE
    if alarm.shelf is not None:
        return _S.SHELVED
    return _S.SUPPRESSED if alarm.suppressors else None


def _shown(alarm: Alarm, state: AlarmState) -> Alarm:
    return msgspec.structs.replace(alarm, state=state, active=False, latched=False, owed=False)


def settled(alarm: Alarm) -> Alarm:
    """What is over and was seen has halted no longer."""
    return msgspec.structs.replace(alarm, halted=False) if alarm.halted and alarm.state is _S.NORMAL else alarm


# -- what it is ---------------------------------------------------------------------------------------


def is_hidden(alarm: Alarm) -> bool:
    """Shelved, suppressed by design, or out of service."""
    return alarm.state in HIDDEN


def is_active(alarm: Alarm) -> bool:
    """The condition holds, shown or not."""
    return alarm.active if is_hidden(alarm) else alarm.state in ACTIVE


def is_acknowledged(alarm: Alarm) -> bool:
    """A person saw the present occurrence; true also of what is over and was seen."""
    return not alarm.owed if is_hidden(alarm) else alarm.state not in UNSEEN


def is_normal(alarm: Alarm) -> bool:
    """Over, and seen: nothing stands any more."""
    return alarm.state is _S.NORMAL


def body(alarm: Alarm) -> dict[str, Json]:
    """The body of its records, and its document on the board: measured values and times as decimal strings."""
    document = {
        "alarm": alarm.rule,
        "occurrence": alarm.occurrence,
        "state": alarm.state.value,
        "priority": alarm.priority.value,
        "severity": alarm.severity.name.lower(),
        "text": alarm.text,
        "subject": alarm.subject,
        "value": alarm.value,
        "limit": alarm.limit,
        "unit": alarm.unit,
        "raised_ns": str(alarm.raised_ns),
        "cleared_ns": None if alarm.cleared_ns is None else str(alarm.cleared_ns),
        "acked_by": alarm.acked_by,
        "acked_ns": None if alarm.acked_ns is None else str(alarm.acked_ns),
    }
    if alarm.comment:
        document["comment"] = alarm.comment
    if alarm.latches:
        document["latches"] = True
    return document | _why_hidden(alarm) if is_hidden(alarm) else document


def _why_hidden(alarm: Alarm) -> dict[str, Json]:
    why: dict[str, Json] = {"active": alarm.active, "owed": alarm.owed}
    if alarm.shelf is not None:
        why["shelved"] = _stamped(alarm.shelf)
    if alarm.withdrawal is not None:
        why["out_of_service"] = _stamped(alarm.withdrawal)
    if alarm.suppressors:
        why["suppressed_by"] = list(alarm.suppressors)
    return why


def _stamped(what: Shelf | Withdrawal) -> dict[str, Json]:
    document: dict[str, Json] = msgspec.to_builtins(what)
    return {key: str(value) for key, value in document.items()}


def to_json(alarm: Alarm) -> Json:
    """For the state row."""
    return msgspec.to_builtins(alarm)


def from_json(document: Json) -> Alarm:
    """Raises msgspec.ValidationError on a document that is not an alarm."""
    return msgspec.convert(document, Alarm)


def facts(verdict: Verdict) -> dict[str, Json]:
    """What a verdict says, in the words of an alarm."""
    return {
        "rule": verdict.rule,
        "priority": verdict.priority,
        "severity": verdict.severity,
        "subject": verdict.subject,
        "text": verdict.text,
        "value": None if verdict.value is None else str(verdict.value),
        "limit": None if verdict.limit is None else str(verdict.limit),
        "unit": verdict.unit,
        "blind": verdict.blind,
    }
