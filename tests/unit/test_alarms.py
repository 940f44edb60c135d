"""Alarms: the table of transitions, occurrences, and what is refused."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from gateway import alarms
from gateway.alarms import TRANSITIONS, Alarm, AlarmEvent, AlarmState
from gateway.errors import Refused
from gateway.model import Priority, Severity, Verdict

S, E = AlarmState, AlarmEvent
BAD = Verdict("oil", Severity.ALARM, "reservoir/temperature", "too cold.", 57.3, 58.0, "Cel", Priority.HIGH)
FLASH = msgspec.structs.replace(BAD, fleeting=True)
WORSE = msgspec.structs.replace(BAD, severity=Severity.HALT)
LESSER = msgspec.structs.replace(BAD, severity=Severity.WARNING)

EXPECTED = {
    (S.NORMAL, E.RAISE): S.UNACK,
    (S.NORMAL, E.FLASH): S.RTN_UNACK,
    (S.NORMAL, E.CLEAR): S.NORMAL,
    (S.NORMAL, E.ACK): None,
    (S.UNACK, E.RAISE): S.UNACK,
    (S.UNACK, E.FLASH): S.RTN_UNACK,
    (S.UNACK, E.CLEAR): S.RTN_UNACK,
    (S.UNACK, E.ACK): S.ACKED,
    (S.ACKED, E.RAISE): S.UNACK,
    (S.ACKED, E.FLASH): S.RTN_UNACK,
    (S.ACKED, E.CLEAR): S.NORMAL,
    (S.ACKED, E.ACK): None,
    (S.RTN_UNACK, E.RAISE): S.UNACK,
    (S.RTN_UNACK, E.FLASH): S.RTN_UNACK,
    (S.RTN_UNACK, E.CLEAR): S.RTN_UNACK,
    (S.RTN_UNACK, E.ACK): S.NORMAL,
}


def in_state(state: AlarmState) -> Alarm:
    alarm = alarms.raised(None, BAD, 100)
    return msgspec.structs.replace(alarm, state=state, occurrence=7)


def after(alarm: Alarm, event: AlarmEvent) -> Alarm | None:
    """The function that belongs to the event; None where it refuses."""
    if event is E.CLEAR:
        return alarms.cleared(alarm, 200)
    if event is E.ACK:
        try:
            return alarms.acknowledged(alarm, alarm.occurrence, "anna", "seen", 200)
        except Refused:
            return None
    return alarms.raised(alarm, WORSE if event is E.RAISE else FLASH, 200)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(S, E)))
def test_every_state_and_event_goes_where_the_standard_says(state: AlarmState, event: AlarmEvent) -> None:
    """Each of the sixteen pairs ends in its state, or is refused."""
    result = after(in_state(state), event)
    assert (result.state if result else None) == EXPECTED[state, event]


def test_the_table_and_the_functions_agree() -> None:
    """TRANSITIONS says what the functions do, no more and no less."""
    assert {pair: state for pair, state in EXPECTED.items() if state is not None} == TRANSITIONS


def test_the_first_alarm_is_occurrence_one() -> None:
    """A rule that never alarmed begins at 1, unacknowledged, with what the verdict says as text."""
    alarm = alarms.raised(None, BAD, 100)
    assert (alarm.occurrence, alarm.state, alarm.value, alarm.limit, alarm.raised_ns) == (
        1,
        S.UNACK,
        "57.3",
        "58.0",
        100,
    )
    assert alarm.cleared_ns is None


def test_the_same_condition_stays_the_same_occurrence() -> None:
    """A verdict no more severe than the active alarm only refreshes its words; an acknowledgement stays."""
    alarm = alarms.raised(None, BAD, 100)
    acked = alarms.acknowledged(alarm, 1, "anna", "", 150)
    again = alarms.raised(acked, LESSER, 200)
    assert (again.occurrence, again.state, again.raised_ns, again.acked_by) == (1, S.ACKED, 100, "anna")
    assert again.severity is Severity.WARNING


def test_turning_more_severe_asks_for_another_acknowledgement() -> None:
    """Who acknowledged a warning has not seen the halt."""
    acked = alarms.acknowledged(alarms.raised(None, LESSER, 100), 1, "anna", "", 150)
    worse = alarms.raised(acked, WORSE, 200)
    assert (worse.occurrence, worse.state, worse.raised_ns, worse.acked_by) == (2, S.UNACK, 200, None)
    with pytest.raises(Refused) as refusal:
        alarms.acknowledged(worse, 1, "anna", "", 210)
    assert refusal.value.code == "another_occurrence"


def test_a_condition_that_comes_back_is_another_occurrence() -> None:
    """An old acknowledgement never covers a newer activation."""
    first = alarms.cleared(alarms.raised(None, BAD, 100), 150)
    second = alarms.raised(first, BAD, 200)
    assert (second.occurrence, second.state, second.cleared_ns) == (2, S.UNACK, None)


def test_a_single_judgement_is_over_at_once_and_waits_to_be_seen() -> None:
    """A failed check raises and returns in one step; each one is its own occurrence."""
    first = alarms.raised(None, FLASH, 100)
    assert (first.state, first.cleared_ns) == (S.RTN_UNACK, 100)
    second = alarms.raised(first, FLASH, 200)
    assert (second.occurrence, second.state) == (2, S.RTN_UNACK)
    assert alarms.is_normal(alarms.acknowledged(second, 2, "anna", "", 300))


def test_a_lesser_flash_covers_nothing_unseen() -> None:
    """A drift warning does not hide the failed check nobody acknowledged yet; once seen, it shows."""
    halt = alarms.raised(None, msgspec.structs.replace(FLASH, severity=Severity.HALT), 100)
    drift = msgspec.structs.replace(FLASH, severity=Severity.WARNING)
    assert alarms.raised(halt, drift, 200) is halt
    seen = alarms.acknowledged(halt, 1, "anna", "", 300)
    assert alarms.raised(seen, drift, 400).severity is Severity.WARNING


def test_what_is_not_active_does_not_clear_again() -> None:
    """Clearing twice keeps the first time."""
    gone = alarms.cleared(alarms.raised(None, BAD, 100), 150)
    assert alarms.cleared(gone, 999) is gone


def test_refusals_say_why() -> None:
    """Acknowledging twice names who did; acknowledging nothing says that nothing stands."""
    with pytest.raises(Refused, match="already by anna"):
        alarms.acknowledged(alarms.acknowledged(in_state(S.UNACK), 7, "anna", "", 1), 7, "ben", "", 2)
    with pytest.raises(Refused, match="nothing to acknowledge"):
        alarms.acknowledged(in_state(S.NORMAL), 7, "ben", "", 2)


def test_an_alarm_survives_its_state_row() -> None:
    """JSON and back is the same alarm, in every state."""
    for state in S:
        alarm = in_state(state)
        row = msgspec.json.decode(msgspec.json.encode(alarms.to_json(alarm)))
        assert alarms.from_json(row) == alarm


def test_the_record_body_has_strings_for_times_and_values() -> None:
    """What goes into the ledger has no float and no 64-bit number."""
    body = alarms.body(alarms.acknowledged(alarms.raised(None, BAD, 100), 1, "anna", "heater", 150))
    assert body["alarm"] == "oil"
    assert (body["value"], body["limit"], body["unit"], body["comment"]) == ("57.3", "58.0", "Cel", "heater")
    assert (body["raised_ns"], body["acked_ns"]) == ("100", "150")
    assert not any(isinstance(value, float) for value in body.values())
