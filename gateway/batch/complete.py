"""Completeness: what a reviewer must look at, from the records alone.  Pure.

A batch record is complete, or this says exactly what is missing: review by exception (DESIGN 5).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from gateway.batch.records import CheckStory, Log, Payload, clock, lasted
from gateway.model import Json


class Finding(msgspec.Struct, frozen=True):
    """Something missing, late or out of bounds."""

    kind: str
    """`check.missed`, `step.unsigned`, `device.gap` ...: docs/batch-record.md lists them."""
    text: str
    """One sentence, with the numbers."""
    indexes: tuple[int, ...] = ()
    """Of the records it rests on."""
    subject: str = ""
    """What it is about, where a later record may supersede the one it rests on (an equation)."""

    @property
    def id(self) -> str:
        """Stable for the same records: `check.missed:142`; kind and text where no record stands for it."""
        if self.subject:
            return f"{self.kind}:{self.subject}"
        return f"{self.kind}:{self.indexes[0]}" if self.indexes else f"{self.kind}:{self.text}"

    @property
    def grave(self) -> bool:
        """A deviation; the others are things to have seen."""
        return self.kind.partition(".")[0] in _GRAVE

    def to_json(self) -> dict[str, Json]:
        return {"id": self.id, "kind": self.kind, "text": self.text, "indexes": [str(one) for one in self.indexes]}


_GRAVE: Final = frozenset(
    "check halt verification step count batch tray alarm gate setpoint label material instrument".split()  # noqa: SIM905  # as a set: a line each
)


def findings(records: Iterable[Payload]) -> list[Finding]:
    """Everything a reviewer must look at, the gravest kinds first.  `records`: payloads of one batch, any order."""
    log = Log(records)
    parts = (
        _checks(log),
        _plans(log),
        _halts(log),
        _verification(log),
        _alarms(log),
        _hidings(log),
        _steps(log),
        _gates(log),
        _materials(log),
        _counts(log),
        _trays(log),
        _corrections(log),
        _gaps(log),
        _marks(log),
    )
    return list(itertools.chain.from_iterable(parts))


def _checks(log: Log) -> Iterator[Finding]:
    for story in log.checks:
        indexes, what = tuple(story.indexes), _check_name(story)
        if story.missed is not None:
            done = f"; done late: {story.body['state']}" if story.judged is not None else ""
            yield Finding("check.missed", f"{what} was missed{done}", indexes)
        elif story.judged is not None and story.body.get("late"):
            yield Finding("check.late", f"{what} was done late", indexes)
        elif story.judged is None:
            taken = len(story.body.get("samples", ()))
            yield Finding("check.open", f"{what} was never judged: {taken} of {story.body['n']} samples in", indexes)
        if story.judged is not None and story.body["state"] == "indeterminate":
            why = _text(story) or "it proves neither"
            yield Finding("check.indeterminate", f"{what} is indeterminate: {why}", indexes)
        if story.judged is not None and story.body["state"] == "failed":
            yield Finding("check.failed", f"{what} failed: {_text(story) or 'out of limits'}", indexes)


def _text(story: CheckStory) -> str:
    """What its verdict said, without its name, which stands before it."""
    return str(story.body.get("text") or "").removeprefix(f"check {story.check}: ")


def _check_name(story: CheckStory) -> str:
    due = f"due at {clock(int(story.body['due_ns']))} UTC"
    units = story.body.get("due_units")
    return f"check {story.check} ({due}{'' if units is None else f', unit {units}'})"


def _plans(log: Log) -> Iterator[Finding]:
    """A plan of the recipe that asked for nothing, or for fewer checks than the units made call for."""
    if log.run is None:
        return
    units = int(log.filled or 0)
    for name, plan in log.recipe.get("plans", {}).items():
        asked = [story for story in log.checks if str(story.body.get("plan", "")).rpartition(".")[2] == name]
        due, by_units = expected(plan, units), [story for story in asked if _by_units(story)]
        sure = due or plan.get("every") or "start" in plan.get("after", ())
        if not asked and sure:
            yield Finding("check.absent", f"the recipe's plan {name} never asked for a check")
        elif len(by_units) < due:
            indexes = tuple(story.indexes[0] for story in by_units)
            text = f"the recipe's plan {name} asked for {len(by_units)} checks; {units} units call for {due}"
            yield Finding("check.absent", text, indexes)


def expected(plan: Json, units: int) -> int:
    """How many checks so many units call for, at least: each n-th unit, and the random ones of every whole span."""
    every, random = plan.get("every_units"), plan.get("random") or {}
    span = str(random.get("per", "")).partition("unit")
    by_chance = units // int(span[0]) * int(random["n"]) if span[1] else 0
    return (units // every if every else 0) + by_chance


def _by_units(story: CheckStory) -> bool:
    """Asked for by the units made, and not by time, an event or a person."""
    why = str(story.body.get("why", "schedule"))
    return why in {"schedule", "random"} and story.body.get("due_units") is not None


def _halts(log: Log) -> Iterator[Finding]:
    for story in log.halts:
        indexes = tuple(story.indexes)
        if story.failed is not None:
            yield Finding("halt.failed", f"the halt of {story.body['device']} was not confirmed in time", indexes)
        if story.released is None:
            yield Finding("halt.open", f"{story.halt} is not released: {story.body['text']}", indexes)


def _verification(log: Log) -> Iterator[Finding]:
    for started in log.of("verification.started"):
        rule = started["body"].get("rule")
        later = [one for one in log.of("verification.ended") if int(one["index"]) > int(started["index"])]
        if not any(one["body"].get("rule") == rule for one in later):
            yield Finding(
                "verification.open", f"the verification after recalibration of {rule} did not end", _at(started)
            )


def _alarms(log: Log) -> Iterator[Finding]:
    for story in log.alarms:
        what, indexes = f"alarm {story.alarm} no. {story.occurrence}", tuple(story.indexes)
        subject = "" if story.raised else f"{story.alarm} no. {story.occurrence}"  # many may have stood at the start
        if story.unseen:
            text = f"{what} was not acknowledged: {_alarm_text(story.body)}"
            yield Finding("alarm.unacknowledged", text, indexes, subject)
        if story.active:
            yield Finding("alarm.open", f"{what} still stands: {_alarm_text(story.body)}", indexes, subject)


def _hidings(log: Log) -> Iterator[Finding]:
    """What people put aside: their reason is theirs to give, and the reviewer's to weigh."""
    for record in log.of("alarm.shelved", "alarm.removed"):
        body = record["body"]
        how = "shelved" if record["kind"] == "alarm.shelved" else "out_of_service"
        yield Finding("hidden.alarm", _aside(body, how), _at(record))
    for record in log.of("batch.started"):
        for body in record["body"].get("alarms", ()):
            for how in [each for each in _HOW if each in body]:
                yield Finding("hidden.alarm", f"{_aside(body, how)} (before the start)", _at(record), body["alarm"])


