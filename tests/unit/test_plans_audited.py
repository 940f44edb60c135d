"""Sampling plans as an auditor tries them: what would let a bad unit pass for checked, or a missed check go unseen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError
from rules_kit import FILLER, S, bad, scan
from sampling_kit import EVERY_100, EXECUTE, HELD, LEAKS, TORQUE, WEIGHT, Line, rule

from gateway.errors import Refused
from gateway.model import Severity, TagSet, TagSpec, Tick
from gateway.plans import Plan
from gateway.rules.base import RuleContext
from gateway.rules.sampling import SamplingJudge
from gateway.rules.scale import repeatability
from gateway.verdicts import CheckState, Suspicion

FIVE = {**EVERY_100, "n": 5, "reweigh": 2, "grace": "10min", "grace_units": 1000}
DOUBT = {"scale": {"unit": "g", "d": "0.0001", "uncertainty": "0.01"}}
NO_MACHINE = {"count": None, "running": None, "tray": None}


def line(plan: dict[str, Any] = EVERY_100, **keys: Any) -> Line:
    bench = Line(fill=rule(plan, **keys))
    bench.filler()
    return bench


def code_of(bench: Line, kind: str, **keys: Any) -> str:
    before = bench.open()
    with pytest.raises(Refused) as refused:
        bench.enter(kind, **keys)
    assert bench.open() == before
    return refused.value.code


# -- the machine's counter


@pytest.mark.parametrize("back", [1, 50, 4000])
def test_a_counter_that_is_set_back_makes_no_units(back: int) -> None:
    """A controller that restarts with an older count has made nothing: no check falls due, none is missed."""
    bench = line()
    bench.run(60, per_s=1)
    bench.counter -= back
    bench.at_s += 1
    bench.filler()
    bench.run(39, per_s=1)
    assert not bench.changes()
    bench.run(1, per_s=1)
    assert [each.check.due_units for each in bench.changes("due")] == [100]


def test_a_reset_while_nobody_looked_counts_what_was_made_since() -> None:
    """Down for an hour: the machine was reset and made 285 more; two checks were missed, the third is open."""
    bench = line()
    bench.run(20, per_s=1)
    bench.restart(down_s=3600)
    bench.counter = 285
    bench.filler()
    assert [each.what for each in bench.changes()] == ["due", "missed", "due", "missed", "due"]


@pytest.mark.parametrize("wrong", [-1, -32768])
def test_a_counter_below_zero_is_no_counter(wrong: int) -> None:
    """A controller's way to say that it does not know: no unit is unmade by it, and none is made up afterwards."""
    bench = line()
    bench.run(60, per_s=1)
    bench.at_s += 1
    bench.judge(scan(FILLER, bench.at_s, EXECUTE, wrong, "T1"))
    bench.run(39, per_s=1)
    assert not bench.changes()
    bench.run(1, per_s=1)
    assert [each.check.due_units for each in bench.changes("due")] == [100]


@pytest.mark.parametrize("bits", [16, 32])
def test_a_counter_read_with_a_sign_goes_on_where_it_turns_negative(bits: int) -> None:
    """32,767 and one more is -32,768 in a signed register: one unit."""
    bench = Line(fill=rule(EVERY_100))
    bench.counter = 2 ** (bits - 1) - 60
    for made in range(101):
        bench.at_s += 1
        raw = bench.counter + made
        shown = raw - 2**bits if raw >= 2 ** (bits - 1) else raw
        bench.judge(scan(FILLER, bench.at_s, EXECUTE, shown, "T1"))
        assert bool(bench.changes("due")) is (made == 100)


# -- production time


def test_running_time_stands_still_while_the_line_is_held_or_the_gateway_is_down() -> None:
    """Held for an hour, then down for an hour while held: the fifteen minutes are the machine's own."""
    bench = line({"every": "15min", "n": 1, "characteristics": [WEIGHT]})
    bench.run(800)
    bench.state = HELD
    bench.filler()
    bench.run(3600, step_s=60)
    bench.restart(down_s=3600)
    bench.filler()
    bench.state = EXECUTE
    bench.filler()
    assert not bench.changes()
    bench.run(98)
    assert not bench.changes()
    bench.run(3)
    assert [each.what for each in bench.changes()] == ["due"]


