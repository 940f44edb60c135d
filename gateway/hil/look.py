"""How is seen what must be seen: each place is one function from the line's eyes to what stands there.

A function never waits and never raises for what it sees: it says what is there instead.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.errors import LinegateError
from gateway.hil.eyes import Mark, Observer
from gateway.hil.matching import Matcher, pick, shown
from gateway.hil.sights import Sight
from gateway.model import Json


class Eyes(Protocol):
    """What a line shows: the simulated one all of it, a real one what can be seen there."""

    @property
    def observer(self) -> Observer:
        """What comes by MQTT."""
        ...

    def truth(self) -> dict[str, Any]:
        """What the simulators know.  LinegateError: there are none."""
        ...

    def machine(self, device: str) -> str:
        """PackML state of a machine, at the machine where that can be seen; empty: not known."""
        ...

    def units(self, first: int = 1) -> dict[int, dict[str, Any]]:
        """What was really made, by unit number of the batch."""
        ...

    def status(self) -> dict[str, Any]:
        """The gateway's own status, by HTTP."""
        ...

    def ended(self) -> dict[str, Any]:
        """`code` and `said` of a second gateway."""
        ...

    def consumer(self) -> Path | None:
        """The reference consumer's database; None: the line has another MES."""
        ...

    def asked(self, sight: Sight, sentence: str) -> Seen | None:
        """A person's word, where nothing can be seen; None: look for yourself."""
        ...

    def verify(self) -> tuple[bool, str]:
        """The batch's evidence bundle, as an auditor sees it."""
        ...


@dataclass
class Seen:
    """What was found."""

    ok: bool
    value: Json = None
    s: float | None = None
    """When it came, monotonic; None: found now."""
    said: str = ""
    """What is there instead."""
    final: bool = False
    """Looking again changes nothing."""


@dataclass
class Look:
    """One expectation's own memory between two looks."""

    eyes: Eyes
    mark: Mark
    saved: Mapping[str, Json]
    memo: dict[str, Any] = field(default_factory=dict)

    def see(self, sight: Sight, sentence: str = "") -> Seen:
        """Look once; what only people can see is asked with this sentence."""
        try:
            asked = self.eyes.asked(sight, sentence or str(sight))
            if asked is not None:
                return asked
            seen = _PLACES[sight.place](self, sight)
        except LinegateError as error:
            return Seen(ok=False, said=str(error))
        if sight.gone and sight.place not in EVENT_PLACES:
            return Seen(ok=not seen.ok, value=seen.value, said=f"still there: {shown(seen.value)}")
        return seen


def _document(look: Look, sight: Sight, document: Json, at_s: float | None = None) -> Seen:
    """A document that must exist, with these fields."""
    if document is None:
        return Seen(ok=False, said="not there")
    wrong = _unlike(document, sight, look.saved)
    return Seen(ok=not wrong, value=document, s=at_s, said=wrong)


def _unlike(document: Json, sight: Sight, saved: Mapping[str, Json]) -> str:
    """What of `with` and `is` the document does not meet."""
    for path, match in sight.with_.items():
        if wrong := match.wrong(_field(document, path), saved):
            return f"{path}: {wrong}"
    return sight.is_.wrong(document, saved) if sight.is_ else ""


def _field(document: Json, path: str) -> Json:
    """Of a record: first its body, then what stands around it."""
    if isinstance(document, Mapping) and isinstance(document.get("body"), Mapping):
        inner = pick(document["body"], path)
        return pick(document, path) if inner is None else inner
    return pick(document, path)


def _counted(look: Look, sight: Sight, found: Sequence[Json], came_s: Sequence[float], others: str) -> Seen:
    """Things that happened: so many of them, by default at least one."""
    match = sight.count or _SOME
    wrong = match.wrong(len(found), look.saved)
    value = found[0] if found else None
    said = f"{len(found)} of them" if wrong and found else others
    needed = int(match.at_least or match.equals or 1) if sight.count else 1
    at_s = came_s[min(needed, len(came_s)) - 1] if came_s and not wrong else None
    return Seen(ok=not wrong, value=value, s=at_s, said=said)


_SOME: Final = Matcher(at_least=1)


def _record(look: Look, sight: Sight) -> Seen:
    observer = look.eyes.observer
    kind = [each for each in observer.event_records(look.mark) if each["kind"] == sight.record]
    found = [each for each in kind if not _unlike(each, sight, look.saved)]
    came = [observer.came_s.get(each["index"], look.mark.s) for each in found]
    other = f"none came; last of the kind: {_unlike(kind[-1], sight, look.saved)}" if kind else "none came"
    return _counted(look, sight, [_flat(each) for each in found], came, other)


def _flat(record: Mapping[str, Any]) -> dict[str, Json]:
    """A saved record is spoken of without `body.`."""
    return {**record, **record["body"]}


def _retained(look: Look, topic: str) -> Json:
    return look.eyes.observer.state.get(topic)


def _alarm(look: Look, sight: Sight) -> Seen:
    alarms = _retained(look, "alarms") or {}
    found = _document(look, sight, alarms.get(sight.name), look.eyes.observer.changed_s.get("alarms"))
    return found if found.value is not None else Seen(ok=False, said=f"standing: {', '.join(alarms) or 'none'}")


def _halt(look: Look, sight: Sight) -> Seen:
    halts = (_retained(look, "halts") or {}).values()
    theirs = [each for each in halts if each["device"] == sight.name]
    good = [each for each in theirs if not _unlike(each, sight, look.saved)]
    found = (good or theirs or [None])[0]
    return _document(look, sight, found, look.eyes.observer.changed_s.get("halts"))


