"""Few points for a plot out of many scans: in each slot of time the smallest and the largest stay."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from gateway.model import Scan, TagSet, Value


class Downsampler:
    """Takes scans in order, gives (time_ns, value) in order."""

    def __init__(self, tag: str, start_ns: int, end_ns: int, max_points: int) -> None:
        self.start_ns, self.end_ns = start_ns, end_ns
        self._tag = tag
        self._slot_ns = max(1, (end_ns - start_ns) * 2 // max(2, max_points))
        self._done: list[tuple[int, Value]] = []
        self._slot: list[tuple[int, Value]] = []
        self._until_ns = start_ns + self._slot_ns
        self._at: dict[TagSet, int | None] = {}

    def take(self, scans: Iterable[Scan]) -> None:
        for scan in scans:
            at = self._where(scan.tagset)
            if at is not None and self.start_ns <= scan.time_ns <= self.end_ns:
                self._add(scan.time_ns, scan.values[at])

    def _where(self, tagset: TagSet) -> int | None:
        if tagset not in self._at:
            device, _, name = self._tag.partition("/")
            self._at[tagset] = tagset.index.get(name) if tagset.device == device else None
        return self._at[tagset]

    def _add(self, time_ns: int, value: Value) -> None:
        if time_ns >= self._until_ns:
            self._settle()
            self._until_ns = time_ns - (time_ns - self.start_ns) % self._slot_ns + self._slot_ns
        self._slot.append((time_ns, value))

    def _settle(self) -> None:
        """Smallest and largest of each stretch of numbers; the first of each stretch of anything else."""
        keep: dict[int, None] = {}
        stretch: list[int] = []
        for position, (_, value) in enumerate(self._slot):
            if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
                stretch.append(position)
                continue
            self._keep_extremes(keep, stretch)
            stretch = []
            if not position or self._slot[position - 1][1] != value:
                keep[position] = None
        self._keep_extremes(keep, stretch)
        self._done += [self._slot[position] for position in sorted(keep)]
        self._slot = []

    def _keep_extremes(self, keep: dict[int, None], stretch: list[int]) -> None:
        if stretch:
            keep[min(stretch, key=self._number)] = None
            keep[max(stretch, key=self._number)] = None

    def _number(self, position: int) -> float:
        value = self._slot[position][1]
        return float(value) if value is not None else 0.0

    def result(self) -> list[tuple[int, Value]]:
        self._settle()
        return self._done
