"""The MQTT contract as types, and the two documents made of them: docs/mqtt.md and docs/asyncapi.yaml.

What the sink sends decodes into these types (a test sends it and tries); the documents are generated, never edited.
The requests on `cmd/` are handed in: sinks know nothing of commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import yaml
from pydantic import BaseModel

from gateway.model import Json, Watermark

KINDS: Final[dict[str, str]] = {
    "gateway.started": "the gateway began: version, boot, hashes of configuration and rules, devices, waivers",
    "gateway.stopped": "it ended in order",
    "gateway.stalled": "it stood still for a second or more, how long: nothing was read, judged or halted meanwhile",
    "config.loaded": "another configuration is in force",
    "clock.stepped": "the wall clock was stepped by more than a second",
    "device.connected": "a device was reached; what it says of itself",
    "device.lost": "a device was lost, and why",
    "device.flapping": "a device comes and goes: each turn of the last minute, `null` where it is not back",
    "alarm.raised": "an alarm began: value, limit, priority",
    "alarm.acknowledged": "a person saw it",
    "alarm.cleared": "its condition is gone",
    "alarm.reset": "a person unlatched it",
    "alarm.shelved": "a person put it aside: who, why, until when",
    "alarm.unshelved": "it came back, by a person, because its time is over, or because it halts",
    "alarm.suppressed": "it is not shown, by design, and what suppresses it",
    "alarm.unsuppressed": "it came back by what holds now",
    "alarm.removed": "maintenance took it out of service, and why",
    "alarm.returned": "it was returned to service",
    "alarm.changed": "its condition began, changed or ended while it was not shown",
    "alarm.dependents": "which alarms a lost link suppresses under its own, by rule; at its end how often they turned",
    "halt.requested": "a device was ordered to stand still, and by which rule",
    "halt.confirmed": "the device's own state says that it stands still; four time stamps",
    "halt.failed": "it does not say so after all tries",
    "halt.reasserted": "it left its hold while latched, or we restarted: ordered again",
    "halt.released": "a person released it, with a reason and the version they saw",
    "check.due": "a check of a sampling plan fell due",
    "check.taken": "a sample of it was taken",
    "check.judged": "passed, failed or indeterminate, with all samples; suspect trays where it did not pass",
    "check.missed": "not done in its grace: a deviation",
    "weighing.recorded": "a weight seen on a balance, judged or not",
    "chart.frozen": "the limits of a control chart were found in its phase I, and stand from now on",
    "batch.ordered": "an order came in: SKU, quantity, lots, UIDs, COA",
    "batch.signed": "a person signed a step, and what the signature means",
    "gate.blocked": "a start was asked for and not allowed: which gates, and what stood in their way",
    "gate.overridden": "a person opened a gate all the same, with a reason",
    "instrument.checked": "an instrument was held against its standard: what it read, and whether it passed",
    "setpoint.changed": "a machine's setpoint was changed during the batch: old and new value",
    "batch.started": "production began, the gates as they stood",
    "batch.tray": "a tray and its units",
    "tray.held": "a tray is on hold: suspect since a check failed, proved nothing or was missed, and why",
    "tray.released": "QA released a tray that was on hold, with the reason",
    "tray.rejected": "a tray was rejected, with the reason",
    "tray.quarantined": "a tray was quarantined, with the reason",
    "process.adjusted": "a person recorded an adjustment at the line",
    "balance.tared": "a person tared a balance: what it showed before and afterwards",
    "balance.zeroed": "a person zeroed a balance: what it showed before and afterwards",
    "balance.not_done": "a tare or zero that a person asked for was refused, or not shown, by the balance: why",
    "scale.repeatability": "the repeatability of a balance as weighings of one weight show it (USP <41>)",
    "material.scanned": "a code that was scanned, with the line of the order it matched, or why it did not",
    "label.roll": "a roll of labels went onto the applicator: its lot, how many are on it, what it replaces",
    "label.held": "labels do not reconcile: what holds the applicator, or the batch",
    "batch.entered": "a count or quantity that a person or the MES gave",
    "batch.completed": "production ended: counts, consumption, yield, waste, reconciliation",
    "batch.closed": "a person decided on it",
    "batch.aborted": "it was given up, and why",
    "verification.started": "after a recalibration each unit is checked",
    "verification.ended": "the plan resumes",
    "telemetry.root": "Merkle root over the telemetry stored since the last one",
    "telemetry.shed": "telemetry that had to go before every sink had it: an exact gap",
    "store.quarantined": "a damaged store was put aside; what is missing",
    "store.differs": "at the start a file was sound, and not the one that was left: gone, or an older copy",
    "recipe.refused": "a recipe was changed during a batch: refused",
    "people.changed": "who may do what was changed",
    "command.refused": "somebody asked for what they may not do",
}
"""Kinds of records: what each says."""


class Known(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A document without surprises."""


