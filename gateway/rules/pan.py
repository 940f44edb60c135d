"""The pan of one balance, shared by all sampling rules that weigh on it.

A stable reading over a fifth of the target is a weighing, once, until the pan was emptied or became unsettled.  A
weighing goes to the take that is armed; without one it is recorded unbound.  What never settles is recorded and
never judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from gateway.errors import Refused
from gateway.model import Finding, Sample, Scan, TagSet, Value, Weighing
from gateway.rules.base import NOTHING
from gateway.rules.inputs import unusable

EMPTY_BELOW: Final = Decimal("0.2")
"""Of the target: less than this is an empty pan."""


class Take(msgspec.Struct, frozen=True):
    """What the next stable weight will be bound to."""

    rule: str
    check: str
    characteristic: str
    unit_no: int | None
    tray: str | None
    person: str


class Weigher(Protocol):
    """A rule that weighs."""

    name: str
    dirty: bool

    def bind(self, take: Take, sample: Sample, scan: Scan) -> Sequence[Finding]: ...


class Pan:
    """One balance, as far as takes are concerned."""

    def __init__(self, tagset: TagSet, position: int, empty_below: Decimal, settle_ns: int) -> None:
        self.tagset = tagset
        self.position = position
        self.empty_below = empty_below
        self.members: list[Weigher] = []
        self.take: Take | None = None
        self.free = True
        """Emptied or unsettled since the last weighing that was bound."""
        self.fresh = False
        """The same since the last weighing of any kind: what is stable next is another weighing."""
        self._settle_ns = settle_ns
        self._until_ns: int | None = None
        self._patience_ns = 0
        self._unsettled_ns: int | None = None
        self._told = False

    @property
    def unit(self) -> str:
        return self.tagset.units[self.position]

    def arm(self, take: Take, now_ns: int, patience_ns: int) -> None:
        """The newest take of a person counts; another person's has to be used up or time out first.  Refused."""
        self.expire(now_ns)
        if self.take is not None and self.take.person != take.person:
            raise Refused(
                "armed",
                f"{self.take.person}'s take for {self.take.check} waits for the balance; weigh that first, "
                "or wait until it lapses",
                person=self.take.person,
            )
        self.take, self._until_ns, self._patience_ns = take, now_ns + patience_ns, patience_ns
        self._unsettled_ns, self._told = None, False

    def disarm(self, check: str) -> None:
        """Its check is no longer open."""
        if self.take is not None and self.take.check == check:
            self.take = None

    def expire(self, now_ns: int) -> None:
        """A take that nobody followed up lapses; the time of one from before a restart begins anew."""
        if self.take is None:
            return
        if self._until_ns is None:
            self._until_ns = now_ns + self._patience_ns
        if now_ns >= self._until_ns:
            self._touch(self.take.rule)
            self.take = None

    def restore(self, take: Take, patience_ns: int) -> None:
        """From before a restart."""
        self.take, self._until_ns, self._patience_ns = take, None, patience_ns

    def scan(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        self.expire(now_ns)
        trouble = unusable(scan, self.position, strict=True)
        if trouble is not None:
            return self._unsettled(scan, now_ns, trouble)
        self._unsettled_ns, self._told = None, False
        value = _decimal(scan.values[self.position])
        assert value is not None
        if value < self.empty_below:
            self.free = self.fresh = True
            return NOTHING
        if self.take is not None and self.free:
            return self._bind(self.take, value, scan)
        if not self.fresh:
            return NOTHING
        self.fresh = False
        return (self._record(value, scan, "no take was armed"),)

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
        self.free = self.fresh = True
        value = _decimal(scan.values[self.position])
        if value is not None and value < self.empty_below:  # a draught over an empty pan: what comes next is another
            self._unsettled_ns, self._told = None, False
            return NOTHING
        if self._unsettled_ns is None:
            self._unsettled_ns = now_ns
        if self._told or now_ns - self._unsettled_ns < self._settle_ns:
            return NOTHING
        if value is None and self.take is None:
            return NOTHING  # a lost link
        self._told = True
        return (self._record(value, scan, trouble),)

    def _record(self, value: Decimal | None, scan: Scan, reason: str) -> Weighing:
        """A weighing that is not judged, in the name of the rule it was meant for, or the first one here."""
        take = self.take
        sample = msgspec.structs.replace(self._sample(value, scan, take), reason=reason)
        return Weighing(take.rule if take else self.members[0].name, sample, take.check if take else None)

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


def _decimal(value: Value) -> Decimal | None:
    """As the balance wrote it; a float by its shortest text."""
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = Decimal(str(value))
    return number if number.is_finite() else None
