"""Reconciliation: exact arithmetic, every input with its source, and what is missing said as missing."""

from __future__ import annotations

from decimal import Decimal

from batch_story import recipe
from hypothesis import given
from hypothesis import strategies as st

from gateway.batch.counts import QUANTITIES, CountEntry, Meter
from gateway.batch.reconcile import Equation, Tally, equations, mean_weight, outcome
from gateway.counting import unsigned
from gateway.rules.production import Production

RECIPE = recipe()


def tally(
    entries: dict[str, str], *, units: int = 0, rejects: int = 0, labels: int | None = 0, mean: str = ""
) -> Tally:
    made = tuple(
        CountEntry(name, Decimal(value), QUANTITIES[name].unit, id=number, full_name="Ana Ruiz")
        for number, (name, value) in enumerate(entries.items(), 1)
    )
    return Tally(
        units=Meter(units, units),
        rejects=Meter(rejects, rejects),
        labels=Meter() if labels is None else Meter(labels, labels),
        weight_sum_g=Decimal(mean or 0) * 4,
        weight_n=4 if mean else 0,
        entries=made,
    )


def named(found: Tally, name: str) -> Equation:
    return next(one for one in equations(found, RECIPE) if one.name == name)


FULL = {
    "labels_issued": "520", "labels_damaged": "3", "labels_samples": "2", "labels_destroyed": "1",
    "labels_returned": "16", "oil_charged": "520.0", "oil_remaining": "17.5", "oil_waste": "2.1",
    "units_rejected": "1", "units_destroyed": "1",
}  # fmt: skip


def test_a_batch_that_adds_up() -> None:
    """All four equations hold, with the numbers shown."""
    found = tally(FULL, units=502, rejects=2, labels=498, mean="0.9980")

    labels, units, oil, actual = equations(found, RECIPE)
    assert (labels.left, labels.right, labels.difference, labels.ok) == (520, 520, 0, True)
    assert (units.left, units.right, units.ok) == (502, 502, True)
    assert (oil.right, oil.difference, oil.percent) == (Decimal("520.596"), Decimal("-0.596"), Decimal("-0.11"))
    assert (actual.left, actual.right, actual.percent, actual.ok) == (498, Decimal("502.50"), Decimal("99.10"), True)


def test_each_input_names_its_source() -> None:
    """A person's count, a machine's counter, an estimate and an assumption are told apart."""
    found = tally({"oil_charged": "520", "oil_remaining": "18"}, units=500, labels=498, mean="1.0010")

    sources = {one.name: one.source for equation in equations(found, RECIPE) for one in equation.inputs}
    assert sources["charged"] == "entered by Ana Ruiz"
    assert sources["applied"] == "labeller, labels applied"
    assert sources["waste"] == "nobody entered it: taken as 0"
    assert sources["filled"] == "500 units x 1.0010 g, the mean of 4 check weighings, an estimate"
    assert "the recipe's target" in named(tally({}, units=5), "oil").inputs[1].source


def test_what_is_missing_is_named_and_never_balanced() -> None:
    """No labels issued, no oil charged: the equations say so and are not ok."""
    found = tally({}, units=500, labels=None)

    assert {one.name: one.missing for one in equations(found, RECIPE)} == {
        "labels": ("issued", "applied"),
        "units": ("good",),
        "oil": ("charged", "remaining"),
        "yield": ("good", "charged", "remaining"),
    }
    assert not any(one.ok for one in equations(found, RECIPE))


def test_a_limit_is_met_exactly_at_its_edge() -> None:
    """5 of 500 labels are 1.0 %, which is within 1.0 %; 6 are not."""
    at_edge = {"labels_issued": "500", "labels_returned": "100"}

    assert named(tally(at_edge, labels=395), "labels").ok
    assert not named(tally(at_edge, labels=394), "labels").ok


def test_a_hand_count_stands_before_the_labeller() -> None:
    """Where people counted the finished units, that count is the good one."""
    found = named(tally({"units_good": "490"}, units=500, labels=500), "units")

    assert found.inputs[1].source == "entered by Ana Ruiz"
    assert (found.difference, found.ok) == (10, False)


def test_nothing_filled_and_nothing_issued_is_no_division_by_zero() -> None:
    """An empty run has no percentages."""
    found = tally({"labels_issued": "0", "oil_charged": "0", "oil_remaining": "0"})

    assert [one.percent for one in equations(found, RECIPE)] == [None] * 4
    assert not named(found, "yield").ok


