"""What the report's page shows, as rows: computed from the records alone.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.batch.plots import Dot, Limit, Mark, Point, Span, control, trend
from gateway.batch.records import AlarmStory, CheckStory, HaltStory, Log, Payload, clock, lasted, moment
from gateway.model import Json
from gateway.recipe import Recipe, Window

UNITS: Final = {"Cel": "°C", "mPa.s": "mPa·s", "{count}": "", "1": "", "g/cm3": "g/cm³"}
Row = dict[str, Any]
NONE: Final = "\N{EM DASH}"
"""What stands where nothing is."""


def unit(code: str) -> str:
    """A UCUM code as people write it."""
    return UNITS.get(code, code)


def amount(value: Json, code: str) -> str:
    """A value with its unit; a dash where there is none."""
    return NONE if value is None else f"{value} {unit(code)}".strip()


def stamp(value: Json) -> str:
    """A nanosecond string as the time of day, UTC."""
    return NONE if value is None else clock(int(value))


def precise(value: int | None) -> str:
    """A stamp to a tenth of a millisecond."""
    return NONE if value is None else f"{clock(value)[:8]}.{value % 1_000_000_000 // 100_000:04d}"


def took(duration_ns: int | None) -> str:
    return NONE if duration_ns is None else lasted(duration_ns)


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


def figures(log: Log) -> list[tuple[str, str, str]]:
    """(name, number, note) for the head of the page."""
    outcome, checks, halts = log.outcome, log.checks, log.halts
    failed = sum(1 for story in checks if story.body["state"] == "failed")
    missed = sum(1 for story in checks if story.missed)
    unseen = sum(1 for story in log.alarms if story.unseen)
    good, of = outcome.get("units_good"), outcome.get("yield", {})
    open_halts = sum(1 for story in halts if story.released is None)
    return [
        (
            "units filled",
            outcome.get("units_filled", NONE),
            f"{good or NONE} good, {outcome.get('units_rejected', NONE)} rejected",
        ),
        ("of theoretical yield", f"{of['percent']} %" if of.get("percent") else NONE, of.get("limit", "")),
        ("checks judged", str(sum(1 for story in checks if story.judged)), f"{failed} failed, {missed} missed"),
        ("halts", str(len(halts)), f"{open_halts} not released"),
        ("alarms", str(len(log.alarms)), f"{unseen} not acknowledged"),
        (
            "gaps",
            str(len(log.gaps)),
            lasted(sum(gap.until_ns - gap.since_ns for gap in log.gaps)) if log.gaps else "none",
        ),
    ]


def checks(log: Log) -> list[Row]:
    plain = _weighed_names(log.recipe)
    return [_check(story, plain) for story in sorted(log.checks, key=lambda story: int(story.body["due_ns"]))]


def _weighed_names(recipe: Json) -> set[str]:
    """Characteristics that need no name beside their value: a weight in grams says what it is."""
    characteristics = [one for plan in recipe.get("plans", {}).values() for one in plan["characteristics"]]
    return {one["name"] for one in characteristics if one.get("source") == "weighing"}


def _check(story: CheckStory, plain: set[str]) -> Row:
    body = story.body
    samples = [_sample(sample, plain) for sample in body.get("samples", ())]
    took_ns = int(story.judged["time"]) - int(body["due_ns"]) if story.judged else None
    return {
        "id": story.check,
        "why": body["why"],
        "due": stamp(body["due_ns"]),
        "due_units": body.get("due_units"),
        "taken": f"{samples[0]['time']}" if samples else NONE,
        "judged": stamp(story.judged["time"]) if story.judged else NONE,
        "after": took(took_ns),
        "tray": body.get("tray") or NONE,
        "samples": samples,
        "state": "missed" if story.missed else body["state"],
        "late": bool(body.get("late") or (story.missed and story.judged)),
        "text": body.get("text", ""),
        "indexes": story.indexes,
    }


def _sample(sample: Json, plain: set[str]) -> Row:
    return {
        "name": "" if sample["characteristic"] in plain else sample["characteristic"],
        "value": amount(sample["value"], sample["unit"]),
        "passed": sample["passed"],
        "unit_no": sample.get("unit_no"),
        "time": stamp(sample["time_ns"]),
        "person": sample["person"],
        "raw": sample.get("raw", ""),
        "reason": sample.get("reason", ""),
    }


def halts(log: Log) -> list[Row]:
    return [_halt(number, story) for number, story in enumerate(log.halts, 1)]


def _halt(number: int, story: HaltStory) -> Row:
    released = story.released
    body = released["body"] if released else {}
    return {
        "label": f"H{number}",
        "device": story.body["device"],
        "rule": story.body["rule"],
        "text": story.requested["body"]["text"],
        "stamps": [(word, precise(story.stamp(word))) for word in ("sampled", "judged", "commanded", "confirmed")],
        "judging": took(story.took_ns("sampled", "judged")),
        "commanding": took(story.took_ns("judged", "commanded")),
        "confirming": took(story.took_ns("commanded", "confirmed")),
        "reaction": took(story.took_ns("sampled", "confirmed")),
        "proof": (story.confirmed or story.requested)["body"].get("proof", ""),
        "confirmed": story.confirmed is not None,
        "failed": story.failed is not None,
        "reasserted": story.reasserted,
        "suspects": story.body.get("suspects") or [],
        "released": stamp(released["time"]) if released else None,
        "by": released["by"] if released else "",
        "reason": body.get("reason", ""),
        "recalibration": body.get("recalibration", ""),
        "stood": took(int(released["time"]) - (story.stamp("judged") or 0)) if released else "still held",
        "indexes": story.indexes,
    }


def alarms(log: Log) -> list[Row]:
    return [_alarm(number, story) for number, story in enumerate(log.alarms, 1)]


def _alarm(number: int, story: AlarmStory) -> Row:
    seen = story.acknowledged
    fleeting = story.cleared is None and not story.active
    first = (story.raised or {}).get("body") or story.body
    return {
        "label": f"A{number}",
        "name": story.alarm,
        "occurrence": story.occurrence,
        "priority": story.body["priority"],
        "text": first["text"],
        "raised": stamp(story.raised["time"]) if story.raised else "before the batch",
        "acknowledged": stamp(seen["time"]) if seen else ("superseded" if story.superseded else None),
        "by": seen["by"] if seen else "",
        "comment": seen["body"].get("comment", "") if seen else "",
        "cleared": stamp(story.cleared["time"]) if story.cleared else ("at once" if fleeting else None),
        "indexes": story.indexes,
    }


def trays(log: Log) -> list[Row]:
    """Each tray with the units in it, its suspicion and what people decided."""
    rows: dict[tuple[str, str], Row] = {}
    for record in log.of("batch.tray"):
        body = record["body"]
        row = rows.setdefault((body["tray"], body["first_unit"]), {"indexes": [], "by": ""})
        row.update(body)
        row["indexes"].append(int(record["index"]))
        if body["state"] == "disposed":
            row["by"] = record["by"]
    return list(rows.values())


def signatures(log: Log) -> list[Row]:
    """All signatures, the disposition among them (21 CFR 11.50)."""
    rows = [{**record["body"], "index": record["index"]} for record in log.of("batch.signed")]
    closed = log.last("batch.closed")
    if closed:
        rows.append(
            {**closed["body"], "step": "disposition", "text": "Disposition of the batch", "index": closed["index"]}
        )
    return [{**row, "moment": moment(int(row["time"]))} for row in rows]


def gates(log: Log) -> list[Row]:
    """The gates as they stood at the start, and every start that was blocked before it."""
    started = log.last("batch.started")
    rows = [{**one, "index": started["index"]} for one in started["body"].get("gates", ())] if started else []
    for record in log.of("gate.blocked"):
        at = f"asked for by {record['by']} at {clock(int(record['time']))}"
        more = {"state": "blocked", "evidence": [at], "index": record["index"]}
        rows += [{**one, **more} for one in record["body"]["gates"]]
    return rows


def proofs_of_label(log: Log) -> list[Row]:
    """What was read on the label that people approved."""
    signed = [record for record in log.of("batch.signed") if record["body"].get("label")]
    return [
        {**field, "who": f"{record['body']['full_name']}, {record['body']['meaning']}", "index": record["index"]}
        for record in signed
        for field in record["body"]["label"]
    ]


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
    "gateway.started", "gateway.stopped", "device.lost", "device.connected", "clock.stepped", "counter.stepped",
    "telemetry.shed", "store.quarantined", "verification.started", "verification.ended", "command.refused",
    "recipe.refused", "people.changed", "batch.aborted",
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


# -- plots ------------------------------------------------------------------------------------------


def plots(log: Log, series: Mapping[str, Sequence[Point]], recipe: Recipe, windows: Mapping[str, str]) -> list[Row]:
    """Every series, then the fill-weight chart, on one time axis with halts and alarms at their times."""
    if log.run is None:
        return []
    span, held, marks = log.run, _held(log), _marks(log)
    shown: list[Row] = []
    for tag, points in series.items():
        window = recipe.windows.get(windows.get(tag) or _window_name(tag, recipe))
        title = f"{tag}{f', {unit(window.unit)}' if window else ''}"
        shown.append({"title": title, "svg": trend(title, points, _limits(window), span, halts=held, marks=marks)})
    dots, levels = _weights(log, recipe)
    if levels:
        missed = [
            Mark(int(story.body["due_ns"]), f"{story.check} missed", story.check)
            for story in log.checks
            if story.missed and not story.judged
        ]
        title = "Fill weight, every sample, g"
        svg = control(title, dots, levels, span, halts=held, marks=marks, missed=missed)
        shown.append({"title": title, "svg": svg, "weights": True})
    return shown


def _window_name(tag: str, recipe: Recipe) -> str:
    """The window whose name holds the tag's last word: `reservoir/temperature` -> `oil_temperature`."""
    last = tag.rpartition("/")[2]
    return next((name for name in recipe.windows if last in name), "")


