"""The batch report: one self-contained HTML page, rendered from the records.  Meant for another process.

`render` goes through a ProcessPoolExecutor; `python -m gateway.batch.report < data.json > report.html` does the same
from a shell.  The page is a view: what proves anything is the evidence bundle, and the page says so.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import rfc8785
from markupsafe import Markup

from gateway.batch import drawn, tables, view, words
from gateway.batch.checklist import checklist
from gateway.batch.complete import findings
from gateway.batch.plots import Point
from gateway.batch.records import Log, Payload
from gateway.model import Json
from gateway.recipe import Recipe

if TYPE_CHECKING:
    import jinja2

_OPEN_HASHES: Final = 400
"""Up to so many records the table of hashes is open, and printed."""


class ReportData(msgspec.Struct, frozen=True):
    """All the page is made of; reading it from the stores is the caller's."""

    records: Sequence[Payload]
    """Payloads of the batch as JSON; a key `hash` (hex leaf hash) may stand beside them."""
    series: Mapping[str, Sequence[Point]]
    """tag -> (Unix ns, value or None where it was bad), in order of time."""
    recipe: Recipe
    ledger: Mapping[str, Json] = {}
    """ledger, size, checkpoint (the signed note), gateway; `devices`: name -> {identity, address} where known."""
    windows: Mapping[str, str] = {}
    """tag -> name of the recipe's window; without it, the window whose name holds the tag's last word."""
    capability: Mapping[str, Json] = {}
    """`variables` and `attributes`, a row of text for each characteristic of each rule (docs/spc.md); made by a caller
    who knows how to judge a process."""


def render(data: ReportData) -> str:
    """The page.  Everything that came from outside is escaped."""
    log = Log(data.records)
    devices = data.ledger.get("devices") or {}
    context = {
        "head": view.header(log),
        "recipe": data.recipe,
        "ledger": _ledger(log, data.ledger),
        "findings": _explained(log, data.records),
        "figures": view.figures(log),
        "plots": _safe(drawn.plots(log, data.series, data.recipe, data.windows)),
        "capability": _safe(drawn.distributions(data.capability.get("variables", ()))),
        "counted": data.capability.get("attributes", ()),
        "checks": tables.checks(log),
        "halts": tables.halts(log),
        "alarms": tables.alarms(log),
        "trays": tables.trays(log),
        "gates": tables.gates(log),
        "refused_starts": tables.refused_starts(log),
        "label_proofs": tables.proofs_of_label(log),
        "entries": log.of("batch.entered"),
        "outcome": log.outcome,
        "signatures": view.signatures(log),
        "equipment": view.equipment(log, devices),
        "people": view.people(log),
        "events": view.events(log),
        "checklist": checklist(data.records, devices),
        "proofs": view.proofs(log.records, _hashes(log.records)),
        "open_hashes": len(log.records) <= _OPEN_HASHES,
        "clocks": sorted({str(record["context"].get("clock")) for record in log.records if "context" in record}),
    }
    return _environment().get_template("report.html").render(context)


def main() -> None:
    """ReportData as JSON on stdin, HTML on stdout."""
    data = msgspec.json.decode(sys.stdin.buffer.read(), type=ReportData, dec_hook=_decode)
    sys.stdout.write(render(data))


def _decode(kind: type[Any], document: object) -> object:
    if kind is Recipe:
        return Recipe.model_validate(document)
    raise NotImplementedError(f"{kind} in report data")


def _safe(rows: Sequence[words.Row]) -> list[words.Row]:
    """Pictures as they are: what came from outside was escaped when they were drawn."""
    return [{**row, "svg": Markup(row["svg"])} for row in rows]  # noqa: S704  # see above


def _explained(log: Log, records: Sequence[Payload]) -> list[words.Row]:
    """Findings with the reason QA gave for each when the batch was closed."""
    closed = log.last("batch.closed")
    reasons = {one["id"]: one["reason"] for one in closed["body"]["findings"]} if closed else {}
    return [
        {
            "id": one.id,
            "kind": one.kind,
            "text": one.text,
            "indexes": one.indexes,
            "reason": reasons.get(one.id, ""),
            "grave": one.grave,
        }
        for one in findings(records)
    ]


def _ledger(log: Log, told: Mapping[str, Json]) -> words.Row:
    """Identity of the evidence: ledger, span, root (the third line of a C2SP checkpoint)."""
    note = str(told.get("checkpoint") or "")
    lines = note.splitlines()
    first, last = (log.records[0], log.records[-1]) if log.records else ({}, {})
    return {
        "id": told.get("ledger") or first.get("ledger", ""),
        "gateway": told.get("gateway", ""),
        "size": lines[1] if len(lines) > 2 else told.get("size", ""),
        "root": told.get("root") or (lines[2] if len(lines) > 2 else ""),
        "checkpoint": note,
        "first": first.get("index"),
        "last": last.get("index"),
        "count": len(log.records),
        "context": last.get("context", {}),
        "boots": sorted({record["boot"] for record in log.records if "boot" in record}),
    }


def _hashes(records: Sequence[Payload]) -> dict[int, str]:
    """RFC 6962 leaf hashes, those that came with the records or computed from their canonical bytes."""
    return {int(record["index"]): record.get("hash") or _leaf_hash(record) for record in records}


def _leaf_hash(record: Payload) -> str:
    return hashlib.sha256(b"\x00" + rfc8785.dumps(record)).hexdigest()


def _environment() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415  # only the process that draws needs it, not the gateway

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gateway.batch"),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,  # a record without a field leaves a blank, never no report
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(amount=words.amount, stamp=words.stamp, unit=words.unit)
    return environment


if __name__ == "__main__":
    main()
