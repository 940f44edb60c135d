"""Alarms as ISA-18.2 / IEC 62682 has them.  Pure: an alarm and what happened in, an alarm out.

    normal --raised--> unack --acknowledged--> acked --cleared--> normal
                         |--cleared--> rtn_unack --acknowledged--> normal

One alarm a rule.  An occurrence is what a person acknowledges: a condition that comes back, or turns more severe, is
another one, so that an acknowledgement of what was seen never covers what was not (OPC UA Part 9: an old EventId).
Shelved, suppressed, latched and out of service are further states of the same table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from gateway.errors import Refused
from gateway.model import Json, Priority, Severity, Verdict


class AlarmState(StrEnum):
    NORMAL = "normal"
    UNACK = "unack"
    ACKED = "acked"
    RTN_UNACK = "rtn_unack"
    """The condition is gone; nobody acknowledged it yet."""


class AlarmEvent(StrEnum):
    RAISE = "raise"
    """The condition began, again, or became more severe."""
    FLASH = "flash"
    """A single judgement: raised, and over at once."""
    CLEAR = "clear"
    ACK = "ack"


_S, _E = AlarmState, AlarmEvent

TRANSITIONS: Final[dict[tuple[AlarmState, AlarmEvent], AlarmState]] = {
    (_S.NORMAL, _E.RAISE): _S.UNACK,
    (_S.UNACK, _E.RAISE): _S.UNACK,
    (_S.ACKED, _E.RAISE): _S.UNACK,
    (_S.RTN_UNACK, _E.RAISE): _S.UNACK,
    **{(state, _E.FLASH): _S.RTN_UNACK for state in _S},
    (_S.NORMAL, _E.CLEAR): _S.NORMAL,
    (_S.UNACK, _E.CLEAR): _S.RTN_UNACK,
    (_S.ACKED, _E.CLEAR): _S.NORMAL,
    (_S.RTN_UNACK, _E.CLEAR): _S.RTN_UNACK,
    (_S.UNACK, _E.ACK): _S.ACKED,
    (_S.RTN_UNACK, _E.ACK): _S.NORMAL,
}
"""What is not here is refused: nothing to acknowledge, or acknowledged already."""

ACTIVE: Final = frozenset({_S.UNACK, _S.ACKED})


class Alarm(msgspec.Struct, frozen=True):
    """The alarm of one rule.  Times: wall clock, Unix ns."""

    rule: str
    occurrence: int
    """Counted from 1; what an acknowledgement names."""
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


def raised(previous: Alarm | None, verdict: Verdict, wall_ns: int) -> Alarm:
    """The alarm after a verdict that is not normal.

    The same condition, no more severe, stays the same occurrence.  A lesser flash changes nothing while something
    more severe is not acknowledged.
    """
    assert verdict.severity is not Severity.NORMAL, "a normal verdict clears"
    if previous is not None and _covered(previous, verdict):
        return previous
    if previous is not None and not verdict.fleeting and is_active(previous) and verdict.severity <= previous.severity:
        return msgspec.structs.replace(previous, **_facts(verdict))
    state = previous.state if previous else AlarmState.NORMAL
    return Alarm(
        occurrence=previous.occurrence + 1 if previous else 1,
        state=TRANSITIONS[state, AlarmEvent.FLASH if verdict.fleeting else AlarmEvent.RAISE],
        raised_ns=wall_ns,
        cleared_ns=wall_ns if verdict.fleeting else None,
        **_facts(verdict),
    )


def _covered(previous: Alarm, verdict: Verdict) -> bool:
    return verdict.fleeting and verdict.severity < previous.severity and not is_acknowledged(previous)


def cleared(alarm: Alarm, wall_ns: int) -> Alarm:
    """The condition is gone."""
    if not is_active(alarm):
        return alarm
    return msgspec.structs.replace(alarm, state=TRANSITIONS[alarm.state, AlarmEvent.CLEAR], cleared_ns=wall_ns)


def acknowledged(alarm: Alarm, occurrence: int, person: str, comment: str, wall_ns: int) -> Alarm:
    """A person saw it.  Refused: it is another occurrence by now, acknowledged already, or nothing stands."""
    if occurrence != alarm.occurrence:
        raise Refused(
            "another_occurrence",
            f"alarm {alarm.rule} is at occurrence {alarm.occurrence} by now, you saw {occurrence}: "
            f"{alarm.text.rstrip('.')}. Look again first.",
            occurrence=alarm.occurrence,
        )
    state = TRANSITIONS.get((alarm.state, AlarmEvent.ACK))
    if state is None and alarm.state is AlarmState.ACKED:
        raise Refused("acknowledged_already", f"alarm {alarm.rule} was acknowledged already by {alarm.acked_by}")
    if state is None:
        raise Refused("no_such_alarm", f"alarm {alarm.rule} does not stand; there is nothing to acknowledge")
    return msgspec.structs.replace(alarm, state=state, acked_by=person, acked_ns=wall_ns, comment=comment)


def is_active(alarm: Alarm) -> bool:
    """The condition holds."""
    return alarm.state in ACTIVE


def is_acknowledged(alarm: Alarm) -> bool:
    """A person saw the present occurrence; true also of what is over and was seen."""
    return alarm.state in {AlarmState.ACKED, AlarmState.NORMAL}


def is_normal(alarm: Alarm) -> bool:
    """Over, and seen: nothing stands any more."""
    return alarm.state is AlarmState.NORMAL


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
    return {**document, "comment": alarm.comment} if alarm.comment else document


def to_json(alarm: Alarm) -> Json:
    """For the state row."""
    return msgspec.to_builtins(alarm)


def from_json(document: Json) -> Alarm:
    """Raises msgspec.ValidationError on a document that is not an alarm."""
    return msgspec.convert(document, Alarm)


def _facts(verdict: Verdict) -> dict[str, Json]:
    return {
        "rule": verdict.rule,
        "priority": verdict.priority,
        "severity": verdict.severity,
        "subject": verdict.subject,
        "text": verdict.text,
        "value": None if verdict.value is None else str(verdict.value),
        "limit": None if verdict.limit is None else str(verdict.limit),
        "unit": verdict.unit,
    }