def _aside(body: Json, how: str) -> str:
    return f"alarm {body['alarm']} was {_HOW[how]} by {body[how]['by']}: {body[how]['reason']}"


_HOW: Final = {"shelved": "shelved", "out_of_service": "taken out of service"}


def _alarm_text(body: Json) -> str:
    return str(body.get("text") or body.get("subject") or "")


def _steps(log: Log) -> Iterator[Finding]:
    for step, text, indexes in unsigned(log):
        yield Finding("step.unsigned", f"{step['id']} ({step['text']}) is {text}", indexes)


def unsigned(log: Log) -> Iterator[tuple[Json, str, tuple[int, ...]]]:
    """(step, `not signed as ... by ...`, records of those who did sign it) of each signature that is not there."""
    signed = log.signed
    for when in ("before_start", "before_close"):
        for step in log.recipe.get(when, ()):
            have = [record for record in signed if record["body"]["step"] == step["id"]]
            needed = [(step["meaning"], step["role"])]
            needed += [("verified", step["second_role"])] if step.get("second_role") else []
            for meaning, role in needed[len(have) :]:
                yield step, f"not signed as {meaning} by {role}", tuple(int(record["index"]) for record in have)


def _gates(log: Log) -> Iterator[Finding]:
    """Gates that were opened all the same, setpoints that were changed, labels and instruments that were off."""
    for record in log.of("gate.overridden"):
        body = record["body"]
        who, why = body.get("full_name") or record["by"], "; ".join(body["problems"])
        yield Finding("gate.overridden", f"{who} opened the gate {body['gate']} ({why}): {body['reason']}", _at(record))
    for record in log.of("setpoint.changed", "label.held"):
        yield Finding(record["kind"], record["body"]["text"], _at(record))
    for record in log.of("instrument.checked"):
        if not record["body"]["passed"]:
            yield Finding("instrument.failed", record["body"]["text"], _at(record))
    told = {str(record["body"]["text"]) for record in log.of("instrument.checked")}
    for record in log.of("alarm.raised"):  # seen and put right or not: it was used while nobody vouched for it
        body = record["body"]
        if body["alarm"].startswith("instrument:") and not any(text in body["text"] for text in told):
            yield Finding("instrument.lapsed", body["text"], _at(record))


def _materials(log: Log) -> Iterator[Finding]:
    """Lots that the recipe wants scanned, and nobody scanned; one that was wrong when it was scanned is none."""
    wanted = log.recipe.get("scanned", ())
    ordered = log.last("batch.ordered")
    if not wanted or ordered is None or log.run is None:
        return
    for line in ordered["body"]["order"].get("materials", ()):
        if line["kind"] not in wanted:
            continue
        scans = [record for record in log.of("material.scanned") if _names(record, line)]
        if not scans:
            yield Finding("material.unscanned", f"{line['kind']} lot {line['lot']} was never scanned")
        elif not any(record["body"]["ok"] for record in scans):
            text = f"{line['kind']} lot {line['lot']} was scanned, and wrong: {scans[-1]['body']['text']}"
            yield Finding("material.unscanned", text, tuple(int(record["index"]) for record in scans))


