"""The constants of Shewhart charts, for subgroups of n from a normal process.

Formulas: Montgomery, Introduction to Statistical Quality Control, appendix VI; ASTM E2587.  The distribution of the
range is integrated numerically (Tippett 1925), so that no digit can be mistyped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import erf, exp, lgamma, sqrt
from typing import Final

LARGEST_N: Final = 100
"""A subgroup larger than this is no subgroup of a filling line."""
_REACH: Final = 8.0
"""Standard deviations to either side: beyond lies 1e-15."""
_STEPS: Final = 320


def _sized(n: int) -> int:
    if not 2 <= n <= LARGEST_N:
        raise ValueError(f"a subgroup of {n} has no such constant: give 2 to {LARGEST_N}")
    return n


@cache
def c4(n: int) -> float:
    """E[s]/sigma, s with divisor n - 1; of any n, as it is a formula.  ValueError: n below 2."""
    _sized(min(n, LARGEST_N))
    return sqrt(2 / (n - 1)) * exp(lgamma(n / 2) - lgamma((n - 1) / 2))


@cache
def d2(n: int) -> float:
    """E[range]/sigma.  ValueError: n below 2."""
    _sized(n)
    return _simpson([1 - below**n - (1 - below) ** n for below in _normal()])


@cache
def d3(n: int) -> float:
    """Standard deviation of the range over sigma.  ValueError: n below 2."""
    _sized(n)
    below = _normal()
    rows = [
        _simpson([_joint(low, high, n) for high in below[at:]]) if at < len(below) - 1 else 0.0
        for at, low in enumerate(below)
    ]
    return sqrt(2 * _simpson(rows) - d2(n) ** 2)


def _joint(low: float, high: float, n: int) -> float:
    """P(smallest <= x and largest > y), given the normal distribution at x and y."""
    return 1 - high**n - (1 - low) ** n + (high - low) ** n


@cache
def _normal() -> tuple[float, ...]:
    """The normal distribution on the grid."""
    return tuple((1 + erf((at * _step() - _REACH) / sqrt(2))) / 2 for at in range(_STEPS + 1))


def _step() -> float:
    return 2 * _REACH / _STEPS


def _simpson(heights: list[float]) -> float:
    """The integral over equal steps: Simpson, and one trapezoid first where the number of steps is odd."""
    first = 0.0
    if len(heights) % 2 == 0:
        first, heights = (heights[0] + heights[1]) / 2, heights[1:]
    inner = 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2])
    whole = (heights[0] + inner + heights[-1]) / 3 if len(heights) > 1 else 0.0
    return (first + whole) * _step()


def a2(n: int) -> float:
    """Limits of the mean by the mean range."""
    return 3 / (d2(n) * sqrt(n))


def a3(n: int) -> float:
    """Limits of the mean by the mean standard deviation."""
    return 3 / (c4(n) * sqrt(n))


def b3(n: int) -> float:
    """Lower limit of s over its mean; never below zero."""
    return max(0.0, 1 - 3 * sqrt(1 - c4(n) ** 2) / c4(n))


def b4(n: int) -> float:
    """Upper limit of s over its mean."""
    return 1 + 3 * sqrt(1 - c4(n) ** 2) / c4(n)


def big_d3(n: int) -> float:
    """Lower limit of the range over its mean (D3); never below zero."""
    return max(0.0, 1 - 3 * d3(n) / d2(n))


def big_d4(n: int) -> float:
    """Upper limit of the range over its mean (D4)."""
    return 1 + 3 * d3(n) / d2(n)


def by_n(first: int = 2, last: int = 10) -> dict[int, dict[str, float]]:
    """A table, for people and for the tests."""
    named: dict[str, Callable[[int], float]] = {
        "A2": a2,
        "A3": a3,
        "B3": b3,
        "B4": b4,
        "D3": big_d3,
        "D4": big_d4,
        "d2": d2,
        "d3": d3,
        "c4": c4,
    }
    return {n: {name: of(n) for name, of in named.items()} for n in range(first, last + 1)}
