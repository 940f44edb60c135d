"""Which check is worked on, which wait, and verification after a recalibration.  Pure.

One check is worked on at a time.  What another trigger asks for meanwhile waits its turn and then has its full grace;
the next one of the same trigger takes the place of the last.  During verification everything waits behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gateway.model import Json
from gateway.rules.inputs import S_NS, seconds
from gateway.rules.outcomes import Outcomes, Terms
from gateway.rules.production import Production
from gateway.rules.standard import Standard
from gateway.rules.triggers import EVENT, Due
from gateway.rules.work import REQUEST, VERIFICATION, Work, load_work, plan_text
from gateway.verdicts import Asked, Check, CheckChange, CheckState, Finding


class At(NamedTuple):
    """The time of an event: monotonic and wall clock, ns."""

    now_ns: int
    wall_ns: int


class Agenda:
    """Owner of the open checks of one rule, and of their numbers."""

    def __init__(
        self,
        terms: Terms,
        standards: Mapping[str, Standard],
        production: Production,
        outcomes: Outcomes,
        disarm: Callable[[str], None],
    ) -> None:
        self.work: Work | None = None
        self.queue: list[Work] = []
        self.from_unit = 0
        """Units made when verification began."""
        self._terms = terms
        self._standards = standards
        self._production = production
        self._outcomes = outcomes
        self._disarm = disarm
        self._number = 0
        self._verification = ""
        """`unseen` while the machine is out of sight, `waiting` until it runs again, then `open`."""

    def open(self) -> tuple[Check, ...]:
        works = (self.work, *self.queue) if self.work is not None else tuple(self.queue)
        return tuple(work.check for work in works if work is not None)

    @property
    def event_open(self) -> bool:
        """A check after an event is still to be done."""
        works = (self.work, *self.queue) if self.work is not None else tuple(self.queue)
        return any(work.trigger == EVENT and work.can_be_missed for work in works if work is not None)

    @property
    def verifying(self) -> bool:
        """Recalibrated and seen since; what is made from now on is verified, unless nobody did it in time."""
        work = self.work
        missed = work is not None and work.check.why == VERIFICATION and not work.can_be_missed
        return self._verification in {"waiting", "open"} and not missed

    # -- falling due ------------------------------------------------------------------------------

    def fall_due(self, due: Due, at: At, found: list[Finding]) -> None:
        """The plan asks for the next check; the one before it of the same trigger had its time."""
        for older in [work for work in self.queue if work.trigger == due.trigger]:
            self.give_up(older, at.wall_ns, found)
        if not self._verification and self.work is not None and self._makes_way(self.work, due.trigger):
            self.give_up(self.work, at.wall_ns, found)
        work = self._new(due.why, self._asked_by_plan(), due.units, at, found, due.trigger)
        if self._verification or self.work is not None:
            self.queue.append(work)
        else:
            self.work = work

    @staticmethod
    def _makes_way(work: Work, trigger: str) -> bool:
        return work.trigger == trigger or work.check.why == REQUEST or not work.can_be_missed

    def request(self, asked: Mapping[str, int], unit_no: int | None, at: At) -> list[Finding]:
        """A person weighs without being asked."""
        found: list[Finding] = []
        self.work = self._new(REQUEST, asked, unit_no, at, found, REQUEST)
        return found

    def next_id(self) -> str:
        return f"{self._terms.rule}#{self._number + 1}"

    def _asked_by_plan(self) -> dict[str, int]:
        return {name: self._samples(name, self._terms.plan.n) for name in self._standards}

    def _samples(self, name: str, n: int) -> int:
        """N of a variable; a count of defects and a group are one over all n."""
        one = self._standards[name]
        return 1 if one.accept is not None or one.group else n

    def _new(
        self, why: str, asked: Mapping[str, int], units: int | None, at: At, found: list[Finding], trigger: str
    ) -> Work:
        check_id = self.next_id()
        self._number += 1
        check = Check(
            id=check_id,
            rule=self._terms.rule,
            plan=self._terms.plan.name or plan_text(self._terms.plan),
            why=why,
            state=CheckState.DUE,
            n=max(asked.values()),
            due_ns=at.wall_ns,
            due_units=units,
            tray=self._production.tray_of(units),
            text=self._wanted(asked),
            asks=tuple(self._asked(name, n, why) for name, n in asked.items()),
            plan_hash=self._terms.plan_hash,
        )
        found.append(CheckChange("due", check))
        return Work(check, asked, at.now_ns, at.wall_ns, trigger, self._production.units)

    def _asked(self, name: str, n: int, why: str) -> Asked:
        one = self._standards[name]
        if one.accept is not None:
            units = self._terms.verification_units if why == VERIFICATION else self._terms.plan.n
        else:
            units = one.tare.n if one.group and one.tare else n
        tare = one.tare.mode if one.tare is not None else ""
        return Asked(name, one.source, one.unit, n, units, one.limits, tare)

    def _wanted(self, asked: Mapping[str, int]) -> str:
        """`weigh weight of 5 units, take torque of 5 units, enter leaks`."""
        words = {"weighing": "weigh {name} of {n}", "tag": "take {name} of {n}", "entry": "enter {name}"}
        told = []
        for source, text in words.items():
            for name, n in asked.items():
                if self._standards[name].source == source:
                    told.append(text.format(name=name, n=self._units(name, n)))
        return ", ".join(told)

    def _units(self, name: str, n: int) -> str:
        one = self._standards[name]
        if one.group and one.tare is not None:
            return f"{one.tare.n} units together"
        return f"{n} unit{'s' * (n > 1)}"

    # -- by time ----------------------------------------------------------------------------------

    def follow(self, at: At, found: list[Finding]) -> None:
        """Begin verification when the machine runs again; say what is overdue; go on with what waits."""
        if self._verification == "unseen" and self._production.in_sight:
            self._verification = "waiting"
        if self._verification == "waiting" and self._production.running:
            self._verify(at, found)
        work = self.work
        if work is not None and work.can_be_missed and (why := self._overdue(work, at)):
            self._end(work, why, at.wall_ns, found)
        work = self.work
        if work is not None and not work.can_be_missed and self.queue and not self._verification:
            self._drop(work)
            self._next(at.wall_ns)

    def _overdue(self, work: Work, at: At) -> str:
        """Why it counts as missed by now; empty if it does not."""
        plan, check = self._terms.plan, work.check
        if work.waited_ns(*at) >= round(plan.grace_s * S_NS):
            return f"not done within {seconds(round(plan.grace_s * S_NS))}"
        if plan.grace_units is None or work.since_units is None:
            return ""
        grace = plan.grace_units + (check.n if check.why == VERIFICATION else 0)
        over = (self._production.units or 0) - work.since_units >= grace
        return f"not done within {grace} units" if over else ""

    def _end(self, work: Work, why: str, wall_ns: int, found: list[Finding], *, final: bool = False) -> None:
        """Its time is over: what was done and proves nothing is indeterminate, all else is missed."""
        doubt = self._doubt(work)
        if doubt:
            found += self._outcomes.indeterminate(work, doubt, wall_ns)
            self.close(work, wall_ns)
            return
        found += self._outcomes.missed(work, why, wall_ns, final=final)
        if work.check.why == REQUEST:
            self._drop(work)

    def _doubt(self, work: Work) -> str:
        if work.complete():
            return work.check.text
        lacking = [name for name in work.asked if work.lacks(name) > 0]
        tried = all(self._standards[name].weighed for name in lacking)
        if tried and work.unsettled >= sum(map(work.lacks, lacking)):
            return f"{work.unsettled} reading{'s' * (work.unsettled > 1)} of {', '.join(lacking)} did not settle"
        return ""

    def give_up(self, work: Work, wall_ns: int, found: list[Finding]) -> None:
        """Another takes its place; one already missed can no longer be done late."""
        if work.can_be_missed:
            self._end(work, "still open when the next one fell due", wall_ns, found, final=True)
        self._drop(work)

    def _drop(self, work: Work) -> None:
        self._disarm(work.check.id)
        if work is self.work:
            self.work = None
        elif work in self.queue:
            self.queue.remove(work)

    def close(self, work: Work, wall_ns: int) -> None:
        """Judged; what waits has its turn."""
        if work.check.why == VERIFICATION:
            self._verification = ""
        self._drop(work)
        if not self._verification:
            self._next(wall_ns)

    def _next(self, wall_ns: int) -> None:
        """The one that waited longest, with its full grace from now on."""
        if self.work is None and self.queue:
            self.work = self.queue.pop(0)
            self.work.wait_again(wall_ns, self._production.units)

    # -- verification -----------------------------------------------------------------------------

    def recalibrated(self, at: At) -> list[Finding]:
        """From now on the next units are all weighed, as soon as the machine runs; said twice is said once.

        What it made out of sight may be from before and is not verified: the next look at the machine is awaited.
        """
        found: list[Finding] = []
        if not self._verification:
            self._verification = "unseen"
            self.follow(at, found)
        return found

    def _verify(self, at: At, found: list[Finding]) -> None:
        older = self.work
        if older is not None and (older.check.why == REQUEST or any(w.trigger == older.trigger for w in self.queue)):
            self.give_up(older, at.wall_ns, found)
        elif older is not None:
            self.queue.insert(0, older)
        self.work = None
        self._verification = "open"
        self.from_unit = self._production.units or 0
        names = [one.name for one in self._standards.values() if one.weighed] or list(self._standards)
        asked = {name: self._samples(name, self._terms.verification_units) for name in names}
        self.work = self._new(VERIFICATION, asked, self._production.units, at, found, VERIFICATION)

    # -- over a restart ---------------------------------------------------------------------------

    def dump(self) -> dict[str, Json]:
        return {
            "number": self._number,
            "work": self.work.dump() if self.work else None,
            "queue": [work.dump() for work in self.queue],
            "verification": self._verification,
            "from_unit": self.from_unit,
        }

    def load(self, state: Json) -> None:
        """Also as it was kept before there was more than one to wait."""
        self._number, self.from_unit = state["number"], state["from_unit"]
        self._verification = state["verification"]
        self.work = load_work(state["work"], self._standards)
        waiting = state["queue"] if "queue" in state else [state["parked"]]
        self.queue = [work for each in waiting if (work := load_work(each, self._standards)) is not None]
