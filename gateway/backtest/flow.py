"""Several sources as one stream in the order of time: nothing goes back, and gaps are heard of.

A station reports a bad scan for each slot of a device that is away; here what the data lacks is reported so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import pairwise
from operator import attrgetter
from statistics import median
from typing import Final

from gateway.backtest.terms import S_NS, Busy, Notes, Source, stamp
from gateway.drivers.base import DriverConfig
from gateway.model import Scan, TagSet
from gateway.station.away import KEEP_MISSED_S

LOOK_AT: Final = 5000
"""Scans from which a device's step is found."""
LEAST_STEPS: Final = 3
COARSE: Final = 1.5
"""Times its period: data further apart was not polled by this line, and is judged by its own step."""
EACH_SLOT_S: Final = 60.0
"""Of a gap: bad scans for each slot; after that as often as a store keeps them.  Rules that wait longer are ticked."""
MISSING: Final = "not in the data"
_time = attrgetter("mono_ns")


def steps_s(sources: Iterable[Source]) -> dict[str, float]:
    """Device -> the usual time between two of its scans, where there are enough to tell.

    Beside fast devices a slow one comes late: the data is read on until there are enough of each.
    """
    times: dict[str, list[int]] = {}
    for source in sources:
        few = set(source.tags)
        for count, scan in enumerate(source.scans()):
            if count >= LOOK_AT and not few:
                break
            at = times.setdefault(scan.tagset.device, [])
            if count < LOOK_AT or scan.tagset.device in few:
                at.append(scan.mono_ns)
            if len(at) > LEAST_STEPS:
                few.discard(scan.tagset.device)
    found: dict[str, float] = {}
    for device, at in times.items():
        steps = [b - a for a, b in pairwise(at) if b > a]
        if len(steps) >= LEAST_STEPS:
            found[device] = median(steps) / S_NS
    return found


def periods_s(devices: Mapping[str, DriverConfig], steps: Mapping[str, float], notes: Notes) -> dict[str, float]:
    """Device -> time between its scans in this replay: the line's own, or the data's where that is coarser."""
    found: dict[str, float] = {}
    for name, config in devices.items():
        step_s = steps.get(name)
        if step_s is not None and step_s > COARSE * config.period_s:
            found[name] = step_s
            notes.say(
                f"{name}: the data has a scan each {step_s:.3g} s, the line each {config.period_s:g} s: "
                "what counts periods counts the data's"
            )
    return found


