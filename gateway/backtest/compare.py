"""What two rule sets make of the same data: episodes only one of them has, and by how much the others differ."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from itertools import islice
from math import inf

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
    """Two runs of episodes, both in the order of time, none overlapping another of its own.

    One that lasts over several of the other file is compared with each of them: none of those is in one file only.
    """
    both = Counter(map(_facts, old)) & Counter(map(_facts, new))
    olds, news = (deque(_less(run, Counter(both))) for run in (old, new))
    met_old = met_new = False
    while olds and news:
        one, other = olds[0], news[0]
        if not (_before(one, other) or _before(other, one)):
            yield Difference(rule, one, other)
            met_old = met_new = True
        ends_old, ends_new = _end(one) <= _end(other), _end(other) <= _end(one)
        if ends_old:
            olds.popleft()
            if not met_old:
                yield Difference(rule, one, None)
        if ends_new:
            news.popleft()
            if not met_new:
                yield Difference(rule, None, other)
        met_old, met_new = met_old and not ends_old, met_new and not ends_new
    yield from (Difference(rule, one, None) for one in islice(olds, int(met_old), None))
    yield from (Difference(rule, None, other) for other in islice(news, int(met_new), None))


def _facts(each: Episode) -> Hashable:
    return each.since_ns, each.until_ns, tuple(sorted(each.raised.items())), each.halts


def _less(run: Sequence[Episode], both: Counter[Hashable]) -> Iterator[Episode]:
    """Those of which the other file has no equal."""
    for each in run:
        if both[_facts(each)]:
            both[_facts(each)] -= 1
        else:
            yield each


def _end(each: Episode) -> float:
    return inf if each.until_ns is None else each.until_ns


def _before(one: Episode, other: Episode) -> bool:
    """It was over when the other began; what has no length is over after its moment."""
    both_last = _end(one) > one.since_ns and _end(other) > other.since_ns
    return _end(one) < other.since_ns or (both_last and _end(one) == other.since_ns)


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
