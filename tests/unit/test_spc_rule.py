"""Rule kind `spc`: charts that follow checks or tags, through restarts and recalibrations."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from pydantic import ValidationError
from rules_kit import CONTEXT, RESERVOIR, WALL, S, bad, scan
from sampling_kit import EVERY_15_MIN, EVERY_100, LEAKS, Line, rule

from gateway.model import Entry, Severity
from gateway.rules.engine import Engine
from gateway.rules.spc.chart import Chart, Phase
from gateway.rules.spc.limits import Process
from gateway.rules.spc.rule import SpcConfig
from gateway.rules.spc.runs import named
from gateway.verdicts import Finding, Noted, Verdict

FIXED = {"process": {"center": 1.0, "sigma": 0.01}}


def chart(**keys: Any) -> SpcConfig:
    return SpcConfig.model_validate({"of": "fill", "chart": "i-mr", **FIXED, **keys})


def verdicts(found: list[Finding] | tuple[Finding, ...], rule: str = "chart") -> list[tuple[Severity, str]]:
    return [(each.severity, each.text) for each in found if isinstance(each, Verdict) and each.rule == rule]


def checked(line: Line, *weights: str) -> list[tuple[Severity, str]]:
    """A check each hundred units, of one weight; what the chart said."""
    seen = len(line.found)
    for weight in weights:
        line.run(10, per_s=10)
        line.weigh(weight)
    return verdicts(line.found[seen:])


def test_a_chart_warns_of_a_drift_that_every_check_passes() -> None:
    """Weights well within the limits, the eighth in a row above centre: a warning that names pattern and check."""
    line = Line(fill=rule(EVERY_100), chart=chart())
    first, *rest = checked(line, *["1.005"] * 8)
    assert first[0] is Severity.NORMAL
    assert [severity for severity, _ in rest] == [Severity.WARNING]
    assert rest[0][1] == "fill at fill#8: value: 8 points in a row on one side of the centre (we4)"


def test_a_signal_goes_when_a_point_completes_no_pattern() -> None:
    """A point beyond three sigma, the next one back on centre: warned of, then normal again."""
    line = Line(fill=rule(EVERY_100), chart=chart(runs="we1"))
    said = checked(line, "1.000", "1.035", "1.003")
    assert [severity for severity, _ in said] == [Severity.NORMAL, Severity.WARNING, Severity.NORMAL]


def test_a_recalibration_begins_patterns_anew_and_clears_the_signal() -> None:
    """After the recalibration of the rule it follows, seven high points are no run of eight."""
    line = Line(fill=rule(EVERY_100), chart=chart())
    checked(line, *["1.005"] * 8)
    said = verdicts(list(line.judge(Entry("recalibrated", "fill", "anna", text="dose +2 %"))))
    assert said == [(Severity.NORMAL, "fill: begins anew after a recalibration")]


def test_another_rules_recalibration_begins_it_anew_where_it_says_so() -> None:
    """Two plans over one filler: what recalibrates it is recorded for the one, and the other's chart begins anew."""
    for anew, said in (((), []), (("other",), [(Severity.NORMAL, "fill: begins anew after a recalibration")])):
        line = Line(fill=rule(EVERY_100), other=rule({**EVERY_100, "every_units": 9000}), chart=chart(anew_after=anew))
        checked(line, *["1.005"] * 8)
        assert verdicts(list(line.judge(Entry("recalibrated", "other", "anna", text="dose +2 %")))) == said


def test_a_chart_with_another_recalibration_is_the_same_chart() -> None:
    """`anew_after` says when it begins anew, not what it is: what was kept goes on."""
    assert chart().terms() == chart(anew_after="other").terms() != chart(runs="we1").terms()


def test_a_chart_lives_through_a_restart() -> None:
    """Killed after the seventh of eight high points, it still completes the pattern at the eighth."""
    line = Line(fill=rule(EVERY_100), chart=chart())
    checked(line, *["1.005"] * 7)
    line.restart()
    said = checked(line, "1.005")
    assert [severity for severity, _ in said] == [Severity.WARNING]


