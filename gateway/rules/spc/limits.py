"""Centre and spread of a process, and the control limits that follow, for any subgroup size.

Limits are fixed (a centre and a standard deviation somebody gave) or estimated from a phase I, named and then frozen.
Control limits are the process's own voice: they are never the specification, and never moved by the data they judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import fsum, sqrt
from typing import Final, Literal

import msgspec

from gateway.rules.spc.constants import c4, d2, d3

Estimator = Literal["range", "deviation", "moving-range", "pooled", "given"]
"""How the standard deviation was found: mean range / d2, mean s / c4, mean moving range / d2(2), pooled s / c4, or
given by somebody."""

LARGEST: Final = 1e150
"""Of values: their squares, summed up, are still numbers.  What is larger was mistyped."""
SMALLEST: Final = 1 / LARGEST
"""Of standard deviations: the distance of any value in them is still a number."""
K: Final = 3.0
"""Standard deviations from the centre to a Shewhart limit."""
DIGITS: Final = 9
"""Of a distance in standard deviations: 1.012 is three of 0.004 from 1, whatever binary fractions make of it."""


class Process(msgspec.Struct, frozen=True):
    """What a chart knows of the process in control."""

    center: float
    sigma: float
    """Standard deviation of single values; above zero."""
    estimator: Estimator = "given"
    phase: str = ""
    """The name of the phase I it was estimated from; empty where it was given."""
    points: int = 0
    """Subgroups (or single values) of that phase."""

    def __post_init__(self) -> None:
        if not SMALLEST <= self.sigma <= LARGEST or not abs(self.center) <= LARGEST:
            what = f"a standard deviation of {self.sigma:g} about {self.center:g}"
            raise ValueError(f"{what} draws no chart: it must be above zero, and both be numbers one can compute with")


class Limits(msgspec.Struct, frozen=True):
    """Control limits of one point.  A lower one may be nothing: a range has none for small subgroups."""

    center: float
    sigma: float
    """Standard deviation of what is plotted."""
    low: float
    high: float

    def z(self, value: float) -> float:
        """Distance from the centre in standard deviations of what is plotted."""
        return round((value - self.center) / self.sigma, DIGITS)

    def beyond(self, value: float) -> int:
        """1 strictly above the upper limit, -1 strictly below the lower one, 0 on them and between."""
        over, under = (round(apart / self.sigma, DIGITS) for apart in (value - self.high, self.low - value))
        return 1 if over > 0 else -1 if under > 0 else 0


def mean(values: Sequence[float]) -> float:
    """Of equal values exactly that value: what does not vary has no spread, not even one of the last binary digit."""
    return min(max(fsum(values) / len(values), min(values)), max(values))


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation, divisor n - 1.  ValueError: fewer than two values."""
    if len(values) < 2:
        raise ValueError("one value has no standard deviation")
    middle = mean(values)
    return sqrt(fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def spread(values: Sequence[float]) -> float:
    """The range: largest less smallest."""
    return max(values) - min(values)


# -- control limits ------------------------------------------------------------------------------


def of_mean(process: Process, n: int, k: float = K) -> Limits:
    """X-bar (and X, with n = 1)."""
    sigma = process.sigma / sqrt(n)
    return Limits(process.center, sigma, process.center - k * sigma, process.center + k * sigma)


def of_range(process: Process, n: int, k: float = K) -> Limits:
    """R, and the moving range with n = 2."""
    center, sigma = d2(n) * process.sigma, d3(n) * process.sigma
    return Limits(center, sigma, max(0.0, center - k * sigma), center + k * sigma)


def of_deviation(process: Process, n: int, k: float = K) -> Limits:
    """The standard deviation s of a subgroup."""
    center, sigma = c4(n) * process.sigma, sqrt(1 - c4(n) ** 2) * process.sigma
    return Limits(center, sigma, max(0.0, center - k * sigma), center + k * sigma)


def of_share(share: float, n: int, k: float = K) -> Limits:
    """P chart: the share of n that is defective, where `share` is usual.  ValueError: a share not within 0..1, or 0."""
    if not 0 < share < 1:
        raise ValueError(f"a usual share of {share:g} draws no chart: give one between 0 and 1")
    sigma = sqrt(share * (1 - share) / n)
    return Limits(share, sigma, max(0.0, share - k * sigma), min(1.0, share + k * sigma))


# -- phase I -------------------------------------------------------------------------------------


def by_range(groups: Sequence[Sequence[float]], phase: str) -> Process:
    """Of subgroups, by the mean range; sizes may differ.  ValueError: a subgroup of one."""
    _several(groups, phase)
    sigma = mean([spread(group) / d2(len(group)) for group in groups])
    return Process(_grand_mean(groups), sigma, "range", phase, len(groups))


def by_deviation(groups: Sequence[Sequence[float]], phase: str) -> Process:
    """Of subgroups, by the mean standard deviation; sizes may differ.  ValueError: a subgroup of one."""
    _several(groups, phase)
    sigma = mean([deviation(group) / c4(len(group)) for group in groups])
    return Process(_grand_mean(groups), sigma, "deviation", phase, len(groups))


def pooled(groups: Sequence[Sequence[float]], phase: str) -> Process:
    """Of subgroups, by the pooled variance: what suits sizes that differ best (Montgomery 6.3.2; Burr 1969)."""
    _several(groups, phase)
    free = sum(len(group) - 1 for group in groups)
    squares = fsum((len(group) - 1) * deviation(group) ** 2 for group in groups)
    bias = c4(free + 1) if free < 100 else 1 - 1 / (4 * free)
    return Process(_grand_mean(groups), sqrt(squares / free) / bias, "pooled", phase, len(groups))


def by_moving_range(values: Sequence[float], phase: str) -> Process:
    """Of single values, by the mean moving range of two.  ValueError: fewer than two."""
    if len(values) < 2:
        raise ValueError(f"phase {phase!r} has {len(values)} values; a moving range needs two")
    sigma = mean([abs(second - first) for first, second in pairwise(values)]) / d2(2)
    return Process(mean(values), sigma, "moving-range", phase, len(values))


def usual_share(defects: Sequence[int], sizes: Sequence[int]) -> float:
    """The mean share of a p chart's phase I."""
    return sum(defects) / sum(sizes)


def _grand_mean(groups: Sequence[Sequence[float]]) -> float:
    return mean([value for group in groups for value in group])


def _several(groups: Sequence[Sequence[float]], phase: str) -> None:
    if not groups or any(len(group) < 2 for group in groups):
        raise ValueError(f"phase {phase!r} needs subgroups of two or more to tell the spread within them")
