"""Plans at full depth: triggers by chance and event, checks that wait their turn, limits of sample and mean, doubt."""

from __future__ import annotations

import hashlib
import itertools
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rules_kit import TESTER, scan
from sampling_kit import EVERY_100, EXECUTE, HELD, LEAKS, WEIGHT, Line, rule

from gateway.errors import Refused
from gateway.model import Severity, Tick
from gateway.rules.sampling import plan_hash
from gateway.rules.triggers import draws
from gateway.verdicts import CheckState, Verdict

MEANT = {
    **WEIGHT,
    "window": {"unit": "g", "target": "1.00", "low": "0.98", "high": "1.02", "warn_low": "0.985", "warn_high": "1.015"},
    "specification": {"low": "0.95", "high": "1.05"},
    "legal": {"low": "0.90"},
    "mean": {"low": "0.99", "high": "1.01"},
}
SETS = {key: value for key, value in MEANT.items() if key != "mean"}
SCALE = {"unit": "mg", "d": "0.1", "repeatability": "0.1", "uncertainty": "0.5"}


def plan(**keys: Any) -> dict[str, Any]:
    return {"n": 1, "characteristics": [WEIGHT], "grace": "5min", **keys}


def line(keys: dict[str, Any], **more: Any) -> Line:
    bench = Line(fill=rule(keys, **more))
    bench.filler()
    return bench


def halt_of(bench: Line) -> Verdict:
    return next(each for each in bench.verdicts() if each.severity is Severity.HALT)


# -- chance


def test_random_checks_fall_due_at_the_units_anybody_can_compute() -> None:
    """Two in each hundred, at units drawn by SHA-256 from batch, rule and plan: the auditor's own arithmetic agrees."""
    bench = line(plan(name="", random={"per": "100 units", "n": 2}, grace="1h"))
    bench.run(300, per_s=1)

    due = [change.check.due_units for change in bench.changes("due")]

    def drawn(block: int) -> list[int]:
        found: list[int] = []
        for tries in itertools.count():
            digest = hashlib.sha256(f"B-1/fill//{block}/{tries}".encode()).digest()
            at = block * 100 + int.from_bytes(digest[:8], "big") % 100 + 1
            if at not in found:
                found.append(at)
            if len(found) == 2:
                return sorted(found)
        return []

    assert due == [*drawn(0), *drawn(1), *drawn(2)]
    assert {change.check.why for change in bench.changes("due")} == {"random"}


@given(st.text(max_size=8), st.integers(0, 10**6), st.integers(1, 500), st.data())
def test_draws_are_different_places_in_order(seed: str, block: int, span: int, data: st.DataObject) -> None:
    """As many as asked, each once, inside the span, and the same when drawn again."""
    n = data.draw(st.integers(1, min(span, 20)))

    found = draws(seed, block, span, n)

    assert sorted(set(found)) == list(found)
    assert len(found) == n
    assert 0 <= found[0] <= found[-1] < span
    assert found == draws(seed, block, span, n)


def test_random_checks_by_running_time_come_once_in_each_span() -> None:
    """A break of the machine is no part of it."""
    bench = line(plan(random={"per": "10min"}, grace="1h"))
    for _ in range(3):
        before = len(bench.changes("due"))
        bench.run(600)
        assert len(bench.changes("due")) == before + 1
    bench.state = HELD
    bench.filler()
    bench.run(1200)
    assert len(bench.changes("due")) == 3


# -- events


def test_checks_after_start_stop_adjustment_and_release() -> None:
    """Each asks for one as soon as the machine runs; what came together is one check that names both."""
    bench = line(plan(after=["start", "stop", "adjustment", "release"]))
    whys = lambda: [change.check.why for change in bench.changes("due")]  # noqa: E731  # read again and again
    assert whys() == ["after start"]
    bench.weigh("1.0")
    bench.enter("adjusted", text="dose + 0.2 %")
    assert whys() == ["after start", "after adjustment"]
    bench.weigh("1.0")
    bench.state = HELD
    bench.filler()
    bench.enter("released")
    bench.run(60)
    assert len(whys()) == 2
    bench.state = EXECUTE
    bench.filler()
    assert whys()[2:] == ["after release and stop"]


