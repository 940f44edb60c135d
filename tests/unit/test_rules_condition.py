"""Rule kind `condition`: a truth that must not be, with delays and bad input."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rules_kit import CONTEXT, LABELLER, WALL, S, bad, scan

from gateway.model import Severity, Tick, Value
from gateway.rules.condition import ConditionConfig
from gateway.rules.engine import Engine
from gateway.verdicts import Finding, Verdict


class Watch:
    """One condition on `labeller/verified`, and what it said."""

    def __init__(self, **keys: Any) -> None:
        config = ConditionConfig.model_validate({"input": "labeller/verified", "is": True, **keys})
        self.engine = Engine({"c": config.build("c", CONTEXT)}, [LABELLER])
        self.said: list[Severity] = []
        self.texts: list[str] = []

    def _heard(self, found: Any) -> None:
        for each in found:
            finding: Finding = each
            assert isinstance(finding, Verdict)
            self.said.append(finding.severity)
            self.texts.append(finding.text)

    def see(self, at_s: float, verified: Value) -> None:
        faults = {4: bad("cut")} if verified is None else {}
        event = scan(LABELLER, at_s, 1, "B", 80.0, 0.0, verified, faults=faults)
        self._heard(self.engine.judge(event, event.mono_ns, event.time_ns))

    def tick(self, at_s: float) -> None:
        self._heard(self.engine.judge(Tick(), round(at_s * S), WALL + round(at_s * S)))


def test_what_should_be_true_and_is_not_raises_once_and_clears_once() -> None:
    """Each change is one verdict, with what the tag said."""
    watch = Watch()
    for at, verified in enumerate((True, True, False, False, True)):
        watch.see(at, verified)
    assert watch.said == [Severity.NORMAL, Severity.ALARM, Severity.NORMAL]
    assert watch.texts[1] == "labeller/verified is false"


def test_delays_hold_back_both_ways_and_a_tick_completes_them() -> None:
    """False for less than its delay is nothing; it needs no new scan to be over."""
    watch = Watch(on_delay="2s", off_delay="1s", bad_for="60s")
    watch.see(0, True)
    watch.see(1, False)
    watch.see(2, True)
    watch.see(3, False)
    watch.tick(4.9)
    assert watch.said == [Severity.NORMAL]
    watch.tick(5.0)
    watch.see(6, True)
    watch.tick(6.9)
    assert watch.said == [Severity.NORMAL, Severity.ALARM]
    watch.tick(7.0)
    assert watch.said == [Severity.NORMAL, Severity.ALARM, Severity.NORMAL]


def test_bad_input_is_a_condition_of_its_own() -> None:
    """After three periods without a good value; the first good value says what is."""
    watch = Watch()
    watch.see(0, True)
    for at in (0.5, 1.0, 1.4):
        watch.see(at, None)
    assert watch.said == [Severity.NORMAL]
    watch.see(1.5, None)
    watch.see(2.0, None)
    assert watch.said == [Severity.NORMAL, Severity.ALARM]
    assert "gave no good value for 1.5 s: cut" in watch.texts[1]
    watch.see(2.5, True)
    assert watch.said[-1] is Severity.NORMAL


def test_bad_input_never_hides_a_halt_that_stands() -> None:
    """The condition held; then the device went away: the halt goes on standing."""
    watch = Watch(halt="filler")
    watch.see(0, False)
    for at in range(1, 10):
        watch.see(at, None)
    assert watch.said == [Severity.HALT]
    current = watch.engine.current("c")
    assert current is not None
    assert current.halts == ("filler",)


@pytest.mark.parametrize(("policy", "severity"), [("halt", Severity.HALT), ("warn", Severity.WARNING)])
def test_bad_input_means_what_the_rule_says(policy: str, severity: Severity) -> None:
    """Halt halts, warn warns; ignore says nothing."""
    watch = Watch(bad_input=policy, halt="filler")
    watch.tick(0)
    watch.tick(1.5)
    assert watch.said == [severity]
    silent = Watch(bad_input="ignore")
    silent.tick(0)
    silent.tick(100)
    assert silent.said == []


def test_a_number_is_no_condition() -> None:
    """Refused at load: a limit is meant, or a derived truth."""
    with pytest.raises(ValueError, match="write a limit rule"):
        ConditionConfig.model_validate({"input": "labeller/thc"}).build("c", CONTEXT)
    with pytest.raises(ValidationError, match="no device to halt"):
        ConditionConfig.model_validate({"input": "labeller/verified", "bad_input": "halt"})


def test_a_bad_value_neither_raises_nor_clears_by_the_time_that_passes_in_it() -> None:
    """One false value and then a broken sensor are no halt; one true value and then a broken sensor clear none."""
    raising = Watch(on_delay="2s", bad_for="60s", halt="filler")
    raising.see(0, True)
    raising.see(1, False)
    clearing = Watch(off_delay="2s", bad_for="60s", halt="filler")
    clearing.see(0, False)
    clearing.see(1, True)
    for watch in (raising, clearing):
        for at in range(2, 9):
            watch.see(at, None)
            watch.tick(at + 0.5)
    assert raising.said == [Severity.NORMAL]
    assert clearing.said == [Severity.HALT]


def test_a_bad_value_begins_the_off_delay_again() -> None:
    """Well, broken, and well again: it was not well all the while."""
    watch = Watch(off_delay="2s", bad_for="60s")
    for at, verified in enumerate((False, True, None, True)):
        watch.see(at, verified)
    watch.tick(4.9)
    assert watch.said == [Severity.ALARM]
    watch.tick(5)
    assert watch.said == [Severity.ALARM, Severity.NORMAL]
