"""Drift of where labels sit: an exponentially weighted average that is told before a single label is out of its limits.

trend: {tag: labeller/offset, weight: 0.2, window: {unit: mm, low: -0.6, high: 0.6}}
"""

from __future__ import annotations

from pydantic import Field, model_validator

from gateway.model import Json, TagSpec
from gateway.recipe import Frozen, Window
from gateway.rules.inputs import beyond, bounds
from gateway.rules.spc.ewma import Ewma, EwmaTerms
from gateway.rules.spc.limits import Process


class TrendConfig(Frozen):
    """How the average is made, and where it is told."""

    tag: str
    weight: float = Field(0.2, gt=0, le=1)
    """Of a new label in the average (lambda)."""
    window: Window
    """Of the average; narrower than what a single label may do."""

    @model_validator(mode="after")
    def _has_ends(self) -> TrendConfig:
        if self.window.low is None or self.window.high is None:
            raise ValueError("the window of a trend needs low and high")
        return self


class Trend:
    """The average of one batch."""

    def __init__(self, config: TrendConfig, spec: TagSpec) -> None:
        """ValueError: the window does not fit the tag."""
        within = bounds(config.window, spec)
        assert within.low is not None
        assert within.high is not None
        self.low, self.high, self._unit = float(within.low), float(within.high), spec.unit
        target = (self.low + self.high) / 2 if within.target is None else float(within.target)
        self._average = Ewma(EwmaTerms(weight=config.weight), Process(target, 1.0, "given"))
        self._out = False

    @property
    def value(self) -> float:
        return self._average.value

    def add(self, value: float) -> str:
        """One label; a sentence when the average leaves its window, once each time."""
        self._average.add(value)
        average, was = self._average.value, self._out
        self._out = not self.low <= average <= self.high
        if not self._out or was:
            return ""
        above = average > self.high
        return f"the average {beyond(average, self.high if above else self.low, self._unit, above=above)}"

    def dump(self) -> Json:
        return [self._average.dump(), self._out]

    def load(self, state: Json) -> None:
        self._average.load(state[0])
        self._out = state[1]
