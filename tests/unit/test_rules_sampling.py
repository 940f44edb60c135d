"""Rule kind sampling: due, taken, judged, missed, verified."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rules_kit import BALANCE, CONTEXT, grams, scan
from sampling_kit import (
    EVERY_15_MIN,
    EVERY_100,
    EXECUTE,
    HELD,
    LEAKS,
    TORQUE,
    WEIGHT,
    Line,
    rule,
)

from gateway.errors import Refused
from gateway.model import Severity, Tick
from gateway.verdicts import CheckChange, CheckState, Verdict


def line(plan: dict[str, Any] = EVERY_100, **keys: Any) -> Line:
    """A line whose filler was seen running at the start of the batch."""
    bench = Line(fill=rule(plan, **keys))
    bench.filler()
    return bench


def kinds(found: Any) -> list[str]:
    """What was said, in order: severities of verdicts, changes of checks, `weighing`."""
    names = []
    for each in found:
        if isinstance(each, Verdict):
            names.append(each.severity.name)
        else:
            names.append(each.what if isinstance(each, CheckChange) else "weighing")
    return names


# -- falling due


def test_a_check_falls_due_at_each_hundredth_unit_of_the_batch() -> None:
    """Units count from the batch's start, whatever the machine's counter says."""
    bench = line()
    assert not bench.filler(99)
    (due,) = bench.filler(1)
    assert isinstance(due, CheckChange)
    assert (due.what, due.check.id, due.check.due_units, due.check.tray) == ("due", "fill#1", 100, "T1")
    assert (due.check.state, due.check.why, due.check.n, due.check.plan) == ("due", "schedule", 1, "1 every 100 units")
    assert bench.engine.current("fill") is None


def test_time_counts_only_while_the_machine_runs() -> None:
    """15 minutes of running time, however long the breaks."""
    bench = line(EVERY_15_MIN)
    bench.run(600)
    bench.state = HELD
    bench.run(3600)
    bench.state = EXECUTE
    bench.filler()
    bench.run(298)  # it was seen held one second after it last was seen running
    assert not bench.changes()
    bench.run(1)
    assert [change.check.id for change in bench.changes("due")] == ["fill#1"]


def test_a_lost_link_does_not_stop_the_clock() -> None:
    """The last known state holds: rather a check too early than none."""
    bench = line(EVERY_15_MIN)
    bench.at_s += 900
    assert kinds(bench.judge(Tick())) == ["due"]


def test_a_counter_reset_in_the_batch_loses_no_unit() -> None:
    """A counter that falls counts from 0 again."""
    bench = line()
    bench.filler(60)
    bench.counter = 0
    assert not bench.filler(0)
    assert not bench.filler(39)
    assert kinds(bench.filler(1)) == ["due"]


def test_many_units_between_two_scans_make_each_check_due() -> None:
    """Three hundreds at once: two were missed, the third is open."""
    bench = line()
    found = bench.filler(300)
    assert kinds(found) == ["due", "ALARM", "missed", "due", "ALARM", "missed", "due"]
    assert [check.id for check in bench.open()] == ["fill#3"]


# -- taking and judging


def test_a_take_binds_the_next_stable_weight_to_check_unit_and_tray() -> None:
    """The sample has everything a record needs, the decimals and the balance's own line included."""
    bench = line()
    bench.filler(100)
    assert not bench.take()
    bench.pan("0.000")
    assert not bench.pan("0.700", stable=False)
    found = bench.pan("1.0120", raw=b"S S     1.0120 g\r\n")
    assert kinds(found) == ["NORMAL", "taken", "judged"]
    judged = bench.changes("judged")[0]
    (sample,) = judged.check.samples
    assert judged.check.state is CheckState.PASSED
    assert str(sample.value) == "1.0120"
    assert (sample.unit, sample.unit_no, sample.tray, sample.person) == ("g", 100, "T1", "anna")
    assert (sample.passed, sample.raw, sample.characteristic) == (True, "S S     1.0120 g", "weight")
    assert not bench.open()


@pytest.mark.parametrize(
    ("text", "state"),
    [("0.95", "passed"), ("1.050", "passed"), ("0.9499", "failed"), ("1.0501", "failed")],
)
def test_exactly_at_the_limit_passes(text: str, state: str) -> None:
    """In decimals, to the digit."""
    bench = line()
    bench.filler(100)
    bench.weigh(text)
    assert bench.changes("judged")[0].check.state == state