def test_a_product_without_a_label_has_no_label_equation() -> None:
    """What is not part of the product is not reconciled."""
    assert [one.name for one in equations(tally({}), recipe(label=None))] == ["units", "oil", "yield"]


def test_waste_is_listed_by_entry() -> None:
    """The MES hears of each waste entry, not of a sum."""
    found = outcome(tally(FULL, units=502, rejects=2, labels=498), RECIPE)

    assert [one["quantity"] for one in found["waste"]] == [
        "labels_damaged", "labels_destroyed", "oil_waste", "units_rejected", "units_destroyed",
    ]  # fmt: skip
    assert found["units_rejected"] == "3"


COUNT = st.integers(0, 10**7)
GRAMS = st.decimals(min_value=0, max_value=10**6, places=3)


@given(COUNT, COUNT, COUNT, COUNT, COUNT, st.integers(-(10**6), 10**6))
def test_labels_balance_to_the_last_one(  # one number for each term of the equation
    applied: int, damaged: int, samples: int, destroyed: int, returned: int, off: int
) -> None:
    """The difference is exactly what was left out, and ok exactly when it is within the limit."""
    issued = max(0, applied + damaged + samples + destroyed + returned + off)
    entries = {
        "labels_issued": issued, "labels_damaged": damaged, "labels_samples": samples,
        "labels_destroyed": destroyed, "labels_returned": returned,
    }  # fmt: skip
    found = named(tally({name: str(value) for name, value in entries.items()}, labels=applied), "labels")

    left_out = issued - (applied + damaged + samples + destroyed + returned)
    assert found.difference == left_out
    assert found.ok == (abs(left_out) * 100 <= issued)


@given(GRAMS, GRAMS, GRAMS, st.integers(0, 10**5), st.decimals("0.5", "1.5", places=4))
def test_oil_is_exact_in_decimal(
    charged: Decimal, remaining: Decimal, waste: Decimal, units: int, mean: Decimal
) -> None:
    """No binary rounding anywhere: the difference is that of the decimals as written."""
    entries = {"oil_charged": str(charged), "oil_remaining": str(remaining), "oil_waste": str(waste)}
    made = tally(entries, units=units, mean=str(mean))
    found = named(made, "oil")

    assert mean_weight(made) == mean
    filled = (units * mean).quantize(Decimal("0.001"))
    assert found.difference == charged - remaining - waste - filled


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30))
def test_a_meter_never_counts_backwards(readings: list[int]) -> None:
    """Whatever the raw counter does, the batch's count only grows, and each fall is counted."""
    meter, falls, last = Meter(readings[0]), 0, readings[0]
    for reading in readings[1:]:
        after = meter.read(reading)
        assert after.total >= meter.total
        falls += reading < last
        meter, last = after, reading
    assert meter.resets == falls


def test_a_register_read_with_a_sign_unmakes_nothing() -> None:
    """Past half its range it falls below 0 and counts on, as the plans have it; where nobody knows since when, not."""
    meter = Meter(32_766)
    for reading in (32_767, -32_768, -32_767, -32_766):
        meter = meter.read(reading, 10**9)
    assert (meter.total, meter.resets) == (4, 0)
    assert meter.read(-5, 10**9) is meter
    assert meter.read(-32_765) is meter


def test_a_counter_that_was_set_back_made_nothing() -> None:
    """It fell to more than can have been made since; what it counts from there on is counted, and the fall is."""
    meter = Meter(5000).read(5010, 10**9).read(4950, 10**9)
    assert (meter.total, meter.resets) == (10, 1)
    assert meter.read(4953, 10**9).total == 13


@given(st.lists(st.tuples(st.integers(-40_000, 70_000), st.integers(0, 10**11)), min_size=1, max_size=30))
def test_the_batch_counts_as_its_plans_do(readings: list[tuple[int, int]]) -> None:
    """Falls, set-backs, signs: whatever the register says, units have the same numbers in plan and batch."""
    plan, meter, now_ns, heard_ns = Production("B1", 100, counts=True, tray_tag=False), Meter(1000), 10**12, 10**12
    plan.count(1000, now_ns, now_ns)
    for reading, after_ns in readings:
        now_ns += after_ns
        plan.count(reading, now_ns, now_ns)
        since_ns = now_ns - heard_ns
        if unsigned(reading, meter.last or 0, since_ns) >= 0:
            heard_ns = now_ns
        meter = meter.read(reading, since_ns)
        assert meter.total == plan.units