def test_an_event_while_its_check_is_open_asks_for_one_more_afterwards() -> None:
    """A machine that stops again and again does not pile up missed checks."""
    bench = line(plan(after=["stop"]))
    for _ in range(5):
        bench.state = HELD
        bench.filler()
        bench.state = EXECUTE
        bench.filler()
    assert len(bench.changes("due")) == 1
    bench.weigh("1.0")
    bench.filler()
    assert [change.check.why for change in bench.changes("due")] == ["after stop", "after stop"]
    assert not bench.changes("missed")


def test_an_event_the_plan_does_not_name_is_nothing() -> None:
    """A recorded adjustment of a plan by units alone changes nothing."""
    bench = line(EVERY_100)
    assert not bench.enter("adjusted")
    assert not bench.enter("released")
    assert not bench.open()


# -- several triggers


def test_what_another_trigger_asks_for_waits_its_turn_with_its_full_grace() -> None:
    """By time and by units at the same moment: two checks, one after the other, none missed by the other's fault."""
    bench = line(plan(every="100s", every_units=100, grace="60s", grace_units=30))
    bench.run(100, per_s=1)
    assert [check.id for check in bench.open()] == ["fill#1", "fill#2"]
    with pytest.raises(Refused) as refusal:
        bench.take(check="fill#2")
    assert refusal.value.code == "not_its_turn"
    bench.run(25, per_s=1)
    bench.weigh("1.0")
    bench.run(29, per_s=1)
    assert [check.state for check in bench.open()] == [CheckState.DUE]
    bench.weigh("1.0")
    assert not bench.changes("missed")


def test_a_missed_check_makes_way_for_the_one_that_waits() -> None:
    """It may be done late only until then."""
    bench = line(plan(every="1000s", every_units=1000, grace="60s"))
    bench.run(1000, per_s=1)
    bench.run(61)
    assert [check.id for check in bench.open()] == ["fill#2"]
    assert [change.check.id for change in bench.changes("missed")] == ["fill#1"]


# -- limits


@pytest.mark.parametrize(
    ("weight", "severity", "said"),
    [
        ("1.000", "NORMAL", ""),
        ("1.0151", "WARNING", "1.0151 g is above 1.015 g, the warning limit"),
        ("1.0201", "HALT", "1.0201 g is above 1.02 g, the action limit"),
        ("0.94", "HALT", "0.94 g is below 0.98 g, the action limit, and beyond the specification limit too"),
        ("0.89", "HALT", "and beyond the specification and legal limits too"),
    ],
)
def test_it_is_said_which_of_the_four_sets_halts(weight: str, severity: str, said: str) -> None:
    """Warning, action, specification and legal are told apart; the limit in the verdict is that which failed."""
    bench = line(plan(every_units=10, characteristics=[SETS]))
    bench.filler(10)
    (verdict, *_) = bench.weigh(weight)
    if severity == "NORMAL":
        assert not said
    assert isinstance(verdict, Verdict)
    assert verdict.severity.name == severity
    assert said in verdict.text


def test_a_plan_may_fail_at_its_specification_and_warn_at_its_action_limits() -> None:
    """Beyond action is a warning then; beyond specification halts."""
    bench = line(plan(every_units=10, characteristics=[{**SETS, "fails_at": "specification"}]))
    bench.filler(10)
    assert bench.weigh("1.03")[0].severity is Severity.WARNING  # type: ignore[union-attr]
    bench.filler(10)
    halt = bench.weigh("1.06")[0]
    assert isinstance(halt, Verdict)
    assert (halt.severity, halt.limit) == (Severity.HALT, Decimal("1.05"))