def test_a_plan_after_a_stop_needs_to_see_the_machine_stop() -> None:
    """Without its state no stop is ever seen, and no check would ever fall due."""
    plan = {"every_units": 100, "after": ["stop"], "n": 1, "characteristics": [WEIGHT]}
    with pytest.raises(ValidationError, match="name the machine's state in `running`"):
        rule(plan, running=None)


def test_a_grace_in_units_holds_for_checks_by_time_too() -> None:
    """Units made since it fell due, whatever made it fall due."""
    bench = line({"every": "1min", "n": 1, "characteristics": [WEIGHT], "grace": "1h", "grace_units": 20})
    bench.run(60, per_s=1)
    assert [each.what for each in bench.changes()] == ["due"]
    bench.run(19, per_s=1)
    assert not bench.changes("missed")
    bench.run(1, per_s=1)
    assert bench.changes("missed")


def line_of(kind: str, plan: dict[str, Any], **keys: Any) -> tuple[TagSet, SamplingJudge]:
    """A machine whose two tags are of this kind, and a rule that looks at them."""
    machine = TagSet("machine", [TagSpec("on", kind=kind), TagSpec("made", kind=kind)])  # type: ignore[arg-type]
    context = RuleContext({"machine": machine}, {"machine": 1.0}, batch="B-1")
    tags = {"weight": None, "tray": None, "count": None, "running": None, "halt": (), **keys}
    return machine, rule({"n": 1, "characteristics": [LEAKS], **plan}, **tags).build("seal", context)


def test_a_machine_that_only_says_whether_it_runs_runs() -> None:
    """True is running, whatever the numbers of states are."""
    machine, judge = line_of("bool", {"every": "1min"}, running="machine/on")
    found = [list(judge.machine(scan(machine, at, at < 100, False), at * S)) for at in range(0, 200, 10)]
    assert [at for at, each in enumerate(found) if each] == [6]


@pytest.mark.parametrize(
    ("plan", "tag"), [({"every": "1min"}, {"running": "machine/on"}), ({"every_units": 9}, {"count": "machine/made"})]
)
def test_words_do_not_run_and_do_not_count(plan: dict[str, Any], tag: dict[str, str]) -> None:
    """A plan over a text would never ask for a check; the configuration says so."""
    with pytest.raises(ValueError, match="is text; it takes a tag that is a number"):
        line_of("text", plan, **tag)


def random_units(secret: str, restart_at: int = 0) -> list[int | None]:
    bench = line({"random": {"per": "100 units", "n": 2}, "n": 1, "characteristics": [WEIGHT]}, secret=secret)
    for made in range(1, 501):
        bench.filler(1)
        if made == restart_at:
            assert not secret or secret not in repr((bench.open(), bench.engine.dump(), bench.rules))
            bench.restart(down_s=1)
    return [each.check.due_units for each in bench.changes("due")]


def test_random_checks_fall_where_nobody_at_the_line_can_compute_them() -> None:
    """Known by a secret alone: another one draws others, the same one the same after a restart, the open words none."""
    drawn = random_units("only QA knows")
    assert len(drawn) == 10
    assert random_units("only QA knows", restart_at=250) == drawn
    assert random_units("somebody guessed") != drawn
    assert random_units("") != drawn


# -- what people enter


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"value": 6}, "bad_value"),
        ({"value": -1}, "bad_value"),
        ({"value": "0.5"}, "bad_value"),
        ({"value": "1e999999999"}, "bad_value"),
        ({"value": "1e-999999999"}, "bad_value"),
        ({"value": "NaN"}, "bad_value"),
        ({"value": "1_0"}, "bad_value"),
        ({"value": "\u0661"}, "bad_value"),
        ({"value": None}, "bad_value"),
        ({"value": True}, "bad_value"),
        ({"value": 0, "unit": "%"}, "wrong_unit"),
        ({"value": 0, "unit": "g"}, "wrong_unit"),
    ],
)
def test_a_count_of_defects_is_of_the_units_looked_at(keys: dict[str, Any], code: str) -> None:
    """Five were looked at: none, one, to five may leak; not six, not a half, not a share, nothing that takes hours."""
    bench = line({**FIVE, "characteristics": [LEAKS]})
    bench.filler(100)
    assert code_of(bench, "value", characteristic="leaks", **keys) == code
    bench.enter("value", characteristic="leaks", value=5)
    assert bench.changes("judged")[0].check.state is CheckState.FAILED


