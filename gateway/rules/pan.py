"""The pan of one balance, shared by all sampling rules that weigh on it.

A stable reading over a fifth of the target is a weighing, once, until the pan was emptied or became unsettled.  A
weighing goes to the take that is armed; without one it is recorded unbound.  What never settles is recorded and
never judged.  Where the balance was out of sight with something on it, and when a batch begins, its pan counts as
occupied until it was seen empty: what lies there may have been weighed already.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from gateway.errors import Refused
from gateway.model import Json, Scan, TagSet, Value
from gateway.rules.base import NOTHING
from gateway.rules.inputs import unusable
from gateway.rules.takes import Take
from gateway.verdicts import Finding, Sample, Weighing

EMPTY_BELOW: Final = Decimal("0.2")
"""Of the target: less than this is an empty pan."""


class Weigher(Protocol):
    """A rule that weighs."""

    name: str
    dirty: bool

    def bind(self, take: Take, sample: Sample, scan: Scan) -> Sequence[Finding]: ...

    def unsettled(self, take: Take | None) -> None:
        """A reading did not settle."""
        ...


class Pan:
    """One balance, as far as takes are concerned."""

    def __init__(self, tagset: TagSet, position: int, empty_below: Decimal, settle_ns: int) -> None:
        self.tagset = tagset
        self.position = position
        self.empty_below = empty_below
        self.members: list[Weigher] = []
        self.take: Take | None = None
        self.free = False
        """Emptied or unsettled since the last weighing that was bound."""
        self.empty = False
        """Nothing was put on it since it was last seen empty."""
        self.unknown = True
        """Out of sight with something on it, and not seen empty since.  Of a new batch nothing was seen yet."""
        self.fresh = False
        """The same since the last weighing of any kind: what is stable next is another weighing."""
        self._settle_ns = settle_ns
        self._until_ns: int | None = None
        self._patience_ns = 0
        self._unsettled_ns: int | None = None
        self._unsettled_wall_ns: int | None = None
        self._told = False

    @property
    def unit(self) -> str:
        return self.tagset.units[self.position]

    def arm(self, take: Take, now_ns: int, patience_ns: int) -> None:
        """The newest take of a person counts; another person's has to be used up or time out first.  Refused."""
        self.expire(now_ns, take.armed_ns)
        if self.take is not None and self.take.person != take.person:
            raise Refused(
                "armed",
                f"{self.take.person}'s take for {self.take.check} waits for the balance; weigh that first, "
                "or wait until it lapses",
                person=self.take.person,
            )
        self.take, self._until_ns, self._patience_ns = take, now_ns + patience_ns, patience_ns
        self._settled()

    def disarm(self, check: str) -> None:
        """Its check is no longer open."""
        if self.take is not None and self.take.check == check:
            self.take = None

    def expire(self, now_ns: int, wall_ns: int) -> None:
        """A take that nobody followed up lapses; over a restart its time runs by the wall clock."""
        if self.take is None:
            return
        if self._until_ns is None:
            self._until_ns = now_ns + self._patience_ns - max(0, wall_ns - self.take.armed_ns)
        if now_ns >= self._until_ns:
            self._touch(self.take.rule)
            self.take = None

    def restore(self, take: Take, patience_ns: int) -> None:
        """From before a restart."""
        self.take, self._until_ns, self._patience_ns = take, None, patience_ns

    def dump(self) -> Json:
        return [self.free, self.fresh, self.empty, self.unknown, self._unsettled_wall_ns, self._told]

    def load(self, state: Json) -> None:
        """Also as it was kept before it knew of empty and unknown."""
        self.free, self.fresh, *more = state
        self.empty, self.unknown, self._unsettled_wall_ns, self._told = more or (False, False, None, False)
        self._unsettled_ns = None

    def join(self, other: Pan) -> None:
        """Two that turn out to be one: the more careful word holds."""
        self.free = self.free and other.free
        self.empty = self.empty and other.empty
        self.unknown = self.unknown or other.unknown
        self.empty_below = min(self.empty_below, other.empty_below)

    def scan(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        """What lies there is each member's to keep: all of them, or a restart would take an older one's word."""
        before = self.free, self.empty, self.unknown
        found = self._look(scan, now_ns)
        if before != (self.free, self.empty, self.unknown):
            for member in self.members:
                member.dirty = True
        return found

    def _look(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        self.expire(now_ns, scan.time_ns)
        trouble = unusable(scan, self.position, strict=True)
        if trouble is not None:
            return self._unsettled(scan, now_ns, trouble)
        self._settled()
        value = decimal(scan.values[self.position])
        assert value is not None
        if value < self.empty_below:
            self.free = self.fresh = self.empty = True
            self.unknown = False
            return NOTHING
        self.empty = False
        if self.take is not None and self.free:
            return self._bind(self.take, value, scan)
        if not self.fresh:
            return NOTHING
        self.fresh = False
        return (self._record(value, scan, self._why_unbound()),)

    def _why_unbound(self) -> str:
        if self.take is None:
            return "no take was armed"
        if self.unknown:
            return "the balance was out of sight with something on it: empty the pan, then put the unit on again"
        return "it was weighed before: empty the pan, then put the unit on"

    def _bind(self, take: Take, value: Decimal, scan: Scan) -> Sequence[Finding]:
        self.take = None
        self.free = self.fresh = False
        sample = self._sample(value, scan, take)
        for member in self.members:
            if member.name == take.rule:
                return member.bind(take, sample, scan)
        return (self._record(value, scan, f"rule {take.rule} judges no more"),)

    def _unsettled(self, scan: Scan, now_ns: int, trouble: str) -> Sequence[Finding]:
        """Recorded once if it lasts: with a take armed always, without one if there is something on the pan."""
        self.fresh = True
        value = decimal(scan.values[self.position])
        if value is None and scan.raw is None:
            self._out_of_sight()
        else:
            self.free = not self.unknown
            self.empty = self.empty and value is not None and value < self.empty_below
        if value is not None and value < self.empty_below:  # a draught over an empty pan: what comes next is another
            self.free, self.unknown = True, False
            self._settled()
            return NOTHING
        if self._unsettled_ns is None:
            since = self._unsettled_wall_ns
            self._unsettled_ns = now_ns - (max(0, scan.time_ns - since) if since is not None else 0)
            self._unsettled_wall_ns = scan.time_ns if since is None else since
        if self._told or now_ns - self._unsettled_ns < self._settle_ns:
            return NOTHING
        if value is None and self.take is None:
            return NOTHING  # a lost link
        self._told = True
        self._tell_of_unsettled()
        return (self._record(value, scan, trouble),)

    def _settled(self) -> None:
        self._unsettled_ns = self._unsettled_wall_ns = None
        self._told = False

    def _out_of_sight(self) -> None:
        """The balance said nothing.  What lies there stays there, for all that is known."""
        if not self.empty:
            self.unknown, self.free = True, False

    def _tell_of_unsettled(self) -> None:
        for member in self.members:
            if self.take is not None and member.name == self.take.rule:
                member.unsettled(self.take)

    def _record(self, value: Decimal | None, scan: Scan, reason: str) -> Weighing:
        """A weighing that is not judged, in the name of the rule it was meant for, or the first one here."""
        take = self.take
        sample = msgspec.structs.replace(self._sample(value, scan, take), reason=reason)
        return Weighing(take.rule if take else self.members[0].name, sample, (take.check or None) if take else None)

    def _sample(self, value: Decimal | None, scan: Scan, take: Take | None) -> Sample:
        return Sample(
            characteristic=take.characteristic if take else "",
            value=value,
            unit=self.unit,
            unit_no=take.unit_no if take else None,
            tray=take.tray if take else None,
            time_ns=scan.time_ns,
            person=take.person if take else "",
            passed=None,
            raw=scan.raw.decode("latin-1").strip() if scan.raw else "",
        )

    def _touch(self, rule: str) -> None:
        for member in self.members:
            if member.name == rule:
                member.dirty = True


def decimal(value: Value) -> Decimal | None:
    """As the balance wrote it; a float by its shortest text."""
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = Decimal(str(value))
    return number if number.is_finite() else None