def test_the_halt_comes_first_and_names_unit_limit_and_suspect_trays() -> None:
    """Two hundreds passed, the third fails: everything since the last good unit is suspect."""
    bench = line(text="Recalibrate the filler")
    for _ in range(2):
        bench.filler(100)
        bench.weigh("1.00")
    bench.filler(100)
    bench.filler(7)
    found = bench.weigh("1.0620")
    assert kinds(found) == ["HALT", "taken", "judged"]
    halt = found[0]
    assert isinstance(halt, Verdict)
    assert (halt.halts, halt.fleeting, halt.suspects) == (("filler",), True, ("T3", "T4"))
    assert (halt.value, halt.limit, halt.unit) == (grams("1.0620"), grams("1.05"), "g")
    assert halt.text == (
        "check fill#3: weight of unit 300 (tray T3): 1.0620 g is above 1.05 g. "
        "Suspect since the last good check: T3, T4. Recalibrate the filler."
    )
    judged = found[2]
    assert isinstance(judged, CheckChange)
    assert (judged.check.state, judged.suspects) == (CheckState.FAILED, ("T3", "T4"))


def test_without_a_halt_a_failed_check_is_an_alarm() -> None:
    """The rule halts nothing: the verdict says alarm, and the next good check clears it."""
    bench = line(halt=())
    bench.filler(100)
    assert kinds(bench.weigh("1.2"))[0] == "ALARM"
    bench.filler(100)
    assert kinds(bench.weigh("1.0"))[0] == "NORMAL"


def test_five_samples_are_taken_one_by_one_and_judged_together() -> None:
    """Four are taken, the fifth judges; each needs its own take."""
    bench = line(EVERY_15_MIN)
    bench.run(900, per_s=1)
    for number in range(4):
        assert kinds(bench.weigh("1.00", unit_no=900 - number)) == ["taken"]
    assert bench.open()[0].state is CheckState.TAKEN
    assert kinds(bench.weigh("1.01", unit_no=890)) == ["NORMAL", "taken", "judged"]
    assert [s.unit_no for s in bench.changes("judged")[0].check.samples] == [900, 899, 898, 897, 890]


def test_the_first_bad_sample_of_five_halts_at_once() -> None:
    """Nobody weighs on while bad units are made."""
    bench = line(EVERY_15_MIN)
    bench.run(900)
    bench.weigh("1.00")
    assert kinds(bench.weigh("1.06")) == ["HALT", "taken", "judged"]
    assert not bench.open()


def test_drift_is_warned_of_before_the_limit() -> None:
    """A passed check outside the warning limits is a warning; the next one within them is normal again."""
    bench = line()
    bench.filler(100)
    found = bench.weigh("1.04")
    assert kinds(found) == ["WARNING", "taken", "judged"]
    assert "1.04 g is above 1.03 g" in found[0].text  # type: ignore[union-attr]
    bench.filler(100)
    assert kinds(bench.weigh("1.00"))[0] == "NORMAL"


def test_entries_belong_to_the_same_check_as_weights() -> None:
    """Leaks are one count over all units, torque is entered for each; units convert."""
    bench = line({**EVERY_100, "n": 2, "characteristics": [WEIGHT, TORQUE, {**LEAKS, "accept": 1}]})
    bench.filler(100)
    assert bench.open()[0].text == "weigh weight of 2 units, enter torque, enter leaks"
    bench.weigh("1.00")
    bench.weigh("1.00")
    assert kinds(bench.enter("value", characteristic="leaks", value=1)) == ["taken"]
    assert kinds(bench.enter("value", characteristic="torque", value="0.50", unit="N.m")) == ["taken"]
    assert kinds(bench.enter("value", value=0.6)) == ["NORMAL", "taken", "judged"]
    values = [sample.value for sample in bench.changes("judged")[0].check.samples]
    assert values == [grams("1.00"), grams("1.00"), 1, grams("0.50"), grams("0.6")]


def test_too_many_leaks_halt() -> None:
    """An attribute beyond its acceptance number fails the check."""
    bench = line({**EVERY_100, "n": 5, "characteristics": [{**LEAKS, "accept": 1}]}, weight=None)
    bench.filler(100)
    found = bench.enter("value", value=2)
    assert kinds(found) == ["HALT", "taken", "judged"]
    assert "2 with defects, 1 accepted" in found[0].text  # type: ignore[union-attr]


