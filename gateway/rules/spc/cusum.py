"""Tabular CUSUM: what was above target, and what was below, added up.

Page 1954; Montgomery 9.1; NIST/SEMATECH e-Handbook 6.3.2.3.

Fast initial response (Lucas and Crosier 1982): the sums begin at half the decision interval, so that a process that
starts off target is found sooner; one in control soon falls back to zero.
"""

from __future__ import annotations

from math import sqrt

import msgspec

from gateway.rules.spc.limits import DIGITS, Process


class CusumTerms(msgspec.Struct, frozen=True):
    """In standard deviations of what is plotted."""

    slack: float = 0.5
    """K: half the shift that matters."""
    decision: float = 5.0
    """H: with k 0.5 an average run length of 465 two-sided."""
    head_start: float = 0.0
    """Share of h the sums begin with; 0.5 is the fast initial response."""

    def __post_init__(self) -> None:
        if self.slack < 0 or not self.decision > 0:
            raise ValueError(f"slack {self.slack:g} and decision {self.decision:g}: one is below, or not above, zero")
        if not 0 <= self.head_start < 1:
            raise ValueError(f"a head start of {self.head_start:g} is none: give a share of h from 0, below 1")


class Sums(msgspec.Struct, frozen=True):
    """Both sums after a point, in standard deviations."""

    high: float
    low: float
    high_run: int
    """Points since the upper sum was last zero: about when the shift began."""
    low_run: int


class Cusum:
    """Both sums of one chart."""

    def __init__(self, terms: CusumTerms, process: Process) -> None:
        self._terms, self._process = terms, process
        self._start = terms.head_start * terms.decision
        self.sums = Sums(self._start, self._start, 0, 0)

    def add(self, value: float, n: int = 1) -> Sums:
        """One point: the mean of a subgroup of n.  Beyond is strictly beyond `decision`."""
        z = (value - self._process.center) / (self._process.sigma / sqrt(n))
        old, slack = self.sums, self._terms.slack
        high, low = (max(0.0, round(total, DIGITS)) for total in (old.high + z - slack, old.low - z - slack))
        self.sums = Sums(high, low, old.high_run + 1 if high else 0, old.low_run + 1 if low else 0)
        return self.sums

    def signals(self) -> tuple[str, ...]:
        """`high`, `low`: the sums that stand beyond the decision interval."""
        sums, most = self.sums, self._terms.decision
        return tuple(name for name, value in (("high", sums.high), ("low", sums.low)) if value > most)

    def reset(self) -> None:
        self.sums = Sums(self._start, self._start, 0, 0)

    def dump(self) -> list[float]:
        return [self.sums.high, self.sums.low, float(self.sums.high_run), float(self.sums.low_run)]

    def load(self, state: list[float]) -> None:
        self.sums = Sums(state[0], state[1], int(state[2]), int(state[3]))
