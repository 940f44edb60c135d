"""Derived kind `time-above`: how long a tag stood above a value in this batch: terpenes leave warm oil.

    oil_hot: {kind: time-above, input: reservoir/temperature, above: {unit: Cel, value: 75}, unit: min}

Counts from one good value to the next, half where only one of them is above.  While the input is bad nothing is
counted: the time is unknown, and said so by an uncertain quality from then on.  Kept over restarts; the time a gateway
was down is unknown, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from gateway.derive import dimensions
from gateway.derive.base import S_NS, DerivedConfig, Input, Result
from gateway.model import Fault, Json, Quality
from gateway.recipe import Frozen

EXACT: Final = ".12g"
"""There and back through kelvin 67.4 Cel would be a hair less, and a tag that stands at 67.4 above it."""


class Level(Frozen):
    """A value with its unit."""

    unit: str
    value: float


class TimeAboveConfig(DerivedConfig):
    kind: Literal["time-above"] = "time-above"
    input: str
    above: Level
    unit: Literal["s", "min", "h"] = "min"
    per: Literal["batch", "ever"] = "batch"
    """batch: begins anew with each batch, and with none."""

    def names(self) -> Mapping[str, str]:
        return {"input": self.input}

    def build(self, units: Mapping[str, str]) -> TimeAbove:
        """ValueError: the units do not convert."""
        if not dimensions.alike(self.above.unit, units["input"]):
            raise ValueError(f"{self.input} is in {units['input']}, which does not convert to {self.above.unit}")
        factor, offset = dimensions.to_si(self.above.unit)
        scale, shift = dimensions.to_si(units["input"])
        level = (self.above.value * factor + offset - shift) / scale
        return TimeAbove(
            float(f"{level:{EXACT}}"), dimensions.to_si(self.unit)[0] * S_NS, per_batch=self.per == "batch"
        )


class TimeAbove:
    """Adds up."""

    def __init__(self, level: float, unit_ns: float, *, per_batch: bool) -> None:
        self._level = level
        self._unit_ns = unit_ns
        self._per_batch = per_batch
        self._batch: str | None = None
        self._total_ns = 0.0
        self._unknown_ns = 0
        self._last: tuple[int, bool] | None = None
        self._blind_since: int | None = None
        self._restarted = False
        """The gateway was down in this batch, and nobody knows how long it was hot meanwhile."""
        self._starts = False
        """A batch that is made at the start was made before it."""
        self._unseen = False
        """This batch was made before the start, and nothing is kept of it."""

    def compute(self, inputs: Mapping[str, Input], now_ns: int) -> Result:
        (each,) = inputs.values()
        above = each.number > self._level
        if self._last is not None and each.mono_ns > self._last[0]:
            self._total_ns += (each.mono_ns - self._last[0]) * (above + self._last[1]) / 2
        if self._blind_since is not None:
            self._unknown_ns += max(0, now_ns - self._blind_since)
            self._blind_since = None
        self._last = (each.mono_ns, above)
        return Result(self._total_ns / self._unit_ns, self._doubt())

    def _doubt(self) -> Fault | None:
        """What is not known of the sum."""
        said = []
        if self._unknown_ns:
            said.append(f"{self._unknown_ns / S_NS:.0f} s are unknown: nothing good came")
        if self._restarted:
            said.append("the time the gateway was down is unknown")
        if self._unseen:
            said.append("what was in this batch before the gateway's start is unknown")
        return Fault(Quality.UNCERTAIN, "; ".join(said)) if said else None

    def blind(self, now_ns: int) -> None:
        if self._blind_since is None:
            self._blind_since = self._last[0] if self._last is not None else now_ns
        self._last = None

    def begin(self, batch: str | None) -> None:
        if self._per_batch and batch != self._batch:
            self._batch = batch
            self._total_ns, self._unknown_ns, self._restarted = 0.0, 0, False
            self._blind_since = None  # what was unknown before belongs to no batch, or to the last
            self._unseen = self._starts and batch is not None
        self._starts = False

    def dump(self) -> Json:
        if self._per_batch and self._batch is None and not self._total_ns and not self._unknown_ns:
            return None
        kept = {"batch": self._batch, "total_ns": self._total_ns, "unknown_ns": self._unknown_ns}
        return {**kept, "unseen": True} if self._unseen else kept

    def load(self, state: Json) -> None:
        """Goes on where it was; `begin` says whether that batch is still made."""
        self._starts = True
        if state:
            self._batch = state["batch"]
            self._total_ns, self._unknown_ns = state["total_ns"], state["unknown_ns"]
            self._restarted, self._unseen = True, bool(state.get("unseen"))