@pytest.mark.parametrize("value", ["1e999999999", "-1e-999999999", "0,5", "0x1", "Infinity", "1" * 400, ""])
def test_an_entered_value_is_a_number_a_person_would_write(value: str) -> None:
    """What is none is refused at once, however long it would take to print."""
    bench = line({**EVERY_100, "characteristics": [TORQUE]})
    bench.filler(100)
    assert code_of(bench, "value", characteristic="torque", value=value, unit="N.m") == "bad_value"


def test_an_entered_value_in_another_unit_is_converted_exactly_at_the_limit() -> None:
    """1050 mg are 1.05 g, which passes; a tenth more fails; millilitres are no mass, and no unit is none."""
    entered = {**WEIGHT, "source": "entry"}
    for text, state in (("1050", CheckState.PASSED), ("1050.1", CheckState.FAILED)):
        bench = line({**EVERY_100, "characteristics": [entered]}, weight=None)
        bench.filler(100)
        for unit in ("mL", "1", "Mg"):
            assert code_of(bench, "value", characteristic="weight", value=text, unit=unit) == "wrong_unit"
        bench.enter("value", characteristic="weight", value=text, unit="mg")
        assert bench.changes("judged")[0].check.state is state


@pytest.mark.parametrize("unit_no", [0, -5, 201, 10**9])
def test_an_entry_about_a_unit_that_was_never_made_is_refused(unit_no: int) -> None:
    """It would vouch for units to come."""
    bench = line({**EVERY_100, "characteristics": [TORQUE]})
    bench.filler(100)
    keys = {"characteristic": "torque", "value": "0.5", "unit": "N.m"}
    assert code_of(bench, "value", **keys, unit_no=unit_no) == "wrong_unit_no"


def test_a_unit_is_not_entered_twice_for_one_check() -> None:
    """Five torques are those of five caps."""
    bench = line({**FIVE, "characteristics": [TORQUE]})
    bench.filler(100)
    keys = {"characteristic": "torque", "value": "0.5", "unit": "N.m"}
    bench.enter("value", **keys, unit_no=98)
    assert code_of(bench, "value", **keys, unit_no=98) == "taken_already"


def test_a_good_sample_vouches_for_nothing_that_is_not_made_yet() -> None:
    """A unit number ahead of the counter is taken (the counter is read late), what it proves ends at the counter."""
    bench = line()
    bench.filler(100)
    bench.weigh("1.000", unit_no=200)
    bench.filler(100)
    bench.filler(100)
    (failed, *_) = bench.weigh("0.900")
    assert failed.suspects == ("T2", "T3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 2, "characteristics": [{**LEAKS, "accept": 2}]}, "accepts 2 defects of 2 units"),
        ({"characteristics": [{**WEIGHT, "tare": {"mode": "fixed", "weight": "12", "spread": "0"}}]}, "spread"),
    ],
)
def test_a_plan_that_cannot_fail_is_refused(change: dict[str, Any], message: str) -> None:
    """All units may leak; a tare that never varies."""
    with pytest.raises(ValidationError, match=message):
        Plan.model_validate({**EVERY_100, **change})


# -- weighing again


