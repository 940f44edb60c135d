"""What people do with alarms: acknowledge, reset, shelve, take out of service, and back (ISA-18.2)."""

from __future__ import annotations

from gateway import alarms
from gateway.alarms import Alarm, Shelf, Withdrawal
from gateway.errors import Refused
from gateway.line.alarms import S_NS, Alarms
from gateway.world import World


class Handling:
    """Each act is a person's, refused with a reason, and a record."""

    def __init__(self, line: Alarms, world: World) -> None:
        self._line = line
        self._book = line.book
        self._world = world

    def acknowledge(self, rule: str, occurrence: int, person: str, comment: str) -> Alarm:
        """A person saw this occurrence.  Refused if another one stands by now."""
        done = alarms.acknowledged(self._there(rule), occurrence, person, comment, self._world.time_ns())
        self._book.put(done, "alarm.acknowledged", by=person)
        return done

    def reset(self, rule: str, occurrence: int, person: str) -> Alarm:
        """A person unlatched this occurrence."""
        done = alarms.reset(self._there(rule), occurrence)
        self._book.put(done, "alarm.reset", by=person)
        return done

    def shelve(self, rule: str, seconds: float, person: str, reason: str) -> Alarm:
        """Put aside, by a person, for a reason and a time.  Refused where it halts, or the time is too long."""
        if not 0 < seconds <= self._line.longest_shelf_s:
            longest = self._line.longest_shelf_s / 60
            text = f"an alarm is shelved for up to {longest:g} min; you asked for {seconds / 60:g}"
            raise Refused("too_long", text)
        now = self._world.time_ns()
        shelf = Shelf(person, reason, now, now + round(seconds * S_NS))
        done = alarms.shelved(self._any(rule), shelf)
        self._book.put(done, "alarm.shelved", by=person)
        return done

    def unshelve(self, rule: str, person: str) -> Alarm:
        before = self._any(rule)
        done = alarms.unshelved(before, self._world.time_ns())
        self._book.back(before, done, "alarm.unshelved", person)
        return done

    def remove(self, rule: str, person: str, reason: str) -> Alarm:
        """Out of service, until it is returned."""
        done = alarms.removed(self._any(rule), Withdrawal(person, reason, self._world.time_ns()))
        self._book.put(done, "alarm.removed", by=person)
        return done

    def return_to_service(self, rule: str, person: str) -> Alarm:
        before = self._any(rule)
        done = alarms.returned(before, self._world.time_ns())
        self._book.back(before, done, "alarm.returned", person)
        return done

    def _there(self, rule: str) -> Alarm:
        alarm = self._book.there(rule)
        if alarm is None and rule in self._book.dependents:
            link = self._book.dependents.link_of(rule)
            raise Refused("not_shown", f"alarm {rule} is suppressed under {link}, which is what is acknowledged")
        if alarm is None:
            raise Refused("no_such_alarm", f"no alarm {rule} stands; `linegate alarms` lists those that do")
        return alarm

    def _any(self, rule: str) -> Alarm:
        """Also one that does not stand: of a rule, or of what alarmed before."""
        if rule in self._book.dependents:
            self._step_out(rule)
        alarm = self._book.find(rule)
        if alarm is None and not self._line.known(rule):
            raise Refused("no_such_alarm", f"there is no rule {rule!r}, and no alarm of this name ever stood")
        return alarm or alarms.blank(rule)

    def _step_out(self, rule: str) -> None:
        """A person wants something of it: from now on it has an alarm of its own, suppressed by the link.

        Refused where it has joined the halt of another one.
        """
        if self._book.dependents.has_joined(rule):
            link = self._book.dependents.link_of(rule)
            raise Refused("it_halts", f"alarm {rule} holds a machine under {link}; it cannot be put aside before that")
        self._line.stand_alone(rule)
