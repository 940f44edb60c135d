"""The contract of a kind of derived tag: its configuration is its factory, as with drivers and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final, Protocol

import msgspec

from gateway.model import Fault, Json, Quality, TagSpec, Value
from gateway.recipe import Frozen

S_NS: Final = 1_000_000_000


class Input(msgspec.Struct, frozen=True):
    """One input as it was last seen."""

    name: str
    """device/tag."""
    unit: str
    value: Value = None
    fault: Fault | None = Fault(Quality.BAD, "not seen yet")
    mono_ns: int = 0

    def bad(self) -> str:
        """Why it is no number to compute with; empty if it is one.  Uncertain is one."""
        if self.fault is not None and self.fault.quality is Quality.BAD:
            return f"{self.name}: {self.fault.reason}"
        if isinstance(self.value, bool):
            return ""
        try:
            number = float(self.value)  # type: ignore[arg-type]  # what is no number says so
        except (TypeError, ValueError):
            return f"{self.name}: {self.value!r} is not a number"
        except OverflowError:
            return f"{self.name}: a whole number beyond all numbers"
        return "" if isfinite(number) else f"{self.name}: not a finite number"

    @property
    def number(self) -> float:
        """Only where it is not bad."""
        return float(self.value)  # type: ignore[arg-type]


class Result(msgspec.Struct, frozen=True):
    """A derived value, or why there is none."""

    value: float | bool | None = None
    fault: Fault | None = None


def none(reason: str) -> Result:
    """No value, and why."""
    return Result(None, Fault(Quality.BAD, reason))


class Derivation(Protocol):
    """One derived tag's computation, with whatever it remembers."""

    def compute(self, inputs: Mapping[str, Input], now_ns: int) -> Result:
        """Its value from the newest inputs, all of them good or uncertain, at this monotonic time."""
        ...

    def blind(self, now_ns: int) -> None:
        """An input is bad: what is remembered must not bridge the gap unseen."""
        ...

    def begin(self, batch: str | None) -> None:
        """From now on this batch is made, or none."""
        ...

    def dump(self) -> Json:
        """State worth keeping over a restart; None if there is none."""
        ...

    def load(self, state: Json) -> None:
        """What was kept, before the first `begin` of a start; None if nothing was."""
        ...


class DerivedConfig(Frozen):
    """What every kind has.  Subclasses add `kind: Literal["name"]` and their own keys."""

    kind: str
    unit: str = "1"
    """UCUM code of the result."""

    def names(self) -> Mapping[str, str]:
        """Name in here -> device/tag."""
        raise NotImplementedError

    def spec(self, name: str) -> TagSpec:
        return TagSpec(name, self.unit)

    def build(self, units: Mapping[str, str]) -> Derivation:
        """`units`: name in here -> unit of that tag.  ValueError: units or terms do not fit."""
        raise NotImplementedError


class Memoryless:
    """A derivation that remembers nothing."""

    def blind(self, now_ns: int) -> None:
        del now_ns

    def begin(self, batch: str | None) -> None:
        del batch

    def dump(self) -> Json:
        return None

    def load(self, state: Json) -> None:
        del state


def worst(inputs: Sequence[Input]) -> Fault | None:
    """An uncertain input makes an uncertain result."""
    for each in inputs:
        if each.fault is not None and each.fault.quality is Quality.UNCERTAIN:
            return Fault(Quality.UNCERTAIN, f"{each.name}: {each.fault.reason}")
    return None