def test_a_re_weighing_sets_one_sample_aside_and_no_other() -> None:
    """A balance alone, no counter: five samples without a unit number are five samples."""
    plan = {"every": "15min", "n": 5, "characteristics": [WEIGHT], "reweigh": 2}
    bench = Line(fill=rule(plan, **NO_MACHINE, halt=(), **DOUBT))
    bench.run(901)
    for text in ("1.001", "1.002", "1.003", "1.004"):
        bench.weigh(text)
    bench.weigh("1.045")
    bench.enter("reweigh", text="shield stood open")
    found = bench.put("1.005")
    (judged,) = [each for each in found if getattr(each, "what", "") == "judged"]
    assert judged.check.state is CheckState.PASSED
    assert [each.superseded for each in judged.check.samples] == [False, False, False, False, True, False]


def test_re_weighings_run_out_for_everybody_and_over_a_restart() -> None:
    """Two for the check, not two each: by another person, after kill -9, with another reason."""
    bench = line({**FIVE, "n": 1}, **DOUBT)
    bench.filler(100)
    bench.weigh("1.045")
    for person in ("anna", "ben"):
        bench.restart()
        bench.enter("reweigh", person=person, text="shield stood open")
        bench.restart()
        bench.put("1.046")
    assert bench.changes("judged")[0].check.state is CheckState.INDETERMINATE
    assert code_of(bench, "reweigh", person="carl", text="once more") == "no_such_check"


@pytest.mark.parametrize("reason", ["", "  ", "...", "\u200b"])
def test_a_reason_has_a_word_in_it(reason: str) -> None:
    """Blanks, dots and characters that nobody sees give none."""
    bench = line(FIVE, **DOUBT)
    bench.filler(100)
    bench.weigh("1.045")
    assert code_of(bench, "reweigh", text=reason) == "reason_missing"


# -- what a check vouches for


def test_a_sample_from_an_older_tray_vouches_for_no_newer_one() -> None:
    """No counter, and the tray was changed while the sample was on its way to the balance: the new one is unproven."""
    plan = {"every": "15min", "n": 1, "characteristics": [WEIGHT], "grace": "1h"}
    bench = Line(fill=rule(plan, count=None))
    bench.run(901)
    bench.take()
    bench.made = 250  # the third tray is in the machine
    bench.run(2)
    bench.put("1.000")
    bench.forget()
    (verdict, *_) = bench.weigh("0.900")
    assert verdict.suspects == ("T1", "T3")


def test_a_tray_the_machine_never_named_vouches_for_none() -> None:
    """Typed wrong at the take: what was in the machine stays unproven."""
    bench = Line(fill=rule({"every": "15min", "n": 1, "characteristics": [WEIGHT], "grace": "1h"}, count=None))
    bench.run(901)
    bench.made = 150
    bench.run(1)
    bench.weigh("1.000", tray="TT2")
    bench.forget()
    (verdict, *_) = bench.weigh("0.900")
    assert verdict.suspects == ("T1", "T2")


def test_where_no_tray_can_be_named_it_is_said_that_all_is_suspect() -> None:
    """A balance alone: no counter, no tray; nobody may read an empty list as nothing."""
    bench = Line(fill=rule({"every": "15min", "n": 1, "characteristics": [WEIGHT]}, **NO_MACHINE, halt=()))
    bench.run(901)
    (verdict, *_) = bench.weigh("0.900")
    assert "Suspect is all since the last good check" in verdict.text


def test_a_clock_that_was_set_back_over_a_restart_hides_no_units() -> None:
    """The counter was reset and made a hundred; by the wall clock no time went by at all."""
    bench = line()
    bench.run(20, per_s=1)
    bench.restart(down_s=-600)
    bench.counter = 80
    bench.filler()
    assert [each.check.due_units for each in bench.changes("due")] == [100]


def test_a_count_of_leaks_vouches_for_what_was_made_when_it_was_asked_for() -> None:
    """Entered fifty seconds later: what was made meanwhile was never looked at."""
    bench = line({"every": "1min", "n": 5, "characteristics": [LEAKS], "grace": "1h"})
    bench.run(60, per_s=3)
    bench.run(50, per_s=3)
    bench.enter("value", characteristic="leaks", value=0)
    bench.run(10, per_s=3)
    bench.forget()
    (verdict, *_) = bench.enter("value", characteristic="leaks", value=3)
    assert verdict.suspects == ("T2", "T3", "T4")