# -- the pan


def test_a_weighing_nobody_asked_for_is_recorded_and_not_judged() -> None:
    """Once for each time something is put on; far off its limits, and no halt."""
    bench = line()
    bench.put("3.21")
    bench.pan("3.21")
    (weighing,) = bench.weighings()
    assert (weighing.check, weighing.sample.passed, weighing.sample.value) == (None, None, grams("3.21"))
    bench.put("3.21")
    assert len(bench.weighings()) == 2
    assert not bench.verdicts()


def test_an_empty_pan_is_no_weighing() -> None:
    """Below a fifth of the target there is nothing on it."""
    bench = line()
    bench.filler(100)
    bench.take()
    for text in ("0.000", "-0.002", "0.199"):
        assert not bench.pan(text)


def test_one_cartridge_is_not_weighed_for_two_samples() -> None:
    """After a bound weighing the pan must be emptied or move before the next take binds."""
    bench = line(EVERY_15_MIN)
    bench.run(900)
    bench.weigh("1.00")
    bench.take()
    assert not bench.pan("1.00")
    bench.pan("0.000")
    assert kinds(bench.pan("1.01")) == ["taken"]


def test_a_take_after_the_cartridge_was_put_on_binds_it_too() -> None:
    """People do either first; the weighing was already recorded as unbound."""
    bench = line()
    bench.filler(100)
    assert kinds(bench.put("1.00")) == ["weighing"]
    bench.take()
    assert kinds(bench.pan("1.00")) == ["NORMAL", "taken", "judged"]


def test_a_second_cartridge_on_a_restless_pan_is_recorded_too() -> None:
    """Emptied while unsettled and loaded again: another weighing, although no good reading lay between them."""
    bench = line()
    bench.filler(100)
    bench.take()
    for text in ("0.991", "0.003", None):
        for _ in range(30):
            bench.pan(text, stable=False)
    assert [weighing.sample.value for weighing in bench.weighings()] == [grams("0.991"), None]


def test_what_does_not_settle_is_recorded_and_the_take_stays() -> None:
    """Five seconds unsettled: recorded once with its reason, never judged; then the stable one is bound."""
    bench = line()
    bench.pan("0.000")
    bench.filler(100)
    bench.take(unit_no=100)
    for _ in range(40):
        bench.pan("1.3", stable=False)
    (weighing,) = bench.weighings()
    assert (weighing.check, weighing.sample.reason, weighing.sample.unit_no) == ("fill#1", "not stable", 100)
    assert weighing.sample.passed is None
    assert kinds(bench.pan("1.00")) == ["NORMAL", "taken", "judged"]


def test_a_weight_without_a_unit_is_recorded_and_never_judged() -> None:
    """The driver reports it as bad; the reason and the balance's line are kept."""
    bench = line()
    bench.filler(100)
    bench.take()
    for _ in range(40):
        bench.pan(None, stable=False, raw=b"+  123.56  \r\n")
    (weighing,) = bench.weighings()
    assert (weighing.sample.value, weighing.sample.reason, weighing.sample.raw) == (None, "no unit", "+  123.56")
    assert bench.open()[0].state is CheckState.DUE


def test_a_draught_over_an_empty_pan_is_nothing() -> None:
    """Armed or not, an unsettled empty pan is no weighing; a lost link without a take neither."""
    bench = line()
    for _ in range(40):
        bench.pan("0.003", stable=False)
    for _ in range(40):
        bench.pan(None, stable=False)
    bench.filler(100)
    bench.take()
    for _ in range(40):
        bench.pan("0.003", stable=False)
    assert not bench.weighings()


def test_a_take_lapses_and_another_person_may_go_on() -> None:
    """One take at a time: the same person replaces it, another one waits for it to lapse."""
    bench = line(EVERY_15_MIN)
    bench.run(900)
    bench.take(unit_no=3)
    bench.take(unit_no=4)
    with pytest.raises(Refused, match="anna's take") as refusal:
        bench.take(person="ben")
    assert refusal.value.code == "armed"
    bench.run(120)
    bench.take(person="ben", unit_no=5)
    bench.put("1.00")
    assert [(s.person, s.unit_no) for s in bench.open()[0].samples] == [("ben", 5)]


