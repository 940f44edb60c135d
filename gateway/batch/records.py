"""A batch's records read back as stories: checks, alarms, halts, gaps.  Pure.

What `complete.py`, `checklist.py` and `report.py` say is computed from here, from the payloads alone: the gateway's
memory plays no part, so an auditor with the bundle gets the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import msgspec

from gateway.model import Json

Payload = dict[str, Any]
"""A record's payload as JSON: index, time, kind, by, context, body ..."""


class Gap(msgspec.Struct, frozen=True):
    """A device that was not there, inside the run; or that came and went."""

    device: str
    since_ns: int
    until_ns: int
    """The end of the run where it did not come back."""
    back: bool
    reason: str
    indexes: tuple[int, ...]
    turns: tuple[tuple[int, int], ...] = ()
    """Of one that came and went: each loss with its end, ns."""

    @property
    def away_ns(self) -> int:
        """In all."""
        return sum(back - lost for lost, back in self.turns or ((self.since_ns, self.until_ns),))


class AlarmStory(msgspec.Struct):
    """One occurrence of an alarm."""

    alarm: str
    occurrence: int
    body: Json
    raised: Payload | None = None
    acknowledged: Payload | None = None
    cleared: Payload | None = None
    superseded: bool = False
    """A later occurrence came before anybody acknowledged this one: that one is to be answered."""
    indexes: list[int] = []

    @property
    def active(self) -> bool:
        """Its condition still stands.  A fleeting one (a failed check, a wrong label) has no condition that lasts."""
        return not self.superseded and self.body["state"] in {"unack", "acked"}

    @property
    def unseen(self) -> bool:
        """Nobody acknowledged it."""
        return not self.superseded and self.acknowledged is None


class HaltStory(msgspec.Struct):
    """One latch, from its request to its release."""

    halt: str
    body: Json
    """The newest."""
    requested: Payload
    confirmed: Payload | None = None
    failed: Payload | None = None
    released: Payload | None = None
    reasserted: int = 0
    indexes: list[int] = []

    def stamp(self, name: str) -> int | None:
        """sampled, judged, commanded or confirmed, ns; of the first confirmation, else of the newest record."""
        body = (self.confirmed or {}).get("body") or self.body
        value = body.get(name)
        return None if value is None else int(value)

    def took_ns(self, first: str, last: str) -> int | None:
        """Nanoseconds between two stamps."""
        a, b = self.stamp(first), self.stamp(last)
        return None if a is None or b is None else b - a


class CheckStory(msgspec.Struct):
    """One occurrence of a sampling plan."""

    check: str
    body: Json
    """The newest."""
    due: Payload | None = None
    taken: list[Payload] = []
    judged: Payload | None = None
    missed: Payload | None = None
    indexes: list[int] = []