def test_with_no_good_check_before_all_is_suspect_from_the_start_on() -> None:
    """Also where the first check is the one that is missed, and after a restart."""
    bench = line()
    bench.filler(100)
    bench.restart()
    bench.run(130, per_s=1)
    missed = bench.changes("missed")[0]
    assert missed.suspects == ("T1", "T2")


def test_verification_by_counts_looks_at_the_units_that_are_to_be_verified() -> None:
    """The next three units, not the five of the plan."""
    bench = line({**FIVE, "characteristics": [LEAKS]})
    bench.filler(100)
    bench.enter("value", characteristic="leaks", value=2)
    bench.enter("recalibrated")
    bench.filler(3)
    (check,) = bench.open()
    assert (check.why, check.asks[0].units) == ("verification", 3)
    assert code_of(bench, "value", characteristic="leaks", value=4) == "bad_value"


# -- the scale


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"d": "0.1"}, "minimum weight is 82 g"),
        ({"d": "0.1", "unit": "mg", "uncertainty": "60"}, "0.06 g.*nearer limit.*0.05 g"),
        ({"d": "0.1", "unit": "mg", "repeatability": "0"}, ""),
    ],
)
def test_a_scale_that_cannot_judge_a_gram_within_tolerance_is_refused(scale: dict[str, Any], message: str) -> None:
    """Too coarse for a gram, or so unsure that a perfect gram proves nothing; s = 0 counts as 0.41 d."""
    if not message:
        assert rule(EVERY_100, scale={"unit": "g", **scale}).scale is not None
        return
    with pytest.raises(ValidationError, match=message):
        rule(EVERY_100, scale={"unit": "g", **scale})


def test_two_weighings_may_be_too_unsure_where_one_is_not() -> None:
    """0.04 g of one weighing are less than the tolerance of 0.05 g; of two they are 0.057 g."""
    scale = {"unit": "g", "d": "0.0001", "uncertainty": "0.04"}
    assert rule(EVERY_100, scale=scale)
    paired = {**EVERY_100, "characteristics": [{**WEIGHT, "tare": {"mode": "paired"}}]}
    with pytest.raises(ValidationError, match="nearer limit"):
        rule(paired, scale=scale)


def test_a_daily_check_may_find_it_too_unsure() -> None:
    """S = 0.4 mg would do for a gram and not for its tolerance of half a milligram."""
    tight = {**WEIGHT, "window": {"unit": "g", "target": "1", "low": "0.9995", "high": "1.0005"}}
    bench = line({**EVERY_100, "characteristics": [tight]}, scale={"unit": "g", "d": "0.0001"})
    bench.filler(100)
    bench.take()
    bench.enter("scale", value="0.0004", unit="g")
    assert code_of(bench, "take") == "scale_unfit"


@pytest.mark.parametrize("wrong", ["0", "-1.0000", "1e999999999", "1e-999999999"])
def test_weighings_of_nothing_are_no_repeatability(wrong: str) -> None:
    """One of the ten found an empty pan, or is a number that no computer squares."""
    with pytest.raises(ValueError, match="a weight that lay on it"):
        repeatability([*(Decimal("1.0001") for _ in range(9)), Decimal(wrong)])


# -- two plans


def test_two_plans_on_one_tray_have_their_own_checks_takes_and_suspects() -> None:
    """Due at the same unit: each weighs its own cartridge, and the failure of one is not the other's."""
    bench = Line(fill=rule(EVERY_100), five=rule({**FIVE, "n": 2}))
    bench.filler()
    bench.filler(100)
    assert sorted(check.rule for check in bench.open()) == ["fill", "five"]
    bench.weigh("1.000", "fill")
    bench.weigh("1.001", "five")
    bench.restart()
    found = bench.weigh("0.900", "five")
    assert [each.check.rule for each in bench.changes("judged")] == ["fill", "five"]
    assert found[0].rule == "five"
    assert found[0].suspects == ("T1",)
    assert not bench.open()


