"""The contract of a rule kind.

A rule's configuration is its factory: `RuleConfig.build(name, context)` gives a Judge, compiled for the batch at
hand.  A Judge holds the rule's state; the engine calls it, one event at a time, with monotonic time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Protocol

import msgspec
from pydantic import BeforeValidator, Field

from gateway.model import Entry, Finding, Json, Scan, TagSet, Verdict
from gateway.recipe import Frozen
from gateway.units import Duration

NOTHING: tuple[Finding, ...] = ()


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_many, json_schema_input_type=str | tuple[str, ...])]
"""One name or a list of them."""


class RuleContext(msgspec.Struct, frozen=True):
    """What a rule may know beside its own configuration."""

    tagsets: Mapping[str, TagSet]
    """device name -> its tags."""
    periods_s: Mapping[str, float]
    """device name -> time between its scans."""
    batch: str | None = None
    tray_size: int = 100
    verification_units: int = 5


class Judge(Protocol):
    """One compiled rule."""

    def plan(self, tagset: TagSet) -> Callable[[Scan, int], Sequence[Finding]] | None:
        """A closure `(scan, now_ns) -> findings` for scans of this tag set; None if it looks at none of them.

        Called once per tag set.  The closure is the hot path: one per rule and scan.
        """
        ...

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """Staleness, delays, overdue checks."""
        ...

    def enter(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """An entry for this rule.  Raises Refused if it cannot be taken (no such check, wrong unit)."""
        ...

    def current(self) -> Verdict | None:
        """The verdict that stands; None before the first input."""
        ...

    def dump(self) -> Json:
        """State worth keeping over a restart; None if there is none."""
        ...

    def load(self, state: Json) -> None: ...


class RuleConfig(Frozen):
    """What every rule has.  Subclasses add `kind: Literal["name"]` and their own keys."""

    needs_batch: ClassVar[bool] = False
    """True: judges only while a batch runs."""

    kind: str
    halt: Names = ()
    """Devices to hold.  YAML may give one name or a list."""
    deadline_s: Duration | None = Field(None, alias="deadline", gt=0)
    """Promised time from the physical change to the halt; `linegate check` refuses what cannot keep it."""
    text: str = ""
    """What the person should do; shown with the alarm."""

    def inputs(self) -> tuple[str, ...]:
        """Full tag names `device/tag` (or a device name) that it looks at, for `linegate check`."""
        raise NotImplementedError

    def build(self, name: str, context: RuleContext) -> Judge:
        raise NotImplementedError
