"""Scans and records as InfluxDB line protocol.  Pure: no I/O, no clock.

A scan is one point: measurement = device, tags `gateway` and `path`, fields = the device's tags, time in nanoseconds.
Numbers are always floats, so that a setpoint of 65 and one of 65.5 are one type; texts are strings, switches booleans.
Bad quality is never a number: the value is left out, `<tag>_quality` says `bad: reason` (or `uncertain: reason` beside
a value), and the integer `quality` says the worst of the scan, 0 good, 1 uncertain, 2 bad: a line that is down is
drawn as 2 and no value at all.  NaN and infinities are no numbers to InfluxDB and are written as bad.

A point whose clock was stepped since the gateway began says so: `clock_stepped`, seconds; its time less that is the
time by a clock that nobody stepped.  Points before and after a step back share their times: this tells them apart.

Records become points too: what a person wants to see on a time axis in `events`, weighings in `weighing`.  Two records
may share an instant and InfluxDB keeps one point for each series and time: their index modulo 1000 is added as
nanoseconds.  The ledger keeps the exact time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from gateway.model import Identity, Json, Quality, Record, Scan, TagSet, Value

EVENTS: Final = "events"
WEIGHINGS: Final = "weighing"
_BATCH: Final = ("batch.started", "batch.completed", "batch.closed")
SHOWN: Final = ("alarm.", "halt.", "check.judged", "check.missed", "clock.stepped", "gateway.stalled", *_BATCH)
"""Kinds that go to `events`."""
STEPPED: Final = "clock_stepped"
STEP_NS: Final = 1_000_000_000
"""A clock that is this far from where it would be was stepped (BARS R11)."""
RESERVED: Final = frozenset({"time", "quality", "gateway", "path", STEPPED})
"""Names of ours, and `time`, which InfluxDB refuses as a field: a device's tag of this name gets a `_` behind it."""

_MEASUREMENT = str.maketrans({",": r"\,", " ": r"\ ", "\n": r"\ ", "\r": None, "\t": r"\ "})
_KEY = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ ", "\n": r"\ ", "\r": None, "\t": r"\ "})
_STRING = str.maketrans({'"': r"\"", "\\": r"\\"})


def _closed(text: str) -> str:
    """A last backslash would escape the separator behind it, and nothing can escape a backslash: it becomes a slash."""
    stem = text.rstrip("\\")
    return stem + "/" * (len(text) - len(stem))


def measurement(name: str) -> str:
    return _closed(name.replace("\t", " ")).translate(_MEASUREMENT)


def key(name: str) -> str:
    """Tag key, tag value or field key."""
    return _closed(name).translate(_KEY)


def text(value: str) -> str:
    return f'"{value.translate(_STRING)}"'


def field(value: Value) -> str | None:
    """A field's value; None where it has none that may be written (NaN, infinity, no value)."""
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, str):
        return text(value)
    if value is None:
        return None
    number = float(value)
    return repr(number) if math.isfinite(number) else None


