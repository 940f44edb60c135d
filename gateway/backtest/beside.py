"""Several files that each bring some tags of one device: a historian's export of one file a tag.

Their lines of one moment are one scan; a tag whose file has no line at a moment stands as it stood, as in a long file,
and is not there any more once its file has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Final

from gateway.backtest.table import NOT_THERE, NOT_YET
from gateway.backtest.terms import Notes, Source, Tagsets
from gateway.model import Fault, Scan, Value

_moment: Final = itemgetter(0)


def beside(sources: Sequence[Source], tagsets: Tagsets, notes: Notes) -> list[Source]:
    """The sources; those that bring different tags of one device as one."""
    parted = frozenset(name for name in tagsets if len({each.tags[name] for each in sources if name in each.tags}) > 1)
    mixed = [each for each in sources if parted & each.tags.keys()]
    return (
        [*(each for each in sources if each not in mixed), Beside(mixed, tagsets, parted, notes)]
        if parted
        else [*sources]
    )


class Beside:
    """One stream of several sources."""

    def __init__(self, sources: Sequence[Source], tagsets: Tagsets, parted: frozenset[str], notes: Notes) -> None:
        """`parted`: devices of which they bring different tags."""
        self._sources, self._tagsets, self._parted = tuple(sources), tagsets, parted
        self._notes = notes
        self.values = sum(each.values for each in sources)
        self.tags: Mapping[str, frozenset[str]] = {
            device: frozenset().union(*(each.tags.get(device, ()) for each in sources))
            for each in sources
            for device in each.tags
        }

    def scans(self) -> Iterator[Scan]:
        ended: set[int] = set()
        standing = {name: _Standing(self._sources, name, self._tagsets, self.tags[name]) for name in self._parted}
        streams = [self._numbered(number, ended) for number in range(len(self._sources))]
        for _, together in groupby(merge(*streams, key=_moment), key=_moment):
            gone = frozenset(ended)
            touched: dict[str, set[int]] = {}
            first: dict[str, Scan] = {}
            others: list[Scan] = []
            for _, number, scan in together:
                device = scan.tagset.device
                if device in standing and standing[device].take(number, scan, touched.setdefault(device, set())):
                    first.setdefault(device, scan)
                else:  # of one file alone, or all of it came twice
                    others.append(scan)
            yield from (standing[device].scan(scan, touched[device], gone) for device, scan in first.items())
            yield from others
        for device, each in standing.items():
            if each.twice:
                self._notes.say(f"{device}: {each.twice} value(s) came twice for one moment; the first file's count")

    def _numbered(self, number: int, ended: set[int]) -> Iterator[tuple[int, int, Scan]]:
        for scan in self._sources[number].scans():
            yield scan.mono_ns, number, scan
        ended.add(number)


class _Standing:
    """What the tags of one device show."""

    def __init__(self, sources: Sequence[Source], device: str, tagsets: Tagsets, known: frozenset[str]) -> None:
        index = tagsets[device].index
        self._brings = [frozenset(index[tag] for tag in each.tags.get(device, ())) for each in sources]
        count = len(tagsets[device].tags)
        there = {index[tag] for tag in known}
        self.twice = 0
        """Values that an earlier file had brought for the same moment, beside others that were new."""
        self._values: list[Value] = [None] * count
        self._faults: dict[int, Fault] = {at: NOT_YET if at in there else NOT_THERE for at in range(count)}

    def take(self, number: int, scan: Scan, seen: set[int]) -> bool:
        """What is new at this moment; False where nothing is."""
        brings = self._brings[number]
        brought = brings if scan.changed is None else brings & scan.changed
        new = brought - seen
        self.twice += len(brought & seen) if new else 0
        seen |= new
        for at in new:
            self._values[at] = scan.values[at]
            self._faults.pop(at, None)
            if at in scan.faults:
                self._faults[at] = scan.faults[at]
        return bool(new)

    def scan(self, first: Scan, seen: set[int], gone: frozenset[int]) -> Scan:
        """All of it at this moment; `gone`: sources that had ended before."""
        live = frozenset().union(*(each for number, each in enumerate(self._brings) if number not in gone))
        for at in range(len(self._values)):
            if at not in live and at not in seen:
                self._values[at], self._faults[at] = None, NOT_THERE
        changed = None if live <= seen else frozenset(seen)
        values, faults = tuple(self._values), dict(self._faults)
        return Scan(first.tagset, first.seq, first.time_ns, first.mono_ns, values, faults, changed=changed)