def test_two_rules_on_one_balance_share_its_pan() -> None:
    """A weighing belongs to the rule that was armed, is recorded once, and one cartridge is not used twice."""
    bench = Line(time=rule(EVERY_15_MIN), units=rule(EVERY_100))
    bench.filler()
    bench.put("1.00")
    assert len(bench.weighings()) == 1
    bench.filler(100)
    bench.take("units")
    assert kinds(bench.put("1.00")) == ["NORMAL", "taken", "judged"]
    bench.take("time")
    assert not bench.pan("1.00")
    assert kinds(bench.put("1.00")) == ["NORMAL", "taken", "judged"][1:]
    assert len(bench.weighings()) == 1


def test_a_take_without_an_open_check_opens_one_on_request() -> None:
    """One sample, judged by the same limits; nobody misses it if it is not done."""
    bench = line()
    bench.filler(42)
    assert kinds(bench.take()) == ["due"]
    assert bench.open()[0].why == "request"
    assert kinds(bench.put("1.07"))[0] == "HALT"
    bench.forget()
    bench.take()
    bench.run(400)
    assert kinds(bench.found) == ["due", "missed"]
    assert not bench.open()


@pytest.mark.parametrize(
    ("kind", "keys", "code"),
    [
        ("take", {"check": "fill#9"}, "no_such_check"),
        ("take", {"characteristic": "colour"}, "no_such_characteristic"),
        ("take", {"characteristic": "leaks"}, "wrong_source"),
        ("take", {"unit_no": 0}, "wrong_unit_no"),
        ("take", {"unit_no": 9999}, "wrong_unit_no"),
        ("value", {"characteristic": "weight", "value": "1.0"}, "wrong_source"),
        ("value", {"characteristic": "leaks", "value": "many"}, "bad_value"),
        ("value", {"characteristic": "leaks", "value": 1.5}, "bad_value"),
        ("value", {"characteristic": "leaks", "value": -1}, "bad_value"),
        ("value", {"characteristic": "leaks", "value": True}, "bad_value"),
        ("value", {"characteristic": "torque", "value": "NaN"}, "bad_value"),
        ("value", {"characteristic": "torque", "value": "0.5", "unit": "g"}, "wrong_unit"),
        ("dance", {}, "no_such_entry"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(kind: str, keys: dict[str, Any], code: str) -> None:
    """Each refusal has its code; the open check is as it was."""
    bench = line({**EVERY_100, "characteristics": [WEIGHT, TORQUE, LEAKS]})
    bench.filler(100)
    before = bench.open()
    with pytest.raises(Refused) as refusal:
        bench.enter(kind, **keys)
    assert refusal.value.code == code
    assert bench.open() == before
    assert not bench.weigh("1.0")[:-1]


def test_what_is_complete_takes_no_more() -> None:
    """The same unit twice, or one weighing too many, is refused and says what is still to come."""
    bench = line({**EVERY_100, "n": 2, "characteristics": [WEIGHT, LEAKS]})
    bench.filler(100)
    bench.weigh("1.0", unit_no=99)
    with pytest.raises(Refused, match="in this check already"):
        bench.take(unit_no=99)
    bench.weigh("1.0", unit_no=100)
    with pytest.raises(Refused, match="still to come: leaks"):
        bench.take()
    with pytest.raises(Refused, match="no check of fill is open"):
        line().enter("value", value=1)


# -- missed


def test_a_check_not_done_in_time_is_missed_and_may_be_done_late() -> None:
    """An alarm with its suspects stands until the check is done; done late it is marked so."""
    bench = line()
    bench.filler(100)
    bench.run(299)
    assert kinds(bench.found) == ["due"]
    bench.run(1)
    assert kinds(bench.found) == ["due", "ALARM", "missed"]
    missed = bench.verdicts()[0]
    assert (missed.fleeting, missed.suspects, missed.halts) == (False, ("T1",), ())
    assert "was missed: not done within 300 s" in missed.text
    assert bench.open()[0].state is CheckState.MISSED
    assert kinds(bench.weigh("1.0")) == ["NORMAL", "taken", "judged"]
    judged = bench.changes("judged")[0].check
    assert (judged.state, judged.late) == (CheckState.PASSED, True)


def test_a_check_is_missed_by_units_too() -> None:
    """grace_units: 20 more units were made."""
    bench = line()
    bench.filler(100)
    bench.filler(19)
    assert not bench.verdicts()
    bench.filler(1)
    assert kinds(bench.found) == ["due", "ALARM", "missed"]


def test_missed_may_mean_halt() -> None:
    """A line that may not run unchecked stops; the halt's condition stands until the check is done."""
    bench = line(missed="halt")
    bench.filler(100)
    bench.run(300)
    halt = bench.verdicts()[0]
    assert (halt.severity, halt.halts, halt.fleeting) == (Severity.HALT, ("filler",), False)
    bench.weigh("1.0")
    assert bench.engine.current("fill").severity is Severity.NORMAL  # type: ignore[union-attr]


def test_what_is_open_when_the_next_falls_due_is_missed() -> None:
    """The next takes its place; its take is no longer bound to anything."""
    bench = line(plan={**EVERY_100, "grace_units": None})
    bench.filler(100)
    bench.take()
    assert kinds(bench.filler(100)) == ["ALARM", "missed", "due"]
    assert [check.id for check in bench.open()] == ["fill#2"]
    assert kinds(bench.put("1.0")) == ["weighing"]


def test_a_check_that_was_begun_is_missed_all_the_same() -> None:
    """Two of five are not five; they stay in the record."""
    bench = line(EVERY_15_MIN)
    bench.run(900)
    bench.weigh("1.0")
    bench.weigh("1.0")
    bench.run(400)
    (missed,) = bench.changes("missed")
    assert len(missed.check.samples) == 2


# -- verification


def failed(plan: dict[str, Any] = EVERY_100) -> Line:
    """A check failed at unit 100; the filler was held at unit 103."""
    bench = line(plan)
    bench.filler(100)
    bench.weigh("1.1")
    bench.state = HELD
    bench.filler(3)
    bench.forget()
    return bench


def test_after_a_recalibration_the_next_units_are_all_weighed() -> None:
    """Due as soon as the machine runs again; units from before do not count; then the plan goes on."""
    bench = failed()
    assert not bench.enter("recalibrated", text="nozzle 3")
    bench.run(60)
    assert not bench.open()
    bench.state = EXECUTE
    (due,) = bench.filler(0)
    assert isinstance(due, CheckChange)
    assert (due.check.why, due.check.n, due.check.due_units) == ("verification", 3, 103)
    bench.filler(5)
    with pytest.raises(Refused, match="verify units from 104 on"):
        bench.take(unit_no=103)
    assert kinds(bench.weigh("1.0")) == ["taken"]
    assert kinds(bench.weigh("1.0")) == ["taken"]
    assert kinds(bench.weigh("1.0")) == ["NORMAL", "taken", "judged"]
    assert [sample.unit_no for sample in bench.changes("judged")[0].check.samples] == [104, 105, 106]
    bench.filler(92)
    assert bench.open()[0].why == "schedule"
    assert bench.open()[0].due_units == 200


def test_a_failed_verification_halts_again_and_asks_for_another() -> None:
    """The first bad unit is enough."""
    bench = failed()
    bench.enter("recalibrated")
    bench.state = EXECUTE
    bench.filler(1)
    assert kinds(bench.weigh("1.2")) == ["HALT", "taken", "judged"]
    assert not bench.open()
    bench.filler(0)
    assert not bench.open()
    bench.enter("recalibrated")
    assert bench.open()[0].why == "verification"


def test_recalibrated_twice_is_recalibrated_once() -> None:
    """Two latches of one rule are released one after the other; a verification begun goes on."""
    bench = failed()
    bench.enter("recalibrated")
    bench.enter("recalibrated")
    bench.state = EXECUTE
    bench.filler(3)
    bench.weigh("1.0")
    assert not bench.enter("recalibrated")
    assert len(bench.open()[0].samples) == 1


def test_what_falls_due_during_verification_has_its_turn_after_it() -> None:
    """The check of unit 200 waits behind the verification, is shown as due, and gets its full grace."""
    bench = failed({**EVERY_100, "grace_units": None})
    bench.enter("recalibrated")
    bench.state = EXECUTE
    bench.filler(10)
    bench.run(200)
    assert kinds(bench.filler(87)) == ["due"]
    assert [check.why for check in bench.open()] == ["verification", "schedule"]
    bench.weigh("1.0")
    with pytest.raises(Refused, match="comes after verification"):
        bench.take(check=bench.open()[1].id)
    bench.weigh("1.0")
    bench.weigh("1.0")
    (check,) = bench.open()
    assert (check.why, check.due_units, check.state) == ("schedule", 200, CheckState.DUE)
    bench.run(299)
    assert bench.open()[0].state is CheckState.DUE
    bench.run(1)
    assert bench.open()[0].state is CheckState.MISSED


def test_a_verification_nobody_does_is_missed_and_stays_first() -> None:
    """It is an alarm as any missed check, may be done late, and what falls due behind it is missed one by one."""
    bench = failed()
    bench.enter("recalibrated")
    bench.state = EXECUTE
    bench.run(300, per_s=1)
    assert [change.check.why for change in bench.changes("missed")] == ["verification", "schedule", "schedule"]
    assert [check.why for check in bench.open()] == ["verification", "schedule"]
    for _ in range(3):
        bench.weigh("1.0")
    judged = bench.changes("judged")[-1].check
    assert (judged.why, judged.state, judged.late) == ("verification", CheckState.PASSED, True)


def test_a_good_weighing_on_request_does_not_undo_a_failed_check() -> None:
    """Only verification makes good; the verdict of the failure stands."""
    bench = failed()
    assert kinds(bench.weigh("1.0")) == ["taken", "judged"]
    assert bench.engine.current("fill").severity is Severity.HALT  # type: ignore[union-attr]


# -- trays


def test_trays_are_counted_where_the_machine_names_none() -> None:
    """By size, named after the batch; suspects begin after the last good unit."""
    bench = line(tray=None)
    bench.filler(100)
    assert bench.open()[0].tray == "B-1-T001"
    bench.weigh("1.0")
    bench.filler(150)
    bench.run(300)
    missed = bench.verdicts()[-1]
    assert missed.suspects == ("B-1-T002", "B-1-T003")


# -- restart


def test_a_restart_keeps_the_batch_where_it_was() -> None:
    """Open check with its samples, armed take, unit numbers, running time: all as before kill -9."""
    bench = line(EVERY_15_MIN)
    bench.run(500, per_s=1)
    bench.restart()
    bench.run(400, per_s=1)
    assert [check.id for check in bench.open()] == ["fill#1"]
    bench.weigh("1.000", unit_no=900)
    bench.take(unit_no=899)
    bench.restart()
    bench.put("1.0010")
    samples = bench.open()[0].samples
    assert [(str(sample.value), sample.unit_no) for sample in samples] == [("1.000", 900), ("1.0010", 899)]


def test_units_made_while_the_gateway_was_down_count() -> None:
    """The counter tells; the check falls due at the first scan after."""
    bench = line()
    bench.filler(95)
    bench.restart(down_s=20)
    (due,) = bench.filler(10)
    assert isinstance(due, CheckChange)
    assert due.check.due_units == 100


def test_a_check_that_became_overdue_while_down_is_missed_at_once() -> None:
    """The grace runs by the wall clock over a restart."""
    bench = line()
    bench.filler(100)
    bench.restart(down_s=301)
    assert kinds(bench.judge(Tick())) == ["ALARM", "missed"]


def test_another_batch_begins_anew() -> None:
    """State of the batch before is not taken over."""
    bench = line()
    bench.filler(150)
    states = bench.engine.dump()
    states["fill"]["batch"] = "B-0"
    fresh = Line(fill=rule(EVERY_100))
    fresh.engine.load(states)
    assert not fresh.open()


def test_what_changed_is_told_once() -> None:
    """The store hears of a take, of running or not, of a due check; not of every scan."""
    bench = line()
    assert set(bench.engine.changed()) == {"fill"}
    bench.filler(1)
    assert bench.engine.changed() == {}
    bench.filler(99)
    assert set(bench.engine.changed()) == {"fill"}
    bench.take()
    assert bench.engine.changed()["fill"]["take"]["check"] == "fill#1"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("make"), st.integers(0, 130)),
        st.tuples(st.just("wait"), st.integers(1, 400)),
        st.tuples(st.just("weigh"), st.sampled_from(["1.000", "1.04", "1.20", "0.95"])),
        st.tuples(st.just("take"), st.sampled_from(["anna", "ben"])),
        st.tuples(st.just("lift"), st.sampled_from(["0.000", "1.010"])),
        st.tuples(st.just("state"), st.sampled_from([EXECUTE, HELD])),
        st.tuples(st.just("recalibrated"), st.none()),
    ),
    max_size=30,
)


