"""Scans as bytes: MessagePack rows, zlib level 1.

Measured on 100 drifting floats a scan, 5 scans of a device a batch: 2 to 8 bytes a value by resolution, 0.1 to 0.3 us
a value nearly all of it inside zlib (which lets the loop run).  Columns and byte shuffles gained nothing worth it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from gateway.model import NO_FAULTS, NO_STAMPS, Fault, Quality, Scan, TagSet, TagSpec, Value

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode
_LOST: Final = Fault(Quality.BAD, "the value could not be stored")

Row = tuple[Any, ...]
"""tag set, seq, time_ns, mono_ns, values[, faults, source times, raw, held[, server times]]; those less time_ns."""


def encode(scans: Sequence[Scan], number: Callable[[TagSet], int]) -> bytes:
    """Compressed bytes; `number` names a tag set."""
    rows = [_row(scan, number(scan.tagset)) for scan in scans]
    try:
        packed = _pack(rows)
    except (TypeError, OverflowError):  # an integer beyond 64 bits, a type of a library
        packed = _pack([_storable(row) for row in rows])
    return zlib.compress(packed, 1)


def _row(scan: Scan, number: int) -> Row:
    head = (number, scan.seq, scan.time_ns, scan.mono_ns, scan.values)
    if not scan.faults and not scan.source_ns and not scan.server_ns and scan.raw is None and scan.held is None:
        return head
    faults = [(at, int(fault.quality), fault.reason) for at, fault in scan.faults.items()]
    source = [(at, ns - scan.time_ns) for at, ns in scan.source_ns.items()]
    server = ([(at, ns - scan.time_ns) for at, ns in scan.server_ns.items()],) if scan.server_ns else ()
    return (*head, faults, source, scan.raw, scan.held, *server)


def _storable(row: Row) -> Row:
    number, seq, time_ns, mono_ns, values, *rest = row
    faults, source, raw, held, *server = rest or ([], [], None, None)
    lost = [at for at, value in enumerate(values) if not _fits(value)]
    kept = tuple(None if at in lost else value for at, value in enumerate(values))
    marks = [(at, int(_LOST.quality), _LOST.reason) for at in lost]
    return (number, seq, time_ns, mono_ns, kept, [*faults, *marks], source, raw, held, *server)


def _fits(value: Value) -> bool:
    try:
        _pack(value)
    except (TypeError, OverflowError):
        return False
    return True


def decode(blob: bytes, tagset: Callable[[int], TagSet]) -> list[Scan]:
    """The inverse.  Raises ValueError for bytes that are not ours."""
    try:
        rows = _unpack(zlib.decompress(blob))
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(f"telemetry batch: {error}") from error
    return [_scan(row, tagset(row[0])) for row in rows]


def _scan(row: Sequence[Any], tagset: TagSet) -> Scan:
    _, seq, time_ns, mono_ns, values, *rest = row
    if str in set(map(type, values)):
        values = [_typed(value, spec) for value, spec in zip(values, tagset.specs, strict=True)]
    if not rest:
        return Scan(tagset, seq, time_ns, mono_ns, tuple(values))
    faults, source, raw, held, *more = rest
    known: Mapping[int, Fault] = {at: Fault(Quality(q), why) for at, q, why in faults} if faults else NO_FAULTS
    stamps = {at: time_ns + d for at, d in source}
    server = {at: time_ns + d for at, d in more[0]} if more else NO_STAMPS
    return Scan(tagset, seq, time_ns, mono_ns, tuple(values), known, stamps, raw, held, server_ns=server)


def _typed(value: Value, spec: TagSpec) -> Value:
    """MessagePack has no decimals: they travel as text, and only text tags hold text."""
    if type(value) is not str or spec.kind == "text":
        return value
    try:
        return Decimal(value)
    except InvalidOperation:
        return value
