"""Rule kind stale: no good value for too long, by bad scans or by silence."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rules_kit import BALANCE, CONTEXT, RESERVOIR, S, bad, grams, scan, uncertain

from gateway.errors import Refused
from gateway.model import Entry, Severity, TagSet, Tick, Value
from gateway.rules.engine import Engine
from gateway.rules.stale import StaleConfig
from gateway.verdicts import Verdict


class Bench:
    def __init__(self, **keys: Any) -> None:
        config = StaleConfig.model_validate({"input": "balance", "after": "3s", **keys})
        self.engine = Engine({"quiet": config.build("quiet", CONTEXT)}, [BALANCE, RESERVOIR])

    def scan(self, tagset: TagSet, at_s: float, *values: Value, **more: Any) -> Verdict | None:
        found = self.engine.judge(scan(tagset, at_s, *values, **more), round(at_s * S), 0)
        return found[0] if found else None  # type: ignore[return-value]

    def tick(self, at_s: float) -> Verdict | None:
        found = self.engine.judge(Tick(), round(at_s * S), 0)
        return found[0] if found else None  # type: ignore[return-value]


def test_silence_is_noticed_by_the_tick_and_ended_by_a_value() -> None:
    """Three seconds without a scan alarm once; the first good value clears once."""
    bench = Bench(alarm="high")
    assert bench.scan(BALANCE, 0, grams("1.0")).severity is Severity.NORMAL  # type: ignore[union-attr]
    assert bench.tick(2.9) is None
    stale = bench.tick(3)
    assert stale is not None
    assert (stale.severity, stale.priority, stale.subject) == (Severity.ALARM, "high", "balance")
    assert stale.text == "balance gave no good value for 3 s: nothing came"
    assert bench.tick(4) is None
    assert bench.scan(BALANCE, 5, grams("1.0")).severity is Severity.NORMAL  # type: ignore[union-attr]
    assert bench.scan(BALANCE, 6, grams("1.0")) is None


def test_bad_scans_are_as_good_as_none() -> None:
    """The alarm comes with the scan that is too late, and says why it was bad."""
    bench = Bench()
    bench.scan(BALANCE, 0, grams("1.0"))
    assert bench.scan(BALANCE, 2, None, faults={0: bad("overload")}) is None
    stale = bench.scan(BALANCE, 3, None, faults={0: bad("overload")})
    assert stale is not None
    assert stale.text.endswith("overload")
    assert stale.sampled_ns == 3 * S


def test_nan_is_no_good_value() -> None:
    """A driver that calls NaN good is not believed: it is silence, and the reason says so."""
    bench = Bench(input="reservoir/temperature")
    bench.scan(RESERVOIR, 0, 50.0, *([0.0] * (len(RESERVOIR.tags) - 1)))
    stale = bench.scan(RESERVOIR, 3, math.nan, *([0.0] * (len(RESERVOIR.tags) - 1)))
    assert stale is not None
    assert stale.text.endswith("not a number")


def test_a_device_that_never_spoke_is_stale_too() -> None:
    """Patience runs from the first event."""
    bench = Bench()
    assert bench.tick(10) is None
    assert bench.tick(12.9) is None
    assert bench.tick(13) is not None


def test_any_good_tag_keeps_a_device_alive_but_not_its_dead_tag() -> None:
    """Device rules need one good value; tag rules need theirs."""
    device, tag = Bench(input="reservoir"), Bench(input="reservoir/temperature")
    for bench in (device, tag):
        bench.scan(RESERVOIR, 0, 62.0, 10.0)
    assert device.scan(RESERVOIR, 9, None, 10.0, faults={0: bad()}) is None
    assert tag.scan(RESERVOIR, 9, None, 10.0, faults={0: bad()}) is not None


def test_uncertain_counts_unless_strict() -> None:
    """A balance that never settles is alive, unless the rule wants settled values."""
    for strict, expected in ((False, None), (True, Severity.ALARM)):
        bench = Bench(strict=strict)
        bench.scan(BALANCE, 0, grams("1.0"))
        found = bench.scan(BALANCE, 9, grams("1.0"), faults={0: uncertain()})
        assert (found.severity if found else None) is expected


def test_it_warns_alarms_or_halts_as_the_rule_says() -> None:
    """severity: warn is a warning; halt makes it a halt of those devices."""
    soft, hard = Bench(severity="warn"), Bench(halt="filler", text="Check the cable")
    for bench in (soft, hard):
        bench.tick(0)
    warning, halt = soft.tick(3), hard.tick(3)
    assert warning is not None
    assert halt is not None
    assert (warning.severity, warning.halts) == (Severity.WARNING, ())
    assert (halt.severity, halt.halts) == (Severity.HALT, ("filler",))
    assert halt.text.endswith("Check the cable.")


def test_unknown_devices_and_entries_are_refused() -> None:
    """What does not exist cannot be watched; nobody enters anything here."""
    with pytest.raises(ValueError, match="no device 'scale'"):
        Bench(input="scale")
    with pytest.raises(Refused, match="takes no value"):
        Bench().engine.judge(Entry("value", "quiet", "anna"), 0, 0)
