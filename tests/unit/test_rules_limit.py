"""Rule kind limit: limits, deadband, delays, bad input, units."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rules_kit import BALANCE, CONTEXT, RESERVOIR, S, bad, grams, scan, uncertain

from gateway.errors import Refused
from gateway.model import Entry, Priority, Severity, Tick, Value
from gateway.rules.engine import Engine
from gateway.rules.limit import LimitConfig
from gateway.verdicts import Finding, Verdict

OIL = {"unit": "Cel", "low": 58, "warn_low": 60, "warn_high": 64, "high": 66}


class Bench:
    """One limit rule in an engine, fed with temperatures."""

    def __init__(self, **keys: Any) -> None:
        self.config = LimitConfig.model_validate({"input": "reservoir/temperature", "limits": OIL, **keys})
        self.engine = Engine({"oil": self.config.build("oil", CONTEXT)}, [RESERVOIR, BALANCE])

    def at(self, at_s: float, value: Value, **more: Any) -> Verdict | None:
        return self._only(self.engine.judge(scan(RESERVOIR, at_s, value, 10.0, **more), round(at_s * S), 0))

    def blind(self, at_s: float, reason: str = "timeout") -> Verdict | None:
        return self.at(at_s, None, faults={0: bad(reason)})

    def tick(self, at_s: float) -> Verdict | None:

        return self._only(self.engine.judge(Tick(), round(at_s * S), 0))

    @staticmethod
    def _only(findings: Any) -> Verdict | None:
        assert len(findings) <= 1
        found: Finding | None = findings[0] if findings else None
        assert found is None or isinstance(found, Verdict)
        return found

    def severity(self) -> Severity | None:
        verdict = self.engine.current("oil")
        return verdict.severity if verdict else None


def test_the_first_good_value_says_normal_once() -> None:
    """Nothing stands before the first value; then normal, said once, so that an alarm of the last run can clear."""
    bench = Bench()
    assert bench.engine.current("oil") is None
    first = bench.at(0, 62.0)
    assert first is not None
    assert first.severity is Severity.NORMAL
    assert bench.at(0.5, 62.1) is None
    assert bench.severity() is Severity.NORMAL


@pytest.mark.parametrize(
    ("value", "severity", "limit"),
    [
        (57.9, Severity.ALARM, 58.0),
        (58.0, Severity.WARNING, 60.0),
        (59.9, Severity.WARNING, 60.0),
        (60.0, Severity.NORMAL, None),
        (64.0, Severity.NORMAL, None),
        (64.1, Severity.WARNING, 64.0),
        (66.0, Severity.WARNING, 64.0),
        (66.1, Severity.ALARM, 66.0),
    ],
)
def test_strictly_beyond_a_limit_and_not_at_it(value: float, severity: Severity, limit: float | None) -> None:
    """Exactly at a limit is within it; the verdict names the limit it compared."""
    verdict = Bench().at(0, value)
    assert verdict is not None
    assert (verdict.severity, verdict.limit) == (severity, limit)


def test_the_sentence_is_for_people() -> None:
    """What, value, unit, limit, and what to do."""
    verdict = Bench(text="Look at the heater").at(0, 57.3)
    assert verdict is not None
    assert verdict.text == "reservoir/temperature 57.3 Cel is below 58 Cel. Look at the heater."
    assert (verdict.subject, verdict.unit, verdict.value) == ("reservoir/temperature", "Cel", 57.3)


def test_a_hair_beyond_is_not_said_to_equal_the_limit() -> None:
    """Rounding for people must not hide why it alarmed."""
    verdict = Bench().at(0, 57.99999999)
    assert verdict is not None
    assert "57.99999999 Cel is below 58 Cel" in verdict.text


def test_priorities_of_warning_and_alarm() -> None:
    """Each severity has its own priority."""
    bench = Bench(alarm="high", warn="medium")
    warning, alarm = bench.at(0, 59.0), bench.at(1, 50.0)
    assert warning is not None
    assert alarm is not None
    assert (warning.priority, alarm.priority) == (Priority.MEDIUM, Priority.HIGH)


def test_it_clears_at_the_limit_less_the_deadband() -> None:
    """Raised below 58 with deadband 1: 58.5 still alarms, 59 has left the alarm."""
    bench = Bench(limits={"unit": "Cel", "low": 58}, deadband=1)
    bench.at(0, 57.0)
    assert bench.at(1, 58.9) is None
    assert bench.severity() is Severity.ALARM
    cleared = bench.at(2, 59.0)
    assert cleared is not None
    assert cleared.severity is Severity.NORMAL


def test_an_alarm_steps_down_to_the_warning_it_is_still_in() -> None:
    """From below low to between low and warn_low is a warning, said as a change."""
    bench = Bench()
    bench.at(0, 50.0)
    down = bench.at(1, 59.0)
    assert down is not None
    assert (down.severity, down.limit) == (Severity.WARNING, 60.0)


def test_from_one_side_to_the_other_is_another_verdict() -> None:
    """Too cold to too hot without a normal value between them is said."""
    bench = Bench()
    bench.at(0, 50.0)
    hot = bench.at(1, 70.0)
    assert hot is not None
    assert (hot.severity, hot.limit) == (Severity.ALARM, 66.0)


def test_on_delay_ends_by_a_scan_or_by_a_tick_and_a_dip_begins_it_again() -> None:
    """An alarm needs 2 s beyond the limit without a break; time alone is enough once it is beyond."""
    bench = Bench(limits={"unit": "Cel", "low": 58}, on_delay="2s", bad_for="1h")
    bench.at(0, 62.0)
    assert bench.at(1, 57.0) is None
    assert bench.at(2, 59.0) is None
    assert bench.at(2.5, 57.0) is None
    assert bench.tick(4.4) is None
    raised = bench.tick(4.5)
    assert raised is not None
    assert raised.severity is Severity.ALARM


def test_a_warning_may_stand_while_the_alarm_still_waits() -> None:
    """Warning and alarm have been asked for since different times."""
    bench = Bench(on_delay="2s")
    bench.at(0, 62.0)
    bench.at(1, 59.0)
    assert bench.at(2, 57.0) is None
    warning = bench.at(3, 57.0)
    assert warning is not None
    assert warning.severity is Severity.WARNING
    alarm = bench.at(4, 57.0)
    assert alarm is not None
    assert alarm.severity is Severity.ALARM


def test_off_delay_needs_good_values_all_the_way() -> None:
    """Only a value clears, never time alone, and a bad value in between begins the off-delay again."""
    bench = Bench(limits={"unit": "Cel", "low": 58}, off_delay="2s", bad_for="1h")
    bench.at(0, 57.0)
    assert bench.at(1, 62.0) is None
    assert bench.tick(10) is None
    assert bench.blind(2.5) is None
    assert bench.at(3, 62.0) is None
    assert bench.at(4.9, 62.0) is None
    cleared = bench.at(5, 62.0)
    assert cleared is not None
    assert cleared.severity is Severity.NORMAL


def test_bad_input_is_a_condition_of_its_own_after_three_periods() -> None:
    """Period 500 ms: at the third missed poll after the last good value; one good value ends it."""
    bench = Bench()
    bench.at(0, 62.0)
    assert bench.blind(0.5) is None
    assert bench.blind(1.0) is None
    blind = bench.blind(1.5, "sensor break")
    assert blind is not None
    assert (blind.severity, blind.value) == (Severity.ALARM, None)
    assert "gave no good value for 1.5 s: sensor break; the last was 62 Cel" in blind.text
    assert bench.blind(2.0) is None
    back = bench.at(2.5, 62.0)
    assert back is not None
    assert back.severity is Severity.NORMAL


def test_no_scans_at_all_are_missing_input_too() -> None:
    """A station that says nothing is noticed by the tick."""
    bench = Bench()
    bench.at(0, 62.0)
    assert bench.tick(1.4) is None
    missing = bench.tick(1.5)
    assert missing is not None
    assert missing.severity is Severity.ALARM
    assert "nothing came" in missing.text


def test_a_device_that_never_answered_alarms_too() -> None:
    """Patience runs from the first event where there was never a value."""
    bench = Bench()
    assert bench.tick(0) is None
    assert bench.tick(1.4) is None
    silent = bench.tick(1.5)
    assert silent is not None
    assert silent.severity is Severity.ALARM


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None, "62", Decimal("NaN")])
def test_what_is_no_number_is_bad_whatever_its_quality(value: Value) -> None:
    """NaN, infinities, text and nothing never count as a value within limits, nor as one beyond them."""
    bench = Bench(limits={"unit": "Cel", "low": 58}, bad_for="0s")
    bench.at(0, 62.0)
    blind = bench.at(0.5, value)
    assert blind is not None
    assert (blind.severity, blind.value) == (Severity.ALARM, None)


def test_bad_input_neither_raises_nor_clears_a_limit() -> None:
    """A limit that was broken stays broken while nobody can see; ignore says nothing more."""
    bench = Bench(bad_input="ignore")
    bench.at(0, 50.0)
    for at_s in range(1, 20):
        assert bench.blind(at_s) is None
        assert bench.tick(at_s + 0.5) is None
    assert bench.severity() is Severity.ALARM
    quiet = Bench(bad_input="ignore")
    quiet.at(0, 62.0)
    assert quiet.blind(100) is None
    assert quiet.severity() is Severity.NORMAL


def test_the_last_good_value_never_suppresses_a_halt() -> None:
    """Good until the sensor broke: a rule whose bad_input is halt halts at the third missed poll."""
    bench = Bench(halt="filler", bad_input="halt")
    bench.at(0, 62.0)
    bench.blind(0.5)
    bench.blind(1.0)
    blind = bench.blind(1.5)
    assert blind is not None
    assert (blind.severity, blind.halts) == (Severity.HALT, ("filler",))


def test_a_halt_is_not_weakened_by_losing_the_sensor() -> None:
    """Halted by a limit, then blind with bad_input alarm: the halt's condition stands."""
    bench = Bench(halt=["filler", "labeller"])
    halt = bench.at(0, 50.0)
    assert halt is not None
    assert (halt.severity, halt.halts) == (Severity.HALT, ("filler", "labeller"))
    assert bench.blind(10) is None
    assert bench.severity() is Severity.HALT


