"""The contract of a rule kind.

A rule's configuration is its factory: `RuleConfig.build(name, context)` gives a Judge, compiled for the batch at
hand.  A Judge holds the rule's state; the engine calls it, one event at a time, with monotonic time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Protocol, runtime_checkable

import msgspec
from pydantic import BeforeValidator, Field

from gateway.model import Entry, Json, Scan, TagSet
from gateway.recipe import Frozen
from gateway.units import Duration
from gateway.verdicts import Check, CheckChange, Finding, Verdict

NOTHING: tuple[Finding, ...] = ()

Closure = Callable[[Scan, int], Sequence[Finding]]
"""The hot path: `(scan, now_ns) -> findings`; NOTHING, the one shared empty tuple, when nothing changed."""


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
    scales: Mapping[str, tuple[str, str]] = MappingProxyType({})
    """Balance -> its repeatability as last found (a decimal), and the unit."""


class Judge(Protocol):
    """One compiled rule.

    A judge that looks at scans of one tag set only may say so by an attribute `tagset`: it is asked for no other.
    """

    dirty: bool
    """Set by the judge when `dump()` would say something new; the engine sets it back once it has asked."""

    def plan(self, tagset: TagSet) -> Closure | None:
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


class Group(Protocol):
    """Judges of one kind over one tag set, looked at together: cheaper, or because they share something there."""

    members: Sequence[Judge]
    """A judge is in at most one group, and its group ticks it; tag sets outside the group go through `plan`."""

    def scan(self, scan: Scan, now_ns: int) -> Sequence[Finding]: ...

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]: ...

    def stirred(self) -> bool:
        """May a member have become dirty since this was last asked?  False: none is asked."""
        ...


@runtime_checkable
class Grouping(Protocol):
    """A kind of judge that can be grouped."""

    @staticmethod
    def group(judges: Sequence[Any], tagset: TagSet) -> Group | None:
        """The group of those of `judges` (all of this kind) that belong together on `tagset`; None if none do."""
        ...


@runtime_checkable
class Counting(Protocol):
    """A judge that counts from where a machine's counter stood when the batch began."""

    def begin(self, scan: Scan) -> None:
        """What one of its devices showed last before that; any device's may come."""
        ...


@runtime_checkable
class Checking(Protocol):
    """A judge that asks for checks."""

    def checks(self) -> Sequence[Check]:
        """Those still open: due, taken in part, or missed and not yet done."""
        ...

    def current(self) -> Verdict | None:
        """The verdict that stands."""
        ...

    def suspects(self) -> Sequence[str]:
        """Trays that no good check of this rule vouches for."""
        ...


@runtime_checkable
class Following(Protocol):
    """A judge that looks at another rule's checks: a chart.

    It may name more rules whose entries it hears, by an attribute `anew_after`.
    """

    follows: str | None
    """That rule's name; None: this one looks at tags."""

    def hear(self, change: CheckChange, now_ns: int) -> Sequence[Finding]:
        """A check of that rule changed."""
        ...

    def heard(self, entry: Entry) -> Sequence[Finding]:
        """An entry that rule took: a recalibration."""
        ...


NEVER_NS: Final = 2**63 - 1
"""Monotonic time that does not come: a judge that waits for nothing."""


@runtime_checkable
class Resting(Protocol):
    """A judge or group that knows until when ticks are idle: a backtest passes over those."""

    def rests_until(self, now_ns: int) -> int:
        """As long as nothing else comes, no tick after `now_ns` and before this time says or changes anything.

        `now_ns` is the last tick's time.  NEVER_NS: none ever does.
        """
        ...


@runtime_checkable
class Sparing(Protocol):
    """A judge or group of one tag set that counts how long its input was silent."""

    tagset: TagSet

    def spare(self, ns: int, now_ns: int) -> None:
        """The last `ns` up to now are not counted: the gateway itself kept the device from being polled."""
        ...


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
    latched: bool = False
    """Its alarm stands until it was acknowledged and reset, also when the condition is gone."""
    suppressed_by: Names = ()
    """Rules, or link:DEVICE, whose standing condition suppresses the alarm; never a halt."""
    suppressed_unless: str | None = None
    """A tag: the alarm is shown only while it is true, or one of `suppressed_unless_states`; never hides a halt."""
    suppressed_unless_states: tuple[int, ...] = (6,)
    """Numbers that count as running: PackML Execute."""

    def inputs(self) -> tuple[str, ...]:
        """Full tag names `device/tag` (or a device name) that it looks at, for `linegate check`."""
        raise NotImplementedError

    def rules(self) -> tuple[str, ...]:
        """Names of sampling rules that it follows, for `linegate check`."""
        return ()

    def build(self, name: str, context: RuleContext) -> Judge:
        raise NotImplementedError

    def build_each(self, matches: Iterable[tuple[str, str]], context: RuleContext) -> Iterator[tuple[str, Judge]]:
        """(name, judge) for each (name, input) that a pattern in `input` stands for: it may be ten thousand."""
        for name, match in matches:
            yield name, self.model_copy(update={"input": match}).build(name, context)
