"""Cp, Cpk, Pp, Ppk of a batch: from its records alone, shown only where they are true, and else the reason."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.batch.measured import measured
from gateway.batch.records import Log
from gateway.capability import capabilities
from gateway.cli.capability import told
from gateway.rules.spc.study import bound, share_bound, study

STEADY = random.Random(11)
IN_CONTROL = [[STEADY.gauss(1.0, 0.005) for _ in range(5)] for _ in range(25)]


def test_a_steady_batch_is_told_with_all_four_figures() -> None:
    """Sigma 0.005 within 0.98..1.02: Cp about 1.33; the estimator is named, and Ppk's bound lies below it."""
    found = study(IN_CONTROL, 0.98, 1.02)
    assert (found.values, found.groups, found.signals, found.no_cp, found.no_pp) == (125, 25, (), "", "")
    assert found.capability is not None
    assert found.capability.estimator == "pooled"
    assert found.capability.cp == pytest.approx(1.33, rel=0.1)
    assert found.bound is not None
    assert 1.0 < found.bound < (found.capability.ppk or 0)


def test_a_process_out_of_control_has_no_cp_but_a_pp() -> None:
    """One subgroup moved by three sigma: Cp and Cpk would promise what it cannot keep; Pp says what was made."""
    found = study([*IN_CONTROL[:12], [value + 0.015 for value in IN_CONTROL[12]], *IN_CONTROL[13:]], 0.98, 1.02)
    assert found.no_cp.startswith("not in control: ")
    assert found.signals[0].startswith("subgroup 13: mean: a point beyond 3 sigma (we1)")
    assert found.no_pp == ""


def test_a_slow_shift_is_seen_as_nine_on_one_side() -> None:
    """Half of the batch a little higher: no point is beyond 3 sigma, nine in a row are on one side."""
    found = study([*IN_CONTROL[:12], *([value + 0.004 for value in group] for group in IN_CONTROL[12:])], 0.98, 1.02)
    assert any("9 points in a row" in text for text in found.signals)


def test_a_check_of_more_than_a_hundred_units_has_figures() -> None:
    """A plan may ask for 125 (ISO 2859, letter K): the batch has its capability, and what is out of control is seen."""
    dice = random.Random(5)
    groups = [[dice.gauss(1.0, 0.005) for _ in range(125)] for _ in range(25)]
    found = study(groups, 0.98, 1.02)
    assert (found.values, found.groups, found.signals) == (3125, 25, ())
    assert found.capability is not None
    assert found.capability.cpk == pytest.approx(1.33, rel=0.05)
    assert study([*groups[:24], [value + 0.002 for value in groups[24]]], 0.98, 1.02).signals


def test_checks_that_differ_only_from_one_to_the_next_are_not_said_to_be_all_the_same() -> None:
    """A scale too coarse for the spread within: the values did vary, and no spread within was found."""
    found = study([[1.0] * 5] * 12 + [[1.1] * 5] * 12, 0.9, 1.2)
    assert (found.no_cp, found.no_pp) == ("no spread within subgroups was found",) * 2
    assert found.overall


def test_what_the_lines_own_chart_said_counts() -> None:
    """The chart that ran with the batch has frozen limits, and may know better than the batch of itself."""
    assert study(IN_CONTROL, 0.98, 1.02, ["chart c: 2 of 3"]).no_cp == "not in control: 1 signal"


def test_a_check_that_failed_at_its_first_sample_is_not_forgotten() -> None:
    """Alone in its subgroup it is charted with the limits of one; and it is among the values."""
    found = study([*IN_CONTROL, [0.83]], 0.98, 1.02)
    assert found.signals == ("0.83, alone, is beyond 3 sigma",)
    assert (found.values, found.groups) == (126, 25)


