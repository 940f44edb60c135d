"""Derived kind `unchanged`: how long a tag has not moved, in seconds.  A sensor that is frozen looks fine otherwise.

    temperature_still: {kind: unchanged, input: reservoir/temperature, by: 0.01}
    heartbeat_still:   {kind: unchanged, input: filler/heartbeat}

Time goes on while the input is bad: it did not move then, either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from gateway.derive.base import S_NS, DerivedConfig, Input, Memoryless, Result

HAIR: Final = 1e-12
"""Share of a value that is nothing: the last binary digits."""


class UnchangedConfig(DerivedConfig):
    kind: Literal["unchanged"] = "unchanged"
    input: str
    by: float = Field(0.0, ge=0)
    """In the tag's own unit: a change of no more than this is none."""
    unit: Literal["s"] = "s"

    def names(self) -> Mapping[str, str]:
        return {"input": self.input}

    def build(self, units: Mapping[str, str]) -> Unchanged:
        del units
        return Unchanged(self.by)


class Unchanged(Memoryless):
    """The value it stood at, and since when."""

    def __init__(self, by: float) -> None:
        self._by = by
        self._stood: float | None = None
        self._since_ns = 0

    def compute(self, inputs: Mapping[str, Input], now_ns: int) -> Result:
        (each,) = inputs.values()
        if self._stood is None or _moved(self._stood, each.number, self._by):
            self._stood, self._since_ns = each.number, each.mono_ns
        return Result((now_ns - self._since_ns) / S_NS)


def _moved(old: float, new: float, by: float) -> bool:
    """By more than `by`: one digit of a sensor that shows tenths is 0.1, whatever binary fractions make of it."""
    return abs(new - old) - by > HAIR * max(abs(old), abs(new))
