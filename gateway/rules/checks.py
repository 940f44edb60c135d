"""The checks of one sampling rule, from due to judged or missed, and verification after a recalibration.  Pure.

    fall_due --> due --sample--> taken --all in--> passed
                  |                |---one fails--> failed --recalibrated, running--> verification --> the plan goes on
                  |--grace over, or the next falls due--> missed (may still be done late, until the next falls due)

One check is worked on at a time.  During verification what falls due is parked, one deep, and comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from gateway.errors import Refused
from gateway.model import (
    Asked,
    Check,
    CheckChange,
    CheckState,
    Entry,
    Finding,
    Json,
    Priority,
    Sample,
    Scan,
    Severity,
    Value,
    Verdict,
    Weighing,
)
from gateway.recipe import Plan
from gateway.rules.base import NOTHING
from gateway.rules.inputs import S_NS, seconds, sentence
from gateway.rules.pan import Pan, Take
from gateway.rules.production import Production
from gateway.rules.takes import Made, characteristic, named, unit_number
from gateway.rules.work import REQUEST, VERIFICATION, Standard, Work, dump_verdict, load_verdict, load_work, plan_text

SCHEDULE: Final = "schedule"


class Terms(msgspec.Struct, frozen=True):
    """What a rule demands of its checks."""

    rule: str
    plan: Plan
    halts: tuple[str, ...]
    missed: Severity
    priority: Priority
    advice: str
    take_within_ns: int
    verification_units: int
    tray_size: int


class Checks:
    """Owner of the rule's open check, its verdict, and its verification."""

    def __init__(self, terms: Terms, standards: Mapping[str, Standard], production: Production) -> None:
        self.pan: Pan | None = None
        self.standing: Verdict | None = None
        self._terms = terms
        self._standards = standards
        self._production = production
        self._weighed = tuple(each.name for each in standards.values() if each.weighed)
        self._entered = tuple(each.name for each in standards.values() if not each.weighed)
        self._work: Work | None = None
        self._parked: Work | None = None
        self._number = 0
        self._failed = False
        """A check failed and nothing has made it good yet."""
        self._verification = ""
        """`waiting` until the machine runs again, then `open`."""
        self._from_unit = 0
        """Units made when verification began."""

    def open(self) -> tuple[Check, ...]:
        return tuple(work.check for work in (self._work, self._parked) if work is not None)

    # -- by time and units ------------------------------------------------------------------------

    def fall_due(self, due_units: int | None, now_ns: int, wall_ns: int, found: list[Finding]) -> None:
        """The plan asks for the next check; the one before it had its time."""
        self._give_up(self._parked if self._verification else self._work, wall_ns, found)
        asked = {name: self._samples(name) for name in self._standards}
        work = self._new(SCHEDULE, asked, due_units, (now_ns, wall_ns), found)
        if self._verification:
            self._parked = work
        else:
            self._work = work

    def follow(self, now_ns: int, wall_ns: int, found: list[Finding]) -> None:
        """Begin verification when the machine runs again; say what is overdue."""
        if self._verification == "waiting" and self._production.running:
            self._verify(now_ns, wall_ns, found)
        work = self._work
        if work is not None and work.can_be_missed and (why := self._overdue(work, now_ns, wall_ns)):
            self._miss(work, why, wall_ns, found)

    def _samples(self, name: str) -> int:
        """N of a variable; an attribute is one count of defects over all n."""
        return self._terms.plan.n if self._standards[name].accept is None else 1

    def _new(
        self, why: str, asked: Mapping[str, int], due_units: int | None, at: tuple[int, int], found: list[Finding]
    ) -> Work:
        now_ns, wall_ns = at
        self._number += 1
        check = Check(
            id=self._id(self._number),
            rule=self._terms.rule,
            plan=self._terms.plan.name or plan_text(self._terms.plan),
            why=why,
            state=CheckState.DUE,
            n=max(asked.values()),
            due_ns=wall_ns,
            due_units=due_units,
            tray=self._production.tray_of(due_units),
            text=self._wanted(asked),
            asks=tuple(self._asked(name, n) for name, n in asked.items()),
        )
        found.append(CheckChange("due", check))
        return Work(check, asked, now_ns, wall_ns)

    def _asked(self, name: str, n: int) -> Asked:
        source = "weighing" if name in self._weighed else "entry"
        units = n if self._standards[name].accept is None else self._terms.plan.n
        return Asked(name, source, self._standards[name].unit, n, units)

    def _id(self, number: int) -> str:
        return f"{self._terms.rule}#{number}"

    def _wanted(self, asked: Mapping[str, int]) -> str:
        """`weigh weight of 5 units, enter leaks`."""
        weigh = [f"weigh {name} of {n} unit{'s' * (n > 1)}" for name, n in asked.items() if name in self._weighed]
        enter = [f"enter {name}" for name in asked if name in self._entered]
        return ", ".join(weigh + enter)

    def _overdue(self, work: Work, now_ns: int, wall_ns: int) -> str:
        """Why it counts as missed by now; empty if it does not."""
        plan, check = self._terms.plan, work.check
        if work.waited_ns(now_ns, wall_ns) >= round(plan.grace_s * S_NS):
            return f"not done within {seconds(round(plan.grace_s * S_NS))}"
        if plan.grace_units is None or check.due_units is None:
            return ""
        grace = plan.grace_units + (check.n if check.why == VERIFICATION else 0)
        over = (self._production.units or 0) - check.due_units >= grace
        return f"not done within {grace} units" if over else ""

    def _miss(self, work: Work, why: str, wall_ns: int, found: list[Finding], *, final: bool = False) -> None:
        check = work.check
        text = f"check {check.id} ({check.plan}) was missed: {why}"
        final = final or check.why == REQUEST
        work.change(state=CheckState.MISSED, text=text, closed_ns=wall_ns if final else None)
        if check.why == REQUEST:  # nobody but the person asked for it
            self._drop(work)
            found.append(CheckChange("missed", work.check))
            return
        suspects = self._production.suspects()
        verdict = self._stand(self._terms.missed, check.id, _suspected(text, suspects), suspects=suspects)
        found += (verdict, CheckChange("missed", work.check, suspects=suspects))

    def _give_up(self, work: Work | None, wall_ns: int, found: list[Finding]) -> None:
        """Another takes its place; one already missed can no longer be done late."""
        if work is None:
            return
        if work.can_be_missed:
            self._miss(work, "still open when the next one fell due", wall_ns, found, final=True)
        self._drop(work)

    def _drop(self, work: Work) -> None:
        if self.pan is not None:
            self.pan.disarm(work.check.id)
        if work is self._work:
            self._work = None
        elif work is self._parked:
            self._parked = None

    # -- verification -----------------------------------------------------------------------------

    def _recalibrated(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """From now on the next units are all weighed, as soon as the machine runs; said twice is said once."""
        if self._verification:
            return NOTHING
        self._verification = "waiting"
        found: list[Finding] = []
        self.follow(now_ns, wall_ns, found)
        return found

    def _verify(self, now_ns: int, wall_ns: int, found: list[Finding]) -> None:
        older, self._work = self._work, None
        if older is not None and (self._parked is not None or older.check.why == REQUEST):
            self._give_up(older, wall_ns, found)
        elif older is not None:
            self._parked = older
        self._verification = "open"
        self._from_unit = self._production.units or 0
        asked = dict.fromkeys(self._weighed or self._entered, self._terms.verification_units)
        asked = {name: n if self._standards[name].accept is None else 1 for name, n in asked.items()}
        self._work = self._new(VERIFICATION, asked, self._production.units, (now_ns, wall_ns), found)

    # -- what people and the balance bring ---------------------------------------------------------

    def enter(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """Refused: it fits no open check, no characteristic, no unit."""
        if entry.kind == "take":
            return self._take(entry, now_ns, wall_ns)
        if entry.kind == "value":
            return self._value(entry, wall_ns)
        if entry.kind == "recalibrated":
            return self._recalibrated(now_ns, wall_ns)
        if entry.kind == "adjusted":
            return NOTHING
        raise Refused("no_such_entry", f"rule {self._terms.rule} takes no {entry.kind!r}; it takes: take, value")

    def _take(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """Arm the balance for the next sample; without an open check this is one on request."""
        if self.pan is None:
            raise Refused("not_weighed", f"nothing in {self._terms.rule} is weighed; enter the value instead")
        work = named(entry, self._work, self._parked)
        name = characteristic(entry, work, self._standards, weighed=True)
        unit_no = unit_number(entry, work, name, self._made())
        check_id = work.check.id if work is not None else self._id(self._number + 1)
        tray = entry.tray or self._production.tray_of(unit_no)
        take = Take(self._terms.rule, check_id, name, unit_no, tray, entry.person)
        self.pan.arm(take, now_ns, self._terms.take_within_ns)
        found: list[Finding] = []
        if work is None:
            self._work = self._new(REQUEST, {name: 1}, unit_no, (now_ns, wall_ns), found)
        return found or NOTHING

    def _made(self) -> Made:
        return Made(self._production.units, self._terms.tray_size, self._from_unit)

    def _value(self, entry: Entry, wall_ns: int) -> Sequence[Finding]:
        work = named(entry, self._work, self._parked)
        if work is None:
            raise Refused("no_such_check", f"no check of {self._terms.rule} is open")
        name = characteristic(entry, work, self._standards, weighed=False)
        standard = self._standards[name]
        unit_no = entry.unit_no if entry.unit_no is not None else work.check.due_units
        tray = entry.tray or self._production.tray_of(unit_no)
        value = standard.entered(entry.value, entry.unit)
        sample = Sample(name, value, standard.unit, unit_no, tray, wall_ns, entry.person, None)
        return self._add(work, sample, wall_ns, 0)

    def bind(self, take: Take, sample: Sample, scan: Scan) -> Sequence[Finding]:
        """The weight a take waited for.  If its check is gone by now it is recorded all the same."""
        work = self._work
        if work is None or work.check.id != take.check or work.lacks(take.characteristic) <= 0:
            reason = f"check {take.check} is not open any more"
            return (Weighing(self._terms.rule, msgspec.structs.replace(sample, reason=reason), None),)
        return self._add(work, sample, scan.time_ns, scan.mono_ns)

    # -- judging ----------------------------------------------------------------------------------

    def _add(self, work: Work, sample: Sample, wall_ns: int, sampled_ns: int) -> Sequence[Finding]:
        passed, said, limit = self._standards[sample.characteristic].judge(sample.value)
        sample = msgspec.structs.replace(sample, passed=passed, reason=said)
        work.add(sample)
        taken = CheckChange("taken", work.check, sample)
        if not passed:
            return self._fail(work, taken, limit, wall_ns, sampled_ns)
        return self._pass(work, taken, wall_ns, sampled_ns) if work.complete() else (taken,)

    def _fail(self, work: Work, taken: CheckChange, limit: Value, wall_ns: int, sampled_ns: int) -> tuple[Finding, ...]:
        """One sample is enough: the halt does not wait for the others."""
        sample = taken.sample
        assert sample is not None
        made = dict.fromkeys((*self._production.suspects(), *((sample.tray,) if sample.tray else ())))
        suspects = tuple(made)
        text = f"check {work.check.id}: {_about(sample)} {sample.reason}"
        work.change(state=CheckState.FAILED, closed_ns=wall_ns, text=text)
        self._failed = True
        self._close(work, wall_ns)
        verdict = self._stand(
            Severity.HALT if self._terms.halts else Severity.ALARM,
            work.check.id,
            _suspected(text, suspects),
            suspects=suspects,
            sample=sample,
            limit=limit,
            sampled_ns=sampled_ns,
            fleeting=True,
        )
        return (verdict, taken, CheckChange("judged", work.check, sample, suspects))

    def _pass(self, work: Work, taken: CheckChange, wall_ns: int, sampled_ns: int) -> tuple[Finding, ...]:
        samples = work.check.samples
        drifting = next((sample for sample in reversed(samples) if sample.reason), None)
        text = f"check {work.check.id} passed" + (f"; {_about(drifting)} {drifting.reason}" if drifting else "")
        work.change(state=CheckState.PASSED, closed_ns=wall_ns, text=text)
        found: list[Finding] = [taken, CheckChange("judged", work.check, taken.sample)]
        why = work.check.why
        if why == VERIFICATION or not self._terms.halts:
            self._failed = False
        if why != REQUEST and not self._failed:
            units = [sample.unit_no for sample in samples if sample.unit_no is not None]
            self._production.prove(min(units) if units else work.check.due_units)
            found[:0] = self._good(text, drifting, sampled_ns)
        self._close(work, wall_ns)
        return tuple(found)

    def _good(self, text: str, drifting: Sample | None, sampled_ns: int) -> Iterator[Finding]:
        """What a good check says: a warning of drift, or that all is well again."""
        if drifting is not None:
            yield self._stand(
                Severity.WARNING, self._terms.rule, text, sample=drifting, sampled_ns=sampled_ns, fleeting=True
            )
        elif self.standing is None or self.standing.severity is not Severity.NORMAL:
            yield self._stand(Severity.NORMAL, self._terms.rule, text, sampled_ns=sampled_ns)

    def _close(self, work: Work, wall_ns: int) -> None:
        """Done; what was parked behind a verification has its turn, and its full grace."""
        if work.check.why == VERIFICATION:
            self._verification = ""
        self._drop(work)
        if self._work is None and not self._verification and self._parked is not None:
            self._work, self._parked = self._parked, None
            self._work.wait_again(wall_ns)

    def _stand(
        self,
        severity: Severity,
        subject: str,
        text: str,
        *,
        suspects: tuple[str, ...] = (),
        sample: Sample | None = None,
        limit: Value = None,
        sampled_ns: int = 0,
        fleeting: bool = False,
    ) -> Verdict:
        terms = self._terms
        self.standing = Verdict(
            rule=terms.rule,
            severity=severity,
            subject=subject,
            text=sentence(text, terms.advice if severity >= Severity.ALARM else ""),
            value=sample.value if sample else None,
            limit=limit,
            unit=sample.unit if sample else "1",
            priority=terms.priority,
            halts=terms.halts if severity is Severity.HALT else (),
            sampled_ns=sampled_ns,
            suspects=suspects,
            fleeting=fleeting,
        )
        return self.standing

    # -- over a restart ---------------------------------------------------------------------------

    def dump(self) -> dict[str, Json]:
        take = self.pan.take if self.pan is not None else None
        mine = take is not None and take.rule == self._terms.rule
        return {
            "number": self._number,
            "work": self._work.dump() if self._work else None,
            "parked": self._parked.dump() if self._parked else None,
            "failed": self._failed,
            "verification": self._verification,
            "from_unit": self._from_unit,
            "standing": dump_verdict(self.standing),
            "take": msgspec.to_builtins(take) if mine else None,
            "pan": [self.pan.free, self.pan.fresh] if self.pan is not None else None,
        }

    def load(self, state: Json) -> None:
        self._number, self._from_unit = state["number"], state["from_unit"]
        self._failed, self._verification = state["failed"], state["verification"]
        self._work = load_work(state["work"], self._standards)
        self._parked = load_work(state["parked"], self._standards)
        self.standing = load_verdict(state["standing"])
        if self.pan is None:
            return
        if state["take"]:
            self.pan.restore(Take(**state["take"]), self._terms.take_within_ns)
        if state["pan"]:
            self.pan.free, self.pan.fresh = state["pan"]


def _about(sample: Sample) -> str:
    """`weight of unit 300 (tray T-003):`."""
    unit = f" of unit {sample.unit_no}" if sample.unit_no is not None else ""
    tray = f" (tray {sample.tray})" if sample.tray else ""
    return f"{sample.characteristic}{unit}{tray}:"


def _suspected(text: str, suspects: tuple[str, ...]) -> str:
    if not suspects:
        return text
    return f"{text}. Suspect since the last good check: {', '.join(suspects)}"
