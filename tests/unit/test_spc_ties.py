"""What lies exactly on a line, what does not vary at all, and subgroups of any size: charts on numbers of scales."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.spc.chart import Chart, Phase
from gateway.rules.spc.cusum import Cusum, CusumTerms
from gateway.rules.spc.ewma import Ewma, EwmaTerms
from gateway.rules.spc.limits import Process, by_deviation, by_range, deviation, mean
from gateway.rules.spc.runs import named

FILL = Process(1.000, 0.004)


@pytest.mark.parametrize("grams", [1.012, 0.988])
def test_a_weight_exactly_on_the_limit_is_no_signal(grams: float) -> None:
    """Three of 4 mg from 1 g is 1.012 g: binary fractions would put it beyond by the last digit."""
    chart = Chart("i-mr", named(["we1"]), process=FILL)
    assert chart.add([grams]).signals == ()
    assert chart.add([grams + (0.0001 if grams > 1 else -0.0001)]).signals[0].startswith("value: a point beyond 3")


@given(st.integers(900, 1100), st.integers(1, 20), st.integers(1, 3), st.sampled_from([-1, 1]))
def test_on_two_and_on_one_sigma_is_not_beyond_either(center: int, sigma: int, times: int, side: int) -> None:
    """Any centre and spread in whole milligrams, a point exactly one, two, three of them away."""
    process = Process(center / 1000, sigma / 1000)
    chart = Chart("i-mr", named(["we1", "we2", "we3", "nelson8"]), process=process)
    on = (center + side * times * sigma) / 1000
    rule = {1: "(we3)", 2: "(we2)", 3: "(we1)"}[times]
    assert not any(rule in text for _ in range(9) for text in chart.add([on]).signals)


@given(st.lists(st.integers(-30, 30), min_size=2, max_size=9), st.integers(900, 1100))
def test_a_mean_exactly_on_the_centre_line_breaks_a_run(steps: list[int], center: int) -> None:
    """Seven above, one subgroup whose values cancel out, seven above: no eight on one side."""
    values = [(center + each) / 1000 for step in steps for each in (step, -step)]
    chart = Chart("xbar-s", named(["we4"]), process=Process(center / 1000, 1.0))
    above = [(center + 5) / 1000] * 2
    said = [chart.add(above).signals for _ in range(7)]
    said += [chart.add(values).signals, *(chart.add(above).signals for _ in range(7))]
    assert not any("(we4)" in text for texts in said for text in texts)
    assert any("(we4)" in text for text in chart.add(above).signals)


def test_a_sum_exactly_on_the_decision_interval_is_no_signal() -> None:
    """Ten points one sigma above, k 0.5: the sum is 5, and h is 5."""
    chart = Cusum(CusumTerms(0.5, 5.0), FILL)
    for _ in range(10):
        chart.add(1.004)
    assert (chart.sums.high, chart.signals()) == (5.0, ())
    chart.add(1.0021)
    assert chart.signals() == ("high",)


@given(st.floats(-1e6, 1e6), st.integers(2, 9))
def test_equal_values_have_no_spread_not_even_the_last_binary_digit(value: float, n: int) -> None:
    """Their mean is themselves, and a phase I of them draws no limits: 3 x 0.1 had a deviation of 1.7e-17."""
    assert mean([value] * n) == value
    assert deviation([value] * n) == 0.0
    for found in (by_deviation, by_range):
        with pytest.raises(ValueError, match="draws no chart"):
            found([[value] * n] * 3, "still")


@pytest.mark.parametrize("kind", ["xbar-r", "xbar-s", "ewma", "cusum"])
def test_a_phase_in_which_everything_is_equal_never_freezes(kind: str) -> None:
    """0.1 three times is nothing that varies, whatever the chart."""
    chart = Chart(kind, named(["we1"]), phase=Phase("still", 3))  # type: ignore[arg-type]
    assert [chart.add([0.1, 0.1, 0.1]).frozen for _ in range(9)] == [None] * 9


def test_an_average_knows_the_size_of_each_subgroup_in_it() -> None:
    """Fives, then one of 50: its variance is the sum of what each point weighs, not that of fifties all along."""
    sizes, weight = [5, 5, 5, 50, 2], 0.2
    chart = Ewma(EwmaTerms(weight, 3.0, "exact"), Process(0, 1))
    for at, n in enumerate(sizes, 1):
        limits = chart.add(0.0, n)[1]
        share = sum((weight * (1 - weight) ** (at - 1 - i)) ** 2 / sizes[i] for i in range(at))
        assert limits.high == pytest.approx(3 * share**0.5)


def test_an_average_of_one_size_has_the_published_limits() -> None:
    """Asymptotic ones stand from the first point; exact ones are narrower, and come to them."""
    settled = Ewma(EwmaTerms(0.2, 3.0, "asymptotic"), Process(0, 1))
    exact = Ewma(EwmaTerms(0.2, 3.0, "exact"), Process(0, 1))
    highs = [(settled.add(0, 4)[1].high, exact.add(0, 4)[1].high) for _ in range(60)]
    assert {round(high, 12) for high, _ in highs} == {0.5}
    assert highs[0][1] == pytest.approx(0.3)
    assert all(first[1] < second[1] for first, second in pairwise(highs[:20]))
    assert highs[-1][1] == pytest.approx(0.5, abs=1e-6)


def test_false_alarms_of_an_average_over_unequal_sizes_are_those_of_equal_ones() -> None:
    """Sizes 1 and 9 in turn: beyond 2.5 sigma about as often as a normal value is, not three times as often."""
    dice, chart, beyond = random.Random(5), Ewma(EwmaTerms(0.2, 2.5, "asymptotic"), Process(0, 1)), 0
    for at in range(20_000):
        n = (1, 9)[at % 2]
        value, limits = chart.add(dice.gauss(0, 1 / n**0.5), n)
        beyond += limits.beyond(value) != 0
    assert beyond / 20_000 == pytest.approx(0.0124, abs=0.005)


def test_a_share_of_no_units_cannot_be_plotted() -> None:
    """0 of 0 is no share."""
    for chart in (Chart("p", named(["we1"]), process=0.05), Chart("p", named(["we1"]), phase=Phase("setup", 3))):
        with pytest.raises(ValueError, match="count of defects in n units"):
            chart.add([0], 0)


def test_a_subgroup_too_large_for_its_constants_is_told_and_no_silence_for_ever() -> None:
    """150 values have no constant: each is refused in words; before, a phase I of them never ended and said nothing."""
    dice = random.Random(1)
    for kind in ("xbar-r", "xbar-s"):
        chart = Chart(kind, named(["we1"]), phase=Phase("setup", 3))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="2 to 100"):
            chart.add([dice.gauss(1, 0.1) for _ in range(150)])


def test_a_phase_of_single_values_with_one_verification_in_it_is_one_of_single_values() -> None:
    """24 singles and a verification of five: sigma by the moving range of the singles, not by five values alone."""
    dice = random.Random(4)
    chart = Chart("ewma", named(["we1"]), phase=Phase("setup", 25))
    groups = [[dice.gauss(1, 0.01)] for _ in range(24)]
    groups.insert(7, [1.0001, 1.0002, 1.0, 0.9999, 1.0001])
    found = [chart.add(group).frozen for group in groups][-1]
    assert isinstance(found, Process)
    assert (found.estimator, found.points) == ("moving-range", 24)
    assert found.sigma == pytest.approx(0.01, rel=0.4)
