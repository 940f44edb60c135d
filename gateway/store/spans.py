"""Sets of integers as few closed ranges: what a sink has confirmed, and what it has not."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Span = tuple[int, int]
"""First and last, both included."""


class Spans:
    """Disjoint closed ranges in order; neighbours melt together."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in spans:
            self.add(first, last)

    def __iter__(self) -> Iterator[Span]:
        return iter(list(zip(self._firsts, self._lasts, strict=True)))

    def __len__(self) -> int:
        return len(self._firsts)

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self._firsts, value) - 1
        return at >= 0 and value <= self._lasts[at]

    def add(self, first: int, last: int) -> None:
        """Put in a closed range; an empty one (last < first) changes nothing."""
        if last < first:
            return
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first, last = min(first, self._firsts[low]), max(last, self._lasts[high - 1])
        self._firsts[low:high], self._lasts[low:high] = [first], [last]

    def missing(self, first: int, last: int) -> list[Span]:
        """The parts of a closed range that are not in the set."""
        gaps, at = [], first
        for index in range(bisect_left(self._lasts, first), len(self._firsts)):
            if self._firsts[index] > last:
                break
            if self._firsts[index] > at:
                gaps.append((at, self._firsts[index] - 1))
            at = self._lasts[index] + 1
        return [*gaps, (at, last)] if at <= last else gaps

    def forget_below(self, value: int) -> None:
        """Drop everything smaller than `value`."""
        while self._firsts and self._lasts[0] < value:
            del self._firsts[0], self._lasts[0]
        if self._firsts and self._firsts[0] < value:
            self._firsts[0] = value