def test_the_mean_has_limits_of_its_own() -> None:
    """Each of three is good and their mean is not: the check fails by the mean, value and limit are the mean's."""
    bench = line(plan(every_units=10, n=3, characteristics=[MEANT]))
    bench.filler(10)
    for unit in (8, 9, 10):
        bench.weigh("1.012", unit_no=unit)
    halt = halt_of(bench)
    assert (halt.value, halt.limit) == (Decimal("1.012"), Decimal("1.01"))
    assert "mean of 3 weight: 1.012000 g is above 1.01 g, the action limit" in halt.text
    assert bench.changes("judged")[0].check.state is CheckState.FAILED


def test_all_sets_are_shown_with_the_check() -> None:
    """Who reads the due check, or its record, sees the four sets, the mean's, and which fail."""
    bench = line(plan(every_units=10, characteristics=[MEANT]))
    bench.filler(10)
    (asked,) = bench.open()[0].asks
    assert [(one.name, one.of, one.fails) for one in asked.limits] == [
        ("warning", "each", False),
        ("action", "each", True),
        ("specification", "each", False),
        ("legal", "each", False),
        ("action", "mean", True),
    ]
    assert asked.limits[3].low == Decimal("0.90")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"specification": {"low": "0.99", "high": "1.05"}}, "action limits lie outside the specification"),
        ({"fails_at": "legal", "legal": None}, "fails at its legal limits, but has none"),
        ({"mean": {}}, "has no limit"),
        ({"tare": {"mode": "group", "n": 10}, "mean": None}, "limits in `mean`"),
        ({"tare": {"mode": "group"}}, "needs its n"),
        ({"tare": {"mode": "paired", "n": 2}}, "takes no n"),
        ({"source": "entry", "tare": {"mode": "paired"}}, "only what is weighed"),
        (
            {"tare": {"mode": "fixed", "weight": "12.3", "spread": "0.6"}},
            r"3 x the tare's spread is 1.8 g, 90 times the tolerance of 0.02 g; it may be a fifth of it, 0.004 g",
        ),
    ],
)
def test_limits_and_tares_that_cannot_be_meant_are_refused(change: dict[str, Any], message: str) -> None:
    """The configuration says what is wrong, with the figures."""
    one = {key: value for key, value in {**MEANT, **change}.items() if value is not None}
    with pytest.raises(ValidationError, match=message):
        rule(plan(every_units=10, characteristics=[one]))


# -- indeterminate


def doubtful(**keys: Any) -> Line:
    """A check is due, and the scale is sure to half a milligram."""
    bench = line(plan(every_units=100, **keys), scale=SCALE)
    bench.filler(100)
    return bench


@pytest.mark.parametrize("weight", ["1.0496", "1.0504"])
def test_nearer_to_the_limit_than_the_uncertainty_proves_neither(weight: str) -> None:
    """On either side: indeterminate, which halts as a failure does and vouches for nothing."""
    bench = doubtful()
    bench.weigh(weight)
    judged = bench.changes("judged")[0]
    (sample,) = judged.check.samples
    assert judged.check.state is CheckState.INDETERMINATE
    assert (sample.verdict, sample.passed, sample.uncertainty) == ("indeterminate", None, Decimal("0.0005"))
    halt = halt_of(bench)
    assert "which is not passed" in halt.text
    assert halt.suspects == ("T1",)


def test_beyond_the_uncertainty_it_is_a_pass_or_a_failure() -> None:
    """Exactly as far off as it is sure: proven."""
    bench = doubtful()
    bench.weigh("1.0495")
    assert bench.changes("judged")[0].check.state is CheckState.PASSED
    bench = doubtful()
    bench.weigh("1.0505")
    assert bench.changes("judged")[0].check.state is CheckState.FAILED