class ScanMessage(Known):
    """One scan of a device.  `(boot, seq)` names it for ever."""

    boot: str
    """Run of the gateway."""
    seq: int
    """Grows within a boot."""
    time: str
    """When it was acquired, Unix nanoseconds."""
    values: dict[str, float | int | bool | str]
    """Good and uncertain values by tag."""
    bad: dict[str, str] = {}
    """Tag -> reason; it has no value."""
    uncertain: dict[str, str] = {}
    """Tag -> reason; it has a value, to be used with care."""
    sparse: bool = False
    """True: tags that are not named have not changed since the scan before."""


class ScansMessage(Known):
    """Several scans of one device, oldest first: under load, and when history follows after an outage."""

    scans: list[ScanMessage]


class Context(Known):
    """What was in force when a record was made."""

    config: str | None
    """Hash of the configuration."""
    rules: str | None
    """Hash of the rules."""
    recipe: str | None
    """`id@version#hash`."""
    clock: str
    """synchronised, unsynchronised or unknown."""


class Event(Known):
    """A ledger record: canonical JSON (RFC 8785); hash = SHA-256(0x00 || payload), RFC 6962."""

    v: int
    ledger: str
    """Made at random with the ledger."""
    index: int
    """Contiguous from 0: (ledger, index) is the key to insert by."""
    prev: str
    """Hash of record index - 1, hex."""
    time: str
    """Unix nanoseconds."""
    boot: str
    kind: str
    batch: str | None
    by: str
    """Person, `gateway`, or the MES's principal."""
    context: Context
    body: dict[str, Any]
    """By kind; measured values, counters and nanosecond times are decimal strings, units stand beside them."""


class GatewayState(msgspec.Struct):
    """The gateway itself; `online: false` is its will.  May hold more."""

    online: bool
    gateway: str
    path: str
    boot: str
    version: str
    ledger: str


class Reply(Known):
    """The answer to a request."""

    ok: bool
    result: Any = None
    """Where ok."""
    code: str = ""
    """Where not: stable, for programs."""
    message: str = ""
    """Where not: why, and what to do next."""


class Channel(msgspec.Struct, frozen=True):
    """A topic, and what is to be known of it."""

    address: str
    sends: bool
    """True: the gateway sends it."""
    retained: bool
    message: str
    """Name of the payload's schema; empty: text."""
    text: str


CHANNELS: Final = (
    Channel("state/{topic}", True, True, "", "Current state, one JSON document a topic; an empty payload removes it."),
    Channel("state/gateway", True, True, "GatewayState", "Is the gateway there?"),
    Channel(
        "event/{kind}", True, False, "Event", "One ledger record; the kind's dots are slashes: `event/halt/confirmed`."
    ),
    Channel("telemetry/{device}", True, False, "Telemetry", "Scans of a device, in order; live ones before history."),
    Channel("checkpoint", True, True, "", "The newest signed checkpoint, a C2SP note: keep it, it is your witness."),
    Channel("ack", False, True, "Watermark", "The MES's word: all up to this index is committed here without a gap."),
    Channel("cmd/{command}", False, False, "Request", "A request, with response topic and correlation data (MQTT 5)."),
    Channel("reply/{client}", True, False, "Reply", "The answer, where the response topic is below the path."),
)

Requests = Mapping[str, type[BaseModel]]


def _schemas(requests: Requests) -> dict[str, Json]:
    """JSON Schema of every payload, by name."""
    types = (ScanMessage, ScansMessage, Event, GatewayState, Watermark, Reply)
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    arguments: dict[str, Json] = {}
    for command, model in requests.items():
        name = model.__name__
        arguments[command] = {"$ref": f"#/components/schemas/{name}"}
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = schema
    telemetry = [{"$ref": f"#/components/schemas/{name}"} for name in ("ScanMessage", "ScansMessage")]
    return {**schemas, "Telemetry": {"anyOf": telemetry}, "Request": {"anyOf": list(arguments.values())}}


def asyncapi(requests: Requests) -> str:
    """AsyncAPI 3.0 of what goes over the broker, as YAML."""
    channels, operations, messages = {}, {}, {}
    for channel in CHANNELS:
        name = channel.address.split("/{")[0].replace("/", "-")
        parameters: dict[str, Json] = {part[1:-1]: {} for part in channel.address.split("/") if part.startswith("{")}
        schema = {"$ref": f"#/components/schemas/{channel.message}"} if channel.message else {}
        binary = channel.message == "" and channel.address == "checkpoint"
        messages[name] = {"contentType": "text/plain" if binary else "application/json", "payload": schema}
        channels[name] = {
            "address": f"{{path}}/{channel.address}",
            "description": channel.text,
            "parameters": {"path": {"description": "ISA-95 path of the gateway"}, **parameters},
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        operations[name] = {
            "action": "send" if channel.sends else "receive",
            "channel": {"$ref": f"#/channels/{name}"},
            "bindings": {"mqtt": {"qos": 1, "retain": channel.retained}},
        }
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Linegate over MQTT 5",
            "version": "1",
            "description": "Seen from the gateway. Generated from gateway/sinks/contract.py; see docs/mqtt.md.",
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": _schemas(requests)},
    }
    return yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)


