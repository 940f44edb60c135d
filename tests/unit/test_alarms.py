"""Alarms: the tables of docs/alarms.md cell by cell, occurrences, hiding, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import alarms
from gateway.alarms import HIDDEN, Alarm, AlarmEvent, AlarmState, Shelf, Withdrawal
from gateway.alarms.table import RETURNS, following
from gateway.errors import Refused
from gateway.model import Json, Priority, Severity
from gateway.verdicts import Verdict

S, E = AlarmState, AlarmEvent
BAD = Verdict("oil", Severity.ALARM, "reservoir/temperature", "too cold.", 57.3, 58.0, "Cel", Priority.HIGH)
FLASH = msgspec.structs.replace(BAD, fleeting=True)
HALT = msgspec.structs.replace(BAD, severity=Severity.HALT)
LESSER = msgspec.structs.replace(BAD, severity=Severity.WARNING)
SHELF = Shelf("olga", "being looked at", 100, 1000)
OUT = Withdrawal("max", "sensor is being replaced", 100)
PAGE = Path(__file__).parents[2] / "docs" / "alarms.md"
MORE = {
    S.SHELVED: {"shelf": SHELF},
    S.OUT_OF_SERVICE: {"withdrawal": OUT},
    S.SUPPRESSED: {"suppressors": ("link:reservoir",)},
}
Cell = tuple[AlarmState, AlarmEvent]


def tables() -> list[list[list[str]]]:
    """Every table of the page: rows of cells, without the line under the head."""
    found: list[list[list[str]]] = [[]]
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip().strip("`") for cell in line.strip("|").split(" |")])
        elif found[-1]:
            found.append([])
    return [[rows[0], *rows[2:]] for rows in found if rows]


def documented() -> dict[Cell, str]:
    """The table of transitions as the page has it."""
    head, *rows = next(table for table in tables() if table[0][1:2] == ["raise"])
    return {(S(state), E(event)): cell for state, *cells in rows for event, cell in zip(head[1:], cells, strict=True)}


def entries() -> dict[tuple[bool, bool, bool], AlarmState]:
    """The table of the way back."""
    _, *rows = next(table for table in tables() if table[0][0] == "the condition holds")
    return {(a == "yes", b == "yes", c == "yes"): S(state) for a, b, c, state in rows}


TABLE = documented()
ENTRIES = entries()


def in_state(state: AlarmState, **facts: Json) -> Alarm:
    """No. 7, less severe than what is judged next, so that a raise is another occurrence."""
    alarm = msgspec.structs.replace(alarms.raised(None, LESSER, 100), occurrence=7, state=state, **MORE.get(state, {}))
    return msgspec.structs.replace(alarm, **facts)


def deeds(alarm: Alarm) -> dict[AlarmEvent, Callable[[], Alarm]]:
    """The function that belongs to each event."""

    def judged(verdict: Verdict) -> Callable[[], Alarm]:
        return lambda: alarms.raised(alarm, verdict, 200, latches=alarm.latches, suppressors=alarm.suppressors)

    return {
        E.RAISE: judged(BAD),
        E.HALT: judged(HALT),
        E.FLASH: judged(FLASH),
        E.FLASH_HALT: judged(msgspec.structs.replace(HALT, fleeting=True)),
        E.CLEAR: lambda: alarms.cleared(alarm, 200),
        E.ACK: lambda: alarms.acknowledged(alarm, alarm.occurrence, "anna", "seen", 200),
        E.RESET: lambda: alarms.reset(alarm, alarm.occurrence),
        E.SHELVE: lambda: alarms.shelved(alarm, SHELF),
        E.UNSHELVE: lambda: alarms.unshelved(alarm, 200),
        E.SUPPRESS: lambda: alarms.suppressed(alarm, ("hot",), 200),
        E.UNSUPPRESS: lambda: alarms.suppressed(alarm, (), 200),
        E.REMOVE: lambda: alarms.removed(alarm, OUT),
        E.RETURN: lambda: alarms.returned(alarm, 200),
    }


def after(alarm: Alarm, event: AlarmEvent) -> Alarm | None:
    """What becomes of it; None where it is refused."""
    try:
        return deeds(alarm)[event]()
    except Refused:
        return None


def test_the_page_has_every_state_and_every_event() -> None:
    """Nothing is left out: nine states, thirteen events, and all eight ways back."""
    assert set(TABLE) == set(itertools.product(S, E))
    assert set(ENTRIES) == set(itertools.product((True, False), repeat=3))
    assert {cell for cell, said in TABLE.items() if said == "back"} == RETURNS


@pytest.mark.parametrize("latches", [False, True])
@pytest.mark.parametrize(("state", "event"), sorted(set(itertools.product(S, E)) - RETURNS))
def test_every_state_and_event_goes_where_the_page_says(state: AlarmState, event: AlarmEvent, latches: bool) -> None:
    """Each pair, of an alarm that latches and one that does not, ends in its state, or is refused."""
    plain, _, latching = TABLE[state, event].partition(" / ")
    result = after(in_state(state, latches=latches), event)
    assert (result.state if result else "refused") == (latching if latches and latching else plain)


@pytest.mark.parametrize(("state", "event"), sorted(RETURNS))
@pytest.mark.parametrize("held", list(itertools.product((True, False), repeat=3)))
def test_what_comes_back_does_so_by_what_holds_then(
    state: AlarmState, event: AlarmEvent, held: tuple[bool, bool, bool]
) -> None:
    """Condition, latch and debt decide; an alarm that comes back to be acknowledged is another occurrence."""
    active, latched, owed = held
    result = after(in_state(state, active=active, latched=latched, owed=owed), event)
    assert result is not None
    assert result.state is ENTRIES[held]
    assert result.occurrence == (8 if result.state in (S.UNACK, S.LATCHED_UNACK) else 7)
    assert (result.active, result.latched, result.owed) == (False, False, False)


def test_the_table_and_the_functions_agree() -> None:
    """The code's own table says what the page says, no more and no less."""
    for (state, event), said in TABLE.items():
        if said != "back":
            plain, _, latching = said.partition(" / ")
            for latches, wanted in ((False, plain), (True, latching or plain)):
                assert (following(state, event, latches=latches) or "refused") == wanted


