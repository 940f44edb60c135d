"""The alarms of the line: raised and cleared by verdicts, acknowledged by people, noted and kept as they change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog

from gateway import alarms
from gateway.alarms import Alarm
from gateway.errors import Refused
from gateway.journal import Journal
from gateway.model import Json, Lane, Priority, Severity, Verdict
from gateway.world import World

log = structlog.get_logger()

OURS: Final = ":"
"""In the name of an alarm of the gateway itself (`link:filler`); a rule's name has none."""


class Alarms:
    """Owner of every standing alarm."""

    def __init__(self, journal: Journal, world: World, batch: Callable[[], str | None]) -> None:
        self.standing: dict[str, Alarm] = {}
        self._past: dict[str, Alarm] = {}
        """Alarms that are over: their occurrences go on counting, so no old acknowledgement hits a new one."""
        self._journal = journal
        self._world = world
        self._batch = batch
        self._changed = False
        journal.before.append(self.show)

    def restore(self, rows: Mapping[str, Json]) -> None:
        """Those of the last run."""
        for rule, row in rows.items():
            alarm = alarms.from_json(row)
            (self._past if alarms.is_normal(alarm) else self.standing)[rule] = alarm
        self._changed = True

    def take(self, verdict: Verdict) -> bool:
        """A verdict raises, raises higher or clears the alarm of its rule (ISA-18.2); True if that changed anything."""
        previous = self.standing.get(verdict.rule) or self._past.get(verdict.rule)
        now = self._world.time_ns()
        if verdict.severity is Severity.NORMAL:
            if previous is None or not alarms.is_active(previous):
                return False
            self._put(alarms.cleared(previous, now), "alarm.cleared")
            return True
        raised = alarms.raised(previous, verdict, now)
        if raised is previous:
            return False
        self._put(raised, "alarm.raised")
        log.warning("alarm raised", alarm=verdict.rule, text=verdict.text, severity=verdict.severity.name)
        return True

    def tell(self, name: str, text: str, priority: Priority = Priority.HIGH) -> None:
        """Something of the gateway itself that a person must know, once."""
        self.take(Verdict(name, Severity.ALARM, "gateway", text, priority=priority, fleeting=True))

    def stand(self, name: str, text: str, *, subject: str = "gateway", priority: Priority = Priority.HIGH) -> None:
        """A condition of the gateway itself, or of what it is connected to; an empty text: it is over."""
        severity = Severity.ALARM if text else Severity.NORMAL
        self.take(Verdict(name, severity, subject, text, priority=priority))

    def drop(self, rules: Collection[str], why: str, batch: str | None = None) -> None:
        """Rules that judge no longer hold no alarm up: nothing could ever clear it, and it would hide the next one."""
        now = self._world.time_ns()
        for rule in rules:
            alarm = self.standing.get(rule)
            if alarm is not None and alarms.is_active(alarm):
                self._put(alarms.cleared(alarm, now), "alarm.cleared", batch=batch, why=why)

    def drop_unknown(self, known: Callable[[str], bool]) -> None:
        """After a restart: alarms of rules, devices and sinks that are not there any more.

        `known` is asked for a rule's name, or for what stands behind the colon in a name of ours.
        """
        gone = [name for name in self.standing if not known(name.partition(OURS)[2] or name)]
        self.drop(gone, "nothing by this name is configured, or judges, any more")

    def acknowledge(self, rule: str, occurrence: int, person: str, comment: str) -> Alarm:
        """A person saw this occurrence.  Refused if another one stands by now."""
        alarm = self.standing.get(rule)
        if alarm is None:
            raise Refused("no_such_alarm", f"no alarm {rule} stands; `linegate alarms` lists those that do")
        done = alarms.acknowledged(alarm, occurrence, person, comment, self._world.time_ns())
        self._put(done, "alarm.acknowledged", by=person)
        return done

    def is_acknowledged(self, rule: str) -> bool:
        """True also where nothing stands."""
        alarm = self.standing.get(rule)
        return alarm is None or alarms.is_acknowledged(alarm)

    def __contains__(self, rule: object) -> bool:
        """Was there ever one by this name?"""
        return rule in self.standing or rule in self._past

    def _put(self, alarm: Alarm, kind: str, by: str = "gateway", *, batch: str | None = None, **more: Json) -> None:
        if alarms.is_normal(alarm):
            self.standing.pop(alarm.rule, None)
            self._past[alarm.rule] = alarm
        else:
            self.standing[alarm.rule] = alarm
        self._journal.keep("alarm", alarm.rule, alarms.to_json(alarm))
        body = {**alarms.body(alarm), **more}
        self._journal.note(kind, body, batch=batch or self._batch(), by=by, lane=Lane.ALARMS)
        self._changed = True

    def show(self) -> None:
        """Before a commit: the picture of all that stand, once for many that changed (a lost device is a flood)."""
        if self._changed:
            self._changed = False
            picture = {rule: alarms.body(each) for rule, each in sorted(self.standing.items())}
            self._journal.board.set("alarms", picture)
