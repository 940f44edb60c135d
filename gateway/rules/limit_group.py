"""All limit rules over one device's scans, looked at together: the hot path of the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from gateway.model import Scan, Value
from gateway.rules.base import NOTHING
from gateway.rules.inputs import Number
from gateway.verdicts import Finding

if TYPE_CHECKING:
    from gateway.rules.limit import LimitJudge

MANY: Final = 8
"""Rules of one range from which on it pays to compare them together."""

Watched = tuple[int, int, Number, Number, "LimitJudge"]
"""Number in the group, position in the scan, low, high, judge."""
Bucket = tuple[Callable[[Sequence[Value]], Any], Number, Number, tuple[Watched, ...]]
"""Many entries of one range, and what picks their values."""


class LimitGroup:
    """All limit rules over one device's scans: while every one is quiet, a scan costs one comparison a rule.

    Rules of one and the same range, as a pattern makes them, are compared together: the smallest value, the largest,
    and the sum, which a NaN anywhere makes one.
    """

    def __init__(self, members: Sequence[LimitJudge]) -> None:
        self.members = tuple(members)
        self.tagset = self.members[0].tagset
        self.seen_ns: int | None = None
        """When the last scan came, good or bad: for a quiet judge, its last good value."""
        self._patience_ns = min(judge.patience_ns for judge in members)
        for judge in members:
            judge.join(self)
        self._singles: tuple[Watched, ...] = ()
        self._buckets: tuple[Bucket, ...] = ()
        self._all_quiet = False
        self._turned = True
        """A judge turned quiet or from quiet: the ranges are to be drawn anew.  Not now: a halt may be on its way."""
        self._stirred = True
        self._rests_ns = 0
        """No tick before this does anything, unless a judge sees something new: a device that is away costs none."""

    def scan(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        values = scan.values
        if self._turned:
            self._draw()
        if not scan.faults:
            try:
                for pick, low, high, _ in self._buckets:
                    picked = pick(values)
                    if low <= min(picked) and max(picked) <= high and isfinite(sum(picked)):
                        continue
                    return self._look(scan, now_ns)
                for _, position, low, high, _ in self._singles:
                    if low <= values[position] <= high:  # type: ignore[operator]  # what is no number is caught
                        continue
                    return self._look(scan, now_ns)
            except (TypeError, ArithmeticError):  # text, nothing, Decimal NaN: the judge says so
                return self._look(scan, now_ns)
            self.seen_ns = now_ns
            return NOTHING
        return self._look(scan, now_ns)

    def _look(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        """At least one rule has something to see; the others are passed over as before."""
        values, faults = scan.values, scan.faults
        found: list[Finding] = []
        self._rests_ns = 0
        for _, position, low, high, judge in self._suspects(scan):
            try:
                if position not in faults and low <= values[position] <= high:  # type: ignore[operator]
                    continue
            except (TypeError, ArithmeticError):  # costs nothing until raised
                pass
            was_quiet = judge.quiet
            new = judge.see(scan, now_ns)
            self._turned = self._turned or judge.quiet is not was_quiet
            found += new
        self.seen_ns = now_ns
        return found or NOTHING

    def _suspects(self, scan: Scan) -> Sequence[Watched]:
        """Those to look at one by one, in their order: not the buckets that are well."""
        suspects = list(self._singles)
        for pick, low, high, entries in self._buckets:
            try:
                picked = pick(scan.values)
                well = not scan.faults and low <= min(picked) and max(picked) <= high and isfinite(sum(picked))
            except (TypeError, ArithmeticError):
                well = False
            if not well:
                suspects += entries
        return sorted(suspects, key=itemgetter(0)) if len(suspects) > len(self._singles) else suspects

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """While scans come and all are quiet there is nothing to time."""
        if self._turned:
            self._draw()
        if self._all_quiet and self.seen_ns is not None and now_ns - self.seen_ns < self._patience_ns:
            return NOTHING
        if now_ns < self._rests_ns:
            return NOTHING
        found: list[Finding] = []
        for judge in self.members:
            found += judge.tick(now_ns, wall_ns)
        self._rests_ns = 0 if found else min(judge.rests_until(now_ns) for judge in self.members)
        return found or NOTHING

    def spare(self, ns: int, now_ns: int) -> None:
        """The members are spared each for itself."""
        if self.seen_ns is not None:
            self.seen_ns = min(self.seen_ns + ns, now_ns)

    def rests_until(self, now_ns: int) -> int:
        """While all are quiet, until the least patient one misses its input; else as each of them says."""
        if self._turned:
            self._draw()
        if self._all_quiet and self.seen_ns is not None and self.seen_ns + self._patience_ns > now_ns:
            return self.seen_ns + self._patience_ns
        return min(judge.rests_until(now_ns) for judge in self.members)

    def loosen(self) -> None:
        """A judge turned from quiet outside of a scan."""
        self._turned = True
        self._rests_ns = 0

    def stir(self) -> None:
        """A judge has become dirty."""
        self._stirred = True

    def stirred(self) -> bool:
        stirred, self._stirred = self._stirred, False
        return stirred

    def _draw(self) -> None:
        """The ranges in which nothing can happen, those of many together."""
        self._turned = False
        self._all_quiet = all(judge.quiet for judge in self.members)
        alike: dict[object, list[Watched]] = {}
        for number, judge in enumerate(self.members):
            low, high = judge.calm_range
            key = (low, high, type(low)) if judge.quiet else number
            alike.setdefault(key, []).append((number, judge.position, low, high, judge))
        groups = alike.values()
        self._singles = tuple(sorted((e for g in groups if len(g) < MANY for e in g), key=itemgetter(0)))
        self._buckets = tuple(
            (itemgetter(*(entry[1] for entry in group)), group[0][2], group[0][3], tuple(group))
            for group in groups
            if len(group) >= MANY
        )
