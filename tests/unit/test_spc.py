"""Control charts: constants, limits, run rules, EWMA, CUSUM and capability against published figures."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.spc import constants
from gateway.rules.spc.capability import capability
from gateway.rules.spc.cusum import Cusum, CusumTerms
from gateway.rules.spc.ewma import Ewma, EwmaTerms
from gateway.rules.spc.limits import (
    Process,
    by_deviation,
    by_moving_range,
    by_range,
    of_deviation,
    of_mean,
    of_range,
    of_share,
    pooled,
    usual_share,
)
from gateway.rules.spc.runs import RUN_RULES, SETS, Runs, named

PUBLISHED = {  # Montgomery, appendix VI, three decimals; D4(5) is printed 2.114 or 2.115
    2: (1.880, 2.659, 0, 3.267, 0, 3.267, 1.128, 0.853, 0.7979),
    3: (1.023, 1.954, 0, 2.568, 0, 2.575, 1.693, 0.888, 0.8862),
    4: (0.729, 1.628, 0, 2.266, 0, 2.282, 2.059, 0.880, 0.9213),
    5: (0.577, 1.427, 0, 2.089, 0, 2.1145, 2.326, 0.864, 0.9400),
    6: (0.483, 1.287, 0.030, 1.970, 0, 2.004, 2.534, 0.848, 0.9515),
    7: (0.419, 1.182, 0.118, 1.882, 0.076, 1.924, 2.704, 0.833, 0.9594),
    8: (0.373, 1.099, 0.185, 1.815, 0.136, 1.864, 2.847, 0.820, 0.9650),
    9: (0.337, 1.032, 0.239, 1.761, 0.184, 1.816, 2.970, 0.808, 0.9693),
    10: (0.308, 0.975, 0.284, 1.716, 0.223, 1.777, 3.078, 0.797, 0.9727),
}
NIST_EWMA = [52.0, 47.0, 53.0, 49.3, 50.1, 47.0, 51.0, 50.1, 51.2, 50.5, 49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6]
NIST_EWMA += [52.4, 53.6, 52.1]
NIST_EWMA_OUT = [50.60, 49.52, 50.56, 50.18, 50.16, 49.21, 49.75, 49.85, 50.26, 50.33, 50.11, 49.36, 49.52, 50.05]
NIST_EWMA_OUT += [49.38, 49.92, 50.73, 51.23, 51.94, 51.99]
NIST_CUSUM = [324.925, 324.675, 324.725, 324.350, 325.350, 325.225, 324.125, 324.525, 325.225, 324.600, 324.625]
NIST_CUSUM += [325.150, 328.325, 327.250, 327.825, 328.500, 326.675, 327.775, 326.875, 328.350]
MONTGOMERY = [9.45, 7.99, 9.29, 11.66, 12.16, 10.18, 8.04, 11.46, 9.20, 10.34, 9.03, 11.47, 10.51, 9.40, 10.08]
MONTGOMERY += [9.37, 10.62, 10.31, 8.52, 10.84, 10.90, 9.33, 12.29, 11.50, 10.60, 11.08, 10.38, 11.62, 11.31, 10.52]


@pytest.mark.parametrize("n", PUBLISHED)
def test_constants_are_those_of_the_published_tables(n: int) -> None:
    """Each constant, computed, rounds to what the textbooks print."""
    computed = constants.by_n()[n].values()
    for value, printed in zip(computed, PUBLISHED[n], strict=True):
        assert value == pytest.approx(printed, abs=0.0006)


@pytest.mark.parametrize("n", [1, 0, -3, 101])
def test_a_subgroup_of_one_has_no_constants(n: int) -> None:
    """A range or a deviation needs two values; a silly size is refused, not computed."""
    with pytest.raises(ValueError, match="no such constant"):
        constants.d2(n)


def test_nist_ewma_example_is_met_point_by_point() -> None:
    """NIST/SEMATECH 6.3.2.4: averages to two decimals, asymptotic limits, no signal."""
    chart = Ewma(EwmaTerms(0.3, 3.0, "asymptotic"), Process(50, 2.0539))
    got = [chart.add(value) for value in NIST_EWMA]
    assert [round(value, 2) for value, _ in got] == pytest.approx(NIST_EWMA_OUT, abs=0.006)
    limits = got[-1][1]
    assert (limits.high, limits.low) == (pytest.approx(52.5884, abs=2e-4), pytest.approx(47.4115, abs=2e-4))
    assert all(limits.low < value < limits.high for value, _ in got)


def test_exact_ewma_limits_begin_narrow_and_become_the_asymptotic_ones() -> None:
    """The first limit is k sigma lambda; after many points both kinds agree."""
    chart = Ewma(EwmaTerms(0.2, 3.0, "exact"), Process(0, 1))
    first = chart.add(0)[1].high
    for _ in range(60):
        last = chart.add(0)[1].high
    assert first == pytest.approx(0.6)
    assert last == pytest.approx(1.0, abs=1e-6)


def test_montgomery_ewma_signals_at_the_29th_point() -> None:
    """Lambda 0.1, L 2.7, mean 10, sigma 1: the shift after point 20 is found at 29, as by the CUSUM."""
    chart = Ewma(EwmaTerms(0.1, 2.7), Process(10, 1))
    beyond = [at for at, value in enumerate(MONTGOMERY, 1) if (now := chart.add(value))[0] > now[1].high]
    assert beyond == [29, 30]


def test_montgomery_cusum_signals_at_the_29th_point() -> None:
    """K 0.5, h 5 on the same data: C+ 5.28 at point 29, seven points after it was last zero."""
    chart = Cusum(CusumTerms(0.5, 5.0), Process(10, 1))
    found = [(at, chart.add(value), chart.signals()) for at, value in enumerate(MONTGOMERY, 1)]
    first = next(each for each in found if each[2])
    assert first[0] == 29
    assert first[1].high == pytest.approx(5.28, abs=0.005)
    assert (first[1].high_run, first[2]) == (7, ("high",))


def test_nist_cusum_example_signals_at_the_14th_point() -> None:
    """NIST/SEMATECH 6.3.2.3, in its own units: S_hi 4.94 at 14, 19.035 at 20, S_lo never above 0.715."""
    chart = Cusum(CusumTerms(0.3175, 4.1959), Process(325, 1))
    sums = [chart.add(value) for value in NIST_CUSUM]
    assert next(at for at, each in enumerate(sums, 1) if each.high > 4.1959) == 14
    assert (sums[13].high, sums[19].high) == (pytest.approx(4.9400), pytest.approx(19.035))
    assert max(each.low for each in sums) == pytest.approx(0.715)


def test_fast_initial_response_finds_a_bad_start_sooner_and_forgets_a_good_one() -> None:
    """Half of h as a head start: off target from the first point is found sooner; on target it falls to zero."""
    fast = Cusum(CusumTerms(0.5, 4, 0.5), Process(0, 1))
    slow = Cusum(CusumTerms(0.5, 4), Process(0, 1))

    def until_signal(chart: Cusum, value: float) -> int:
        return next(at for at in range(1, 100) if chart.add(value) and chart.signals())

    assert (until_signal(fast, 1.5), until_signal(slow, 1.5)) == (3, 5)
    fast.reset()
    for _ in range(10):
        fast.add(0.0)
    assert (fast.sums.high, fast.sums.low) == (0.0, 0.0)


def average_run_length(length: Callable[[random.Random], int], runs: int) -> float:
    dice = random.Random(20261122)
    return sum(length(dice) for _ in range(runs)) / runs


def test_average_run_length_of_western_electric_is_92() -> None:
    """Champ and Woodall 1987: all four together 91.75 in control; 1,500 simulated runs within 4 standard errors."""

    def length(dice: random.Random) -> int:
        runs, at = Runs(named(["western-electric"])), 1
        while not runs.add(dice.gauss(0, 1)):
            at += 1
        return at

    assert average_run_length(length, 1500) == pytest.approx(91.75, abs=4 * 91 / 1500**0.5)


def test_average_run_length_of_three_sigma_is_370() -> None:
    """Shewhart alone: 370.4 in control; 500 simulated runs within 4 standard errors."""

    def length(dice: random.Random) -> int:
        runs, at = Runs(named(["we1"])), 1
        while not runs.add(dice.gauss(0, 1)):
            at += 1
        return at

    assert average_run_length(length, 500) == pytest.approx(370.4, abs=4 * 370 / 500**0.5)


def test_average_run_length_of_cusum_and_ewma_are_the_published_ones() -> None:
    """CUSUM k 0.5, h 5: 465 two-sided; EWMA 0.2 / 2.962: about 500; 400 simulated runs each, 4 standard errors."""

    def cusum(dice: random.Random) -> int:
        chart, at = Cusum(CusumTerms(), Process(0, 1)), 0
        while not chart.signals():
            chart.add(dice.gauss(0, 1))
            at += 1
        return at

    def ewma(dice: random.Random) -> int:
        chart, at = Ewma(EwmaTerms(0.2, 2.962, "asymptotic"), Process(0, 1)), 0
        while True:
            value, limits = chart.add(dice.gauss(0, 1))
            at += 1
            if not limits.low <= value <= limits.high:
                return at

    assert average_run_length(cusum, 400) == pytest.approx(465, abs=4 * 465 / 400**0.5)
    assert average_run_length(ewma, 400) == pytest.approx(500, abs=4 * 500 / 400**0.5)


# what completes each pattern, what just does not
PATTERNS = {
    "we1": ([3.01], [3.0]),
    "we2": ([2.1, 0, 2.1], [2.1, -2.1]),
    "we3": ([1.1, 1.2, 0, 1.1, 1.1], [1.1, 1.2, 1.1, 0.5, 1.0]),
    "we4": ([0.1] * 8, [0.1] * 4 + [0.0] + [0.1] * 4),
    "nelson1": ([-3.5], [-3.0]),
    "nelson2": ([-0.1] * 9, [0.1] * 8),
    "nelson3": ([0, 0.1, 0.2, 0.3, 0.4, 0.5], [0, 0.1, 0.2, 0.2, 0.4, 0.5]),
    "nelson4": ([0, 1] * 7, [0, 1] * 6 + [1, 0]),
    "nelson5": ([-2.1, -2.1], [2.1, 1.9, 1.9, 2.1]),
    "nelson6": ([-1.1, -1.1, 2, -1.1, -1.1], [1.1, 1.1, 1.1, 0, 0, 1.1]),
    "nelson7": ([0.9, -0.9, 0.5] * 5, [0.9] * 14 + [1.0]),
    "nelson8": ([1.1, -1.1] * 4, [1.1, -1.1] * 3 + [1.0, 1.1]),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_each_run_rule_holds_of_its_pattern_and_of_nothing_less(name: str) -> None:
    """Strictly beyond; a point on the centre breaks a run, a tie a trend; the last point is part of the pattern."""
    complete, almost = PATTERNS[name]
    runs = Runs([RUN_RULES[name]])
    assert [bool(runs.add(z)) for z in complete] == [False] * (len(complete) - 1) + [True]
    runs = Runs([RUN_RULES[name]])
    assert not any(runs.add(z) for z in almost)


def test_a_recalibration_begins_patterns_anew() -> None:
    """Seven on one side, a reset, seven more: no run of eight."""
    runs = Runs(named(["we4"]))
    said = [runs.add(0.5) for _ in range(7)]
    runs.reset()
    assert not any(said + [runs.add(0.5) for _ in range(7)])
    assert runs.add(0.5)


def test_an_unknown_run_rule_names_those_there_are() -> None:
    """A typo in the configuration is told with the words that would do."""
    with pytest.raises(ValueError, match=r"no run rule is called 'weco'.*western-electric, nelson, we1"):
        named(["weco"])


@given(st.lists(st.floats(-5, 5), max_size=60))
def test_runs_go_on_after_a_restart_as_if_nothing_had_been(points: list[float]) -> None:
    """Dumped and loaded after any point, the same rules hold at each later one."""
    rules = named([*SETS])
    whole = Runs(rules)
    said = [whole.add(z) for z in points]
    half = len(points) // 2
    first, second = Runs(rules), Runs(rules)
    assert [first.add(z) for z in points[:half]] == said[:half]
    second.load(first.dump())
    assert [second.add(z) for z in points[half:]] == said[half:]


def test_limits_follow_the_size_of_each_subgroup() -> None:
    """Unequal subgroups stand in one chart, each with limits of its own."""
    process = Process(1.0, 0.01)
    assert of_mean(process, 4).high == pytest.approx(1.015)
    assert of_mean(process, 9).high == pytest.approx(1.01)
    assert of_range(process, 5).high == pytest.approx(constants.big_d4(5) * constants.d2(5) * 0.01)
    assert of_deviation(process, 5).low == 0.0
    assert of_share(0.02, 50).high == pytest.approx(0.02 + 3 * (0.02 * 0.98 / 50) ** 0.5)
    assert of_share(0.02, 50).low == 0.0


def test_estimators_find_the_spread_of_a_known_process() -> None:
    """All four, on 4,000 values of sigma 2: within 3 %; the estimator and the phase are named."""
    dice = random.Random(7)
    groups = [[dice.gauss(10, 2) for _ in range(dice.choice((3, 4, 5)))] for _ in range(1000)]
    singles = [dice.gauss(10, 2) for _ in range(4000)]
    for found in (by_range(groups, "p"), by_deviation(groups, "p"), pooled(groups, "p"), by_moving_range(singles, "p")):
        assert found.sigma == pytest.approx(2, rel=0.03)
        assert found.center == pytest.approx(10, abs=0.15)
        assert found.phase == "p"
    assert usual_share([1, 0, 2], [50, 50, 50]) == pytest.approx(0.02)


def test_a_process_that_does_not_vary_draws_no_chart() -> None:
    """Sigma zero would make every point a signal: refused in words."""
    with pytest.raises(ValueError, match="must be above zero"):
        by_range([[1.0, 1.0], [1.0, 1.0]], "still")


def test_capability_names_its_estimator_and_tells_within_from_overall() -> None:
    """Cp by the spread within, Pp by that of all; one-sided specifications have no Cp, only Cpk."""
    within = Process(1.0, 0.005, "range", "setup", 25)
    values = [0.99, 1.01, 1.0, 0.995, 1.005, 1.0]
    both = capability(values, within, 0.98, 1.02, stable=True)
    assert both.cp == pytest.approx(0.04 / 0.03)
    assert both.cpk == pytest.approx(0.02 / 0.015)
    assert both.pp == pytest.approx(0.04 / (6 * 0.0070711), rel=1e-4)
    assert both.estimator == "range"
    one = capability(values, within, None, 1.02, stable=False)
    assert (one.cp, one.pp) == (None, None)
    assert one.cpk == pytest.approx(0.02 / 0.015)
    with pytest.raises(ValueError, match="needs a specification limit"):
        capability(values, within, None, None, stable=True)
