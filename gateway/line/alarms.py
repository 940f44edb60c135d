"""The alarms of the line: raised and cleared by verdicts, handled by people, noted and kept as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

import msgspec
import structlog

from gateway import alarms
from gateway.alarms import Alarm, AlarmState, Shelf, Withdrawal
from gateway.alarms.stats import Meter
from gateway.errors import Refused
from gateway.journal import Journal
from gateway.line.dependents import Dependents, is_joining
from gateway.model import Json, Lane, Priority, Severity
from gateway.verdicts import Verdict
from gateway.world import World

log = structlog.get_logger()

OURS: Final = ":"
"""In the name of an alarm of the gateway itself (`link:filler`); a rule's name has none."""
LINK: Final = "link:"
S_NS: Final = 1_000_000_000
LONGEST_SHELF_S: Final = 8 * 3600.0
LEAVING: Final = {
    AlarmState.SHELVED: "alarm.unshelved",
    AlarmState.SUPPRESSED: "alarm.unsuppressed",
    AlarmState.OUT_OF_SERVICE: "alarm.returned",
}


class SuppressionPort(Protocol):
    """What is needed of the rules' own word on their alarms."""

    def latches(self, rule: str) -> bool: ...
    def causes(self, rule: str, subject: str, *, blind: bool) -> tuple[str, ...]: ...
    def changed(self) -> bool: ...
    def explains(self, link: str) -> bool: ...


Drawn = tuple[Alarm, Json, Json]
"""An alarm, what is under it, and its body as it is shown."""


def _links(causes: tuple[str, ...]) -> bool:
    """Is it lost links alone?"""
    return bool(causes) and all(name.startswith(LINK) for name in causes)


def _under_a_link(alarm: Alarm) -> bool:
    """Suppressed, and by lost links alone."""
    return alarm.state is AlarmState.SUPPRESSED and _links(alarm.suppressors)


def _always(_: str) -> bool:
    return True


def _drawn(alarm: Alarm, under: Json, before: Drawn | None) -> Drawn:
    if before is not None and before[0] is alarm and before[1] == under:
        return before
    body = alarms.body(alarm)
    if under is not None:
        body |= {"text": f"{alarm.text}; {under['count']} alarm(s) are suppressed under it", "dependents": under}
    return alarm, under, body


