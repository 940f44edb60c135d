"""What verdicts make of the alarms of the line: raised, cleared, suppressed by design (ISA-18.2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from gateway import alarms
from gateway.alarms import Alarm, AlarmState
from gateway.journal import Journal
from gateway.line.alarm_book import LINK, AlarmBook
from gateway.line.dependents import is_joining
from gateway.model import Json, Priority, Severity
from gateway.verdicts import Verdict
from gateway.world import World

OURS: Final = ":"
"""In the name of an alarm of the gateway itself (`link:filler`); a rule's name has none."""
S_NS: Final = 1_000_000_000
LONGEST_SHELF_S: Final = 8 * 3600.0


class SuppressionPort(Protocol):
    """What is needed of the rules' own word on their alarms."""

    def latches(self, rule: str) -> bool: ...
    def causes(self, rule: str, subject: str, *, blind: bool) -> tuple[str, ...]: ...
    def changed(self) -> bool: ...
    def explains(self, link: str) -> bool: ...
    def may(self, rule: str, cause: str, *, blind: bool) -> bool: ...


def _links(causes: tuple[str, ...]) -> bool:
    """Is it lost links alone?"""
    return bool(causes) and all(name.startswith(LINK) for name in causes)


def _under_a_link(alarm: Alarm) -> bool:
    """Suppressed, and by lost links alone."""
    return alarm.state is AlarmState.SUPPRESSED and _links(alarm.suppressors)


def _always(_: str) -> bool:
    return True


