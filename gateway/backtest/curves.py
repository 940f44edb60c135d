"""What a chart needs of a tag, however long the data: lowest and highest of each stretch, and where it was bad."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from math import isfinite
from typing import Final

from gateway.batch.plots import Point
from gateway.model import Quality, Scan, TagSet, Value

BUCKETS: Final = 800
"""At most twice as many are kept at once; then two become one."""


class Bucket:
    """Some values in a row."""

    __slots__ = ("bad", "count", "high", "low", "low_first", "since_ns", "until_ns")

    def __init__(self, time_ns: int, value: float | None) -> None:
        self.since_ns = self.until_ns = time_ns
        self.low = self.high = value
        self.low_first = True
        self.bad = value is None
        self.count = 1

    def add(self, time_ns: int, value: float | None) -> None:
        self.until_ns = time_ns
        self.count += 1
        if value is None:
            self.bad = True
        elif self.low is None or self.high is None:
            self.low = self.high = value
        elif value < self.low:
            self.low, self.low_first = value, False
        elif value > self.high:
            self.high, self.low_first = value, True

    def join(self, other: Bucket) -> None:
        """Take in the next one."""
        self.bad = self.bad or other.bad
        self.until_ns, self.count = other.until_ns, self.count + other.count
        if other.low is None or other.high is None:
            return
        if self.low is None or self.high is None:
            self.low, self.high, self.low_first = other.low, other.high, other.low_first
            return
        lower, higher = other.low < self.low, other.high > self.high
        if lower or higher:
            self.low_first = other.low_first if lower and higher else higher
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def points(self) -> list[Point]:
        """At even steps of time, so that thinning looks like no gap; what was bad breaks the line."""
        middle_ns = (self.since_ns + self.until_ns) // 2
        if self.low is None:
            return [(self.since_ns, None)]
        ends = (self.low, self.high) if self.low_first else (self.high, self.low)
        found: list[Point] = [(self.since_ns, ends[0])]
        if self.low != self.high:
            found.append((middle_ns, ends[1]))
        return [*found, (self.until_ns, None)] if self.bad else found


class Curve:
    """One tag."""

    def __init__(self) -> None:
        self._buckets: list[Bucket] = []
        self._stride = 1

    def add(self, time_ns: int, value: float | None) -> None:
        buckets = self._buckets
        if buckets and buckets[-1].count < self._stride:
            buckets[-1].add(time_ns, value)
            return
        if len(buckets) >= 2 * BUCKETS:
            self._halve()
            self.add(time_ns, value)
            return
        buckets.append(Bucket(time_ns, value))

    def _halve(self) -> None:
        self._stride *= 2
        buckets = self._buckets
        for one, other in zip(buckets[::2], buckets[1::2], strict=True):
            one.join(other)
        self._buckets = buckets[::2]

    def points(self) -> list[Point]:
        return [point for bucket in self._buckets for point in bucket.points()]


class Curves:
    """Those tags of each scan that are watched."""

    def __init__(self, tagsets: Mapping[str, TagSet], watched: Collection[str]) -> None:
        self.curves = {name: Curve() for name in watched}
        self._plans: dict[TagSet, tuple[tuple[int, Curve], ...]] = {
            tagset: tuple((at, self.curves[name]) for at, name in enumerate(tagset.names) if name in self.curves)
            for tagset in tagsets.values()
        }

    def take(self, scan: Scan) -> None:
        faults = scan.faults
        for position, curve in self._plans[scan.tagset]:
            fault = faults.get(position) if faults else None
            bad = fault is not None and fault.quality is Quality.BAD
            curve.add(scan.mono_ns, None if bad else _number(scan.values[position]))


def _number(value: Value) -> float | None:
    if isinstance(value, (int, float, Decimal)) and isfinite(value):
        return float(value)
    return None
