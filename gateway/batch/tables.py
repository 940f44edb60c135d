"""What happened in the batch as tables: checks, halts, alarms, trays, gates, labels; from the records alone.  Pure."""

from __future__ import annotations

from gateway.batch.records import AlarmStory, CheckStory, HaltStory, Log
from gateway.batch.words import NONE, Row, amount, found, precise, stamp, took, without
from gateway.model import Json


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
        "state": _state(story),
        "bad": story.missed is not None or body["state"] == "failed",
        "late": bool(body.get("late") or (story.missed and story.judged)),
        "people": sorted({sample["person"] for sample in samples}),
        "text": "" if body["state"] == "passed" else without(f"check {story.check}", body.get("text", "")),
        "indexes": story.indexes,
    }


def _state(story: CheckStory) -> str:
    """`passed`; `passed, late`; `missed, then passed`."""
    state = str(story.body["state"])
    if story.missed is not None:
        return f"missed, then {state}" if story.judged is not None else "missed"
    return f"{state}, late" if story.body.get("late") else state


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
        "again": sample.get("why", ""),
        "aside": bool(sample.get("superseded")),
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
        "text": _halt_text(story),
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


def _halt_text(story: HaltStory) -> str:
    """What was found; the trays that are suspect stand beside it."""
    text, suspects = str(story.requested["body"]["text"]), story.body.get("suspects")
    return found(text) if suspects else text.rstrip(".")


def alarms(log: Log) -> list[Row]:
    return [_alarm(number, story) for number, story in enumerate(log.alarms, 1)]


def _alarm(number: int, story: AlarmStory) -> Row:
    seen = story.acknowledged
    fleeting = story.cleared is None and not story.active
    later = f"with no. {story.occurrence + 1}" if story.superseded else None
    first = (story.raised or {}).get("body") or story.body
    return {
        "label": f"A{number}",
        "name": story.alarm,
        "occurrence": story.occurrence,
        "priority": story.body["priority"],
        "text": first["text"],
        "raised": stamp(story.raised["time"]) if story.raised else "before the batch",
        "acknowledged": stamp(seen["time"]) if seen else later,
        "by": seen["by"] if seen else "",
        "comment": seen["body"].get("comment", "") if seen else "",
        "cleared": stamp(story.cleared["time"]) if story.cleared else (later or "at once" if fleeting else None),
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
        row["why"] = [found(text) for text in body.get("suspect", ())]
        if body["state"] == "disposed":
            row["by"] = record["by"]
    return list(rows.values())


def gates(log: Log) -> list[Row]:
    """The gates as they stood at the start."""
    started = log.last("batch.started")
    return [{**one, "index": started["index"]} for one in started["body"].get("gates", ())] if started else []


def refused_starts(log: Log) -> list[Row]:
    """Every start that was asked for in vain, and the gates that were in its way."""
    return [
        {"time": stamp(record["time"]), "by": record["by"], "gates": record["body"]["gates"], "index": record["index"]}
        for record in log.of("gate.blocked")
    ]


def proofs_of_label(log: Log) -> list[Row]:
    """What was read on the label that people approved: a row a field, unless two people saw different things.

    An approval that was withdrawn is of another roll's label, and none of this one's.
    """
    rows: dict[tuple[str, str, str], Row] = {}
    for record in log.signed:
        who = f"{record['body'].get('full_name') or record['by']} ({record['body']['meaning']})"
        for field in record["body"].get("label") or ():
            told = {key: str(field[key]).strip("'") for key in ("tag", "read", "expected")}
            row = rows.setdefault((told["tag"], told["read"], told["expected"]), {**told, "who": [], "indexes": []})
            row["who"].append(who)
            row["indexes"].append(int(record["index"]))
    return list(rows.values())