def _state(look: Look, sight: Sight) -> Seen:
    return _document(look, sight, _retained(look, sight.name), look.eyes.observer.changed_s.get(sight.name))


def _telemetry(look: Look, sight: Sight) -> Seen:
    device, _, tag = sight.name.partition("/")
    scans = look.eyes.observer.since(look.mark, device)
    said = "no scan came"
    for scan in reversed(scans):
        value, reason = scan["values"].get(tag), scan.get("bad", {}).get(tag)
        wrong = _unscanned(sight, value, reason, look.saved)
        if not wrong:
            return Seen(ok=True, value=value if reason is None else reason, s=scan["came_s"])
        said = wrong if said == "no scan came" else said
    return Seen(ok=False, said=said)


def _unscanned(sight: Sight, value: Json, reason: str | None, saved: Mapping[str, Json]) -> str:
    """Why one value of a scan is not the one."""
    if sight.bad is not None:
        ok = reason is not None and sight.bad.lower() in reason.lower()
        return "" if ok else f"value {shown(value)}, reason {shown(reason)}"
    if value is None:
        return f"no value: {reason}"
    return sight.is_.wrong(value, saved) if sight.is_ else ""


def _machine(look: Look, sight: Sight) -> Seen:
    state = look.eyes.machine(sight.name)
    return _document(look, sight, state or None)


def _truth(look: Look, sight: Sight) -> Seen:
    return _document(look, sight, pick(look.eyes.truth(), sight.name))


def _holds(look: Look, sight: Sight) -> Seen:
    met = [each for each in look.eyes.truth()["halts"] if each["device"] == sight.name]
    return _met(look, sight, met)


def _writes(look: Look, sight: Sight) -> Seen:
    return _met(look, sight, pick(look.eyes.truth(), f"devices.{sight.name}")["writes"])


def _met(look: Look, sight: Sight, things: Sequence[Mapping[str, Any]]) -> Seen:
    """The machine's own list, with its own monotonic stamps: one computer, one clock.  `first` of `with` is a place."""
    later = [each for each in things if each["mono_ns"] > look.mark.mono_ns]
    found = [each for each in later if not _unlike(each, sight, look.saved)]
    return _counted(look, sight, found, [each["mono_ns"] / 1e9 for each in found], f"{len(later)} others")


def _heartbeat(look: Look, sight: Sight) -> Seen:
    """Moving: it changed since the step began.  Still: it did not since the last look, which `for` makes a duration."""
    now = pick(look.eyes.truth(), f"devices.{sight.name}.heartbeat_in")
    wants_still = sight.is_ is not None and sight.is_.equals == "still"
    before = look.memo.get("last" if wants_still else "first", now)
    look.memo.setdefault("first", now)
    look.memo["last"] = now
    return _document(look, sight, "still" if now == before else "moving")


def _rhythm(look: Look, sight: Sight) -> Seen:
    scans = look.eyes.observer.since(look.mark, sight.name)
    times = sorted(int(scan["time"]) for scan in scans)
    if len(times) < _FEWEST:
        return Seen(ok=False, said=f"only {len(times)} polls came")
    pauses_s = sorted((b - a) / 1e9 for a, b in itertools.pairwise(times))
    slow_s = pauses_s[int(0.95 * len(pauses_s))]
    return _document(look, sight, round(slow_s, 3))


_FEWEST: Final = 20
"""Pauses below which a 95th percentile means nothing."""


def _status(look: Look, sight: Sight) -> Seen:
    return _document(look, sight, pick(look.eyes.status(), sight.name))


def _ended(look: Look, sight: Sight) -> Seen:
    return _document(look, sight, look.eyes.ended() or None)


def _consumer(look: Look, sight: Sight) -> Seen:
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


def _drained(look: Look, sight: Sight) -> Seen:
    observer = look.eyes.observer
    live = [scan for scan in observer.since(look.mark, sight.name) if int(scan["time"]) > look.mark.time_ns]
    if not live:
        return Seen(ok=False, said="nothing live came")
    boot, newest = live[0]["boot"], int(live[0]["seq"])
    had = {seq for of, seq in dict(observer.scans) if of == boot}
    missing = newest - min(had) + 1 - len({seq for seq in had if seq <= newest})
    return Seen(ok=not missing, value=newest, said=f"{missing} scans are missing")


def _urgent_first(look: Look, sight: Sight) -> Seen:
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


def _bundle(look: Look, sight: Sight) -> Seen:
    del sight
    ok, said = look.eyes.verify()
    return Seen(ok=ok, value=said, said=said, final=True)


def _suspects(look: Look, sight: Sight) -> Seen:
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


def _flats(look: Look) -> list[dict[str, Json]]:
    """Records of this batch."""
    records = [each for _, each in sorted(dict(look.eyes.observer.records).items())]
    return [_flat(each) for each in records if each["batch"] == look.saved.get("batch")]


def _weights(look: Look, sight: Sight) -> Seen:
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


EVENT_PLACES: Final = frozenset({"record", "holds", "writes"})

_PLACES: Final[Mapping[str, Callable[[Look, Sight], Seen]]] = {
    "record": _record,
    "alarm": _alarm,
    "halt": _halt,
    "state": _state,
    "telemetry": _telemetry,
    "machine": _machine,
    "truth": _truth,
    "holds": _holds,
    "writes": _writes,
    "heartbeat": _heartbeat,
    "rhythm": _rhythm,
    "status": _status,
    "ended": _ended,
    "consumer": _consumer,
    "drained": _drained,
    "urgent_first": _urgent_first,
    "bundle": _bundle,
    "suspects": _suspects,
    "weights": _weights,
}
