"""Charts against worked examples that anybody can look up: data in, printed limits and signals out.

Data and figures: Montgomery, Introduction to Statistical Quality Control, tables 6.1 (hard bake), 6.3 (piston rings),
7.4 (purchase orders); NIST/SEMATECH e-Handbook 6.3.2.2 (flow rates).
"""

from __future__ import annotations

import pytest

from gateway.rules.spc import constants
from gateway.rules.spc.chart import Chart, Phase
from gateway.rules.spc.limits import (
    Process,
    by_deviation,
    by_moving_range,
    by_range,
    deviation,
    mean,
    of_deviation,
    of_mean,
    of_range,
    of_share,
    spread,
    usual_share,
)
from gateway.rules.spc.runs import named


def rows(text: str) -> list[list[float]]:
    return [[float(word) for word in line.split()] for line in text.strip().splitlines()]


HARD_BAKE = rows("""
1.3235 1.4128 1.6744 1.4573 1.6914
1.4314 1.3592 1.6075 1.4666 1.6109
1.4284 1.4871 1.4932 1.4324 1.5674
1.5028 1.6352 1.3841 1.2831 1.5507
1.5604 1.2735 1.5265 1.4363 1.6441
1.5955 1.5451 1.3574 1.3281 1.4198
1.6274 1.5064 1.8366 1.4177 1.5144
1.4190 1.4303 1.6637 1.6067 1.5519
1.3884 1.7277 1.5355 1.5176 1.3688
1.4039 1.6697 1.5089 1.4627 1.5220
1.4158 1.7667 1.4278 1.5928 1.4181
1.5821 1.3355 1.5777 1.3908 1.7559
1.2856 1.4106 1.4447 1.6398 1.1928
1.4951 1.4036 1.5893 1.6458 1.4969
1.3589 1.2863 1.5996 1.2497 1.5471
1.5747 1.5301 1.5171 1.1839 1.8662
1.3680 1.7269 1.3957 1.5014 1.4449
1.4163 1.3864 1.3057 1.6210 1.5573
1.5796 1.4185 1.6541 1.5116 1.7247
1.7106 1.4412 1.2361 1.3820 1.7601
1.4371 1.5051 1.3485 1.5670 1.4880
1.4738 1.5936 1.6583 1.4973 1.4720
1.5917 1.4333 1.5551 1.5295 1.6866
1.6399 1.5243 1.5705 1.5563 1.5530
1.5797 1.3663 1.6240 1.3732 1.6887
""")
RINGS = rows("""
74.030 74.002 74.019 73.992 74.008
73.995 73.992 74.001 74.011 74.004
73.988 74.024 74.021 74.005 74.002
74.002 73.996 73.993 74.015 74.009
73.992 74.007 74.015 73.989 74.014
74.009 73.994 73.997 73.985 73.993
73.995 74.006 73.994 74.000 74.005
73.985 74.003 73.993 74.015 73.988
74.008 73.995 74.009 74.005 74.004
73.998 74.000 73.990 74.007 73.995
73.994 73.998 73.994 73.995 73.990
74.004 74.000 74.007 74.000 73.996
73.983 74.002 73.998 73.997 74.012
74.006 73.967 73.994 74.000 73.984
74.012 74.014 73.998 73.999 74.007
74.000 73.984 74.005 73.998 73.996
73.994 74.012 73.986 74.005 74.007
74.006 74.010 74.018 74.003 74.000
73.984 74.002 74.003 74.005 73.997
74.000 74.010 74.013 74.020 74.003
73.982 74.001 74.015 74.005 73.996
74.004 73.999 73.990 74.006 74.009
74.010 73.989 73.990 74.009 74.014
74.015 74.008 73.993 74.000 74.010
73.982 73.984 73.995 74.017 74.013
""")
FLOW = [49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1]
ORDERS = [100, 80, 80, 100, 110, 110, 100, 100, 90, 90, 110, 120, 120, 120, 110, 80, 80, 80, 90, 100, 100, 100, 100, 90]
ORDERS += [90]
WRONG = [12, 8, 6, 9, 10, 12, 11, 16, 10, 6, 20, 15, 9, 8, 6, 8, 10, 7, 5, 8, 5, 8, 10, 6, 9]


def test_hard_bake_by_the_range() -> None:
    """Mean 1.5056, mean range 0.32521; limits 1.318 and 1.693 of the mean, 0.687 of the range; nothing is beyond."""
    assert mean([spread(group) for group in HARD_BAKE]) == pytest.approx(0.32521, abs=5e-6)
    found = by_range(HARD_BAKE, "hard bake")
    assert found.center == pytest.approx(1.5056, abs=5e-5)
    assert found.sigma == pytest.approx(0.1398, abs=5e-5)
    at, width = of_mean(found, 5), of_range(found, 5)
    assert (at.low, at.high) == (pytest.approx(1.31795, abs=5e-4), pytest.approx(1.69325, abs=5e-4))
    assert (width.low, width.high) == (0.0, pytest.approx(0.68749, abs=5e-4))
    chart = Chart("xbar-r", named(["we1"]), phase=Phase("hard bake", 25))
    last = [chart.add(group) for group in HARD_BAKE][-1]
    assert (last.frozen, last.unsteady) == (found, ())