def play(bench: Line, step: tuple[str, Any]) -> None:
    """One step of a made-up shift; what is refused is refused in either history."""
    what, argument = step
    bench.at_s += 1
    try:
        if what == "make":
            bench.filler(argument if bench.state == EXECUTE else 0)
        elif what == "wait":
            bench.at_s += argument
            bench.filler()
            bench.judge(Tick())
        elif what == "weigh":
            bench.weigh(argument)
        elif what == "take":
            bench.take(person=argument)
        elif what == "lift":
            bench.pan(argument)
        elif what == "state":
            bench.state = argument
            bench.filler()
        else:
            bench.enter("recalibrated")
    except Refused as refusal:
        bench.found.append(refusal.code)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from(["units", "time"]), st.integers(0, 29))
def test_a_restart_at_any_moment_changes_nothing_that_follows(
    steps: list[tuple[str, Any]], which: str, at: int
) -> None:
    """The same shift with and without kill -9 after any step: the same findings, the same checks."""
    plan = {"units": EVERY_100, "time": {**EVERY_15_MIN, "n": 2}}[which]
    whole, broken = line(plan), line(plan)
    for number, step in enumerate(steps):
        play(whole, step)
        play(broken, step)
        if number == at:
            broken.restart()
    assert [_timeless(each) for each in broken.found] == [_timeless(each) for each in whole.found]
    assert broken.open() == whole.open()


