"""Derived kind `rate`: how fast a tag changes: the least-squares slope of what was seen in the last `over`.

heating: {kind: rate, input: reservoir/temperature, over: 30s, unit: K/min}

A bad value begins it anew, and so does a gap: a slope over what nobody saw is made up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import fsum, inf, isfinite
from typing import Final, Literal

from pydantic import Field

from gateway.derive import dimensions
from gateway.derive.base import S_NS, DerivedConfig, Input, Memoryless, Result, none
from gateway.units import Duration

FULL: Final = 0.8
"""Share of `over` that must have been seen before a slope means anything."""
LEAST: Final = 3
MOST: Final = 500
"""Points a slope is made of: of a long while at a fast poll every so many, the newest among them."""


class RateConfig(DerivedConfig):
    kind: Literal["rate"] = "rate"
    input: str
    over_s: Duration = Field(30.0, alias="over", gt=0)

    def names(self) -> Mapping[str, str]:
        return {"input": self.input}

    def build(self, units: Mapping[str, str]) -> Rate:
        """ValueError: the unit is not that of the tag over a time."""
        wanted = dimensions.dimension(self.unit)
        found = (dimensions.quantity(1.0, units["input"]) / dimensions.quantity(1.0, "s")).dimensionality
        if wanted != found:
            raise ValueError(f"the rate of {units['input']} is {dimensions.said(found)}, which is not {self.unit}")
        return Rate(dimensions.to_si(units["input"])[0] / dimensions.to_si(self.unit)[0], round(self.over_s * S_NS))


class Rate(Memoryless):
    """The points of the last while."""

    def __init__(self, scale: float, over_ns: int) -> None:
        self._scale = scale
        self._over_ns = over_ns
        self._step_ns = over_ns // MOST
        self._points: deque[tuple[int, float]] = deque()

    def compute(self, inputs: Mapping[str, Input], now_ns: int) -> Result:
        (each,) = inputs.values()
        points = self._points
        if not points or each.mono_ns > points[-1][0]:
            if len(points) > 1 and points[-1][0] - points[-2][0] < self._step_ns:
                points.pop()
            points.append((each.mono_ns, each.number))
        while now_ns - points[0][0] > self._over_ns:
            points.popleft()
            if not points:
                return none(f"{each.name}: nothing new within {self._over_ns / S_NS:g} s")
        if len(points) < LEAST or points[-1][0] - points[0][0] < FULL * self._over_ns:
            return none(f"{each.name} was not seen long enough for a rate")
        try:
            found = _slope(points) * self._scale
        except (OverflowError, ValueError):  # what a controller sends for no value: the largest number there is
            found = inf
        return (
            Result(found) if isfinite(found) else none(f"{each.name}: a rate of {each.number:g} is beyond all numbers")
        )

    def blind(self, now_ns: int) -> None:
        """A slope over a gap is made up: begin anew."""
        del now_ns
        self._points.clear()


def _slope(points: deque[tuple[int, float]]) -> float:
    """Of value over seconds."""
    start = points[0][0]
    times = [(at - start) / S_NS for at, _ in points]
    middle, level = fsum(times) / len(times), fsum(value for _, value in points) / len(times)
    spread = fsum((time - middle) ** 2 for time in times)
    return fsum((time - middle) * (value - level) for time, (_, value) in zip(times, points, strict=True)) / spread