def test_a_warning_limit_never_halts() -> None:
    """Between warn and low a halting rule only warns."""
    warning = Bench(halt="filler").at(0, 59.0)
    assert warning is not None
    assert (warning.severity, warning.halts) == (Severity.WARNING, ())


def test_uncertain_counts_as_good_unless_strict() -> None:
    """A value its device does not vouch for is judged, or is bad input, as the rule says."""
    lenient = Bench().at(0, 50.0, faults={0: uncertain()})
    assert lenient is not None
    assert lenient.value == 50.0
    strict = Bench(strict=True, bad_for="0s").at(0, 50.0, faults={0: uncertain()})
    assert strict is not None
    assert strict.value is None


def test_a_fault_elsewhere_in_the_scan_changes_nothing_here() -> None:
    """The other tag of the device is bad; this one is judged as always."""
    bench = Bench()
    bench.at(0, 62.0, faults={1: bad()})
    low = bench.at(1, 50.0, faults={1: bad()})
    assert low is not None
    assert low.severity is Severity.ALARM


def test_limits_convert_to_the_tags_unit_exactly() -> None:
    """136.4 degF is 58 Cel and not a little less."""
    bench = Bench(limits={"unit": "[degF]", "low": "136.4"}, deadband="1.8")
    assert bench.at(0, 58.0).severity is Severity.NORMAL  # type: ignore[union-attr]
    low = bench.at(1, 57.999)
    assert low is not None
    assert low.limit == 58.0
    assert bench.at(2, 58.999) is None
    assert bench.at(3, 59.0).severity is Severity.NORMAL  # type: ignore[union-attr]