def _limits(window: Window | None) -> list[Limit]:
    if window is None:
        return []
    names = (
        ("low", "limit"), ("warn_low", "warning"), ("target", "target"), ("warn_high", "warning"), ("high", "limit"),
    )  # fmt: skip
    levels = [(getattr(window, name), name, kind) for name, kind in names]
    return [
        Limit(float(value), f"{name.replace('_', ' ')} {value}", kind)
        for value, name, kind in levels
        if value is not None
    ]


def _held(log: Log) -> list[Span]:
    if log.run is None:
        return []
    spans = []
    for number, story in enumerate(log.halts, 1):
        since = story.stamp("judged") or int(story.requested["time"])
        until = int(story.released["time"]) if story.released else log.run[1]
        spans.append(Span(since, until, f"H{number} {story.body['device']} held"))
    return spans


def _marks(log: Log) -> list[Mark]:
    found = []
    for number, story in enumerate(log.alarms, 1):
        if story.raised is not None and log.run and log.run[0] <= int(story.raised["time"]) <= log.run[1]:
            grave = story.body["priority"] in {"high", "critical"}
            found.append(Mark(int(story.raised["time"]), f"A{number}", story.raised["body"]["text"], grave))
    return sorted(found, key=lambda mark: mark.time_ns)


def _weights(log: Log, recipe: Recipe) -> tuple[list[Dot], list[Limit]]:
    """Every judged weighing of the fill, and the limits of each plan that weighs it."""
    levels: list[Limit] = []
    shapes: dict[str, str] = {}
    names: set[str] = set()
    for plan_name, plan in recipe.plans.items():
        for one in plan.characteristics:
            if one.source == "weighing" and one.window is not None:
                shapes[plan_name] = "circle" if plan.n > 1 else "diamond"
                names.add(one.name)
                levels += _plan_limits(plan_name, one.window, first=len(shapes) == 1)
    dots = []
    for story in log.checks:
        shape = shapes.get(str(story.body.get("plan", "")).rpartition(".")[2], "circle")
        for sample in story.body.get("samples", ()):
            if sample["characteristic"] in names and sample["passed"] is not None:
                text = f"{story.check}: {sample['value']} {sample['unit']} at {stamp(sample['time_ns'])} UTC"
                dots.append(Dot(int(sample["time_ns"]), float(sample["value"]), shape, not sample["passed"], text))
    return dots, levels


def _plan_limits(plan: str, window: Window, *, first: bool) -> Iterable[Limit]:
    if first and window.target is not None:
        yield Limit(float(window.target), f"target {window.target}", "target")
    kind = "limit" if not first else "limit inner"
    for value in (window.high, window.low):
        if value is not None:
            yield Limit(float(value), f"{value} {plan}", kind)


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