def test_indeterminate_may_be_an_alarm_only_and_the_next_good_check_clears_it() -> None:
    """A plan may say so; it still vouches for nothing."""
    bench = doubtful(indeterminate="alarm")
    assert bench.weigh("1.0499")[0].severity is Severity.ALARM  # type: ignore[union-attr]
    bench.filler(100)
    assert bench.weigh("1.0")[0].severity is Severity.NORMAL  # type: ignore[union-attr]


def test_a_check_whose_weight_never_settled_is_indeterminate() -> None:
    """It was tried: not missed, and not passed."""
    bench = doubtful()
    bench.take()
    for _ in range(40):
        bench.pan("1.01", stable=False)
    bench.restart()
    bench.run(400)
    assert not bench.changes("missed")
    judged = bench.changes("judged")[0].check
    assert (judged.state, judged.samples) == (CheckState.INDETERMINATE, ())
    assert "1 reading of weight did not settle" in judged.text


# -- re-weighing


def test_a_doubtful_weighing_may_be_done_again_with_a_reason() -> None:
    """The first stays in the record and counts no more; both have their person."""
    bench = doubtful(reweigh=1)
    assert [each.what for each in bench.weigh("1.0498")] == ["taken"]  # type: ignore[union-attr]
    assert "1 re-weighing left" in bench.open()[0].text
    bench.restart()
    bench.enter("reweigh", person="ben", text="door of the shield stood open")
    bench.put("1.0301")
    judged = bench.changes("judged")[0].check
    assert judged.state is CheckState.PASSED
    old, new = judged.samples
    assert (old.superseded, old.verdict, old.person) == (True, "indeterminate", "anna")
    assert (new.reweigh, new.why, new.person) == (1, "door of the shield stood open", "ben")


def test_re_weighings_run_out() -> None:
    """One is allowed: still in doubt after it, the check is indeterminate."""
    bench = doubtful(reweigh=1)
    bench.weigh("1.0498")
    bench.enter("reweigh", text="draught")
    bench.put("1.0499")
    assert bench.changes("judged")[0].check.state is CheckState.INDETERMINATE


def test_a_doubtful_check_nobody_weighs_again_ends_indeterminate_not_missed() -> None:
    """Its grace is the time for the re-weighing."""
    bench = doubtful(reweigh=1)
    bench.weigh("1.0498")
    bench.run(400)
    assert [change.check.state for change in bench.changes("judged")] == [CheckState.INDETERMINATE]
    assert not bench.changes("missed")


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"text": " "}, "reason_missing"),
        ({"text": "x", "unit_no": 7}, "no_such_sample"),
        ({"text": "x", "characteristic": "leaks"}, "no_such_sample"),
        ({"text": "x", "check": "fill#7"}, "no_such_check"),
    ],
)
def test_a_re_weighing_that_does_not_fit_is_refused(keys: dict[str, Any], code: str) -> None:
    """No reason, no such sample, no such check."""
    bench = doubtful(reweigh=1, characteristics=[WEIGHT, LEAKS])
    bench.weigh("1.0")
    with pytest.raises(Refused) as refusal:
        bench.enter("reweigh", **keys)
    assert refusal.value.code == code


def test_nothing_is_weighed_until_it_passes() -> None:
    """A failed check is closed at once; without an allowance there is no second weighing of a good one either."""
    bench = doubtful(reweigh=1)
    bench.weigh("1.2")
    with pytest.raises(Refused, match="not weighed away"):
        bench.enter("reweigh", text="I do not believe it")
    bench = doubtful(characteristics=[WEIGHT, LEAKS])
    bench.weigh("1.0")
    with pytest.raises(Refused, match="allows 0 re-weighings"):
        bench.enter("reweigh", text="once more")


# -- instruments, hash