def test_a_chart_with_other_terms_is_another_chart() -> None:
    """State kept with other limits is not taken up."""
    old = chart().build("chart", CONTEXT)
    old.hear(_judged(["1.005"]), 0)
    new = chart(process={"center": 1.0, "sigma": 0.02}).build("chart", CONTEXT)
    new.load(json.loads(json.dumps(old.dump())))
    assert new.dump()["number"] == 0


def _judged(weights: list[str]) -> Any:
    line = Line(fill=rule(EVERY_100))
    line.run(10, per_s=10)
    for weight in weights:
        line.weigh(weight)
    return next(each for each in line.found if getattr(each, "what", "") == "judged")


def test_limits_are_found_in_a_named_phase_noted_once_and_then_frozen() -> None:
    """Five subgroups of phase I say nothing; then the limits are noted for the record and never move."""
    line = Line(
        fill=rule({**EVERY_15_MIN, "every": "10s"}),
        chart=SpcConfig.model_validate({"of": "fill", "chart": "xbar-r", "phase": {"name": "setup", "points": 3}}),
    )
    dice = random.Random(3)
    for _ in range(4):
        line.run(10, per_s=1)
        for _ in range(5):
            line.weigh(f"{dice.gauss(1, 0.005):.4f}")
    notes = [each for each in line.found if isinstance(each, Noted)]
    assert [note.kind for note in notes] == ["chart.frozen"]
    body = notes[0].body
    assert (body["phase"], body["points"], body["estimator"], body["chart"]) == ("setup", "3", "range", "xbar-r")
    assert float(body["center"]) == pytest.approx(1, abs=0.01)


def test_a_p_chart_counts_defects() -> None:
    """Leaks of a check as a share of its units: 3 of 5 where 5 % are usual is beyond three sigma."""
    plan = {**EVERY_100, "n": 5, "characteristics": [{**LEAKS, "accept": 4}]}
    line = Line(fill=rule(plan), chart=SpcConfig.model_validate({"of": "fill", "chart": "p", "share": 0.05}))
    line.filler()
    for leaks in (0, 3):
        line.run(10, per_s=10)
        line.judge(Entry("value", "fill", "anna", characteristic="leaks", value=leaks))
    said = verdicts(line.found)
    assert [severity for severity, _ in said] == [Severity.NORMAL, Severity.WARNING]
    assert "share: a point beyond 3 sigma" in said[1][1]


def oil(**keys: Any) -> Engine:
    config = SpcConfig.model_validate(
        {"input": "reservoir/temperature", "every": "10s", "n": 2, "chart": "xbar-s"}
        | {"process": {"center": 60, "sigma": 1}, **keys}
    )
    return Engine({"oil": config.build("oil", CONTEXT)}, [RESERVOIR])


def said_of(engine: Engine, at_s: float, value: float | None, **keys: Any) -> list[tuple[Severity, str]]:
    event = scan(RESERVOIR, at_s, value, 0.0, **keys)
    return verdicts(list(engine.judge(event, round(at_s * S), WALL + round(at_s * S))), "oil")


SPARSE = {"input": "reservoir/temperature", "every": "10s", "n": 1, "chart": "i-mr", "runs": "we1", **FIXED}


def test_a_value_that_only_stood_over_a_restart_is_no_new_sample() -> None:
    """Eight restarts in front of a standing value are no eight points on one side of the centre."""
    config = SpcConfig.model_validate(SPARSE)
    judge = config.build("chart", CONTEXT)
    for number in range(8):
        take = judge.plan(RESERVOIR)
        assert take is not None
        take(structs.replace(scan(RESERVOIR, number, 1.004), changed=frozenset({0}) if not number else None), 0)
        state = json.loads(json.dumps(judge.dump()))
        judge = config.build("chart", CONTEXT)
        judge.load(state)
    assert judge.dump()["number"] == 1  # type: ignore[index, call-overload]