def test_a_check_after_an_event_is_of_a_unit_made_after_it() -> None:
    """The start was seen at unit 0, which nobody made, and the stop at unit 150, which was made before it."""
    bench = line({"every_units": 1000, "after": ["start", "stop"], "n": 1, "characteristics": [WEIGHT]})
    bench.filler(3)
    bench.weigh("1.000")
    bench.filler(147)
    bench.state = HELD
    bench.filler(0)
    bench.state = EXECUTE
    bench.filler(0)
    bench.filler(10)
    bench.weigh("1.000")
    taken = [each.sample for each in bench.changes("taken")]
    assert [(each.unit_no, each.tray) for each in taken if each] == [(3, "T1"), (160, "T2")]


def test_before_the_first_unit_no_unit_is_named() -> None:
    """What is weighed or counted then is of no unit that a record could name."""
    plan = {"after": ["start"], "n": 1, "characteristics": [WEIGHT, LEAKS]}
    bench = line(plan)
    bench.weigh("1.000")
    bench.enter("value", characteristic="leaks", value=0)
    assert [each.sample.unit_no for each in bench.changes("taken") if each.sample] == [None, None]


def told(bench: Line, made: int, tray: str) -> None:
    """One notification of the filler."""
    bench.at_s += 1
    bench.judge(scan(FILLER, bench.at_s, EXECUTE, 5000 + made, tray))


def test_a_trays_name_behind_the_count_makes_the_full_tray_before_it_no_suspect() -> None:
    """Unit 101 is told before the name of its tray: the hundred before it were good."""
    bench = line()
    told(bench, 100, "T1")
    bench.weigh("1.000")
    for made, tray in ((101, "T1"), (101, "T2"), (200, "T2")):
        told(bench, made, tray)
    (bad, *_) = bench.weigh("0.900")
    assert bad.suspects == ("T2",)


def test_a_trays_name_ahead_of_the_count_takes_no_unit_from_the_tray_before_it() -> None:
    """T2 is told at unit 98; what is still to be counted to 100 lies in T1, and nobody vouches for it."""
    bench = line({"every": "98s", "n": 1, "characteristics": [WEIGHT]})
    for made in range(99):
        told(bench, made, "T1")
    (_, taken, judged) = bench.weigh("1.000")
    assert (taken.sample.unit_no, judged.check.state) == (98, CheckState.PASSED)
    told(bench, 98, "T2")
    for made in range(100, 200):
        told(bench, made, "T2")
    (bad, *_) = bench.weigh("0.900")
    assert bad.suspects == ("T1", "T2")


def suspicions(bench: Line) -> list[tuple[str, ...]]:
    return [each.trays for each in bench.found if isinstance(each, Suspicion)]


def failed_at_300(**keys: Any) -> Line:
    """The third hundred's sample is bad when 399 are made."""
    bench = line(**keys)
    for _ in range(2):
        bench.filler(100)
        bench.weigh("1.000")
    bench.filler(100)
    bench.filler(99)
    (bad, *_) = bench.weigh("0.900")
    assert bad.suspects == ("T3", "T4")
    bench.forget()
    return bench


def test_a_tray_that_begins_before_the_machine_stands_is_suspect_too() -> None:
    """The hold takes its time, and the pump is no better meanwhile; said once, over a restart, too."""
    bench = failed_at_300()
    bench.filler(1)
    assert suspicions(bench) == []
    bench.restart()
    bench.filler(2)
    bench.restart()
    bench.filler(1)
    bench.state = HELD
    bench.filler(0)

    assert suspicions(bench) == [("T5",)]
    assert [each.text for each in bench.found if isinstance(each, Suspicion)] == [
        "filled after check fill#3 did not pass, and before a check was good again"
    ]


def test_what_is_made_after_a_recalibration_is_verified_and_not_suspect() -> None:
    """The next units are all weighed: their trays are good, or that verification fails."""
    bench = failed_at_300()
    bench.state = HELD
    bench.filler(0)
    bench.enter("recalibrated")
    bench.state = EXECUTE
    bench.filler(2)
    for _ in range(3):
        bench.weigh("1.000")
    bench.filler(100)

    assert suspicions(bench) == []