def _timeless(found: Any) -> Any:
    return (type(found).__name__, str(found))


@settings(max_examples=60, deadline=None)
@given(STEPS, st.lists(st.integers(0, 29), max_size=3))
def test_no_check_is_ever_lost(steps: list[tuple[str, Any]], restarts: list[int]) -> None:
    """Whatever happens: each hundred units one check falls due, and each ends judged, missed or still open."""
    bench = line()
    for number, step in enumerate(steps):
        play(bench, step)
        if number in restarts:
            bench.restart()
    due = [change.check for change in bench.changes("due")]
    scheduled = [check.due_units for check in due if check.why == "schedule"]
    assert scheduled == [100 * n for n in range(1, bench.made // 100 + 1)]
    assert [check.id for check in due] == [f"fill#{n}" for n in range(1, len(due) + 1)]
    ended = {change.check.id for change in itertools.chain(bench.changes("judged"), bench.changes("missed"))}
    assert {check.id for check in due} == ended | {check.id for check in bench.open()}


# -- configuration


@pytest.mark.parametrize(
    ("plan", "keys", "message"),
    [
        (EVERY_100, {"weight": None}, "name the balance's tag"),
        (EVERY_100, {"count": None}, "name the counter's tag"),
        ({**EVERY_15_MIN, "grace_units": 5}, {"count": None}, "grace counts units"),
        (EVERY_100, {"missed": "halt", "halt": ()}, "no device to halt"),
        ({**EVERY_100, "characteristics": [WEIGHT, WEIGHT]}, {}, "same name"),
    ],
)
def test_what_cannot_work_is_refused(plan: dict[str, Any], keys: dict[str, Any], message: str) -> None:
    """The configuration says what is missing."""
    with pytest.raises(ValidationError, match=message):
        rule(plan, **keys)


def test_limits_in_another_unit_are_the_balances_own_in_the_end() -> None:
    """950 to 1050 mg on a balance that speaks grams."""
    window = {"unit": "mg", "low": 950, "high": 1050}
    bench = line({**EVERY_100, "characteristics": [{**WEIGHT, "window": window}]})
    bench.filler(100)
    halt = bench.weigh("1.051")[0]
    assert isinstance(halt, Verdict)
    assert halt.limit == grams("1.05")
    with pytest.raises(ValueError, match="does not convert"):
        rule({**EVERY_100, "characteristics": [{**WEIGHT, "window": {"unit": "mm", "low": 1}}]}).build("x", CONTEXT)


def test_a_balance_alone_is_enough_for_a_plan_by_time() -> None:
    """Without a machine to watch, the batch's time counts."""
    bench = Line(fill=rule(EVERY_15_MIN, count=None, running=None, tray=None))
    bench.judge(scan(BALANCE, 0, grams("0.000")))
    bench.judge(Tick())
    bench.at_s = 900
    assert kinds(bench.judge(Tick())) == ["due"]
