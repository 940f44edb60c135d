"""The last known values of one OPC UA device, and the readings they make.  Pure: notifications in, readings out.

Handles count the tags first, then the hidden parts of compounds: nine nodes make one PackML state.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from gateway.drivers.opcua.compose import Compound, quality
from gateway.drivers.wire.opcua_publish import Item, Structure
from gateway.model import NO_FAULTS, NO_STAMPS, Fault, Quality, Reading, TagSpec, Value

BACKLOG: Final = 256
"""Readings kept while nobody polls; beyond it the oldest go, and are counted."""
_PLAIN: Final[Mapping[str, frozenset[type]]] = {
    "number": frozenset({int, float}),
    "text": frozenset({str}),
    "bool": frozenset({bool}),
    "decimal": frozenset(),
}


class Values:
    """What the device said last, tag by tag."""

    def __init__(
        self,
        specs: Sequence[TagSpec],
        status_name: Callable[[int], str],
        compounds: Sequence[Compound] = (),
        rest: tuple[int, Collection[Value]] | None = None,
        *,
        sparse: bool = False,
        passing: Collection[Value] = (),
    ) -> None:
        """`rest`: position of the tag that says whether the machine stands still, and the values that mean it does.

        `sparse`: readings say which tags are new in them.  `passing`: values of that tag with which the machine is on
        its way to a standstill.
        """
        self._count = len(specs)
        self._kinds = [spec.kind for spec in specs]
        self._plain = [_PLAIN[spec.kind] for spec in specs]
        self._values: list[Value] = [None] * self._count
        self._faults: dict[int, Fault] = dict.fromkeys(range(self._count), Fault(Quality.BAD, "no value yet"))
        self._shown: Mapping[int, Fault] | None = None
        self._source: dict[int, int] = {}
        self._server: dict[int, int] = {}
        self._status_name = status_name
        self._parts = [(compound, part) for compound in compounds for part in range(compound.parts)]
        self._rest = rest
        self.passing = frozenset(passing)
        self._sparse = sparse
        self.ready: deque[Reading] = deque()
        self.dropped = 0

    def take(self, items: Sequence[Item], server_ns: Mapping[int, int] = NO_STAMPS) -> None:
        """Everything one publishing cycle brought, as one reading, or as several where a tag changed twice.

        What changed together stays together: a label's texts and its count are never shown apart.
        """
        self._stamp(server_ns)
        handles = {item[0] for item in items}
        if len(handles) == len(items):
            self._put(items)
            self._offer(handles)
            return
        for group in _apart(items):
            self._put(group)
            self._offer({item[0] for item in group} if self._sparse else handles)

    def put(self, items: Sequence[Item], server_ns: Mapping[int, int] = NO_STAMPS) -> None:
        """Note values without making a reading of them: the first read, and the read-back of a halt."""
        self._stamp(server_ns)
        self._put(items)

    def _stamp(self, server_ns: Mapping[int, int]) -> None:
        if server_ns:
            self._server.update({handle: ns for handle, ns in server_ns.items() if handle < self._count and ns > 0})

    def spoil(self, handle: int, reason: str) -> None:
        """This node does not exist or cannot be watched: one bad node is one bad tag."""
        if handle < self._count:
            self._bad(handle, reason)

    def reading(self, changed: frozenset[int] | None = None) -> Reading:
        """All tags as they stand; `changed`: those that are new, None for all."""
        if self._shown is None:
            self._shown = dict(self._faults) if self._faults else NO_FAULTS
        server = dict(self._server) if self._server else NO_STAMPS
        return Reading(tuple(self._values), self._shown, dict(self._source), None, self.held, changed, server)

    def _new(self, handles: Collection[int]) -> frozenset[int] | None:
        """Positions of the tags that these handles are, or are part of."""
        count = self._count
        if not self._sparse or len(handles) >= count:
            return None
        tags = {handle for handle in handles if handle < count}
        for handle in handles:
            if count <= handle < count + len(self._parts):
                tags.update(self._parts[handle - count][0].tags)
        return frozenset(tags)

    @property
    def held(self) -> bool | None:
        """The machine's own word on whether it stands still; None where it does not say."""
        if self._rest is None or self._values[self._rest[0]] is None:
            return None
        value = self._values[self._rest[0]]
        if value in self.passing or (value in self._rest[1] and self._rest[0] in self._faults):
            return None  # an uncertain value says that it moves, but never that it stands
        return value in self._rest[1]

    def _offer(self, handles: Collection[int]) -> None:
        if len(self.ready) >= BACKLOG:
            self.ready.popleft()
            self.dropped += 1
        self.ready.append(self.reading(self._new(handles)))

    def _put(self, items: Sequence[Item]) -> None:
        """The hot loop: nothing is made per value; whatever is not plainly good goes the long way."""
        count, values, plain, source, faults = self._count, self._values, self._plain, self._source, self._faults
        for handle, value, status, source_ns in items:
            if handle >= count:
                self._part(handle - count, value, status, source_ns)
                continue
            kind = type(value)
            if status or kind not in plain[handle] or (kind is float and value - value != 0.0):  # type: ignore[operator]
                self._odd(handle, value, status)
            else:
                values[handle] = value  # type: ignore[assignment]  # its kind was looked at
                if faults and handle in faults:
                    del faults[handle]
                    self._shown = None
            if source_ns > 0:
                source[handle] = source_ns

    def _odd(self, handle: int, value: Any, status: int) -> None:
        """A bad status comes together with the old value: the status decides, never the value."""
        if quality(status) is Quality.BAD:
            self._bad(handle, self._status_name(status))
            return
        good = _fit(value, self._kinds[handle])
        if good is None:
            self._bad(handle, f"{_shown(value)} is no {self._kinds[handle]}" if value is not None else "empty value")
            return
        self._values[handle] = good
        self._shown = None
        if quality(status) is Quality.UNCERTAIN:
            self._faults[handle] = Fault(Quality.UNCERTAIN, self._status_name(status))
        else:
            self._faults.pop(handle, None)

    def _bad(self, handle: int, reason: str) -> None:
        self._values[handle] = None
        self._faults[handle] = Fault(Quality.BAD, reason)
        self._shown = None

    # -- tags made of several nodes ---------------------------------------------------------------

    def _part(self, part: int, value: Any, status: int, source_ns: int) -> None:
        if not 0 <= part < len(self._parts):
            return
        compound, place = self._parts[part]
        compound.put(place, value, status)
        for tag, shown, fault in compound.show():
            self._values[tag] = shown
            if fault is None:
                self._faults.pop(tag, None)
            else:
                self._faults[tag] = fault
            if source_ns > self._source.get(tag, 0):
                self._source[tag] = source_ns
        self._shown = None


