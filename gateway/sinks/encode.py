"""Scans and records as MQTT payloads: telemetry JSON, and CloudEvents 1.0 in binary mode.  Pure: no I/O, no clock.

A scan is one JSON object.  Its good values stand in `values` as plain numbers by tag; bad ones stand apart in `bad`
with their reason and never as a number; `uncertain` names the values to be used with care.  One dict and one orjson
call a scan: nothing is made for each value (a scan of 100 tags takes some 12 us).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import orjson

from gateway.model import Identity, Json, Quality, Record, Scan, Value

JSON_TYPE: Final = "application/json"
SPEC_VERSION: Final = "1.0"
EVENT_TYPE: Final = "linegate.{kind}.v1"


def _unknown(value: Any) -> Any:
    """Decimal keeps its digits: 1.0120 stays 1.0120, as a JSON number."""
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value)) if value.is_finite() else None
    raise TypeError(f"{type(value).__name__} has no place in a payload")


def to_json(document: Json) -> bytes:
    """Compact JSON; NaN and infinities become null, Decimals numbers with all their digits."""
    return orjson.dumps(document, default=_unknown)


def _judged(scan: Scan) -> dict[str, Json]:
    """Values, and what is not good about them."""
    faults, changed = scan.faults, scan.changed
    pairs = enumerate(zip(scan.tagset.tags, scan.values, strict=True))
    values: dict[str, Value] = {}
    bad: dict[str, str] = {}
    uncertain: dict[str, str] = {}
    for position, (tag, value) in pairs:
        if changed is not None and position not in changed:
            continue
        fault = faults.get(position)
        if value is None or (fault is not None and fault.quality is Quality.BAD):
            bad[tag] = fault.reason if fault is not None else "no value"
            continue
        values[tag] = value
        if fault is not None:
            uncertain[tag] = fault.reason
    document: dict[str, Json] = {"values": values}
    if bad:
        document["bad"] = bad
    if uncertain:
        document["uncertain"] = uncertain
    if changed is not None:
        document["sparse"] = True
    return document


def scan_document(scan: Scan, boot_id: str) -> dict[str, Json]:
    """One scan as a document; `(boot, seq)` names it for ever, `time` is Unix nanoseconds as text."""
    head = {"boot": scan.boot or boot_id, "seq": scan.seq, "time": str(scan.time_ns)}
    if scan.faults or scan.changed is not None or None in scan.values:
        return {**head, **_judged(scan)}
    head["values"] = dict(zip(scan.tagset.tags, scan.values))  # noqa: B905  # aligned by contract; strict costs 1 us
    return head


def scans_json(scans: Sequence[Scan], boot_id: str) -> bytes:
    """One scan as itself; several as `{"scans": [...]}`, oldest first."""
    if len(scans) == 1:
        return to_json(scan_document(scans[0], boot_id))
    return to_json({"scans": [scan_document(scan, boot_id) for scan in scans]})


def event_topic(path: str, kind: str) -> str:
    """`halt.confirmed` -> `<path>/event/halt/confirmed`."""
    return f"{path}/event/{kind.replace('.', '/')}"


def rfc3339(time_ns: int) -> str:
    """Unix nanoseconds as CloudEvents wants them: UTC, nine digits."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def cloud_event(record: Record, identity: Identity, ledger_id: str) -> dict[str, str]:
    """CloudEvents 1.0 attributes of a record; source and id together are the key a consumer inserts by."""
    return {
        "specversion": SPEC_VERSION,
        "id": f"{ledger_id}:{record.index}",
        "source": f"urn:linegate:{identity.gateway_id}",
        "type": EVENT_TYPE.format(kind=record.kind),
        "time": rfc3339(record.time_ns),
        "subject": record.batch or identity.gateway_id,
        "ledger": ledger_id,
        "index": str(record.index),
        "hash": record.hash.hex(),
    }


class Packed:
    """MQTT 5 publish properties, packed once.  paho asks only for `pack()`; its own takes 10 to 60 us a message."""

    __slots__ = ("_packed",)

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    def pack(self) -> bytes:
        return self._packed


def _text(value: str) -> bytes:
    """A broker hangs up on NUL and lone surrogates, and may on controls and non-characters (MQTT 5, 1.5.4).

    paho's consumers hang up on U+FEFF, too.  What does not print is sent as U+FFFD: the record's body has it whole.
    """
    shown = value if value.isprintable() else "".join(c if c.isprintable() or c == " " else "\ufffd" for c in value)
    encoded = shown.encode()[:65535]
    return struct.pack(">H", len(encoded)) + encoded


def varint(number: int) -> bytes:
    """MQTT's variable byte integer (1.5.5)."""
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def publish_properties(
    *, expiry_s: int | None = None, user: Mapping[str, str] | None = None, correlation: bytes | None = None
) -> Packed:
    """Publish properties (MQTT 5, 3.3.2.3): JSON content type, message expiry, correlation data, user properties."""
    body = b"\x01\x01\x03" + _text(JSON_TYPE)
    if expiry_s is not None:
        body += b"\x02" + struct.pack(">I", expiry_s)
    if correlation is not None:
        body += b"\x09" + struct.pack(">H", len(correlation)) + correlation
    for name, value in (user or {}).items():
        body += b"\x26" + _text(name) + _text(value)
    return Packed(varint(len(body)) + body)