@pytest.mark.parametrize("event", [E.SHELVE, E.REMOVE, E.SUPPRESS])
@pytest.mark.parametrize("state", [S.UNACK, S.ACKED, S.RTN_UNACK])
def test_an_alarm_that_halts_is_never_hidden(state: AlarmState, event: AlarmEvent) -> None:
    """Until it is over and acknowledged people are refused, and logic is not heard."""
    alarm = in_state(state, severity=Severity.HALT, halted=True)
    result = after(alarm, event)
    assert result is (alarm if event is E.SUPPRESS else None)


@pytest.mark.parametrize("state", sorted(HIDDEN))
def test_a_verdict_that_halts_ends_whatever_hid_the_alarm(state: AlarmState) -> None:
    """Shelf, suppressors and the withdrawal are gone, and stay gone when the condition becomes less severe."""
    shown = alarms.raised(in_state(state), HALT, 200, suppressors=("link:reservoir",))
    assert (shown.state, shown.shelf, shown.withdrawal, shown.suppressors) == (S.UNACK, None, None, ())
    lesser = alarms.raised(shown, BAD, 300, suppressors=("link:reservoir",))
    assert (lesser.state, lesser.severity, lesser.halted) == (S.UNACK, Severity.ALARM, True)
    over = alarms.cleared(alarms.acknowledged(lesser, lesser.occurrence, "anna", "", 400), 500)
    assert (over.state, over.halted) == (S.NORMAL, False)
    assert alarms.shelved(over, SHELF).state is S.SHELVED


ASKED = [event for event in E if event not in (E.RAISE, E.HALT, E.CLEAR, E.FLASH, E.FLASH_HALT)]
WAYS = st.one_of(
    st.lists(st.sampled_from([*ASKED, E.RAISE, E.HALT, E.CLEAR]), max_size=14),
    st.lists(st.sampled_from([*ASKED, E.FLASH, E.FLASH_HALT]), max_size=14),
)
"""A rule judges conditions that last, or single events."""


@given(WAYS, st.booleans())
def test_whatever_happens_the_state_says_what_hides_it(events: list[AlarmEvent], latches: bool) -> None:
    """In any order of events: hidden exactly while something hides it, the strongest first; occurrences never fall."""
    alarm = msgspec.structs.replace(alarms.blank("oil"), latches=latches)
    holds, done = False, set[AlarmEvent]()
    for event in events:
        then = after(alarm, event)
        if then is None:
            continue
        assert then.occurrence >= alarm.occurrence
        alarm = then
        if event in (E.RAISE, E.HALT, E.FLASH, E.FLASH_HALT, E.CLEAR):
            holds = event in (E.RAISE, E.HALT)
        hiding = [why for why in (alarm.withdrawal, alarm.shelf, alarm.suppressors) if why]
        assert alarms.is_hidden(alarm) == bool(hiding)
        assert alarms.is_active(alarm) == holds, "the condition is noted, shown or not"
        if alarm.withdrawal:
            assert alarm.state is S.OUT_OF_SERVICE
        elif alarm.shelf:
            assert alarm.state is S.SHELVED
        done.add(event)
        if latches and alarm.occurrence and alarm.state is S.NORMAL:
            assert done & {E.RESET, E.UNSHELVE, E.UNSUPPRESS, E.RETURN}, "no acknowledgement alone ends a latch"
        row = msgspec.json.decode(msgspec.json.encode(alarms.to_json(alarm)))
        assert alarms.from_json(row) == alarm


