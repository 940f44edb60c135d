"""EWMA chart: an average that forgets slowly.  Roberts 1959; NIST/SEMATECH e-Handbook 6.3.2.4; Montgomery 9.2.

Of subgroups that differ in size the variance is followed point by point: what a small one brought stays in the average.
"""

from __future__ import annotations

from math import sqrt
from typing import Literal

import msgspec

from gateway.rules.spc.limits import Limits, Process

Width = Literal["exact", "asymptotic"]


class EwmaTerms(msgspec.Struct, frozen=True):
    """How much a new point weighs, and how far the limits stand."""

    weight: float = 0.2
    """Lambda, above 0, at most 1."""
    width: float = 2.962
    """Limits at so many standard deviations of the average; with 0.2 an average run length of about 500."""
    limits: Width = "exact"
    """exact: narrow at first, as the average is; asymptotic: as they become."""

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ValueError(f"a weight (lambda) of {self.weight:g} is none: give one above 0, at most 1")
        if not self.width > 0:
            raise ValueError(f"a width of {self.width:g} draws no limits: it must be above zero")


class Ewma:
    """The average of one chart."""

    def __init__(self, terms: EwmaTerms, process: Process) -> None:
        self._terms, self._process = terms, process
        self.value = process.center
        self.points = 0
        self._share = 0.0
        """Variance of the average over that of a single value: of all the points in it, each with its own size."""

    def add(self, value: float, n: int = 1) -> tuple[float, Limits]:
        """One point: the mean of a subgroup of n.  The average with it, and its limits."""
        weight = self._terms.weight
        if not self.points and self._terms.limits == "asymptotic":
            self._share = weight / (2 - weight) / n  # as if it had always been so
        self.value += weight * (value - self.value)
        self.points += 1
        self._share = (1 - weight) ** 2 * self._share + weight**2 / n
        return self.value, self._limits()

    def _limits(self) -> Limits:
        center, sigma = self._process.center, self._process.sigma * sqrt(self._share)
        return Limits(center, sigma, center - self._terms.width * sigma, center + self._terms.width * sigma)

    def reset(self) -> None:
        self.value, self.points, self._share = self._process.center, 0, 0.0

    def dump(self) -> list[float]:
        return [self.value, float(self.points), self._share]

    def load(self, state: list[float]) -> None:
        self.value, self.points = state[0], int(state[1])
        self._share = state[2] if len(state) > 2 else self._terms.weight / (2 - self._terms.weight)