def _names(scan: Payload, line: Json) -> bool:
    """Is it a scan of this line of the order?"""
    known = (line["kind"], line["lot"], line["uid"])
    return any((one["kind"], one.get("lot"), one.get("uid")) == known for one in scan["body"]["matched"])


def _counts(log: Log) -> Iterator[Finding]:
    ended = log.last("batch.completed", "batch.aborted")
    if log.run is not None and ended is None:
        yield Finding("batch.incomplete", "the batch was started and not completed")
    for equation in log.outcome.get("reconciliation", ()):
        if equation["ok"]:
            continue
        record = next(one for one in reversed(log.records) if one["body"] is log.outcome)
        if equation["missing"]:
            text = f"{equation['name']} cannot be reconciled: {', '.join(equation['missing'])} missing"
        else:
            percent = "" if equation["percent"] is None else f" ({equation['percent']} %)"
            off = f"{equation['difference']} {_unit(equation['unit'])}{percent}"
            text = f"{equation['name']}: {off}, limit {equation['limit']}"
        yield Finding("count.unreconciled", text, _at(record), equation["name"])
    for record in log.of("counter.stepped"):
        body = record["body"]
        yield Finding(
            "counter.stepped", f"counter {body['counter']} fell from {body['before']} to {body['after']}", _at(record)
        )


def _unit(code: str) -> str:
    return "off" if code == "{count}" else f"{code} off"


def _trays(log: Log) -> Iterator[Finding]:
    stories: dict[str, list[Payload]] = {}
    for record in log.of("batch.tray"):
        stories.setdefault(record["body"]["tray"], []).append(record)
    for tray, records in stories.items():
        body, indexes = records[-1]["body"], tuple(int(one["index"]) for one in records)
        units = f"units {body['first_unit']} to {body['last_unit'] or '?'}"
        if not body.get("seen", True):
            yield Finding("tray.unseen", f"the machine's tray for {units} is not known", indexes)
        if body.get("suspect") and not body.get("disposition"):
            yield Finding("tray.suspect", f"tray {tray} ({units}) is suspect and nobody decided on it", indexes)


def _corrections(log: Log) -> Iterator[Finding]:
    for record in log.of("batch.entered"):
        body = record["body"]
        if body.get("supersedes"):
            change = (
                f"{body['quantity']} {body['previous']} -> {body['value']} by {body.get('full_name') or record['by']}"
            )
            yield Finding("entry.corrected", f"{change}: {body.get('comment') or 'no reason'}", _at(record))


def _gaps(log: Log) -> Iterator[Finding]:
    for gap in log.gaps:
        until = f"to {clock(gap.until_ns)} UTC" if gap.back else "and did not come back in the run"
        what = f"was away for {lasted(gap.away_ns)},"
        if gap.turns:
            what = f"came and went {len(gap.turns)} times, away for {lasted(gap.away_ns)} in all,"
        text = f"{gap.device} {what} {clock(gap.since_ns)} {until}: {gap.reason or 'no reason given'}"
        yield Finding("device.gap", text, gap.indexes)


_MARKS: Final = {
    "clock.stepped": "the wall clock was stepped",
    "gateway.stalled": "a pause of the gateway itself, which judged nothing, ended",
    "telemetry.shed": "telemetry was shed",
    "store.quarantined": "a damaged store was put aside",
    "store.differs": "a file was not the one that was left",
    "gateway.started": "the gateway was started again during the run",
}


def _marks(log: Log) -> Iterator[Finding]:
    """Things that happened to the gateway itself; a start before the run is no finding."""
    for record in log.of(*_MARKS):
        time, body = int(record["time"]), record["body"]
        if record["kind"] == "gateway.started":
            if not log.within(record):
                continue
            before = [int(one["time"]) for one in log.records if int(one["index"]) < int(record["index"])]
            more = f", {lasted(time - before[-1])} after the record before it"
            yield Finding("gateway.restarted", f"{_MARKS[record['kind']]} at {clock(time)} UTC{more}", _at(record))
            continue
        yield Finding(record["kind"], f"{_MARKS[record['kind']]} at {clock(time)} UTC{_detail(body)}", _at(record))
    unsure = [record for record in log.records if record.get("context", {}).get("clock") == "unsynchronised"]
    if unsure:
        text = f"{len(unsure)} records were made while the clock was not synchronised"
        yield Finding("clock.unsynchronised", text, tuple(int(record["index"]) for record in unsure))


def _detail(body: Json) -> str:
    if "step" in body:
        return f" by {lasted(int(body['step']))}" + (" or more, while the gateway was down" if "down" in body else "")
    told = body.get("text") or ", ".join(f"{key} {value}" for key, value in body.items())
    return f": {told}" if told else ""


def _at(record: Payload) -> tuple[int, ...]:
    return (int(record["index"]),)
