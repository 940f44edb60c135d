"""Weighing: three ways to take the tare off, scales that may not judge, and a pan that was out of sight."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError
from sampling_kit import EVERY_15_MIN, EVERY_100, WEIGHT, Line, rule

from gateway.errors import Refused
from gateway.model import Severity
from gateway.rules.scale import Scale, repeatability
from gateway.verdicts import CheckState, Verdict

SCALE = {"unit": "g", "d": "0.0001", "repeatability": "0.0001", "uncertainty": "0.001"}


def line(plan: dict[str, Any] | None = None, tare: dict[str, Any] | None = None, **keys: Any) -> Line:
    """A check of one unit is due at unit 100, weighed with this tare."""
    more = {"mean": {"low": "0.99", "high": "1.01"}} if tare and tare["mode"] == "group" else {}
    one = {**WEIGHT, **more, **({"tare": tare} if tare else {})}
    bench = Line(fill=rule(plan or {**EVERY_100, "grace_units": None, "characteristics": [one]}, **keys))
    bench.filler()
    return bench


# -- paired


def test_the_same_cartridge_is_weighed_empty_first() -> None:
    """Net is the difference; tare, gross and cartridge are in the record, and the tare is used up."""
    bench = line(tare={"mode": "paired"})
    bench.take(stage="tare", item="C-17")
    bench.put("12.3456")
    (tared,) = bench.weighings()
    assert (tared.sample.reason, tared.sample.item, tared.check) == ("tare of C-17", "C-17", None)
    bench.filler(100)
    bench.restart()
    bench.weigh("13.3571", item="C-17")
    judged = bench.changes("judged")[0].check
    (sample,) = judged.samples
    assert judged.state is CheckState.PASSED
    assert (sample.value, sample.gross, sample.tare, sample.item) == (
        Decimal("1.0115"),
        Decimal("13.3571"),
        Decimal("12.3456"),
        "C-17",
    )
    bench.filler(100)
    with pytest.raises(Refused) as refusal:
        bench.take(item="C-17")
    assert refusal.value.code == "not_tared"


def test_a_take_of_a_tare_survives_a_restart() -> None:
    """Armed before kill -9, bound after it."""
    bench = line(tare={"mode": "paired"})
    bench.take(stage="tare", item="C-1")
    bench.restart()
    bench.put("12.0000")
    bench.filler(100)
    bench.weigh("13.0000", item="C-1")
    assert bench.changes("judged")[0].check.state is CheckState.PASSED


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"item": "C-2"}, "not_tared"),
        ({}, "item_missing"),
        ({"stage": "tare"}, "item_missing"),
        ({"stage": "tare", "item": "C-2", "characteristic": "colour"}, "no_tare"),
    ],
)
def test_a_weighing_without_its_tare_is_refused(keys: dict[str, Any], code: str) -> None:
    """What cannot become a net weight is not weighed at all."""
    bench = line(tare={"mode": "paired"})
    bench.filler(100)
    with pytest.raises(Refused) as refusal:
        bench.take(**keys)
    assert refusal.value.code == code
    assert not bench.put("13.0")[0].check  # type: ignore[union-attr]


def test_two_weighings_are_less_sure_than_one() -> None:
    """The root of two times a milligram is nearer to the limit than a milligram was."""
    bench = line(tare={"mode": "paired"}, scale=SCALE)
    for item, gross in (("A", "11.0488"), ("B", "11.0484")):
        bench.take(stage="tare", item=item)
        bench.put("10.0000")
        bench.filler(100)
        bench.weigh(gross, item=item)
    states = [change.check.state for change in bench.changes("judged")]
    assert states == [CheckState.INDETERMINATE, CheckState.PASSED]


# -- group


def test_a_group_gives_the_mean_and_is_judged_by_the_means_limits() -> None:
    """Ten empties, the same ten filled: one weighing each, and a tenth of the difference."""
    bench = line(tare={"mode": "group", "n": 10})
    bench.take(stage="tare", item="G-1")
    bench.put("123.4000")
    bench.filler(100)
    assert bench.open()[0].text == "weigh weight of 10 units together"
    assert (bench.open()[0].n, bench.open()[0].asks[0].units) == (1, 10)
    bench.weigh("133.5200", item="G-1")
    judged = bench.changes("judged")[0].check
    assert judged.state is CheckState.FAILED  # 1.012 g is within 0.95 to 1.05 and beyond the mean's 1.01
    assert judged.samples[0].value == Decimal("1.012")


# -- fixed


def test_a_fixed_tare_is_taken_off_and_its_spread_makes_less_sure() -> None:
    """Twice the recorded spread goes into the uncertainty."""
    bench = line(tare={"mode": "fixed", "weight": "12.3400", "spread": "0.0030"})
    bench.filler(100)
    bench.weigh("13.3400")
    (sample,) = bench.changes("judged")[0].check.samples
    assert (sample.value, sample.uncertainty) == (Decimal("1.0000"), Decimal("0.006"))
    bench.filler(100)
    bench.weigh("13.3845")
    assert bench.changes("judged")[1].check.state is CheckState.INDETERMINATE


def test_empties_that_spread_too_much_make_a_fixed_tare_prove_nothing() -> None:
    """Five empties weighed meanwhile: a net weight amid its limits is indeterminate, one far off fails all the same."""
    bench = line(tare={"mode": "fixed", "weight": "12.3400", "spread": "0.0030"})
    for weight in ("12.34", "12.60", "12.10", "12.40", "12.20"):
        bench.take(stage="tare")
        bench.put(weight)
    bench.filler(100)
    bench.weigh("13.3400")
    judged = bench.changes("judged")[0].check
    assert judged.state is CheckState.INDETERMINATE
    assert "the last 5 tares spread by" in judged.text
    bench.filler(100)
    bench.weigh("15.0000")
    assert bench.changes("judged")[1].check.state is CheckState.FAILED


# -- the scale


@pytest.mark.parametrize(
    ("d", "s", "least"),
    [("0.0001", None, "0.082"), ("0.001", None, "0.82"), ("0.01", None, "8.2"), ("0.0001", "0.0006", "1.2")],
)
def test_minimum_weight_by_usp_41(d: str, s: str | None, least: str) -> None:
    """2000 s, and s never below 0.41 d."""
    assert Scale(d=d, repeatability=s).minimum() == Decimal(least)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"d": "0.01"}, r"minimum weight is 8.2 g \(USP <41>: 820 x d with d = 0.01 g\), more than the 1 g of weight"),
        ({"d": "0.1", "repeatability": "0.6", "unit": "mg"}, r"is 1.2 g \(USP <41>: 2000 x s with s = 0.6 mg\)"),
        ({"d": "0.1", "unit": "mm"}, "no unit of mass"),
    ],
)
def test_a_scale_that_cannot_judge_one_gram_is_refused_with_the_figures(scale: dict[str, Any], message: str) -> None:
    """At load, where the recipe and the line meet."""
    with pytest.raises(ValidationError, match=message):
        rule(EVERY_100, scale=scale)


def test_a_daily_check_may_take_a_scale_out_and_in_again() -> None:
    """The repeatability found today counts from now on, over a restart too."""
    bench = line(scale={"d": "0.1", "unit": "mg"})
    bench.filler(100)
    bench.enter("scale", value="0.0006", unit="g")
    bench.restart()
    with pytest.raises(Refused, match="2000 x s") as refusal:
        bench.take()
    assert refusal.value.code == "scale_unfit"
    bench.enter("scale", value="0.08", unit="mg")
    bench.weigh("1.0")
    assert bench.changes("judged")[0].check.state is CheckState.PASSED


def test_repeatability_takes_ten_weighings() -> None:
    """The standard deviation with n - 1; nine are too few."""
    ten = [Decimal(text) for text in ("1.0001", "1.0003", "1.0002", "1.0000", "1.0004") * 2]
    assert repeatability(ten).quantize(Decimal("1e-7")) == Decimal("0.0001491")
    with pytest.raises(ValueError, match="at least 10"):
        repeatability(ten[:9])


# -- out of sight


def lost(bench: Line, scans: int = 3) -> None:
    """The balance's link is away: no value, and not a byte of its own."""
    for _ in range(scans):
        bench.pan(None, stable=False)