def test_a_condition_that_began_and_ended_on_the_shelf_leaves_nothing_to_acknowledge() -> None:
    """It comes back by the current condition: normal; the board never showed it."""
    alarm = alarms.shelved(alarms.blank("oil"), SHELF)
    over = alarms.cleared(alarms.raised(alarm, BAD, 200), 300)
    assert (over.state, over.occurrence) == (S.SHELVED, 0)
    assert alarms.unshelved(over, 400).state is S.NORMAL


def test_logic_forgives_no_acknowledgement() -> None:
    """Shown, not acknowledged, then suppressed: over meanwhile, it still wants to be seen; a shelf is seen."""
    unseen = alarms.raised(None, BAD, 100)
    hidden = alarms.cleared(alarms.suppressed(unseen, ("hot",), 200), 300)
    assert not alarms.is_acknowledged(hidden)
    assert alarms.suppressed(hidden, (), 400).state is S.RTN_UNACK
    seen = alarms.cleared(alarms.shelved(unseen, SHELF), 300)
    assert alarms.is_acknowledged(seen)
    assert alarms.unshelved(seen, 400).state is S.NORMAL


def test_hiding_is_no_way_around_a_reset() -> None:
    """A latch that stood, or a condition that came and went out of sight, wants its reset afterwards."""
    latched = alarms.cleared(alarms.raised(None, BAD, 100, latches=True), 150)
    assert alarms.unshelved(alarms.shelved(latched, SHELF), 400).state is S.LATCHED_UNACK
    aside = alarms.shelved(alarms.blank("oil"), SHELF)
    over = alarms.cleared(alarms.raised(aside, BAD, 200, latches=True), 300)
    assert alarms.unshelved(over, 400).state is S.LATCHED_UNACK


def test_acknowledge_and_reset_in_either_order() -> None:
    """Both are needed; each names the occurrence it saw."""
    latched = alarms.cleared(alarms.raised(None, BAD, 100, latches=True), 150)
    for first in ("ack", "reset"):
        alarm = latched
        for step in (first, "reset" if first == "ack" else "ack"):
            assert not alarms.is_normal(alarm)
            alarm = alarms.acknowledged(alarm, 1, "anna", "", 200) if step == "ack" else alarms.reset(alarm, 1)
        assert alarms.is_normal(alarm)
    with pytest.raises(Refused, match="Look again"):
        alarms.reset(latched, 0)


@pytest.mark.parametrize(
    ("wall_ns", "over"),
    [(999, False), (1000, True), (-(10**6), True), (SHELF.since_ns - 1, True)],
    ids=["before", "at its end", "stepped back", "stepped back by a little"],
)
def test_a_shelf_ends_and_no_clock_makes_it_longer(wall_ns: int, over: bool) -> None:
    """At its time; and where the wall clock was stepped back to before it began."""
    alarm = alarms.shelved(alarms.blank("oil"), SHELF)
    assert alarms.expired(alarm, wall_ns, 10_000) is over


def test_refusals_name_what_stands_in_the_way() -> None:
    """Each refusal has a code of its own, for programs and for people."""
    cases = {
        "reason_missing": lambda: alarms.shelved(in_state(S.UNACK), msgspec.structs.replace(SHELF, reason=" ")),
        "it_halts": lambda: alarms.removed(in_state(S.UNACK, halted=True), OUT),
        "out_of_service": lambda: alarms.shelved(in_state(S.OUT_OF_SERVICE), SHELF),
        "not_shelved": lambda: alarms.unshelved(in_state(S.UNACK), 1),
        "not_out_of_service": lambda: alarms.returned(in_state(S.SHELVED), 1),
        "condition_stands": lambda: alarms.reset(in_state(S.ACKED), 7),
        "not_latched": lambda: alarms.reset(in_state(S.RTN_UNACK), 7),
        "not_shown": lambda: alarms.acknowledged(in_state(S.SHELVED), 7, "anna", "", 1),
    }
    for code, ask in cases.items():
        with pytest.raises(Refused) as refused:
            ask()
        assert refused.value.code == code


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
    worse = alarms.raised(acked, HALT, 200)
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
