"""An instrument that brings a characteristic by its tag: a torque tester, a calliper, a pH meter.  Pure.

A take arms it; the next new good value is the sample.  New is: told as changed, with another time stamp of its own, or
another value than the one that stood when the take was armed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.errors import Refused
from gateway.model import Scan, TagSet
from gateway.rules.base import NOTHING
from gateway.rules.inputs import unusable
from gateway.rules.pan import decimal
from gateway.rules.takes import Take
from gateway.verdicts import Finding, Sample


class Reader(Protocol):
    """The rule it brings values to."""

    dirty: bool

    def bind(self, take: Take, sample: Sample, scan: Scan) -> Sequence[Finding]: ...


class Instrument:
    """One tag."""

    def __init__(self, tagset: TagSet, position: int, rule: Reader) -> None:
        self.tagset = tagset
        self.position = position
        self.take: Take | None = None
        self._rule = rule
        self.seen: list[str] | None = None
        """The last good value, and its own time."""
        self._until_ns: int | None = None
        self._patience_ns = 0

    def arm(self, take: Take, now_ns: int, patience_ns: int) -> None:
        """The newest take of a person counts; another person's has to be used up or time out first.  Refused."""
        self.expire(now_ns, take.armed_ns)
        if self.take is not None and self.take.person != take.person:
            text = f"{self.take.person}'s take for {self.take.check} waits for the instrument; use it, or let it lapse"
            raise Refused("armed", text, person=self.take.person)
        self.take, self._until_ns, self._patience_ns = take, now_ns + patience_ns, patience_ns

    def disarm(self, check: str) -> None:
        if self.take is not None and self.take.check == check:
            self.take = None

    def restore(self, take: Take, patience_ns: int) -> None:
        """From before a restart."""
        self.take, self._until_ns, self._patience_ns = take, None, patience_ns

    def expire(self, now_ns: int, wall_ns: int) -> None:
        if self.take is None:
            return
        if self._until_ns is None:
            self._until_ns = now_ns + self._patience_ns - max(0, wall_ns - self.take.armed_ns)
        if now_ns >= self._until_ns:
            self.take, self._rule.dirty = None, True

    def scan(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        self.expire(now_ns, scan.time_ns)
        if unusable(scan, self.position, strict=True) is not None:
            return NOTHING
        told = scan.changed is not None and self.position in scan.changed
        now = [str(scan.values[self.position]), str(scan.source_ns.get(self.position, ""))]
        new = told or (scan.changed is None and self.seen is not None and now != self.seen)
        self.seen = now
        take, value = self.take, decimal(scan.values[self.position])
        if take is None or not new or value is None:
            return NOTHING
        self.take, self._rule.dirty = None, True
        unit = self.tagset.units[self.position]
        raw = scan.raw.decode("latin-1").strip() if scan.raw else ""
        sample = Sample(
            take.characteristic, value, unit, take.unit_no, take.tray, scan.time_ns, take.person, None, raw=raw
        )
        return self._rule.bind(take, sample, scan)