class Log:
    """The records of a batch, in order of index."""

    def __init__(self, records: Iterable[Payload]) -> None:
        self.records = sorted(records, key=lambda record: int(record["index"]))

    def of(self, *kinds: str) -> list[Payload]:
        wanted = set(kinds)
        return [record for record in self.records if record["kind"] in wanted]

    def last(self, *kinds: str) -> Payload | None:
        found = self.of(*kinds)
        return found[-1] if found else None

    @cached_property
    def recipe(self) -> Json:
        """The recipe's document as the order's record holds it; {} without one."""
        ordered = self.last("batch.ordered")
        return ordered["body"].get("recipe", {}).get("document", {}) if ordered else {}

    @cached_property
    def signed(self) -> list[Payload]:
        """Signatures that stand: the approval of a label ended with the roll that was approved."""
        gone = {
            (int(record["index"]), one["step"])
            for record in self.of("label.roll")
            for one in record["body"].get("withdrawn", ())
        }
        return [
            record
            for record in self.of("batch.signed")
            if not any(index > int(record["index"]) and step == record["body"]["step"] for index, step in gone)
        ]

    @cached_property
    def run(self) -> tuple[int, int] | None:
        """(start, end) of counting, ns; the end of an unfinished run is its last record."""
        ends = self.ends
        return None if ends is None else (int(ends[0]["time"]), int(ends[1]["time"]))

    @cached_property
    def ends(self) -> tuple[Payload, Payload] | None:
        """First and last record of the run."""
        started, ended = self.last("batch.started"), self.last("batch.completed", "batch.aborted")
        return None if started is None else (started, ended or self.records[-1])

    @cached_property
    def steps(self) -> list[tuple[int, int]]:
        """Steps of the wall clock: index of the record, and how far it had been stepped by then in all, ns."""
        by, found = 0, []
        for record in self.of("clock.stepped"):
            by += int(record["body"]["step"])
            found.append((int(record["index"]), by))
        return found

    def _stepped(self, record: Payload) -> int:
        """How far the clock that stamped this record had been stepped since the first one, ns."""
        return next((by for index, by in reversed(self.steps) if index <= int(record["index"])), 0)

    def _steady(self, record: Payload) -> int:
        """Its time, ns, by a clock that nobody stepped since the first record."""
        return int(record["time"]) - self._stepped(record)

    def within(self, record: Payload) -> bool:
        """Was it made in the run?"""
        return self.ends is not None and self._steady(self.ends[0]) < self._steady(record) <= self._steady(self.ends[1])

    @cached_property
    def outcome(self) -> Json:
        """The newest body that holds a reconciliation; {} before the first."""
        found = [record["body"] for record in self.records if "reconciliation" in record["body"]]
        return found[-1] if found else {}

    @cached_property
    def filled(self) -> str | None:
        """Units filled, as its end told it: an aborted batch is counted and not reconciled.  None before the end."""
        aborted = self.last("batch.aborted")
        told = self.outcome or (aborted["body"] if aborted else {})
        return told.get("units_filled")

    @cached_property
    def alarms(self) -> list[AlarmStory]:
        stories: list[AlarmStory] = []
        standing: dict[str, AlarmStory] = {}
        for record in self.of("batch.started", *(f"alarm.{word}" for word in (*_SHOWN_WORDS, *_HIDING_WORDS))):
            body, word = record["body"], record["kind"].partition(".")[2]
            if word == "started":
                older = [one for one in _stood(record) if one.alarm not in standing]
                stories += older
                standing |= {one.alarm: one for one in older}
                continue
            name, occurrence = body["alarm"], int(body["occurrence"])
            story = standing.get(name)
            if story is None and word in _HIDING_WORDS:
                continue  # nothing of it was shown in this batch
            if story is None or (word == "raised" and story.occurrence != occurrence):
                if story is not None:
                    story.superseded = True
                story = standing[name] = AlarmStory(name, occurrence, body, indexes=[])
                stories.append(story)
            _into(story, record, _SEEN.get(word, word), first=word in {"raised", *_SEEN})
            if body["state"] == "normal":
                del standing[name]
        return stories

    @cached_property
    def halts(self) -> list[HaltStory]:
        stories: list[HaltStory] = []
        standing: dict[str, HaltStory] = {}
        for record in self.of(*(f"halt.{word}" for word in _HALT_WORDS)):
            name, word = record["body"]["halt"], record["kind"].partition(".")[2]
            story = standing.get(name)
            if story is None:
                story = standing[name] = HaltStory(name, record["body"], record, indexes=[])
                stories.append(story)
            story.reasserted += word == "reasserted"
            _into(story, record, word, first=word in {"requested", "confirmed"})
            if word == "released":
                del standing[name]
        return stories

    @cached_property
    def checks(self) -> list[CheckStory]:
        stories: dict[str, CheckStory] = {}
        for record in self.of("check.due", "check.taken", "check.judged", "check.missed"):
            body, word = record["body"], record["kind"].partition(".")[2]
            story = stories.setdefault(body["id"], CheckStory(body["id"], body, taken=[], indexes=[]))
            if word == "taken":
                story.taken.append(record)
            _into(story, record, "" if word == "taken" else word, first=word == "due")
        return list(stories.values())

    @cached_property
    def gaps(self) -> list[Gap]:
        """Times without a device, clipped to the run; how long is by a clock that nobody stepped."""
        if self.ends is None:
            return []
        found, lost, turned = [], dict[str, Payload](), dict[str, list[Payload]]()
        for record in self.of("device.lost", "device.flapping", "device.connected"):
            device = record["body"]["device"]
            if record["kind"] == "device.flapping":
                lost.setdefault(device, _first_loss(record))
                turned.setdefault(device, []).append(record)
            elif record["kind"] == "device.lost":
                lost.setdefault(device, record)
            elif device in lost:
                found.append(self._gap(lost.pop(device), record, turned.pop(device, ())))
        found += [self._gap(record, None, turned.get(device, ())) for device, record in lost.items()]
        return [gap for gap in found if gap is not None]

    def _gap(self, lost: Payload, back: Payload | None, turned: Sequence[Payload]) -> Gap | None:
        """On the clock that stamped the loss."""
        assert self.ends is not None, "there is a run"
        begins, ends = self.ends
        by = self._stepped(lost)
        run = self._steady(begins) + by, self._steady(ends) + by
        return _clipped(_gap(lost, back, self._steady(back or ends) + by, turned), run)


