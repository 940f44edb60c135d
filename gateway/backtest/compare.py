"""What two rule sets make of the same data: episodes only one of them has, and by how much the others differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from gateway.backtest.story import Episode
from gateway.backtest.terms import S_NS, stamp
from gateway.model import Json, Severity


class Difference(msgspec.Struct, frozen=True):
    """One episode of a rule, in one file or in both."""

    rule: str
    old: Episode | None
    new: Episode | None

    @property
    def only(self) -> str:
        """old, new, or empty: both have it."""
        return "" if self.old is not None and self.new is not None else "old" if self.new is None else "new"

    @property
    def shifts_s(self) -> dict[Severity, float]:
        """Severity that both reached -> how much later NEW reached it; negative: earlier."""
        if self.old is None or self.new is None:
            return {}
        both = self.old.raised.keys() & self.new.raised.keys()
        return {each: (self.new.raised[each] - self.old.raised[each]) / S_NS for each in sorted(both)}

    @property
    def since_ns(self) -> int:
        return min(each.since_ns for each in (self.old, self.new) if each is not None)

    @property
    def same(self) -> bool:
        """They say the same at the same time."""
        if self.old is None or self.new is None:
            return False
        return (self.old.raised, self.old.until_ns, self.old.halts) == (
            self.new.raised,
            self.new.until_ns,
            self.new.halts,
        )

    def words(self) -> Iterator[str]:
        """What differs."""
        if self.old is None or self.new is None:
            there = self.new if self.old is None else self.old
            assert there is not None
            yield f"only in {self.only}: {there.worst.name.lower()}: {there.text}"
            return
        start_s = (self.new.since_ns - self.old.since_ns) / S_NS
        if start_s:
            yield f"begins {_shift(start_s)}"
        for severity, shift_s in self.shifts_s.items():
            if shift_s and shift_s != start_s:
                yield f"{severity.name.lower()} {_shift(shift_s)}"
        for severity in sorted(self.old.raised.keys() ^ self.new.raised.keys()):
            where = "new" if severity in self.new.raised else "old"
            yield f"{severity.name.lower()} only in {where}"
        if self.old.until_ns != self.new.until_ns:
            yield _ends(self.old.until_ns, self.new.until_ns)
        if self.old.halts != self.new.halts:
            old, new = (", ".join(each.halts) or "nothing" for each in (self.old, self.new))
            yield f"halts {old} in old, {new} in new"


def _shift(seconds: float) -> str:
    return f"{abs(seconds):.3g} s {'later' if seconds > 0 else 'earlier'} in new"


def _ends(old_ns: int | None, new_ns: int | None) -> str:
    if old_ns is None or new_ns is None:
        return f"stands at the end only in {'old' if old_ns is None else 'new'}"
    return f"ends {_shift((new_ns - old_ns) / S_NS)}"


def compare(old: Sequence[Episode], new: Sequence[Episode]) -> list[Difference]:
    """All that differs, in the order of time.  Episodes of one rule that overlap are the same one."""
    rules = dict.fromkeys(each.rule for each in (*old, *new))
    found = [
        each
        for rule in rules
        for each in _paired(rule, [e for e in old if e.rule == rule], [e for e in new if e.rule == rule])
        if not each.same
    ]
    return sorted(found, key=lambda each: each.since_ns)


def _paired(rule: str, old: Sequence[Episode], new: Sequence[Episode]) -> Iterator[Difference]:
    """Two runs of episodes, both in the order of time, none overlapping another of its own."""
    at_old = at_new = 0
    while at_old < len(old) and at_new < len(new):
        one, other = old[at_old], new[at_new]
        if one.until_ns is not None and one.until_ns < other.since_ns:
            yield Difference(rule, one, None)
            at_old += 1
        elif other.until_ns is not None and other.until_ns < one.since_ns:
            yield Difference(rule, None, other)
            at_new += 1
        else:
            yield Difference(rule, one, other)
            at_old += 1
            at_new += 1
    yield from (Difference(rule, one, None) for one in old[at_old:])
    yield from (Difference(rule, None, other) for other in new[at_new:])


def line(each: Difference) -> dict[str, Json]:
    """As JSON."""
    return {
        "time": stamp(each.since_ns),
        "time_ns": str(each.since_ns),
        "kind": "difference",
        "rule": each.rule,
        "only": each.only or None,
        "later_s": {severity.name.lower(): shift for severity, shift in each.shifts_s.items()},
        "text": "; ".join(each.words()),
    }
