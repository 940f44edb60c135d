"""What people and logic do with an alarm.  Raises Refused with what stands in the way; roles are the caller's."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.alarms.alarm import Alarm, Shelf, Withdrawal, back, hidden, is_hidden, settled
from gateway.alarms.table import AlarmEvent, AlarmState, following
from gateway.errors import Refused

_S, _E = AlarmState, AlarmEvent

WORDS: Final = {
    _S.SHELVED: "shelved",
    _S.SUPPRESSED: "suppressed by design",
    _S.OUT_OF_SERVICE: "out of service",
}


def acknowledged(alarm: Alarm, occurrence: int, person: str, comment: str, wall_ns: int) -> Alarm:
    """A person saw it.  Refused: it is another occurrence by now, acknowledged already, or nothing stands."""
    _same(alarm, occurrence)
    state = following(alarm.state, _E.ACK)
    if state is None and alarm.state in (_S.ACKED, _S.LATCHED_ACKED):
        raise Refused("acknowledged_already", f"alarm {alarm.rule} was acknowledged already by {alarm.acked_by}")
    if state is None and is_hidden(alarm):
        raise Refused("not_shown", f"alarm {alarm.rule} is {WORDS[alarm.state]}; there is nothing to acknowledge")
    if state is None:
        raise Refused("no_such_alarm", f"alarm {alarm.rule} does not stand; there is nothing to acknowledge")
    return settled(msgspec.structs.replace(alarm, state=state, acked_by=person, acked_ns=wall_ns, comment=comment))


def reset(alarm: Alarm, occurrence: int) -> Alarm:
    """A person unlatched it.  Refused: it is another occurrence by now, its condition holds, or nothing is latched."""
    _same(alarm, occurrence)
    state = following(alarm.state, _E.RESET)
    if state is None and alarm.state in (_S.UNACK, _S.ACKED):
        raise Refused("condition_stands", f"alarm {alarm.rule} cannot be reset, its cause is still there: {alarm.text}")
    if state is None and is_hidden(alarm):
        raise Refused("not_shown", f"alarm {alarm.rule} is {WORDS[alarm.state]}; there is nothing to reset")
    if state is None:
        raise Refused("not_latched", f"alarm {alarm.rule} is not latched; there is nothing to reset")
    return settled(msgspec.structs.replace(alarm, state=state))


def shelved(alarm: Alarm, shelf: Shelf) -> Alarm:
    """Put aside for a while; once more: for another while.  Refused: it halts, it is out of service, no reason."""
    _reasoned(shelf.reason)
    _may_hide(alarm, _E.SHELVE)
    return hidden(alarm, seen=True, shelf=shelf)


def unshelved(alarm: Alarm, wall_ns: int) -> Alarm:
    """Back before its time, or because its time is over."""
    if alarm.shelf is None:
        raise Refused("not_shelved", f"alarm {alarm.rule} is not shelved")
    return back(msgspec.structs.replace(alarm, shelf=None), wall_ns)


def expired(alarm: Alarm, wall_ns: int, longest_ns: int) -> bool:
    """Is its time on the shelf over?  A wall clock that was stepped back makes no shelf last longer."""
    shelf = alarm.shelf
    if shelf is None:
        return False
    return not shelf.since_ns <= wall_ns < shelf.until_ns or shelf.until_ns - wall_ns > longest_ns


def removed(alarm: Alarm, withdrawal: Withdrawal) -> Alarm:
    """Out of service.  Refused: it halts, it is out of service already, no reason."""
    _reasoned(withdrawal.reason)
    _may_hide(alarm, _E.REMOVE)
    return hidden(alarm, seen=True, withdrawal=withdrawal)


def returned(alarm: Alarm, wall_ns: int) -> Alarm:
    """To service."""
    if alarm.withdrawal is None:
        raise Refused("not_out_of_service", f"alarm {alarm.rule} is not out of service")
    return back(msgspec.structs.replace(alarm, withdrawal=None), wall_ns)


def suppressed(alarm: Alarm, suppressors: tuple[str, ...], wall_ns: int) -> Alarm:
    """What suppresses it by design now; () for nothing.  The same alarm where that is no news, and where it halts."""
    if suppressors == alarm.suppressors or (alarm.halted and suppressors):
        return alarm
    if suppressors:
        return hidden(alarm, seen=False, suppressors=suppressors)
    return back(msgspec.structs.replace(alarm, suppressors=()), wall_ns)


def _same(alarm: Alarm, occurrence: int) -> None:
    if occurrence != alarm.occurrence:
        raise Refused(
            "another_occurrence",
            f"alarm {alarm.rule} is at occurrence {alarm.occurrence} by now, you saw {occurrence}: "
            f"{alarm.text.rstrip('.')}. Look again first.",
            occurrence=alarm.occurrence,
        )


def _reasoned(reason: str) -> None:
    if not reason.strip():
        raise Refused("reason_missing", "say why: an alarm is hidden only for a reason, and it is recorded")


def _may_hide(alarm: Alarm, event: AlarmEvent) -> None:
    if alarm.halted:
        raise Refused(
            "it_halts", f"alarm {alarm.rule} has halted a machine; it is shown until it is over and acknowledged"
        )
    if following(alarm.state, event) is None:
        raise Refused("out_of_service", f"alarm {alarm.rule} is out of service already")