def test_decimal_tags_are_compared_in_decimals() -> None:
    """1.050 g at a limit of 1.05 g is within; one digit more is not, and the text keeps the digits."""
    config = LimitConfig.model_validate({"input": "balance/net", "limits": {"unit": "mg", "high": 1050}})
    engine = Engine({"w": config.build("w", CONTEXT)}, [BALANCE])
    assert engine.judge(scan(BALANCE, 0, grams("1.050")), 0, 0)[0].severity is Severity.NORMAL  # type: ignore[union-attr]
    (verdict,) = engine.judge(scan(BALANCE, 1, grams("1.0500001")), S, 0)
    assert isinstance(verdict, Verdict)
    assert verdict.value == grams("1.0500001")
    assert "1.0500001 g is above 1.05 g" in verdict.text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"bad_input": "halt"}, "no device to halt"),
        ({"halt": "filler", "limits": {"unit": "Cel", "warn_low": 60}}, "only warning limits"),
        ({"deadband": 5}, "could never clear"),
        ({"deadband": -1}, "deadband"),
        ({"lmits": {}}, "lmits"),
    ],
)
def test_what_cannot_work_is_refused(keys: dict[str, Any], message: str) -> None:
    """The configuration says what is wrong before anything runs."""
    with pytest.raises(ValidationError, match=message):
        Bench(**keys)