def test_a_verification_that_is_missed_vouches_for_no_tray_that_follows() -> None:
    """Nobody looked at what was made since the recalibration: each tray is suspect until it is done, late."""
    bench = failed_at_300()
    bench.state = HELD
    bench.filler(0)
    bench.enter("recalibrated")
    bench.state = EXECUTE
    bench.filler(0)
    bench.run(30, per_s=1)
    assert bench.changes("missed")[0].suspects == ("T3", "T4", "T5")
    bench.filler(72)
    bench.restart()
    bench.filler(1)
    for _ in range(3):
        bench.weigh("1.000")
    bench.filler(90)

    assert suspicions(bench) == [("T6",)]


def test_what_a_machine_made_out_of_sight_before_its_recalibration_was_seen_is_suspect() -> None:
    """Lost before the hold reached it, stopped by hand, released: what it made meanwhile may be of before."""
    bench = failed_at_300()
    faults = {place: bad("the link is down") for place in range(3)}
    bench.judge(scan(FILLER, bench.at_s, None, None, None, faults=faults))
    bench.enter("recalibrated")
    bench.restart()
    bench.judge(Tick())
    assert not bench.open()
    bench.at_s += 60
    bench.filler(201)
    assert suspicions(bench) == [("T6",)]
    assert [(each.why, each.due_units) for each in bench.open()][:1] == [("verification", 600)]
    bench.filler(1)
    assert suspicions(bench) == [("T6",)]


def test_a_weight_for_a_check_that_had_to_stand_back_is_said_to_be_so() -> None:
    """Verification came between the take and the weight: the check is still to be done, and no record ends it."""
    bench = failed_at_300()
    bench.state = HELD
    bench.filler(1)
    bench.take()
    bench.enter("recalibrated")
    bench.state = EXECUTE
    bench.filler(2)
    bench.put("1.000")
    assert [check.id for check in bench.open()] == ["fill#5", "fill#4"]
    assert [each.sample.reason for each in bench.weighings()] == [
        "check fill#4 had to stand back; take it again in its turn"
    ]


def test_where_nothing_is_halted_all_trays_are_suspect_until_a_check_is_good() -> None:
    """The machine goes on under a failed check; the next good one ends it."""
    bench = failed_at_300(halt=())
    bench.filler(51)
    bench.weigh("1.000")
    bench.filler(60)

    assert suspicions(bench) == [("T5",)]


def test_a_check_that_waited_makes_nothing_good_that_was_made_after_its_unit() -> None:
    """Unit 330 is bad; the check of unit 300 had waited for its turn, and is of before: over a restart, too."""
    plan = {"every_units": 100, "every": "280s", "n": 1, "characteristics": [WEIGHT], "grace": "10min"}
    bench = line(plan, halt=())
    for made in (100, 100):
        bench.run(made, per_s=1)
        bench.weigh("1.000")
    bench.run(130, per_s=1)
    assert [check.due_units for check in bench.open()] == [None, 300]
    bench.weigh("0.900")
    bench.restart()
    bench.weigh("1.000")
    assert bench.engine.current("fill").severity is Severity.ALARM  # type: ignore[union-attr]
    bench.filler(71)
    assert suspicions(bench) == [("T5",)]
    bench.weigh("1.000")
    assert bench.engine.current("fill").severity is Severity.NORMAL  # type: ignore[union-attr]


def test_a_unit_weighed_at_will_ends_no_suspicion() -> None:
    """Nobody asked for it: whoever looks for a good unit finds one."""
    bench = failed_at_300(halt=())
    assert bench.weigh("1.000")
    bench.filler(2)

    assert suspicions(bench) == [("T5",)]


def test_trays_that_are_counted_out_are_suspect_as_named_ones_are() -> None:
    """No tag names the tray: it is computed of the units, and the next one is suspect as well."""
    bench = line(tray=None)
    bench.filler(100)
    bench.weigh("0.900")
    bench.filler(1)

    assert suspicions(bench) == [("B-1-T002",)]