class Alarms:
    """By rule: what its verdicts say, and what hides it.  What people do with them: `gateway.line.handling`."""

    def __init__(self, journal: Journal, world: World, batch: Callable[[], str | None]) -> None:
        self.book = AlarmBook(journal, world, batch)
        self.standing, self.hidden = self.book.standing, self.book.hidden
        self.meter, self.dependents = self.book.meter, self.book.dependents
        self.longest_shelf_s = LONGEST_SHELF_S
        self.known: Callable[[str], bool] = lambda _: False
        """Is there a rule of this name?"""
        self.owners: dict[str, Callable[[str], bool]] = {"gateway": _always, "task": _always, "scan": _always}
        """Word before the colon -> is there still what stands behind it?  Whoever raises such alarms ends them, too;
        of words that are not here, it is a device or a sink."""
        self.suppression: SuppressionPort | None = None
        self.latched: Callable[[str], bool] = lambda _: False
        """Does the latch of this id stand?"""
        self.hold: Callable[[Verdict], None] = lambda _: None
        """Holds the machines of a verdict now."""
        self._world = world

    def restore(self, rows: Mapping[str, Json]) -> None:
        """Those of the last run."""
        self.book.restore(rows)

    # -- verdicts ------------------------------------------------------------------------------------

    def take(self, verdict: Verdict) -> bool:
        """A verdict raises, raises higher or clears the alarm of its rule (ISA-18.2); True if that changed anything."""
        previous = self.book.find(verdict.rule)
        now = self._world.time_ns()
        if verdict.severity is Severity.NORMAL:
            heard = self.dependents.forget(verdict.rule) is not None
            if previous is None or not alarms.is_active(previous):
                return heard
            after = alarms.cleared(previous, now)
            if not self._explained(previous, after):
                self.book.put(after, "alarm.changed" if alarms.is_hidden(previous) else "alarm.cleared")
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
            self.book.raised(previous, after, verdict)
        return True

    def stand_alone(self, rule: str) -> None:
        """What was told under a link has an alarm of its own from now on, suppressed by the link."""
        verdict = self.dependents.verdict(rule)
        latches, causes = self._design(rule, verdict.subject, blind=True)
        self.dependents.forget(rule)
        previous = self.book.find(rule)
        after = alarms.raised(previous, verdict, self._world.time_ns(), latches=latches, suppressors=causes)
        self.book.raised(previous, after, verdict)

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
        self.book.turn(after)
        return True

    def _design(self, rule: str, subject: str, *, blind: bool) -> tuple[bool, tuple[str, ...]]:
        if self.suppression is None:
            return False, ()
        return self.suppression.latches(rule), self.suppression.causes(rule, subject, blind=blind)

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
            alarm = self.book.find(rule)
            if alarm is not None and alarms.is_active(alarm):
                kind = "alarm.changed" if alarms.is_hidden(alarm) else "alarm.cleared"
                self.book.put(alarms.cleared(alarm, now), kind, batch=batch, why=why)

    def drop_unknown(self, known: Callable[[str], bool]) -> None:
        """After a restart: alarms of rules, devices and sinks that are not there any more, and what these suppressed.

        `known` is asked for a rule's name, or for the device or sink behind the colon in a name of ours.
        """
        gone = [name for name in self.names() if not self._owned(name, known)]
        self.drop(gone, "nothing by this name is configured, or judges, any more")
        for alarm in list(self.hidden.values()):
            self._set_suppressors(alarm, tuple(each for each in alarm.suppressors if self._may(alarm, each)))

    def _owned(self, name: str, known: Callable[[str], bool]) -> bool:
        word, colon, rest = name.partition(OURS)
        return self.owners.get(word, known)(rest) if colon else known(name)

    # -- logic: what suppresses, and the end of a shelf ----------------------------------------------

    def review(self) -> None:
        """A moment went by: shelves end, and what suppresses by design has begun or ended."""
        now = self._world.time_ns()
        longest_ns = round(self.longest_shelf_s * S_NS)
        for alarm in [each for each in self.hidden.values() if alarms.expired(each, now, longest_ns)]:
            self.book.back(alarm, alarms.unshelved(alarm, now), "alarm.unshelved", why="its time is over")
        if self.suppression is not None and self.suppression.changed():
            for alarm in self.book.all():
                self._suppress(alarm)
            for link in self.dependents.links:
                if not self.suppression.explains(link):
                    self._end(link)

    def _end(self, link: str) -> None:
        """The link explains nothing any more: how it was is told, and what is blind all the same speaks for itself."""
        joined = {rule for rule in self.dependents if self.dependents.has_joined(rule)}
        group, left = self.dependents.end(link)
        body = {**self.dependents.summary(group), "over": True, "turns": group.turns, "left": len(left)}
        if group.seen:
            self.book.tell_dependents(link, body)
        for verdict in left:
            if verdict.rule in joined:
                self.hold(verdict)
            self.take(verdict)

    def _suppress(self, alarm: Alarm) -> None:
        _, causes = self._design(alarm.rule, alarm.subject, blind=alarm.blind and alarms.is_active(alarm))
        self._set_suppressors(alarm, causes)

    def _may(self, alarm: Alarm, cause: str) -> bool:
        return self.suppression is None or self.suppression.may(alarm.rule, cause, blind=alarm.blind)

    def _set_suppressors(self, alarm: Alarm, causes: tuple[str, ...]) -> None:
        after = alarms.suppressed(alarm, causes, self._world.time_ns())
        if after is alarm:
            return
        if causes:
            self.book.put(after, "alarm.suppressed")
        else:
            turned = self.book.turned(alarm.rule)
            self.book.back(alarm, after, "alarm.unsuppressed", why="what suppressed it is over", **turned)

    # -- what there is -------------------------------------------------------------------------------

    def is_acknowledged(self, rule: str) -> bool:
        """True also where nothing stands."""
        alarm = self.book.there(rule)
        return alarm is None or alarms.is_acknowledged(alarm)

    def names(self) -> list[str]:
        """Of those that stand, shown or not."""
        return [*self.standing, *self.hidden]

    def holds(self, rule: str) -> bool:
        """Does its condition hold, shown or not?"""
        alarm = self.book.there(rule)
        return rule in self.dependents or (alarm is not None and alarms.is_active(alarm))

    def __contains__(self, rule: object) -> bool:
        """Was there ever one by this name?"""
        return rule in self.book
