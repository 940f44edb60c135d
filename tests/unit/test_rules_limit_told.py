"""What a limit rule says is true of the value it names, and is said of the terms that hold now."""

from __future__ import annotations

import json
from typing import Any

from rules_kit import CONTEXT, RESERVOIR, WALL, bad, scan

from gateway.model import Severity
from gateway.rules.engine import Engine
from gateway.rules.limit import LimitConfig
from gateway.verdicts import Verdict


class Oil:
    """One limit on the oil's temperature."""

    def __init__(self, low: float = 58, **keys: Any) -> None:
        limits = {"unit": "Cel", "low": low, "warn_low": low + 2}
        config = LimitConfig.model_validate({"input": "reservoir/temperature", "limits": limits, **keys})
        self.engine = Engine({"oil": config.build("oil", CONTEXT)}, [RESERVOIR])

    def at(self, at_s: float, value: float | None) -> Verdict | None:
        faults = {0: bad("broken")} if value is None else {}
        seen = scan(RESERVOIR, at_s, value, 0.0, faults=faults)
        found = self.engine.judge(seen, seen.mono_ns, WALL)
        assert len(found) <= 1
        verdict = found[0] if found else None
        assert verdict is None or isinstance(verdict, Verdict)
        return verdict

    def again(self, low: float = 58, **keys: Any) -> Oil:
        """The next process, maybe with other terms."""
        after = Oil(low, **keys)
        after.engine.load(json.loads(json.dumps(self.engine.changed())))
        return after


def test_a_value_within_the_deadband_of_the_warning_is_not_said_to_be_beyond_it() -> None:
    """From an alarm down to a warning that only its deadband keeps: 60.5 is not below 60."""
    oil = Oil(deadband=1)
    oil.at(0, 57.0)
    verdict = oil.at(1, 60.5)
    assert verdict is not None
    assert (verdict.severity, verdict.value, verdict.limit) == (Severity.WARNING, 60.5, 60.0)
    assert verdict.text == "reservoir/temperature 60.5 Cel is no longer below 60 Cel, and not yet clear of it"


def test_a_value_that_comes_back_well_after_blindness_is_not_said_to_be_beyond_its_limit() -> None:
    """The off-delay keeps the alarm; the value is within its limits, and nobody says another thing."""
    oil = Oil(off_delay="10s", bad_for="1s")
    oil.at(0, 57.0)
    oil.at(1, None)
    oil.at(2, None)
    verdict = oil.at(3, 62.0)
    assert verdict is not None
    assert (verdict.severity, verdict.value) == (Severity.ALARM, 62.0)
    assert verdict.text == "reservoir/temperature 62 Cel is no longer below 58 Cel, and not yet clear of it"


def test_a_machine_named_since_the_last_run_is_held_by_the_limit_that_is_still_broken() -> None:
    """Another device in `halt`, a restart, oil still cold: what stood was said of one machine, not of the other."""
    oil = Oil(halt="filler")
    oil.at(0, 57.0)
    verdict = oil.again(halt=["filler", "labeller"]).at(100, 57.0)
    assert verdict is not None
    assert (verdict.severity, verdict.halts) == (Severity.HALT, ("filler", "labeller"))


def test_a_limit_that_is_another_one_since_the_last_run_is_said() -> None:
    """The alarm that stands names the limit that is judged by."""
    oil = Oil()
    oil.at(0, 55.0)
    verdict = oil.again(low=56).at(100, 55.0)
    assert verdict is not None
    assert (verdict.severity, verdict.limit) == (Severity.ALARM, 56.0)


def test_an_alarm_that_was_blind_before_a_restart_says_what_the_first_good_value_says() -> None:
    """It stood as broken sensor; the sensor is well, the oil still cold: it must not go on as broken sensor."""
    oil = Oil(bad_for="1s")
    oil.at(0, 57.0)
    blind = oil.at(1, None)
    assert blind is not None
    assert blind.blind
    after = oil.again(bad_for="1s")
    verdict = after.at(100, 57.5)
    assert verdict is not None
    assert (verdict.severity, verdict.limit, verdict.blind) == (Severity.ALARM, 58.0, False)
    assert after.at(101, 57.5) is None


def test_an_alarm_that_was_blind_before_a_restart_and_still_is_says_nothing_new() -> None:
    """Nor does one that stood by its limit."""
    oil = Oil(bad_for="1s")
    oil.at(0, 57.0)
    oil.at(1, None)
    after = oil.again(bad_for="1s")
    assert [after.at(at_s, None) for at_s in (100, 101, 102)] == [None, None, None]
    cold = Oil()
    cold.at(0, 57.0)
    assert cold.again().at(100, 57.0) is None