def test_a_recalibration_after_a_restart_clears_the_signal_of_before() -> None:
    """The alarm of the last process stands until then; a chart that never spoke says nothing."""
    config = chart()
    first, second, third = (config.build("chart", CONTEXT) for _ in range(3))
    for _ in range(8):
        first.hear(_judged(["1.005"]), 0)
    second.load(json.loads(json.dumps(first.dump())))
    (said,) = second.heard(Entry("recalibrated", "fill", "anna", text="dose +2 %"))
    assert isinstance(said, Verdict)
    assert (said.severity, said.text) == (Severity.NORMAL, "fill: begins anew after a recalibration")
    assert second.heard(Entry("recalibrated", "fill", "anna", text="dose +2 %")) == ()
    assert third.heard(Entry("recalibrated", "fill", "anna", text="dose +2 %")) == ()


def test_a_phase_that_was_not_in_control_is_told_and_recorded() -> None:
    """One of ten weights far out: its limits hold all the same, the record names the point, and a person is warned."""
    phase = {"name": "setup", "points": 10}
    judge = SpcConfig.model_validate({"of": "fill", "chart": "i-mr", "phase": phase, "halt": "filler"}).build(
        "chart", CONTEXT
    )
    weights = ["1.001", "0.999", "1.000", "1.002", "0.998", "1.060", "1.001", "0.999", "1.000", "1.001"]
    *_, noted, verdict = [found for each in weights for found in judge.hear(_judged([each]), 0)]
    assert isinstance(noted, Noted)
    assert noted.body["not_in_control"] == (
        "point 6: value: a point beyond 3 sigma (we1); moving range 0.062 is above its limit 0.048635; "
        "point 7: moving range 0.059 is above its limit 0.048635"
    )
    assert isinstance(verdict, Verdict)
    assert (verdict.severity, verdict.halts) == (Severity.WARNING, ())
    assert "phase setup was itself not in control (point 6: value: a point beyond 3 sigma" in verdict.text
    (after,) = judge.hear(_judged(["1.000"]), 0)
    assert isinstance(after, Verdict)
    assert after.severity is Severity.NORMAL


def test_a_value_that_only_stands_is_no_new_sample() -> None:
    """A sparse device sends scans for other tags: what stood is sampled once, and a change between two moments once."""
    sparse = SpcConfig.model_validate(
        {"input": "reservoir/temperature", "every": "10s", "n": 1, "chart": "i-mr", "runs": "we1", **FIXED}
    )
    judge = sparse.build("chart", CONTEXT)
    take = judge.plan(RESERVOIR)
    assert take is not None

    def told(at_s: float, value: float, *, new: bool | None) -> int:
        changed = None if new is None else frozenset({0} if new else ())
        before = judge.dump()
        take(structs.replace(scan(RESERVOIR, at_s, value), changed=changed), round(at_s * S))
        return int(judge.dump() != before)

    assert told(0, 1.000, new=True) == 1
    assert told(10, 1.000, new=False) == 0  # another tag changed
    assert told(20, 1.000, new=None) == 0  # all of it again, as once a minute
    assert told(25, 1.002, new=True) == 1
    assert told(28, 1.004, new=True) == 0  # too early
    assert told(36, 1.004, new=False) == 1  # came since the last sample, and its moment is here
    assert told(50, 1.004, new=False) == 0
    assert told(60, 1.003, new=None) == 1  # found changed in a scan of everything


def test_a_tag_gives_one_value_an_interval_and_bad_ones_never() -> None:
    """Scans within the interval are passed over; bad and uncertain values wait for the next good one."""
    engine = oil()
    assert said_of(engine, 0, 65.0) == []
    assert said_of(engine, 5, 99.0) == []
    assert said_of(engine, 10, None, faults={0: bad()}) == []
    assert [each[0] for each in said_of(engine, 11, 65.0)] == [Severity.WARNING]


def test_a_subgroup_holds_no_values_from_before_and_after_a_recalibration() -> None:
    """One of 70 and one of 60 would be a point nobody made."""
    engine = oil()
    assert said_of(engine, 0, 70.0) == []
    engine.judge(Entry("recalibrated", "oil", "anna", text="heater changed"), 5 * S, WALL)
    assert said_of(engine, 10, 60.0) == []
    assert [each[0] for each in said_of(engine, 20, 60.1)] == [Severity.NORMAL]