def markdown(requests: Requests) -> str:
    """The page for people."""
    topics = [f"| `{each.address}` | {_sender(each)} | {_yes(each.retained)} | {each.text} |" for each in CHANNELS]
    kinds = [f"| `{kind}` | {text} |" for kind, text in KINDS.items()]
    asked = [f"| `cmd/{command}` | {_keys(model)} |" for command, model in requests.items()]
    return _PAGE.format(
        topics="\n".join(topics),
        kinds="\n".join(kinds),
        requests="\n".join(asked),
        event=_fields(Event),
        scan=_fields(ScanMessage),
    )


def _sender(channel: Channel) -> str:
    return "gateway" if channel.sends else "MES"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _keys(model: type[BaseModel]) -> str:
    named = [f"`{name}`" + ("" if field.is_required() else " (optional)") for name, field in model.model_fields.items()]
    return ", ".join(named) or "none"


def _fields(struct: type[msgspec.Struct]) -> str:
    """A table of a payload's fields, from its JSON Schema."""
    _, components = msgspec.json.schema_components((struct,))
    properties = components[struct.__name__]["properties"]
    return "\n".join(f"| `{name}` | {_kind(schema)} |" for name, schema in properties.items())


def _kind(schema: Mapping[str, Json]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


_PAGE: Final = """<!-- Generated by docs/make_contract.py from gateway/sinks/contract.py: do not edit. -->
# Linegate over MQTT 5

For the developer of an MES or a dashboard.  The same as AsyncAPI 3.0 with JSON Schemas: [asyncapi.yaml](asyncapi.yaml).
A consumer that does everything right: [reference_consumer.py](reference_consumer.py).

All topics stand below the gateway's ISA-95 path, `<enterprise>/<site>/<area>/<line>/<cell>/`.  Everything is QoS 1.

| topic | from | retained | |
|---|---|---|---|
{topics}

## Events

An event is one ledger record.  The payload is its canonical bytes: what is stored, hashed and signed.  It comes as a
CloudEvent 1.0 in binary mode: content type `application/json`, and as user properties `specversion`, `id`
(`<ledger>:<index>`), `source`, `type` (`linegate.<kind>.v1`), `time`, `subject` (the batch), `ledger`, `index` and
`hash` (hex).

| field | type |
|---|---|
{event}

| kind | says |
|---|---|
{kinds}

### How nothing is lost and nothing counts twice

1. Insert by `(ledger, index)`.  The same hash again is a repetition: ignore it.  Another hash is an alarm.
2. Check `SHA-256(0x00 || payload)` against `hash`, and `prev` against the record before.
3. Alarms and halts overtake other records: order by `index`, never by arrival or by clock.
4. **After your commit** publish, retained, on `ack`: `{{"ledger_id": "...", "committed_upto": 41, "root": ""}}`, the
   highest index up to which you have everything without a gap; -1 for nothing.
5. Publish it again on each connect and when a gap stays open for some seconds.  A watermark that does not move while
   records are outstanding says "this is all I have": two seconds later all behind it is sent again.  A lower one than
   before (you were restored from a copy) is taken at its word at once.
6. The ledger's id is in `state/gateway`.  A new id is a new ledger, from index 0.

A broker's PUBACK is not your word: with `ack: required` the gateway keeps evidence until your watermark passes it,
and a consumer that is connected to nothing but silence raises an alarm at the line.

## Telemetry

| field | type |
|---|---|
{scan}

A bad value is never a number: it stands in `bad` with its reason and not in `values`.  A message holds one such object,
or `{{"scans": [...]}}` with several of one device.  Scans of a device are in order; after an outage live ones come at
once and the history behind them.  Insert by `(boot, seq)`.  Messages expire (an hour, if not configured otherwise).

## Requests

Publish to `cmd/<command>` with an MQTT 5 response topic, best below `reply/`, and correlation data; not retained.
The answer is `{{"ok": true, "result": ...}}` or `{{"ok": false, "code": "...", "message": "..."}}`.  The same
request with the same correlation data gets the same answer and is carried out once, also after the connection was lost;
another one under that data is refused (`correlation-reused`), `busy` asks to ask again, nothing over 256 KiB is read.
The last 256 are remembered while the gateway runs.  Requests are carried out in the name of the one
MES that the gateway's configuration names; a broker's ACL must let nobody else write there
(deploy/mosquitto/linegate.acl).  Releases and signatures are not taken over MQTT.

| request | arguments |
|---|---|
{requests}

MQTT 3.1.1 is not served: what stands in properties here has no place there.
"""
