"""Places that prove something of a whole run: nothing missing, urgent things first, each weight its own unit's."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.hil.seen import Glance, Seen, flat
from gateway.hil.sights import Sight
from gateway.model import Json


def consumer(look: Glance, sight: Sight) -> Seen:
    del sight
    path = look.eyes.consumer()
    if path is None:
        rows = sorted(look.eyes.observer.records)
        first = rows[0] if rows else 0
        return _whole([index - first for index in rows], len(rows))
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        ledgers = db.execute("SELECT DISTINCT ledger FROM record").fetchall()
        rows = [index for (index,) in db.execute("SELECT idx FROM record ORDER BY idx")]
    if len(ledgers) != 1:
        return Seen(ok=False, said=f"{len(ledgers)} ledgers")
    if "ALARM" in path.with_suffix(".log").read_text("utf-8", "replace"):
        return Seen(ok=False, said="it raised an alarm", final=True)
    return _whole(rows, max(look.eyes.observer.records, default=-1) + 1)


def _whole(rows: Sequence[int], wanted: int) -> Seen:
    if len(rows) >= wanted and list(rows) == list(range(len(rows))):
        return Seen(ok=True, value=len(rows))
    return Seen(ok=False, said=f"{len(rows)} records of {wanted}, gaps or repetitions among them")


def drained(look: Glance, sight: Sight) -> Seen:
    observer = look.eyes.observer
    live = [scan for scan in observer.since(look.mark, sight.name) if int(scan["time"]) > look.mark.time_ns]
    if not live:
        return Seen(ok=False, said="nothing live came")
    boot, newest = live[0]["boot"], int(live[0]["seq"])
    had = {seq for of, seq in dict(observer.scans) if of == boot}
    missing = newest - min(had) + 1 - len({seq for seq in had if seq <= newest})
    return Seen(ok=not missing, value=newest, said=f"{missing} scans are missing")


def urgent_first(look: Glance, sight: Sight) -> Seen:
    del sight
    observer = look.eyes.observer
    waited = {index for index, each in dict(observer.records).items() if int(each["time"]) < look.mark.time_ns}
    came = [(index, kind) for index, kind in observer.arrivals[look.mark.arrivals :] if index in waited]
    urgent = [kind.startswith(("halt.", "alarm.")) for _, kind in came]
    if True not in urgent or False not in urgent:
        return Seen(ok=False, said="nothing urgent came" if True not in urgent else "nothing but alarms and halts came")
    first = {index for index, _ in came[: urgent.index(False)]}
    late = {index for index, kind in came if kind.startswith(("halt.", "alarm."))} - first
    return Seen(ok=not late, said=f"records {sorted(late)} came behind others", final=bool(late))


def bundle(look: Glance, sight: Sight) -> Seen:
    del sight
    ok, said = look.eyes.verify()
    return Seen(ok=ok, value=said, said=said, final=True)


def suspects(look: Glance, sight: Sight) -> Seen:
    """The halt names at least the trays up to the bad sample, and never one that a good check vouches for."""
    records = [each for each in _flats(look) if each["index"] > look.mark.index]
    judged = [each for each in _flats(look) if each["kind"] == "check.judged" and each["rule"] == sight.suspects]
    failed = next((each for each in judged if each["state"] == "failed" and each["index"] > look.mark.index), None)
    halt = next((each for each in records if each["kind"] == "halt.confirmed"), None)
    if failed is None or halt is None:
        return Seen(ok=False, said="no check failed and held a machine")
    good = [_last_unit(each) for each in judged if each["state"] == "passed" and each["index"] < failed["index"]]
    made = look.eyes.units(max(good, default=0) + 1)
    doubtful = {unit["tray"] for unit in made.values()}
    sure = {unit["tray"] for number, unit in made.items() if number <= _last_unit(failed)}
    marked = {each["tray"] for each in records if each["kind"] == "batch.tray" and each["suspect"]}
    named = set(halt["suspects"])
    said = f"halt names {sorted(named)}, records say {sorted(marked)}; doubtful are {sorted(doubtful)}"
    return Seen(ok=sure <= named <= doubtful and marked == doubtful, value=sorted(marked), said=said)


def _last_unit(check: Mapping[str, Any]) -> int:
    return max(int(sample["unit_no"]) for sample in check["samples"])


def _flats(look: Glance) -> list[dict[str, Json]]:
    """Records of this batch."""
    records = [each for _, each in sorted(dict(look.eyes.observer.records).items())]
    return [flat(each) for each in records if each["batch"] == look.saved.get("batch")]


def weights(look: Glance, sight: Sight) -> Seen:
    made = look.eyes.units()
    taken = [each for each in _flats(look) if each["kind"] == "check.taken" and each["rule"] == sight.weights]
    wrong = [each["sample"] for each in taken if not _honest(each["sample"], made)]
    if not taken:
        return Seen(ok=False, said="no weight was taken")
    return Seen(ok=not wrong, value=len(taken), said=f"not the unit's own: {wrong[:3]}", final=True)


def _honest(sample: Mapping[str, Any], made: Mapping[int, Mapping[str, Any]]) -> bool:
    """Within the balance's own noise and draught, 2 mg."""
    unit = made.get(int(sample["unit_no"]))
    return unit is not None and abs(float(sample["value"]) - unit["net_g"]) < 0.002 and sample["tray"] == unit["tray"]