def test_too_few_are_said_to_be_too_few() -> None:
    """No figure of four subgroups; none of nothing; none without limits; none where nothing varied."""
    few = study(IN_CONTROL[:4], 0.98, 1.02)
    assert (few.no_cp, few.no_pp) == ("too few subgroups: 4 of 20", "too few values: 20 of 25")
    assert few.bound is None
    assert study([], 0.98, 1.02).no_cp == "too few subgroups: 0 of 20"
    assert study(IN_CONTROL, None, None).no_pp == "no limit to hold it against"
    still = study([[1.0, 1.0]] * 25, 0.98, 1.02)
    assert (still.no_cp, still.no_pp) == ("the values did not vary", "the values did not vary")


def test_single_values_go_by_the_moving_range() -> None:
    """A plan of one: individuals; its verification of five is no subgroup of them, but a mean beyond is a signal."""
    singles = [[group[0]] for group in IN_CONTROL]
    found = study([*singles, [1.0, 1.001, 0.999, 1.002, 0.998]], 0.95, None)
    assert found.within is not None
    assert (found.within.estimator, found.groups, found.values) == ("moving-range", 25, 30)
    assert found.capability is not None
    assert (found.capability.cp, found.capability.pp) == (None, None)
    assert found.signals == ()
    assert study([*singles, [1.01] * 5], 0.95, None).signals == ("1.01, a mean of 5, is beyond 3 sigma",)


@given(st.lists(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5), max_size=40), st.floats(-10, 10))
def test_any_values_have_a_study(groups: list[list[float]], low: float) -> None:
    """However large, small or alike: figures or reasons, never an error; and Cpk is never above Cp."""
    found = study(groups, low, low + 1)
    assert found.no_cp or (found.capability is not None and found.within is not None)
    told = found.capability
    if told is not None and told.cp is not None and told.cpk is not None:
        assert told.cpk <= told.cp * (1 + 1e-9)


def test_a_mistyped_value_is_a_signal_and_no_figure() -> None:
    """1e200 entered by hand: the rest is computed, and the process is not called in control."""
    found = study([*IN_CONTROL, [1e200]], 0.98, 1.02)
    assert found.signals == ("1e+200 is beyond all computing",)
    assert found.mean == pytest.approx(1.0, abs=0.01)


def test_bounds_are_those_of_the_literature() -> None:
    """Ppk 1.33 of 25 values is surely 1.0 only; no defect in 45 units may be 6.4 %, 2 in 50 may be 12.1 %."""
    assert bound(1.33, 25) == pytest.approx(0.996, abs=0.001)
    assert share_bound(0, 45) == pytest.approx(1 - 0.05 ** (1 / 45))
    assert share_bound(2, 50) == pytest.approx(0.1206, abs=0.0001)
    assert share_bound(3, 3) == 1.0
    assert share_bound(5, 20_000) == pytest.approx(10.513 / 20_000, rel=0.001)  # the Poisson bound of five


# -- from records --------------------------------------------------------------------------------------

LIMITS = [
    {"name": "action", "low": "0.98", "high": "1.02", "of": "each", "fails": True},
    {"name": "specification", "low": "0.95", "high": "1.05", "of": "each", "fails": False},
    {"name": "mean", "low": "0.99", "high": "1.01", "of": "mean", "fails": True},
]
WEIGHT = {"name": "weight", "source": "weighing", "unit": "g", "n": 5, "units": 5, "limits": LIMITS, "tare": ""}
LEAKS = {"name": "leaks", "source": "entry", "unit": "{count}", "n": 1, "units": 5, "limits": [], "tare": ""}


def sample(value: str, **facts: Any) -> dict[str, Any]:
    return {"characteristic": "weight", "value": value, "unit": "g", "passed": True, "verdict": "pass", **facts}


def record(index: int, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"index": str(index), "time": str(index), "kind": kind, "by": "gateway", "body": body}


def judged(number: int, samples: Sequence[dict[str, Any]], **facts: Any) -> dict[str, Any]:
    body = {"id": f"fill#{number}", "rule": "fill", "plan": "five", "asks": [WEIGHT, LEAKS], "samples": list(samples)}
    return record(number, "check.judged", {**body, "state": "passed", "due_ns": "0", **facts})