def test_an_instrument_brings_its_value_by_its_tag() -> None:
    """A take arms it; the value that stood before is not taken, the next one is, over a restart too."""
    torque = {"name": "torque", "kind": "variable", "source": "tag", "window": {"unit": "N.m", "low": "0.4"}}
    bench = line(plan(every_units=10, characteristics=[torque]), weight=None, tags={"torque": "tester/torque"})
    bench.judge(scan(TESTER, bench.at_s, 0.47))
    bench.filler(10)
    with pytest.raises(Refused, match="brought by its instrument"):
        bench.enter("value", characteristic="torque", value="0.5")
    bench.take()
    with pytest.raises(Refused, match="anna's take"):
        bench.take(person="ben")
    assert not bench.judge(scan(TESTER, bench.at_s, 0.47))
    bench.restart()
    bench.judge(scan(TESTER, bench.at_s, 0.52))
    judged = bench.changes("judged")[0].check
    assert judged.state is CheckState.PASSED
    assert (judged.samples[0].value, judged.samples[0].person) == (Decimal("0.52"), "anna")
    bench.filler(10)
    bench.take()
    bench.run(121)
    assert not bench.judge(scan(TESTER, bench.at_s, 0.6))


def test_a_check_names_the_version_of_its_plan() -> None:
    """The hash changes with anything in the plan, and stays with nothing."""
    bench = line(EVERY_100)
    bench.filler(100)
    named = bench.open()[0].plan_hash
    assert named == plan_hash(rule(EVERY_100).plan)
    assert len(named) == 64
    assert named != plan_hash(rule({**EVERY_100, "grace": "6min"}).plan)


# -- whatever happens

MANY = {
    "every": "100s",
    "every_units": 60,
    "random": {"per": "40 units"},
    "after": ["start", "stop", "adjustment", "release"],
    "n": 2,
    "reweigh": 1,
    "grace": "50s",
    "grace_units": 40,
    "characteristics": [WEIGHT, LEAKS],
}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("make"), st.integers(0, 70)),
        st.tuples(st.just("wait"), st.integers(1, 120)),
        st.tuples(st.just("weigh"), st.sampled_from(["1.000", "1.0498", "1.20", "0.95", "1.04"])),
        st.tuples(st.just("pan"), st.sampled_from(["0.000", "1.010", None])),
        st.tuples(st.just("state"), st.sampled_from([EXECUTE, HELD])),
        st.tuples(st.just("enter"), st.sampled_from(["recalibrated", "adjusted", "released", "value", "reweigh"])),
    ),
    max_size=40,
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
        elif what == "pan":
            bench.pan(argument, stable=argument is not None)
        elif what == "state":
            bench.state = argument
            bench.filler()
        else:
            bench.enter(argument, value=0 if argument == "value" else None, text="why")
    except Refused as refusal:
        bench.found.append(refusal.code)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(0, 39))
def test_each_due_check_is_judged_or_missed_once_and_a_restart_changes_nothing(
    steps: list[tuple[str, Any]], at: int
) -> None:
    """Whatever the order of events: every check ends once or is open, and a kill -9 at any step leaves no trace."""
    whole, broken = line(MANY, scale=SCALE), line(MANY, scale=SCALE)
    for number, step in enumerate(steps):
        play(whole, step)
        play(broken, step)
        if number == at:
            broken.restart()
            broken.judge(Tick())  # the line's first one, a moment later: it tells the time
            whole.judge(Tick())
    assert list(map(str, broken.found)) == list(map(str, whole.found))
    assert broken.open() == whole.open()
    due = [change.check.id for change in whole.changes("due")]
    judged = [change.check for change in whole.changes("judged")]
    missed = [change.check.id for change in whole.changes("missed")]
    assert due == [f"fill#{number}" for number in range(1, len(due) + 1)]
    assert len(set(missed)) == len(missed)
    assert len({check.id for check in judged}) == len(judged)
    assert {check.id for check in judged if not check.late}.isdisjoint(missed)
    assert {check.id for check in judged if check.late} <= set(missed)
    ended = {check.id for check in judged} | set(missed)
    assert set(due) == ended | {check.id for check in whole.open()}
    assert all(
        check.state is not CheckState.PASSED for check in judged if any(s.passed is False for s in check.samples)
    )