def test_piston_rings_by_range_and_by_standard_deviation() -> None:
    """Mean 74.001, mean range 0.023, mean s 0.0094; limits of the mean 73.988 and 74.014, of s 0.0196; none beyond."""
    assert mean([spread(group) for group in RINGS]) == pytest.approx(0.023, abs=5e-4)
    assert mean([deviation(group) for group in RINGS]) == pytest.approx(0.0094, abs=5e-6)
    ranged, deviated = by_range(RINGS, "rings"), by_deviation(RINGS, "rings")
    assert ranged.center == deviated.center == pytest.approx(74.001, abs=5e-4)
    for process in (ranged, deviated):
        limits = of_mean(process, 5)
        assert (limits.low, limits.high) == (pytest.approx(73.988, abs=6e-4), pytest.approx(74.014, abs=6e-4))
    width = of_deviation(deviated, 5)
    assert (width.low, width.high) == (0.0, pytest.approx(0.0196, abs=5e-5))
    chart = Chart("xbar-s", named(["western-electric"]), process=deviated)
    assert [point.number for point in map(chart.add, RINGS) if point.signals] == []


def test_flow_rates_one_by_one() -> None:
    """NIST: mean 50.81, mean moving range 1.8778, limits 55.8041 and 45.8159; nothing is beyond."""
    found = by_moving_range(FLOW, "flow")
    assert found.center == pytest.approx(50.81)
    assert found.sigma * constants.d2(2) == pytest.approx(1.8778, abs=5e-5)
    limits = of_mean(found, 1)  # NIST computes with 1.128
    assert (limits.low, limits.high) == (pytest.approx(45.8159, abs=0.003), pytest.approx(55.8041, abs=0.003))
    chart = Chart("i-mr", named(["we1"]), process=found)
    assert not any(chart.add([each]).signals for each in FLOW)


def test_purchase_orders_in_lots_of_unequal_size() -> None:
    """Mean share 0.0955; limits by the size of each lot, 0.184 of 100; the 11th, 20 of 110, alone is beyond."""
    usual = usual_share(WRONG, ORDERS)
    assert usual == pytest.approx(234 / 2450)
    assert (of_share(usual, 100).low, of_share(usual, 100).high) == (
        pytest.approx(0.007, abs=5e-4), pytest.approx(0.184, abs=5e-4),
    )  # fmt: skip
    chart = Chart("p", named(["we1"]), process=usual)
    points = [chart.add([wrong], size) for wrong, size in zip(WRONG, ORDERS, strict=True)]
    assert [point.number for point in points if point.signals] == [11]
    assert len({round(point.marks[0].limits.high, 6) for point in points}) == len(set(ORDERS))
    phase = Chart("p", named(["we1"]), phase=Phase("orders", 25))
    last = [phase.add([wrong], size) for wrong, size in zip(WRONG, ORDERS, strict=True)][-1]
    assert last.frozen == usual
    assert last.unsteady == ("point 11: share: a point beyond 3 sigma (we1)",)


@pytest.mark.parametrize(
    ("n", "d2", "d3", "c4", "b3", "b4"),
    [
        (15, 3.472, 0.756, 0.9823, 0.428, 1.572),
        (20, 3.735, 0.729, 0.9869, 0.510, 1.490),
        (25, 3.931, 0.708, 0.9896, 0.565, 1.435),
    ],
)
def test_constants_of_large_subgroups(n: int, d2: float, d3: float, c4: float, b3: float, b4: float) -> None:
    """To the end of the printed table."""
    assert constants.d2(n) == pytest.approx(d2, abs=6e-4)
    assert constants.d3(n) == pytest.approx(d3, abs=6e-4)
    assert constants.c4(n) == pytest.approx(c4, abs=6e-5)
    assert (constants.b3(n), constants.b4(n)) == (pytest.approx(b3, abs=6e-4), pytest.approx(b4, abs=6e-4))


def test_constants_to_more_digits_than_any_table() -> None:
    """D2(2) is 2 over the root of pi, d3(2) the root of 2 - 4 over pi, d2(3) is 3 over the root of pi: by formula."""
    pi = 3.141592653589793
    assert constants.d2(2) == pytest.approx(2 / pi**0.5, abs=1e-10)
    assert constants.d3(2) == pytest.approx((2 - 4 / pi) ** 0.5, abs=1e-5)
    assert constants.d2(3) == pytest.approx(3 / pi**0.5, abs=1e-10)
    assert constants.c4(2) == pytest.approx((2 / pi) ** 0.5, abs=1e-12)


def test_given_limits_are_nobody_elses() -> None:
    """With a process given, no value that is judged moves a limit."""
    chart = Chart("xbar-s", named(["western-electric"]), process=Process(74.0, 0.01))
    first = chart.add(RINGS[0]).marks
    for group in RINGS:
        last = chart.add([value + 1 for value in group])
    assert [mark.limits for mark in last.marks] == [mark.limits for mark in first]