class Flow:
    """Every scan once, in order, with bad ones where a device was away."""

    def __init__(
        self,
        sources: Iterable[Source],
        lasts_s: Mapping[str, tuple[float, float]],
        notes: Notes,
        since_ns: int | None = None,
        until_ns: int | None = None,
        busy: Iterable[Busy] = (),
    ) -> None:
        """`lasts_s`: device -> (its period, how long without a scan is a gap)."""
        self._busy = tuple(busy)
        self._since_ns, self._until_ns = since_ns, until_ns
        self._sources = tuple(sources)
        self._lasts = {name: (round(p * S_NS), round(g * S_NS)) for name, (p, g) in lasts_s.items()}
        self._notes = notes
        self._last: dict[TagSet, int] = {}
        self._due: dict[TagSet, int] = {}
        self._since: dict[TagSet, int] = {}
        self._next_ns = 0
        self._back: dict[str, list[int]] = {}
        self.gaps: dict[str, list[tuple[int, int]]] = {}
        """Device -> when nothing came, and until when."""
        self.scans = 0
        self.values = 0
        self.first_ns: int | None = None
        self.last_ns = 0

    def __iter__(self) -> Iterator[Scan]:
        streams = [self._within(source.scans()) for source in self._sources]
        last, due, since = self._last, self._due, self._since
        seqs: dict[TagSet, int] = {}
        stored: dict[tuple[TagSet, str], int] = {}
        for scan in streams[0] if len(streams) == 1 else merge(*streams, key=_time):
            now_ns, tagset = scan.mono_ns, scan.tagset
            if now_ns >= self._next_ns and due:
                yield from self._missed(now_ns)
            if (
                scan.boot
            ):  # copies of one store may place a scan differently: a clock was slewed between their beginnings
                if scan.seq <= stored.get((tagset, scan.boot), 0):
                    self._skip(scan, now_ns)
                    continue
                stored[tagset, scan.boot] = scan.seq
            before_ns = last.get(tagset)
            # a seq: stored by a station, where two notifications of one turn of its loop are both news
            if before_ns is not None and (now_ns, scan.seq) <= (before_ns, seqs[tagset]):
                self._skip(scan, before_ns)
                continue
            seqs[tagset] = scan.seq
            if tagset in since:
                self._end_gap(tagset, now_ns)
            last[tagset] = now_ns
            due[tagset] = due_ns = now_ns + self._lasts[tagset.device][1]
            self._next_ns = min(self._next_ns, due_ns)
            self.first_ns = now_ns if self.first_ns is None else self.first_ns
            self.scans += 1
            self.values += len(scan.values)
            yield scan
            self.last_ns = now_ns
        for tagset in list(since):
            self._end_gap(tagset, self.last_ns)
        self._tell()

    def _within(self, scans: Iterator[Scan]) -> Iterator[Scan]:
        """Those from the time asked for to the time asked for."""
        if self._since_ns is None and self._until_ns is None:
            yield from scans
            return
        since_ns, until_ns = self._since_ns or 0, self._until_ns or 2**63
        yield from (scan for scan in scans if since_ns <= scan.time_ns <= until_ns)

    def _missed(self, now_ns: int) -> Iterator[Scan]:
        """Bad scans of those that should have brought something before now, in the order of time."""
        while True:
            tagset = min(self._due, key=self._due.__getitem__)
            self._next_ns = self._due[tagset]
            if self._next_ns >= now_ns:
                return
            at_ns, (period_ns, gap_ns) = self._due[tagset], self._lasts[tagset.device]
            later_ns = self._last[tagset] + gap_ns + self._busy_ns(tagset, at_ns)
            if tagset not in self._since and later_ns > at_ns:
                self._due[tagset] = later_ns
                continue
            self._since.setdefault(tagset, self._last[tagset])
            slow = at_ns - self._since[tagset] > EACH_SLOT_S * S_NS
            self._due[tagset] = at_ns + (max(period_ns, round(KEEP_MISSED_S * S_NS)) if slow else period_ns)
            values = (None,) * len(tagset.tags)
            yield Scan(tagset, 0, at_ns, at_ns, values, tagset.all_bad(MISSING))

    def _busy_ns(self, tagset: TagSet, now_ns: int) -> int:
        """For how long the gateway itself kept it from being polled, since its last scan."""
        last_ns, ours = self._last[tagset], (each for each in self._busy if each.device == tagset.device)
        return sum(
            each.until_ns - each.since_ns for each in ours if each.since_ns <= now_ns and each.until_ns > last_ns
        )

    def _end_gap(self, tagset: TagSet, now_ns: int) -> None:
        self.gaps.setdefault(tagset.device, []).append((self._since.pop(tagset), now_ns))

    def _skip(self, scan: Scan, before_ns: int) -> None:
        device = scan.tagset.device
        self._back.setdefault(device, []).append(before_ns - scan.mono_ns)

    def _tell(self) -> None:
        for device, backs in self._back.items():
            how = f"up to {max(backs) / S_NS:.3g} s backward or twice" if max(backs) else "twice"
            self._notes.say(f"{device}: {len(backs)} scan(s) skipped: their time came {how}")
        for device, gaps in self.gaps.items():
            longest = max(gaps, key=lambda gap: gap[1] - gap[0])
            lasted_s = (longest[1] - longest[0]) / S_NS
            text = f"{device}: {len(gaps)} gap(s), the longest {lasted_s:.3g} s from {stamp(longest[0])}"
            self._notes.say(f"{text}; judged as a device that is away")