class Alarms:
    """Owner of every alarm."""

    def __init__(self, journal: Journal, world: World, batch: Callable[[], str | None]) -> None:
        self.standing: dict[str, Alarm] = {}
        """Those that are shown."""
        self.hidden: dict[str, Alarm] = {}
        """Shelved, suppressed by design, out of service: judged, and not shown."""
        self.longest_shelf_s = LONGEST_SHELF_S
        self.known: Callable[[str], bool] = lambda _: False
        """Is there a rule of this name?"""
        self.owners: dict[str, Callable[[str], bool]] = {"gateway": _always, "task": _always, "scan": _always}
        """Word before the colon -> is there still what stands behind it?  Whoever raises such alarms ends them, too;
        of words that are not here, it is a device or a sink."""
        self.suppression: SuppressionPort | None = None
        self.meter = Meter()
        self.dependents = Dependents()
        """Rules that lost links explain, and that have nothing to show: they are told with the link."""
        self.latched: Callable[[str], bool] = lambda _: False
        """Does the latch of this id stand?"""
        self.hold: Callable[[Verdict], None] = lambda _: None
        """Holds the machines of a verdict now."""
        self._turns: dict[str, int] = {}
        """Of what a lost link suppresses: how often its condition came or went meanwhile, for the record at the end."""
        self._drawn: dict[str, Drawn] = {}
        """What was shown last: in a flood one alarm changes and thousands stand."""
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
            self._place(rule, self._read(rule, row))
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

    # -- verdicts ------------------------------------------------------------------------------------

    def take(self, verdict: Verdict) -> bool:
        """A verdict raises, raises higher or clears the alarm of its rule (ISA-18.2); True if that changed anything."""
        previous = self._find(verdict.rule)
        now = self._world.time_ns()
        if verdict.severity is Severity.NORMAL:
            heard = self.dependents.forget(verdict.rule) is not None
            if previous is None or not alarms.is_active(previous):
                return heard
            after = alarms.cleared(previous, now)
            if not self._explained(previous, after):
                self._put(after, "alarm.changed" if alarms.is_hidden(previous) else "alarm.cleared")
            return True
        latches, causes = self._design(verdict.rule, verdict.subject, blind=verdict.blind)
        if self._says_nothing(previous, verdict, causes):
            self.dependents.take(causes[0], verdict)
            return True
        if self.dependents.has_joined(verdict.rule) and verdict.halts:
            self.hold(verdict)  # what it was content with does not explain it any more
        self.dependents.forget(verdict.rule)
        after = alarms.raised(previous, verdict, now, latches=latches, suppressors=causes)
        if after == previous:
            return False
        if not self._explained(previous, after):
            self._raise(previous, after, verdict)
        return True

    def _says_nothing(self, previous: Alarm | None, verdict: Verdict, causes: tuple[str, ...]) -> bool:
        """Blind by a lost link, nothing of it to be shown before, and nobody put it aside: the link's story alone."""
        if not verdict.blind or verdict.fleeting or not _links(causes):
            return False
        if verdict.severity is Severity.HALT and not self.dependents.has_joined(verdict.rule):
            return False
        return previous is None or alarms.is_normal(previous)

    def to_hold(self, verdict: Verdict) -> tuple[str, ...]:
        """The machines this verdict must hold itself: those that another rule holds for the same lost link need not.

        Called before it is taken, and whatever comes of its alarm.
        """
        if is_joining(verdict):
            _, causes = self._design(verdict.rule, verdict.subject, blind=True)
            if _links(causes):
                return self.dependents.join(causes[0], verdict, self.latched)
        return verdict.halts

    def _explained(self, before: Alarm | None, after: Alarm) -> bool:
        """A link suppresses it, before and after: that its input came or went is the link's story, and only counted."""
        if before is None or not (_under_a_link(before) and _under_a_link(after)):
            return False
        self._turns[after.rule] = self._turns.get(after.rule, 0) + 1
        self._keep(after)
        return True

    def _design(self, rule: str, subject: str, *, blind: bool) -> tuple[bool, tuple[str, ...]]:
        if self.suppression is None:
            return False, ()
        return self.suppression.latches(rule), self.suppression.causes(rule, subject, blind=blind)

    def _raise(self, previous: Alarm | None, after: Alarm, verdict: Verdict) -> None:
        was = previous is not None and alarms.is_hidden(previous)
        if alarms.is_hidden(after):
            self._put(after, "alarm.changed" if was else "alarm.suppressed")
            return
        if was and previous is not None:
            why = "it halts" if after.halted else "what hid it does not explain this"
            self._note(LEAVING[previous.state], after, why=why, **self._turned(after.rule))
        self._put(after, "alarm.raised")
        log.warning("alarm raised", alarm=verdict.rule, text=verdict.text, severity=verdict.severity.name)

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
            self.dependents.forget(rule)
            alarm = self._find(rule)
            if alarm is not None and alarms.is_active(alarm):
                kind = "alarm.changed" if alarms.is_hidden(alarm) else "alarm.cleared"
                self._put(alarms.cleared(alarm, now), kind, batch=batch, why=why)

    def drop_unknown(self, known: Callable[[str], bool]) -> None:
        """After a restart: alarms of rules, devices and sinks that are not there any more.

        `known` is asked for a rule's name, or for the device or sink behind the colon in a name of ours.
        """
        gone = [name for name in {**self.standing, **self.hidden} if not self._owned(name, known)]
        self.drop(gone, "nothing by this name is configured, or judges, any more")

    def _owned(self, name: str, known: Callable[[str], bool]) -> bool:
        word, colon, rest = name.partition(OURS)
        return self.owners.get(word, known)(rest) if colon else known(name)

    # -- logic: what suppresses, and the end of a shelf ----------------------------------------------

    def review(self) -> None:
        """A moment went by: shelves end, and what suppresses by design has begun or ended."""
        now = self._world.time_ns()
        longest_ns = round(self.longest_shelf_s * S_NS)
        for alarm in [each for each in self.hidden.values() if alarms.expired(each, now, longest_ns)]:
            self._back(alarm, alarms.unshelved(alarm, now), "alarm.unshelved", why="its time is over")
        if self.suppression is not None and self.suppression.changed():
            for alarm in [*self.standing.values(), *self.hidden.values()]:
                self._suppress(alarm, now)
            for link in self.dependents.links:
                if not self.suppression.explains(link):
                    self._end(link)

    def _end(self, link: str) -> None:
        """The link explains nothing any more: how it was is told, and what is blind all the same speaks for itself."""
        joined = {rule for rule in self.dependents if self.dependents.has_joined(rule)}
        group, left = self.dependents.end(link)
        body = {**self.dependents.summary(group), "over": True, "turns": group.turns, "left": len(left)}
        if group.seen:
            self._tell_dependents(link, body)
        for verdict in left:
            if verdict.rule in joined:
                self.hold(verdict)
            self.take(verdict)

    def _tell_dependents(self, link: str, body: dict[str, Json]) -> None:
        alarm = self._find(link)
        if alarm is not None:
            self._note("alarm.dependents", alarm, **body)
        self._changed = True

    def _suppress(self, alarm: Alarm, now: int) -> None:
        _, causes = self._design(alarm.rule, alarm.subject, blind=alarm.blind and alarms.is_active(alarm))
        after = alarms.suppressed(alarm, causes, now)
        if after is alarm:
            return
        if causes:
            self._put(after, "alarm.suppressed")
        else:
            self._back(alarm, after, "alarm.unsuppressed", why="what suppressed it is over", **self._turned(alarm.rule))

    def _turned(self, rule: str) -> dict[str, Json]:
        times = self._turns.pop(rule, 0)
        return {"turns": times} if times else {}

    def _back(self, before: Alarm, after: Alarm, kind: str, by: str = "gateway", **more: Json) -> None:
        """It came back; where it is to be acknowledged anew, that is an alarm raised, for whoever knows no shelves."""
        again = after.occurrence != before.occurrence
        if again:
            self._note(kind, after, by, **more)
        self._put(after, "alarm.raised" if again else kind, "gateway" if again else by, **({} if again else more))

    # -- people --------------------------------------------------------------------------------------

    def acknowledge(self, rule: str, occurrence: int, person: str, comment: str) -> Alarm:
        """A person saw this occurrence.  Refused if another one stands by now."""
        done = alarms.acknowledged(self._there(rule), occurrence, person, comment, self._world.time_ns())
        self._put(done, "alarm.acknowledged", by=person)
        return done

    def reset(self, rule: str, occurrence: int, person: str) -> Alarm:
        """A person unlatched this occurrence."""
        done = alarms.reset(self._there(rule), occurrence)
        self._put(done, "alarm.reset", by=person)
        return done

    def shelve(self, rule: str, seconds: float, person: str, reason: str) -> Alarm:
        """Put aside, by a person, for a reason and a time.  Refused where it halts, or the time is too long."""
        if not 0 < seconds <= self.longest_shelf_s:
            text = f"an alarm is shelved for up to {self.longest_shelf_s / 60:g} min; you asked for {seconds / 60:g}"
            raise Refused("too_long", text)
        now = self._world.time_ns()
        shelf = Shelf(person, reason, now, now + round(seconds * S_NS))
        done = alarms.shelved(self._any(rule), shelf)
        self._put(done, "alarm.shelved", by=person)
        return done

    def unshelve(self, rule: str, person: str) -> Alarm:
        before = self._any(rule)
        done = alarms.unshelved(before, self._world.time_ns())
        self._back(before, done, "alarm.unshelved", person)
        return done

    def remove(self, rule: str, person: str, reason: str) -> Alarm:
        """Out of service, until it is returned."""
        done = alarms.removed(self._any(rule), Withdrawal(person, reason, self._world.time_ns()))
        self._put(done, "alarm.removed", by=person)
        return done

    def return_to_service(self, rule: str, person: str) -> Alarm:
        before = self._any(rule)
        done = alarms.returned(before, self._world.time_ns())
        self._back(before, done, "alarm.returned", person)
        return done

    def _there(self, rule: str) -> Alarm:
        alarm = self.standing.get(rule) or self.hidden.get(rule)
        if alarm is None and rule in self.dependents:
            link = self.dependents.link_of(rule)
            raise Refused("not_shown", f"alarm {rule} is suppressed under {link}, which is what is acknowledged")
        if alarm is None:
            raise Refused("no_such_alarm", f"no alarm {rule} stands; `linegate alarms` lists those that do")
        return alarm

    def _any(self, rule: str) -> Alarm:
        """Also one that does not stand: of a rule, or of what alarmed before."""
        if rule in self.dependents:
            self._step_out(rule)
        alarm = self._find(rule)
        if alarm is None and not self.known(rule):
            raise Refused("no_such_alarm", f"there is no rule {rule!r}, and no alarm of this name ever stood")
        return alarm or alarms.blank(rule)

    def _step_out(self, rule: str) -> None:
        """A person wants something of it: from now on it has an alarm of its own, suppressed by the link.

        Refused where it has joined the halt of another one.
        """
        if self.dependents.has_joined(rule):
            link = self.dependents.link_of(rule)
            raise Refused("it_halts", f"alarm {rule} holds a machine under {link}; it cannot be put aside before that")
        verdict, previous = self.dependents.verdict(rule), self._find(rule)
        latches, causes = self._design(rule, verdict.subject, blind=True)
        self.dependents.forget(rule)
        after = alarms.raised(previous, verdict, self._world.time_ns(), latches=latches, suppressors=causes)
        self._raise(previous, after, verdict)

    # -- what there is -------------------------------------------------------------------------------

    def is_acknowledged(self, rule: str) -> bool:
        """True also where nothing stands."""
        alarm = self.standing.get(rule) or self.hidden.get(rule)
        return alarm is None or alarms.is_acknowledged(alarm)

    def names(self) -> list[str]:
        """Of those that stand, shown or not."""
        return [*self.standing, *self.hidden]

    def holds(self, rule: str) -> bool:
        """Does its condition hold, shown or not?"""
        if rule in self.dependents:
            return True
        alarm = self.standing.get(rule) or self.hidden.get(rule)
        return alarm is not None and alarms.is_active(alarm)

    def __contains__(self, rule: object) -> bool:
        """Was there ever one by this name?"""
        return rule in self.standing or rule in self.hidden or rule in self._past

    def _find(self, rule: str) -> Alarm | None:
        return self.standing.get(rule) or self.hidden.get(rule) or self._past.get(rule)

    def _place(self, rule: str, alarm: Alarm) -> None:
        for home in (self.standing, self.hidden, self._past):
            home.pop(rule, None)
        home = self._past if alarms.is_normal(alarm) else self.hidden if alarms.is_hidden(alarm) else self.standing
        home[rule] = alarm

    def _put(self, alarm: Alarm, kind: str, by: str = "gateway", *, batch: str | None = None, **more: Json) -> None:
        self._keep(alarm)
        self._note(kind, alarm, by, batch=batch, **more)

    def _keep(self, alarm: Alarm) -> None:
        self._place(alarm.rule, alarm)
        self._journal.keep("alarm", alarm.rule, alarms.to_json(alarm))
        self._changed = True

    def _note(self, kind: str, alarm: Alarm, by: str = "gateway", *, batch: str | None = None, **more: Json) -> None:
        body = {**alarms.body(alarm), **more}
        self._journal.note(kind, body, batch=batch or self._batch(), by=by, lane=Lane.ALARMS)
        self.meter.take(kind, alarm.rule, alarm.priority, self._world.time_ns())

    def show(self) -> None:
        """Before a commit: the picture of all there are, once for many that changed (a lost device is a flood)."""
        if self.dependents.growing:
            now_s = asyncio.get_running_loop().time()
            for link in self.dependents.due(now_s):
                self._tell_dependents(link, self.dependents.tell(link, now_s))
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