_SHOWN_WORDS: Final = ("raised", "acknowledged", "cleared", "reset")
_HIDING_WORDS: Final = ("shelved", "unshelved", "suppressed", "unsuppressed", "removed", "returned", "changed")
_SEEN: Final = {"shelved": "acknowledged", "removed": "acknowledged"}
"""Who put it aside has seen it."""
_HALT_WORDS: Final = ("requested", "confirmed", "failed", "reasserted", "released")


def moment(time_ns: int) -> str:
    """`2026-03-14 09:26:53.5 UTC`."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 100_000_000} UTC"


def clock(time_ns: int) -> str:
    """`09:26:53.5`, UTC, for texts whose day is known."""
    return moment(time_ns)[11:21]


def lasted(duration_ns: int) -> str:
    """A duration as people say it: `12.0 ms`, `3.4 s`, `2 min 5 s`, `1 h 4 min`."""
    seconds = duration_ns / 1e9
    if abs(seconds) < 1:
        return f"{seconds * 1000:.1f} ms"
    if abs(seconds) < 60:
        return f"{seconds:.1f} s"
    sign, (minutes, rest) = "-" if seconds < 0 else "", divmod(round(abs(seconds)), 60)
    return sign + (f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min")


def _into(story: AlarmStory | HaltStory | CheckStory, record: Payload, slot: str, *, first: bool) -> None:
    """File a record in its story; `first`: the earliest record of the slot stays."""
    story.indexes.append(int(record["index"]))
    story.body = record["body"]
    if slot and hasattr(story, slot) and slot != "reasserted" and not (first and getattr(story, slot) is not None):
        setattr(story, slot, record)


def _stood(started: Payload) -> list[AlarmStory]:
    """Alarms that were raised before the batch and stood at its start; who had seen one has seen it."""
    found = []
    for body in started["body"].get("alarms", ()):
        if body["state"] not in {"unack", "acked"}:
            continue
        seen = {"time": body["acked_ns"], "by": body["acked_by"], "body": body} if body["state"] == "acked" else None
        story = AlarmStory(body["alarm"], int(body["occurrence"]), body, indexes=[int(started["index"])])
        story.acknowledged = seen
        found.append(story)
    return found


def _first_loss(flapping: Payload) -> Payload:
    """The beginning of an episode whose loss came before the batch."""
    turns, reasons = flapping["body"]["turns"], flapping["body"].get("reasons") or {}
    body = {**flapping["body"], "reason": "; ".join(reasons)}
    return {**flapping, "time": min((gone for gone, _ in turns), key=int, default=flapping["time"]), "body": body}


def _gap(lost: Payload, back: Payload | None, until: int, turned: Sequence[Payload] = ()) -> Gap:
    """`turned`: what the link that flapped did in between; without it the device was away all the time."""
    told = [lost, *turned, *(() if back is None else (back,))]
    body = lost["body"]
    indexes = tuple(dict.fromkeys(int(record["index"]) for record in told))
    times: dict[int, int] = {}
    for record in turned:  # a loss that was not over is told again, with its end
        times |= {int(gone): until if end is None else int(end) for gone, end in record["body"]["turns"]}
    reason = body.get("reason", "")
    return Gap(body["device"], int(lost["time"]), until, back is not None, reason, indexes, tuple(times.items()))


def _clipped(gap: Gap, run: tuple[int, int]) -> Gap | None:
    since, until = max(gap.since_ns, run[0]), min(gap.until_ns, run[1])
    turns = tuple((max(lost, since), min(back, until)) for lost, back in gap.turns if lost < until and back > since)
    return msgspec.structs.replace(gap, since_ns=since, until_ns=until, turns=turns) if since < until else None