def _fit(value: Any, kind: str) -> Value:
    """The value as its tag's kind wants it; None if it is none of that kind."""
    if kind == "text":
        return None if value is None or isinstance(value, Structure) else str(getattr(value, "text", value))
    if isinstance(value, bool):
        return value if kind == "bool" else int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (int, float)):
        if kind == "bool":
            return bool(value) if value in (0, 1) else None
        return Decimal(repr(value)) if kind == "decimal" else value
    return None


def _shown(value: Any) -> str:
    return f"a structure of type {value.type}" if isinstance(value, Structure) else repr(value)[:80]


def _apart(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Split where a tag changed twice, in the order in which the device says things happened.

    Servers deliver a queue item by item, so the delivered order says nothing; the source timestamp does.  Between
    two values of one tag lies a boundary, and it lies at the longest pause between them: what a machine writes for
    one unit it writes at once, whichever of its tags the notification happens to begin with.
    """
    ordered = sorted(items, key=lambda item: item[3]) if all(item[3] > 0 for item in items) else items
    groups: list[Sequence[Item]] = []
    start, last = 0, dict[int, int]()
    for at, item in enumerate(ordered):
        before = last.get(item[0], -1)
        if before >= start:
            cut = max(range(before + 1, at + 1), key=lambda here: (ordered[here][3] - ordered[here - 1][3], here))
            groups.append(ordered[start:cut])
            start = cut
        last[item[0]] = at
    groups.append(ordered[start:])
    return groups