def test_a_chart_with_a_halt_halts() -> None:
    """Severity halt, fleeting: released after a recorded correction, not by waiting for values that cannot come."""
    engine = oil(halt="filler", n=1, chart="i-mr")
    found = engine.judge(scan(RESERVOIR, 0, 70.0, 0.0), 0, WALL)
    (verdict,) = [each for each in found if isinstance(each, Verdict)]
    assert (verdict.severity, verdict.halts, verdict.fleeting) == (Severity.HALT, ("filler",), True)


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"of": "fill", "input": "reservoir/temperature"}, "exactly one of `of`"),
        ({"of": None}, "exactly one of `of`"),
        ({"process": None}, "exactly one of `process`"),
        ({"phase": {"name": "a"}}, "exactly one of `process`"),
        ({"chart": "p"}, "exactly one of `share`"),
        ({"runs": "weco"}, "no run rule is called 'weco'"),
        ({"process": {"center": 1, "sigma": 0}}, "greater than 0"),
        ({"of": None, "input": "reservoir/temperature", "chart": "p", "share": 0.1, "process": None}, "counts defects"),
        ({"of": None, "input": "reservoir/temperature", "chart": "i-mr", "n": 5}, "does not fit subgroups of 5"),
    ],
)
def test_a_chart_that_cannot_be_is_refused_with_the_reason(keys: dict[str, Any], wrong: str) -> None:
    """What is missing, or too much, is named."""
    with pytest.raises(ValidationError, match=wrong):
        chart(**keys)


def test_a_phase_in_which_nothing_varied_is_watched_on() -> None:
    """No defect in the whole phase draws no limits and breaks nothing; the first defect ends it."""
    chart = Chart("p", named(["we1"]), phase=Phase("setup", 5))
    assert [chart.add([0], 50).frozen for _ in range(9)] == [None] * 9
    assert chart.add([1], 50).frozen == pytest.approx(1 / 250)
    still = Chart("xbar-r", named(["we1"]), phase=Phase("setup", 3))
    assert [still.add([1.0, 1.0]).frozen for _ in range(4)] == [None] * 4
    assert still.add([1.0, 1.1]).frozen is not None


@pytest.mark.parametrize("value", [1e200, -1e308, float("nan"), float("inf")])
def test_a_value_beyond_all_computing_is_told_and_breaks_nothing(value: float) -> None:
    """Two such values would overflow their own spread: refused in words, and the chart goes on."""
    chart = Chart("xbar-s", named(["we1"]), process=Process(1, 0.03))
    with pytest.raises(ValueError, match="cannot be plotted"):
        chart.add([value, -value])
    assert chart.add([1.0, 1.01]).signals == ()


def test_what_cannot_be_plotted_is_told_and_breaks_nothing() -> None:
    """A weight of 1e200 g: a warning that says so, and the next one is a point again."""
    judge = chart().build("chart", CONTEXT)
    ((severity, text),) = verdicts(list(judge.hear(_judged(["1e200"]), 0)))
    assert severity is Severity.WARNING
    assert "cannot be plotted" in text
    assert [each[0] for each in verdicts(list(judge.hear(_judged(["1.000"]), 0)))] == [Severity.NORMAL]


@given(
    st.sampled_from(["i-mr", "ewma", "cusum", "xbar-r", "xbar-s"]),
    st.lists(st.lists(st.floats(0.9, 1.1), min_size=3, max_size=5), min_size=1, max_size=40),
    st.booleans(),
)
def test_any_chart_goes_on_after_a_restart_as_if_nothing_had_been(kind: Any, groups: Any, phase: bool) -> None:
    """Dumped to JSON and loaded in the middle, each later point is the same, in phase I and after."""
    if kind == "i-mr":
        groups = [group[:1] for group in groups]

    def made() -> Chart:
        limits = {"phase": Phase("p", 5)} if phase else {"process": Process(1, 0.03)}
        return Chart(kind, named(["nelson"]), **limits)

    whole, first, second = made(), made(), made()
    half = len(groups) // 2
    expected = [whole.add(group) for group in groups]
    assert [first.add(group) for group in groups[:half]] == expected[:half]
    second.load(json.loads(json.dumps(first.dump())))
    assert [second.add(group) for group in groups[half:]] == expected[half:]