@pytest.mark.parametrize(
    ("name", "unit", "message"),
    [
        ("reservoir/temprature", "Cel", "has no tag 'temprature'"),
        ("boiler/temperature", "Cel", "no device 'boiler'"),
        ("reservoir", "Cel", "names no tag"),
        ("reservoir/temperature", "g", "does not convert"),
        ("filler/tray", "1", "limits need a number"),
    ],
)
def test_what_does_not_fit_the_line_is_refused(name: str, unit: str, message: str) -> None:
    """No such device, no such tag, another quantity, no number."""
    config = LimitConfig.model_validate({"input": name, "limits": {"unit": unit, "low": 1}})
    with pytest.raises(ValueError, match=message):
        config.build("oil", CONTEXT)


def test_nobody_enters_anything_into_a_limit() -> None:
    """A take for a limit rule is refused with words."""
    with pytest.raises(Refused, match="takes no take"):
        Bench().engine.judge(Entry("take", "oil", "anna"), 0, 0)


def test_hysteresis_goes_on_after_a_restart() -> None:
    """An alarm that stood within its deadband stands after the restart, says nothing new, and clears as before."""
    before = Bench(limits={"unit": "Cel", "low": 58}, deadband=1)
    before.at(0, 57.3)
    state = json.loads(json.dumps(before.engine.changed()))
    assert before.engine.changed() == {}
    after = Bench(limits={"unit": "Cel", "low": 58}, deadband=1)
    after.engine.load(state)
    standing = after.engine.current("oil")
    assert standing is not None
    assert "57.3 Cel is below 58 Cel" in standing.text
    assert after.at(100, 58.5) is None
    assert after.at(101, 59.0).severity is Severity.NORMAL  # type: ignore[union-attr]
    assert after.engine.changed() == {"oil": None}
    assert after.engine.dump() == {}


@given(st.lists(st.one_of(st.floats(50, 75), st.just(None)), min_size=1, max_size=40))
def test_many_rules_on_a_scan_say_what_each_says_alone(values: list[float | None]) -> None:
    """Grouping is only speed: the verdicts are those of rules looked at one by one."""
    keys = [{"deadband": n / 2, "on_delay": f"{n % 2}s", "limits": {**OIL, "low": 52 + n}} for n in range(4)]
    alone = [Bench(**each) for each in keys]
    judges = {str(n): bench.config.build("oil", CONTEXT) for n, bench in enumerate(alone)}
    together = Engine(judges, [RESERVOIR])
    for second, value in enumerate(values):
        faults = {0: bad()} if value is None else {}
        event = scan(RESERVOIR, second, value, 10.0, faults=faults)
        found = list(together.judge(event, second * S, 0))
        single = [finding for bench in alone for finding in bench.engine.judge(event, second * S, 0)]
        assert found == single
