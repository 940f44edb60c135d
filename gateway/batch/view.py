"""Head and foot of the report: figures, signatures, equipment, people, hashes; from the records alone.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gateway.batch.records import Log, Payload, lasted, moment
from gateway.batch.words import NONE, Row, stamp
from gateway.model import Json


def header(log: Log) -> Row:
    """Disposition, state and times."""
    closed, aborted = log.last("batch.closed"), log.last("batch.aborted")
    ordered = log.last("batch.ordered")
    run = log.run
    state = "closed" if closed else "aborted" if aborted else "complete" if log.last("batch.completed") else "open"
    return {
        "state": state,
        "closed": closed,
        "aborted": aborted,
        "order": ordered["body"]["order"] if ordered else {},
        "recipe": ordered["body"]["recipe"] if ordered else {},
        "ordered_at": ordered["index"] if ordered else None,
        "started": moment(run[0]) if run else "not started",
        "ended": moment(run[1]) if run and log.last("batch.completed", "batch.aborted") else "not ended",
        "lasted": lasted(run[1] - run[0]) if run else NONE,
    }


def figures(log: Log) -> list[tuple[str, str, str, bool]]:
    """(name, number, note, is it bad) for the head of the page."""
    outcome, checks, halts = log.outcome, log.checks, log.halts
    failed = sum(1 for story in checks if story.body["state"] == "failed")
    missed = sum(1 for story in checks if story.missed)
    unseen = sum(1 for story in log.alarms if story.unseen)
    good, of = outcome.get("units_good"), outcome.get("yield", {})
    open_halts = sum(1 for story in halts if story.released is None)
    away = lasted(sum(gap.away_ns for gap in log.gaps)) if log.gaps else "none"
    limit = f"limit {of['limit']}" if of.get("limit") else ""
    waits = "not counted yet" if log.filled is None else "aborted: not reconciled"
    filled = waits if not outcome else f"{good or NONE} good, {outcome.get('units_rejected', NONE)} rejected"
    judged = str(sum(1 for story in checks if story.judged))
    return [
        ("units filled", log.filled or NONE, filled, False),
        ("of theoretical yield", f"{of['percent']} %" if of.get("percent") else NONE, limit, of.get("ok") is False),
        ("checks judged", judged, f"{failed} failed, {missed} missed", failed + missed > 0),
        ("halts", str(len(halts)), f"{open_halts} not released", open_halts > 0),
        ("alarms", str(len(log.alarms)), f"{unseen} not acknowledged", unseen > 0),
        ("times without a device", str(len(log.gaps)), away, False),
    ]


def signatures(log: Log) -> list[Row]:
    """All signatures, the disposition among them (21 CFR 11.50)."""
    standing = {record["index"] for record in log.signed}
    rows = [
        {**record["body"], "index": record["index"], "withdrawn": record["index"] not in standing}
        for record in log.of("batch.signed")
    ]
    closed = log.last("batch.closed")
    if closed:
        rows.append(
            {
                **closed["body"],
                "step": "disposition",
                "text": "Disposition of the batch",
                "index": closed["index"],
                "withdrawn": False,
            }
        )
    return [{**row, "moment": moment(int(row["time"]))} for row in rows]


def equipment(log: Log, devices: Mapping[str, Json]) -> list[Row]:
    """What each device said of itself, from the records of the batch and from what stood before it."""
    rows = {name: dict(known) | {"indexes": []} for name, known in devices.items()}
    for record in log.of("device.connected"):
        body = record["body"]
        row = rows.setdefault(body["device"], {"identity": {}, "indexes": []})
        row["identity"] = {**row.get("identity", {}), **body.get("identity", {})}
        row["indexes"].append(int(record["index"]))
    return [{"device": name, **row} for name, row in sorted(rows.items())]


def people(log: Log) -> list[Row]:
    """Everybody who made a record, with what they did."""
    rows: dict[str, Row] = {}
    for record in log.records:
        if record["by"] == "gateway":
            continue
        row = rows.setdefault(record["by"], {"person": record["by"], "full_name": "", "roles": [], "kinds": {}})
        body = record["body"]
        if body.get("person") == record["by"]:
            row["full_name"] = body.get("full_name") or row["full_name"]
            if body.get("role") and body["role"] not in row["roles"]:
                row["roles"].append(body["role"])
        row["kinds"][record["kind"]] = row["kinds"].get(record["kind"], 0) + 1
    return list(rows.values())


_EVENTS: Final = (
    "gateway.started", "gateway.stopped", "gateway.stalled", "device.lost", "device.flapping", "device.connected",
    "clock.stepped",
    "counter.stepped", "telemetry.shed", "store.quarantined", "store.differs", "verification.started",
    "verification.ended", "command.refused", "recipe.refused", "people.changed", "batch.aborted",
)  # fmt: skip


def events(log: Log) -> list[Row]:
    """What else happened: links, clock, restarts, refusals."""
    return [
        {
            "time": stamp(record["time"]),
            "kind": record["kind"],
            "by": record["by"],
            "text": _event_text(record["body"]),
            "index": record["index"],
        }
        for record in log.of(*_EVENTS)
    ]


def _event_text(body: Json) -> str:
    told = str(body.get("text") or "")
    rest = [
        f"{key} {value}"
        for key, value in body.items()
        if key in {"reason", "code", "step", "rule", "recalibration", "why"}
    ]
    return "; ".join(one for one in (told, *rest) if one)


def proofs(records: Iterable[Payload], hashes: Mapping[int, str]) -> list[Row]:
    """Every record with its hash, for the last table."""
    return [
        {
            "index": record["index"],
            "time": moment(int(record["time"])),
            "kind": record["kind"],
            "by": record["by"],
            "hash": hashes[int(record["index"])],
        }
        for record in records
    ]
