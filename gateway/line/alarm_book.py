"""The book of alarms: every one there is or was, by its rule; each change is kept, noted in the record and shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from gateway import alarms
from gateway.alarms import Alarm, AlarmState
from gateway.alarms.stats import Meter
from gateway.journal import Journal
from gateway.line.dependents import Dependents
from gateway.model import Json, Lane, Priority, Severity
from gateway.verdicts import Verdict
from gateway.world import World

log = structlog.get_logger()

LINK: Final = "link:"
LEAVING: Final = {
    AlarmState.SHELVED: "alarm.unshelved",
    AlarmState.SUPPRESSED: "alarm.unsuppressed",
    AlarmState.OUT_OF_SERVICE: "alarm.returned",
}

Drawn = tuple[Alarm, Json, Json]
"""An alarm, what is under it, and its body as it is shown."""


def _drawn(alarm: Alarm, under: Json, before: Drawn | None) -> Drawn:
    if before is not None and before[0] is alarm and before[1] == under:
        return before
    body = alarms.body(alarm)
    if under is not None:
        body |= {"text": f"{alarm.text}; {under['count']} alarm(s) are suppressed under it", "dependents": under}
    return alarm, under, body


class AlarmBook:
    """Owner of every alarm.  Who changes one: verdicts (`gateway.line.alarms`), people (`gateway.line.handling`)."""

    def __init__(self, journal: Journal, world: World, batch: Callable[[], str | None]) -> None:
        self.standing: dict[str, Alarm] = {}
        """Those that are shown."""
        self.hidden: dict[str, Alarm] = {}
        """Shelved, suppressed by design, out of service: judged, and not shown."""
        self.meter = Meter()
        self.dependents = Dependents()
        """Rules that lost links explain, and that have nothing to show: they are told with the link."""
        self._turns: dict[str, int] = {}
        """Of what a lost link suppresses: how often its condition came or went meanwhile, for the record at the end."""
        self._drawn: dict[str, Drawn] = {}
        """What was shown last: in a flood one alarm changes and thousands stand."""
        self._past: dict[str, Alarm] = {}
        """Alarms that are over: their occurrences go on counting, so no old acknowledgement hits a new one."""
        self._counted: dict[str, int] = {}
        """Alarm -> its occurrence that the meter counted last, or an earlier run did."""
        self._journal = journal
        self._world = world
        self._batch = batch
        self._changed = False
        journal.before.append(self.show)

    def restore(self, rows: Mapping[str, Json]) -> None:
        """Those of the last run."""
        for rule, row in rows.items():
            alarm = self._read(rule, row)
            self._place(rule, alarm)
            self._counted[rule] = alarm.occurrence
        self._changed = True

    def _read(self, rule: str, row: Json) -> Alarm:
        """A row that is no alarm stands by its name: a person looks what it was."""
        try:
            return alarms.from_json(row)
        except msgspec.ValidationError as error:
            log.exception("stored alarm cannot be read", alarm=rule, next="it stands by its name")
            text = f"the alarm {rule} was stored damaged ({error}); its past is only in the records"
            told = Verdict(rule, Severity.ALARM, rule, text, priority=Priority.HIGH, fleeting=True)
            return alarms.raised(None, told, self._world.time_ns())

    # -- what there is -------------------------------------------------------------------------------

    def there(self, rule: str) -> Alarm | None:
        """It stands, shown or not."""
        return self.standing.get(rule) or self.hidden.get(rule)

    def find(self, rule: str) -> Alarm | None:
        """It stands, or did."""
        return self.there(rule) or self._past.get(rule)

    def all(self) -> list[Alarm]:
        """Those that stand, shown or not."""
        return [*self.standing.values(), *self.hidden.values()]

    def __contains__(self, rule: object) -> bool:
        """Was there ever one by this name?"""
        return rule in self.standing or rule in self.hidden or rule in self._past

    # -- changes ---------------------------------------------------------------------------------------

    def raised(self, previous: Alarm | None, after: Alarm, verdict: Verdict) -> None:
        """A verdict raised it, or raised it higher; where something goes on hiding it, that is all there is to note."""
        was = previous is not None and alarms.is_hidden(previous)
        if alarms.is_hidden(after):
            self.put(after, "alarm.changed" if was else "alarm.suppressed")
            return
        if was and previous is not None:
            why = "it halts" if after.halted else "what hid it does not explain this"
            self.note(LEAVING[previous.state], after, why=why, **self.turned(after.rule))
        self.put(after, "alarm.raised")
        log.warning("alarm raised", alarm=verdict.rule, text=verdict.text, severity=verdict.severity.name)

    def back(self, before: Alarm, after: Alarm, kind: str, by: str = "gateway", **more: Json) -> None:
        """It came back; where it is to be acknowledged anew, that is an alarm raised, for whoever knows no shelves."""
        again = after.occurrence != before.occurrence
        if again:
            self.note(kind, after, by, **more)
        self.put(after, "alarm.raised" if again else kind, "gateway" if again else by, **({} if again else more))

    def turn(self, after: Alarm) -> None:
        """Its condition came or went under a lost link: kept and counted; the record is the link's."""
        self._turns[after.rule] = self._turns.get(after.rule, 0) + 1
        self._keep(after)

    def turned(self, rule: str) -> dict[str, Json]:
        """For the record, once: how often it turned under the link that is over."""
        times = self._turns.pop(rule, 0)
        return {"turns": times} if times else {}

    def put(self, alarm: Alarm, kind: str, by: str = "gateway", *, batch: str | None = None, **more: Json) -> None:
        """Kept, and noted as a record of this kind."""
        self._keep(alarm)
        self.note(kind, alarm, by, batch=batch, **more)

    def note(self, kind: str, alarm: Alarm, by: str = "gateway", *, batch: str | None = None, **more: Json) -> None:
        body = {**alarms.body(alarm), **more}
        self._journal.note(kind, body, batch=batch or self._batch(), by=by, lane=Lane.ALARMS)
        if kind != "alarm.raised" or self._is_another(alarm):
            self.meter.take(kind, alarm.rule, alarm.priority, round(asyncio.get_running_loop().time() * 1e9))

    def _is_another(self, alarm: Alarm) -> bool:
        """False: the occurrence was counted, these are other words of it."""
        counted, self._counted[alarm.rule] = self._counted.get(alarm.rule), alarm.occurrence
        return counted != alarm.occurrence

    def tell_dependents(self, link: str, body: dict[str, Json]) -> None:
        """What is under a lost link, as a record of its alarm."""
        alarm = self.find(link)
        if alarm is not None:
            self.note("alarm.dependents", alarm, **body)
        self._changed = True

    def _keep(self, alarm: Alarm) -> None:
        self._place(alarm.rule, alarm)
        self._journal.keep("alarm", alarm.rule, alarms.to_json(alarm))
        self._changed = True

    def _place(self, rule: str, alarm: Alarm) -> None:
        for home in (self.standing, self.hidden, self._past):
            home.pop(rule, None)
        home = self._past if alarms.is_normal(alarm) else self.hidden if alarms.is_hidden(alarm) else self.standing
        home[rule] = alarm

    # -- the picture -----------------------------------------------------------------------------------

    def show(self) -> None:
        """Before a commit: the picture of all there are, once for many that changed (a lost device is a flood)."""
        if self.dependents.growing:
            now_s = asyncio.get_running_loop().time()
            for link in self.dependents.due(now_s):
                self.tell_dependents(link, self.dependents.tell(link, now_s))
        if self._changed:
            self._changed = False
            before, self._drawn = self._drawn, {}
            for topic, home in (("alarms/hidden", self.hidden), ("alarms", self.standing)):
                drawn = {rule: self._draw(each, before.get(rule)) for rule, each in sorted(home.items())}
                self._journal.board.set(topic, {rule: body for rule, (_, _, body) in drawn.items()})
                self._drawn |= drawn

    def _draw(self, alarm: Alarm, before: Drawn | None) -> Drawn:
        under = self.dependents.picture(alarm.rule) if alarm.rule.startswith(LINK) else None
        return _drawn(alarm, under, before)