def test_a_cartridge_left_on_the_pan_while_the_link_was_lost_is_not_weighed_again() -> None:
    """Weighed, link lost, link back: the next take waits until the pan was seen empty."""
    bench = line(EVERY_15_MIN)
    bench.run(900, per_s=1)
    bench.weigh("1.00", unit_no=900)
    lost(bench)
    bench.take(unit_no=899)
    assert not bench.pan("1.00")[:0]
    bench.pan("1.00", stable=False)
    bench.pan("1.00")
    assert len(bench.open()[0].samples) == 1
    bench.pan("0.000")
    bench.pan("1.01")
    assert [sample.value for sample in bench.open()[0].samples] == [Decimal("1.00"), Decimal("1.01")]


def test_a_pan_that_swings_back_to_nothing_was_emptied() -> None:
    """Lifted and put on again within a second: the balance had no time to be stable, and is believed all the same."""
    bench = line()
    bench.filler(100)
    bench.take()
    bench.pan("0.000")
    bench.pan("1.000", stable=False)
    for _ in range(5):
        bench.pan(None, stable=False)
    bench.pan("1.001")
    assert "out of sight" in bench.weighings()[-1].sample.reason
    bench.pan("0.013", stable=False)
    bench.pan("1.001")
    assert not bench.open()


