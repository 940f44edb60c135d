"""What the rules ask of a batch record, item by item: made by watching, entered by a person, or missing.  Pure.

Items and citations: 21 CFR 211.188(b)(1)-(13), 211.125, 111.260, Part 11 (docs/batch-record.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from gateway.batch.complete import unsigned
from gateway.batch.records import Log, Payload
from gateway.model import Json


class Item(msgspec.Struct, frozen=True):
    """One thing an auditor asks for, and the records that answer it."""

    key: str
    text: str
    cite: str
    automatic: tuple[int, ...]
    """Indexes of records the gateway made by itself."""
    person: tuple[int, ...]
    """Indexes of records a person made."""
    missing: str
    """What is not there; empty where the item is answered."""


def _all(_: Json) -> bool:
    return True


class _Ask(msgspec.Struct, frozen=True):
    """How an item is answered."""

    key: str
    text: str
    cite: str
    automatic: tuple[str, ...] = ()
    """Record kinds; at least one record, where any is given and `needs` says so."""
    person: tuple[str, ...] = ()
    needs: str = "automatic"
    """automatic, person, both, or nothing: an item that may rightly have no record (no alarm was raised)."""
    when: Callable[[Json], bool] = _all
    """Which of those records count."""


def _signs(key: str) -> Callable[[Json], bool]:
    return lambda body: "step" not in body or key in body.get("covers", ())


def _about(*words: str) -> Callable[[Json], bool]:
    return lambda body: "quantity" not in body or body["quantity"].startswith(words)


def _recalibrated(body: Json) -> bool:
    return bool(body.get("recalibration"))


def _investigated(body: Json) -> bool:
    return bool(body.get("findings"))


SIGNED: Final = ("batch.signed",)
_ASKS: Final = (
    _Ask("master", "Master record: version, hash, limits in force", "211.188(a), 211.186", ("batch.ordered",)),
    _Ask(
        "dates",
        "Dates and times of each significant step",
        "211.188(b)(1)",
        ("batch.started", "batch.completed"),
        SIGNED,
    ),
    _Ask("equipment", "Major equipment and line", "211.188(b)(2), 111.260(b)", ("device.connected", "gateway.started")),
    _Ask(
        "components",
        "Component, container and label lots, UIDs, COA",
        "211.188(b)(3), (b)(9), 111.260(d)",
        ("batch.ordered",),
    ),
    _Ask(
        "components-verified",
        "Components verified by a second person",
        "211.101(c), 111.260(j)",
        person=SIGNED,
        needs="person",
        when=_signs("components-verified"),
    ),
    _Ask(
        "weights",
        "Weights and measures of components",
        "211.188(b)(4), 111.260(e)",
        person=("batch.entered",),
        needs="person",
        when=_about("oil_charged"),
    ),
    _Ask(
        "checks",
        "In-process results, each raw weight",
        "211.188(b)(5), 111.260(g)",
        ("check.judged", "weighing.recorded"),
    ),
    _Ask("sampling", "Sampling: what was due and taken", "211.188(b)(10), 211.110", ("check.due", "check.taken")),
    _Ask("missed", "Missed and late checks", "211.192", ("check.missed",), needs="nothing"),
    _Ask("trend", "Temperature and viscosity over time", "111.260(g)", ("telemetry.root",)),
    _Ask(
        "area-before",
        "Line clearance and area inspection before",
        "211.188(b)(6), 211.130",
        person=SIGNED,
        needs="person",
        when=_signs("area-before"),
    ),
    _Ask(
        "area-after",
        "Cleaning and area inspection after",
        "211.188(b)(6), 111.260(c)",
        person=SIGNED,
        needs="person",
        when=_signs("area-after"),
    ),
    _Ask(
        "sanitation",
        "Equipment cleaned and sanitized before use",
        "211.67, 111.260(c)",
        person=SIGNED,
        needs="person",
        when=_signs("sanitation"),
    ),
    _Ask(
        "oil-release",
        "Bulk released for use by quality, with its certificate",
        "211.84(a)",
        person=SIGNED,
        needs="person",
        when=_signs("oil-release"),
    ),
    _Ask(
        "gates",
        "Setpoints, instruments and people as they stood at the start",
        "211.68(a), 211.160(b)(4), 211.25",
        ("batch.started", "gate.blocked", "setpoint.changed", "instrument.checked"),
        ("gate.overridden",),
        needs="nothing",
    ),
    _Ask(
        "label-proof",
        "Label proof and specimen approved",
        "211.188(b)(8), 211.125(a)",
        ("batch.ordered",),
        SIGNED,
        needs="both",
        when=_signs("label-proof"),
    ),
    _Ask(
        "labels",
        "Labels issued, used, destroyed, returned",
        "211.125(c), 111.260(k)",
        ("batch.completed",),
        ("batch.entered",),
        needs="both",
        when=_about("labels_"),
    ),
    _Ask(
        "examination",
        "Finished product examined",
        "211.188(b)(13), 211.134",
        person=SIGNED,
        needs="person",
        when=_signs("examination"),
    ),
    _Ask("trays", "Trays and their units", "211.105", ("batch.tray",)),
    _Ask("yield", "Actual and theoretical yield", "211.188(b)(7), 211.103, 111.260(f)", ("batch.completed",)),
    _Ask("counts", "Counts reconciled", "211.184(c)", ("batch.completed",), ("batch.entered",)),
    _Ask(
        "waste",
        "Waste and its disposition",
        "211.125(d), 111.260(f)",
        person=("batch.entered",),
        needs="nothing",
        when=_about("oil_waste", "labels_destroyed", "labels_damaged", "units_destroyed", "units_rejected"),
    ),
    _Ask(
        "halts",
        "Machine halts, alarms, and who answered them",
        "211.68(b)",
        ("alarm.raised", "halt.requested", "halt.confirmed"),
        ("alarm.acknowledged", "halt.released"),
        needs="nothing",
    ),
    _Ask(
        "recalibration",
        "Recalibrations after a failed check",
        "211.68(a), 211.160(b)(4)",
        ("verification.started", "verification.ended"),
        ("halt.released",),
        needs="nothing",
        when=_recalibrated,
    ),
    _Ask(
        "persons", "Persons performing and checking each step", "211.188(b)(11), 11.50", person=SIGNED, needs="person"
    ),
    _Ask(
        "time",
        "Clock, gaps, interruptions",
        "11.10(e), Annex 11",
        ("clock.stepped", "device.lost", "telemetry.shed", "gateway.started", "gateway.stalled", "counter.stepped"),
        needs="nothing",
    ),
    _Ask(
        "investigation",
        "Deviations and their explanation",
        "211.188(b)(12), 211.192",
        person=("batch.closed",),
        needs="nothing",
        when=_investigated,
    ),
    _Ask(
        "disposition",
        "Quality review and disposition",
        "211.192, 111.260(l), (m)",
        person=("batch.closed",),
        needs="person",
    ),
)


def checklist(records: Iterable[Payload], devices: Iterable[str] = ()) -> list[Item]:
    """Every item with its records.  `devices`: those the gateway knows the identity of from before the batch."""
    log, known = Log(records), any(devices)
    return [_answer(ask, log, known) for ask in _ASKS]


def keys() -> tuple[str, ...]:
    """What a step of a recipe may cover."""
    return tuple(ask.key for ask in _ASKS if ask.person == SIGNED)


def _answer(ask: _Ask, log: Log, known_devices: bool) -> Item:
    automatic = _indexes(log, ask.automatic, ask.when)
    person = _indexes(log, ask.person, ask.when)
    missing = ""
    if ask.needs in {"automatic", "both"} and not automatic and not (ask.key == "equipment" and known_devices):
        missing = f"no record of kind {' or '.join(ask.automatic)}"
    elif ask.needs in {"person", "both"} and not person:
        missing = _nobody(ask)
    elif ask.person == SIGNED:
        covering = [(step, text) for step, text, _ in unsigned(log) if ask.key in step.get("covers", ())]
        missing = "; ".join(f"{step['id']} is {text}" for step, text in covering)
    return Item(ask.key, ask.text, ask.cite, automatic, person, missing)


def _indexes(log: Log, kinds: tuple[str, ...], when: Callable[[Json], bool]) -> tuple[int, ...]:
    ended = {int(one["index"]) for one in log.of(*SIGNED)} - {int(one["index"]) for one in log.signed}
    found = [record for record in log.of(*kinds) if when(record["body"])]
    return tuple(index for record in found if (index := int(record["index"])) not in ended)


def _nobody(ask: _Ask) -> str:
    if ask.person == SIGNED and ask.key != "persons":
        return f"nobody signed a step that covers {ask.key}"
    return f"no person made a record of kind {' or '.join(ask.person)}"
