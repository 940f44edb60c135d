"""The last known values of one OPC UA device, and the readings they make.  Pure: notifications in, readings out.

Handles count the tags first, then the hidden parts of a composed PackML state (nine nodes make one number).
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from gateway.drivers.opcua_packml import Level, compose
from gateway.drivers.wire.opcua_publish import Item
from gateway.model import NO_FAULTS, Fault, Quality, Reading, TagSpec, Value

BACKLOG: Final = 256
"""Readings kept while nobody polls; beyond it the oldest go, and are counted."""
PARTS: Final = 9
"""Number, Id and text of each of the three machines, in this order."""
_UNCERTAIN: Final = 0x4000_0000
_BAD: Final = 0x8000_0000
_NODE_ID: Final = re.compile(r"^ns=(\d+);i=(\d+)$")
_PLAIN: Final[Mapping[str, frozenset[type]]] = {
    "number": frozenset({int, float}),
    "text": frozenset({str}),
    "bool": frozenset({bool}),
    "decimal": frozenset(),
}


class Composed(NamedTuple):
    """A tag whose value is composed of the parts from `first` on."""

    tag: int
    first: int
    namespace: int
    """Index of the PackML namespace on this connection."""


def quality(code: int) -> Quality:
    """The severity of a status code: its two highest bits (10000-4 §7.39.1)."""
    if code & _BAD:
        return Quality.BAD
    return Quality.UNCERTAIN if code & _UNCERTAIN else Quality.GOOD


class Values:
    """What the device said last, tag by tag."""

    def __init__(
        self,
        specs: Sequence[TagSpec],
        status_name: Callable[[int], str],
        composed: Composed | None = None,
        rest: tuple[int, Collection[Value]] | None = None,
    ) -> None:
        """`rest`: position of the tag that says whether the machine stands still, and the values that mean it does."""
        self._count = len(specs)
        self._kinds = [spec.kind for spec in specs]
        self._plain = [_PLAIN[spec.kind] for spec in specs]
        self._values: list[Value] = [None] * self._count
        self._faults: dict[int, Fault] = dict.fromkeys(range(self._count), Fault(Quality.BAD, "no value yet"))
        self._shown: Mapping[int, Fault] | None = None
        self._source: dict[int, int] = {}
        self._parts: list[Value] = [None] * PARTS
        self._status_name = status_name
        self._composed = composed
        self._rest = rest
        self.ready: deque[Reading] = deque()
        self.dropped = 0

    def take(self, items: Sequence[Item]) -> None:
        """Everything one publishing cycle brought, as one reading, or as several where a tag changed twice.

        What changed together stays together: a label's texts and its count are never shown apart.
        """
        if len({item[0] for item in items}) == len(items):
            self._put(items)
            self._offer()
            return
        for group in _apart(items):
            self._put(group)
            self._offer()

    def put(self, items: Sequence[Item]) -> None:
        """Note values without making a reading of them: the first read, and the read-back of a halt."""
        self._put(items)

    def spoil(self, handle: int, reason: str) -> None:
        """This node does not exist or cannot be watched: one bad node is one bad tag."""
        if handle < self._count:
            self._bad(handle, reason)

    def reading(self) -> Reading:
        """All tags as they stand."""
        if self._shown is None:
            self._shown = dict(self._faults) if self._faults else NO_FAULTS
        return Reading(tuple(self._values), self._shown, dict(self._source), None, self.held)

    @property
    def held(self) -> bool | None:
        """The machine's own word on whether it stands still; None where it does not say."""
        if self._rest is None or self._values[self._rest[0]] is None:
            return None
        return self._values[self._rest[0]] in self._rest[1]

    def _offer(self) -> None:
        if len(self.ready) >= BACKLOG:
            self.ready.popleft()
            self.dropped += 1
        self.ready.append(self.reading())

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
                values[handle] = value
                if faults and handle in faults:
                    del faults[handle]
                    self._shown = None
            if source_ns > 0:
                source[handle] = source_ns

    def _odd(self, handle: int, value: Value, status: int) -> None:
        """A bad status comes together with the old value: the status decides, never the value."""
        if quality(status) is Quality.BAD:
            self._bad(handle, self._status_name(status))
            return
        good = _fit(value, self._kinds[handle])
        if good is None:
            self._bad(handle, f"{value!r} is no {self._kinds[handle]}" if value is not None else "empty value")
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

    # -- the composed PackML state ---------------------------------------------------------------

    def _part(self, part: int, value: Value, status: int, source_ns: int) -> None:
        composed = self._composed
        if composed is None or not 0 <= part < PARTS:
            return
        self._parts[part] = None if quality(status) is Quality.BAD else value
        state = compose(*levels(self._parts, composed.namespace))
        if state is None:
            self._bad(composed.tag, "the PackML state machines do not say which state they are in")
        else:
            self._odd(composed.tag, int(state), 0)
        if source_ns > 0:
            self._source[composed.tag] = max(source_ns, self._source.get(composed.tag, 0))


def levels(parts: Sequence[Value], namespace: int) -> tuple[Level, Level, Level]:
    """Nine parts -> what each of the three machines says of itself."""
    base, machine, execute = (
        Level(parts[at], _state_node(parts[at + 1], namespace), _text(parts[at + 2])) for at in (0, 3, 6)
    )
    return base, machine, execute


def _state_node(value: Value, namespace: int) -> int | None:
    match = _NODE_ID.match(value) if isinstance(value, str) else None
    return int(match[2]) if match and int(match[1]) == namespace else None


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) else None


def _fit(value: Value, kind: str) -> Value:
    """The value as its tag's kind wants it; None if it is none of that kind."""
    if kind == "text":
        return None if value is None else str(value)
    if isinstance(value, bool):
        return value if kind == "bool" else int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (int, float)):
        if kind == "bool":
            return bool(value) if value in (0, 1) else None
        return Decimal(repr(value)) if kind == "decimal" else value
    return None


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