def test_what_was_unknown_stays_unknown_over_a_restart() -> None:
    """Nobody saw it empty meanwhile."""
    bench = line(EVERY_15_MIN)
    bench.run(900, per_s=1)
    bench.weigh("1.00", unit_no=900)
    lost(bench)
    bench.restart()
    bench.take(unit_no=899)
    bench.pan("1.00", stable=False)
    bench.pan("1.00")
    assert len(bench.open()[0].samples) == 1


def test_a_link_lost_over_an_empty_pan_costs_nothing() -> None:
    """What is on it afterwards was put on it afterwards."""
    bench = line()
    bench.filler(100)
    bench.take()
    bench.pan("0.000")
    lost(bench)
    verdict = bench.pan("1.00")[0]
    assert isinstance(verdict, Verdict)
    assert verdict.severity is Severity.NORMAL


def test_a_balance_that_talks_without_a_weight_is_not_lost() -> None:
    """Overload or no unit while it settles: its own line says that something moves there."""
    bench = line(EVERY_15_MIN)
    bench.run(900, per_s=1)
    bench.weigh("1.00", unit_no=900)
    bench.take(unit_no=899)
    bench.pan(None, stable=False, raw=b"S +\r\n")
    bench.pan("1.01")
    assert len(bench.open()[0].samples) == 2


def test_what_lies_on_a_shared_pan_is_known_after_a_restart_whoever_wrote_last() -> None:
    """Two rules on one balance, kept as the store keeps them: only what changed, when it changed."""
    for names in (("one", "two"), ("two", "one")):
        bench = Line(one=rule(EVERY_15_MIN), two=rule(EVERY_15_MIN))
        store = bench.engine.dump()
        bench.filler()
        bench.run(900, per_s=1)
        store |= bench.engine.changed()
        bench.weigh("1.00", names[0], unit_no=900)
        store |= bench.engine.changed()
        fresh = Line(one=rule(EVERY_15_MIN), two=rule(EVERY_15_MIN))
        fresh.engine.load(store)
        fresh.at_s, fresh.counter, fresh.made = bench.at_s, bench.counter, bench.made
        fresh.take(names[1], unit_no=899)
        fresh.pan("1.00")
        assert [len(check.samples) for check in sorted(fresh.open(), key=lambda each: each.rule != names[0])] == [1, 0]
        fresh.put("1.01")
        assert [len(check.samples) for check in fresh.open()] == [1, 1]