class Lines:
    """Encodes for one gateway; what belongs to a device is prepared once."""

    def __init__(self, identity: Identity, steady_ns: int = 0) -> None:
        """`steady_ns`: wall minus monotonic clock when this process began, 0 where that is not known."""
        pairs = (("gateway", identity.gateway_id), ("path", identity.path))
        self._tags = "".join(f",{name}={key(value)}" for name, value in pairs if value)
        self._boots, self._steady_ns = ("", identity.boot_id), steady_ns
        self._heads: dict[TagSet, tuple[str, tuple[str, ...]]] = {}

    def _head(self, tagset: TagSet) -> tuple[str, tuple[str, ...]]:
        head = self._heads.get(tagset)
        if head is None:
            keys = tuple(key(f"{tag}_" if tag in RESERVED else tag) for tag in tagset.tags)
            head = self._heads[tagset] = (f"{measurement(tagset.device)}{self._tags} ", keys)
        return head

    def scan(self, scan: Scan) -> str:
        """One line; there is always at least `quality` in it."""
        head, keys = self._head(scan.tagset)
        worst, changed = Quality.GOOD, scan.changed
        fields: list[str] = []
        for position, (name, value) in enumerate(zip(keys, scan.values, strict=True)):
            fault = scan.faults.get(position)
            bad = fault is not None and fault.quality is Quality.BAD
            written = None if bad else field(value)
            fresh = changed is None or position in changed
            if written is not None and fresh:
                fields.append(f"{name}={written}")
            if fault is not None or written is None:
                reason = fault.reason if fault is not None else "not a number"
                quality = fault.quality if fault is not None and written is not None else Quality.BAD
                worst = max(worst, quality)
                if fresh:
                    fields.append(f"{name}_quality={text(f'{quality.name.lower()}: {reason}')}")
        fields.append(f"quality={int(worst)}i")
        if (stepped_ns := self._stepped(scan)) is not None:
            fields.append(f"{STEPPED}={stepped_ns / 1e9:.3f}")
        return f"{head}{','.join(fields)} {scan.time_ns}"

    def _stepped(self, scan: Scan) -> int | None:
        """How far the clock that stamped it was stepped since this process began; None: not at all, or not known."""
        if not self._steady_ns or scan.boot not in self._boots:
            return None
        by_ns = scan.time_ns - scan.mono_ns - self._steady_ns
        return by_ns if abs(by_ns) > STEP_NS else None

    def record(self, record: Record) -> str | None:
        """One line, or None for a kind that has no place on a time axis."""
        if record.kind == "weighing.recorded":
            return self._weighing(record)
        return self._event(record) if record.kind.startswith(SHOWN) else None

    def _event(self, record: Record) -> str:
        document = msgspec.json.decode(record.payload)
        body = document["body"]
        subject = str(body.get("subject") or body.get("device") or body.get("rule") or "")
        fields = {
            "title": f"{record.kind.replace('.', ' ')}: {_name(body)}".removesuffix(": "),
            "text": str(body.get("text") or body.get("state") or ""),
            "tags": ",".join(part for part in (*record.kind.split("."), subject) if part),
            "subject": subject,
            "batch": record.batch or "",
            "by": str(document.get("by", "")),
            "priority": str(body.get("priority", "")),
            "value": _number(body.get("value")),
            "limit": _number(body.get("limit")),
        }
        return self._line(EVENTS, {"kind": record.kind}, fields, record, record.time_ns)

    def _weighing(self, record: Record) -> str:
        body = msgspec.json.decode(record.payload)["body"]
        value = _number(body.get("value"))
        fields: dict[str, Value] = {
            "value": value,
            "unit": body.get("unit"),
            "unit_no": body.get("unit_no"),
            "tray": body.get("tray"),
            "check": body.get("check"),
            "batch": record.batch,
            "judged": body.get("passed") is not None,
            "passed": body.get("passed"),
            "reason": body.get("reason") or None,
        }
        tags = {"rule": body.get("rule"), "characteristic": body.get("characteristic")}
        return self._line(WEIGHINGS, tags, fields, record, int(body.get("time_ns") or record.time_ns))

    def _line(
        self, name: str, tags: Mapping[str, Any], fields: Mapping[str, Value], record: Record, time_ns: int
    ) -> str:
        more = "".join(f",{tag}={key(str(value))}" for tag, value in tags.items() if value)
        written = [f"{name}={value}" for name, raw in fields.items() if (value := field(raw)) is not None]
        written.append(f"index={record.index}i")
        return f"{name}{self._tags}{more} {','.join(written)} {time_ns + record.index % 1000}"


def _name(body: Mapping[str, Json]) -> str:
    """What an event is about, for its title."""
    for field_name in ("alarm", "halt", "id", "order", "batch"):
        if body.get(field_name):
            return str(body[field_name])
    return ""


def _number(value: Json) -> float | None:
    """A decimal string of a record's body as a float; None where it is none."""
    try:
        return None if value is None or isinstance(value, bool) else float(Decimal(str(value)))
    except ArithmeticError:
        return None