def test_what_was_judged_counts_and_nothing_else() -> None:
    """Superseded and never judged samples are left out, an indeterminate one is measured all the same."""
    samples = [
        sample("1.00"),
        sample("0.70", superseded=True),
        sample("0.99", passed=None, verdict="indeterminate"),
        sample("3.33", passed=None, verdict=""),
        {**sample("1"), "characteristic": "leaks"},
    ]
    open_one = record(3, "check.taken", judged(3, [sample("0.5")])["body"])
    variables, attributes = measured(Log([judged(2, samples), open_one]))
    (weight,), (leaks,) = variables, attributes
    assert [[str(value) for value in group] for group in weight.groups] == [["1.00", "0.99"]]
    assert (weight.limits, str(weight.low), str(weight.high)) == ("specification", "0.95", "1.05")
    assert (leaks.units, leaks.defects) == (5, 1)


def test_a_batch_of_records_becomes_rows_of_text() -> None:
    """25 checks of five in control: figures with two places, estimator, counts; leaks with what they may be at most."""
    records = [
        judged(number, [*(sample(f"{value:.4f}") for value in group), {**sample("0"), "characteristic": "leaks"}])
        for number, group in enumerate(IN_CONTROL, 1)
    ]
    found = capabilities(records, {})
    (row,) = found["variables"]
    assert (row["values"], row["subgroups"], row["estimator"]) == ("125", "25", "pooled s / c4")
    assert row["limits"] == "specification"
    assert 3.0 < float(row["cp"]) < 3.7
    assert (row["no_cp"], row["no_pp"], row["signals"]) == ("", "", [])
    assert found["attributes"][0] | {} == {
        "rule": "fill", "plan": "five", "characteristic": "leaks",
        "units": "125", "defects": "0", "percent": "0", "percent_at_most": "2.37",
    }  # fmt: skip
    lines = told({"batch": "B1", **found})
    assert lines[0] == "fill weight, specification 0.95 to 1.05 g"
    assert any(f"Cpk {row['cpk']} (s within {row['s_within']} g, pooled s / c4)" in line for line in lines)
    assert any(f"with 95 % confidence at least {row['ppk_at_least']}" in line for line in lines)
    assert lines[-1] == "fill leaks: 0 defects in 125 units, 0 %, with 95 % confidence at most 2.37 %"


def test_a_charts_alarm_in_the_batch_is_a_signal() -> None:
    """Of the chart that follows this rule and characteristic; another rule's chart says nothing of it."""
    records = [judged(number, [sample(f"{value:.4f}") for value in group]) for number, group in enumerate(IN_CONTROL)]
    records.append(record(99, "alarm.raised", {"alarm": "drift", "text": "8 on one side"}))
    (row,) = capabilities(records, {"drift": ("fill", None)})["variables"]
    assert row["signals"] == ["chart drift: 8 on one side"]
    assert row["no_cp"] == "not in control: 1 signal"
    assert row["cp"] is None
    (other,) = capabilities(records, {"drift": ("fill", "torque")})["variables"]
    assert other["no_cp"] == ""


def test_groups_weighed_together_say_nothing_of_single_units() -> None:
    """Their means vary less than the units do: no figure is made of them."""
    asked = [{**WEIGHT, "tare": "group"}]
    records = [judged(number, [sample(f"{group[0]:.4f}")], asks=asked) for number, group in enumerate(IN_CONTROL)]
    (row,) = capabilities(records, {})["variables"]
    assert (row["cp"], row["ppk"], row["ppk_at_least"]) == (None, None, None)
    assert row["no_pp"] == "only groups were weighed together: nothing is known of single units"
    assert "  Cp, Cpk not shown" in told({"batch": "B1", "variables": [row], "attributes": []})[2]


def test_a_batch_without_checks_is_said_to_have_none() -> None:
    """No record, no row; and a record of an older kind, without what it asked for, breaks nothing."""
    assert capabilities([], {}) == {"variables": [], "attributes": []}
    assert capabilities([judged(1, [sample("1.0")], asks=[])], {})["variables"] == []
    assert told({"batch": "B1", "variables": [], "attributes": []}) == ["batch B1: no check was judged yet"]
