"""How is seen what must be seen: each place is one function from the line's eyes to what stands there.

A function never waits and never raises for what it sees: it says what is there instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.errors import LinegateError
from gateway.hil import proofs
from gateway.hil.matching import pick, shown
from gateway.hil.seen import Glance, Seen, counted, document, flat, unlike
from gateway.hil.sights import Sight
from gateway.model import Json


class Look(Glance):
    """Looks."""

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


def _record(look: Glance, sight: Sight) -> Seen:
    observer = look.eyes.observer
    kind = [each for each in observer.event_records(look.mark) if each["kind"] == sight.record]
    found = [each for each in kind if not unlike(each, sight, look.saved)]
    came = [observer.came_s.get(each["index"], look.mark.s) for each in found]
    other = f"none came; last of the kind: {unlike(kind[-1], sight, look.saved)}" if kind else "none came"
    return counted(look, sight, [flat(each) for each in found], came, other)


def _retained(look: Glance, topic: str) -> Json:
    return look.eyes.observer.state.get(topic)


def _alarm(look: Glance, sight: Sight) -> Seen:
    alarms = _retained(look, "alarms") or {}
    found = document(look, sight, alarms.get(sight.name), look.eyes.observer.changed_s.get("alarms"))
    return found if found.value is not None else Seen(ok=False, said=f"standing: {', '.join(alarms) or 'none'}")


def _halt(look: Glance, sight: Sight) -> Seen:
    halts = (_retained(look, "halts") or {}).values()
    theirs = [each for each in halts if each["device"] == sight.name]
    good = [each for each in theirs if not unlike(each, sight, look.saved)]
    found = (good or theirs or [None])[0]
    return document(look, sight, found, look.eyes.observer.changed_s.get("halts"))


def _state(look: Glance, sight: Sight) -> Seen:
    return document(look, sight, _retained(look, sight.name), look.eyes.observer.changed_s.get(sight.name))


def _telemetry(look: Glance, sight: Sight) -> Seen:
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


def _machine(look: Glance, sight: Sight) -> Seen:
    state = look.eyes.machine(sight.name)
    return document(look, sight, state or None)


def _truth(look: Glance, sight: Sight) -> Seen:
    return document(look, sight, pick(look.eyes.truth(), sight.name))


def _holds(look: Glance, sight: Sight) -> Seen:
    met = [each for each in look.eyes.truth()["halts"] if each["device"] == sight.name]
    return _met(look, sight, met)


def _writes(look: Glance, sight: Sight) -> Seen:
    return _met(look, sight, pick(look.eyes.truth(), f"devices.{sight.name}")["writes"])


def _met(look: Glance, sight: Sight, things: Sequence[Mapping[str, Any]]) -> Seen:
    """The machine's own list, with its own monotonic stamps: one computer, one clock.  `first` of `with` is a place."""
    later = [each for each in things if each["mono_ns"] > look.mark.mono_ns]
    found = [each for each in later if not unlike(each, sight, look.saved)]
    return counted(look, sight, found, [each["mono_ns"] / 1e9 for each in found], f"{len(later)} others")


def _heartbeat(look: Glance, sight: Sight) -> Seen:
    """Moving: it changed since the step began.  Still: it did not since the last look, which `for` makes a duration."""
    now = pick(look.eyes.truth(), f"devices.{sight.name}.heartbeat_in")
    wants_still = sight.is_ is not None and sight.is_.equals == "still"
    before = look.memo.get("last" if wants_still else "first", now)
    look.memo.setdefault("first", now)
    look.memo["last"] = now
    return document(look, sight, "still" if now == before else "moving")


def _rhythm(look: Glance, sight: Sight) -> Seen:
    scans = look.eyes.observer.since(look.mark, sight.name)
    times = [int(scan["time"]) for scan in sorted(scans, key=lambda scan: int(scan["seq"]))]
    if len(times) < _FEWEST:
        return Seen(ok=False, said=f"only {len(times)} polls came")
    pauses_s = sorted((b - a) / 1e9 for a, b in itertools.pairwise(times))
    slow_s = pauses_s[int(0.95 * len(pauses_s))]
    return document(look, sight, round(slow_s, 3))


def _pause(look: Glance, sight: Sight) -> Seen:
    """By this computer's own clock, from the step's beginning on: a wall clock that was stepped has no part in it."""
    came_s = [look.mark.s, *(scan["came_s"] for scan in look.eyes.observer.since(look.mark, sight.name))]
    if len(came_s) <= _FEW:
        return Seen(ok=False, said=f"only {len(came_s) - 1} polls came")
    return document(look, sight, round(max(b - a for a, b in itertools.pairwise(came_s)), 3))


_FEW: Final = 10
"""What stalls, stalls within so many polls."""
_FEWEST: Final = 20
"""Pauses below which a 95th percentile means nothing."""


def _status(look: Glance, sight: Sight) -> Seen:
    return document(look, sight, pick(look.eyes.status(), sight.name))


def _ended(look: Glance, sight: Sight) -> Seen:
    return document(look, sight, look.eyes.ended() or None)


EVENT_PLACES: Final = frozenset({"record", "holds", "writes"})

_PLACES: Final[Mapping[str, Callable[[Glance, Sight], Seen]]] = {
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
    "pause": _pause,
    "status": _status,
    "ended": _ended,
    "consumer": proofs.consumer,
    "drained": proofs.drained,
    "urgent_first": proofs.urgent_first,
    "bundle": proofs.bundle,
    "suspects": proofs.suspects,
    "weights": proofs.weights,
}
