"""The checks of one sampling rule, from due to judged or missed, and verification after a recalibration.  Pure.

    fall_due --> due --sample--> taken --all in--> passed | failed | indeterminate
                  |                |---one fails--> failed --recalibrated, running--> verification --> the plan goes on
                  |                |---in doubt, weighed again with a reason--> taken
                  |--grace over, or the next falls due--> missed (may still be done late, until the next falls due)

One check is worked on at a time; what falls due beside it waits (agenda.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Protocol

import msgspec

from gateway.errors import Refused
from gateway.model import Entry, Json, Scan
from gateway.rules.agenda import Agenda, At
from gateway.rules.base import NOTHING
from gateway.rules.outcomes import Outcomes, Terms, about
from gateway.rules.production import Production
from gateway.rules.scale import Scale
from gateway.rules.standard import FAIL, INDETERMINATE, NONE, Judgement, Standard
from gateway.rules.takes import TARE, Made, Take, again, characteristic, entered_unit, named, unit_number
from gateway.rules.tares import Net, Tares
from gateway.rules.triggers import Due
from gateway.rules.work import Work
from gateway.verdicts import Check, CheckChange, Finding, Sample, Suspicion, Verdict, Weighing


class Taking(Protocol):
    """What a take arms: the pan of a balance, or an instrument."""

    take: Take | None

    def arm(self, take: Take, now_ns: int, patience_ns: int) -> None: ...

    def disarm(self, check: str) -> None: ...

    def restore(self, take: Take, patience_ns: int) -> None: ...


class Checks:
    """Takes entries and weights to the check they are for, and judges it once all are in."""

    def __init__(
        self, terms: Terms, standards: Mapping[str, Standard], production: Production, scale: Scale | None = None
    ) -> None:
        self.sources: dict[str, Taking] = {}
        """Characteristic -> what measures it."""
        self._terms = terms
        self._standards = standards
        self._production = production
        self._scale = scale
        self._tares = Tares(standards)
        self._outcomes = Outcomes(terms, production)
        self._agenda = Agenda(terms, standards, production, self._outcomes, self._disarm)

    @property
    def standing(self) -> Verdict | None:
        return self._outcomes.standing

    @property
    def event_open(self) -> bool:
        return self._agenda.event_open

    def open(self) -> tuple[Check, ...]:
        return self._agenda.open()

    def fall_due(self, due: Due, at: At, found: list[Finding]) -> None:
        self._agenda.fall_due(due, at, found)

    def follow(self, at: At, found: list[Finding]) -> None:
        self._agenda.follow(at, found)

    def went_on(self) -> Suspicion | None:
        """The machine made something: does a failure that stands reach trays it did not name?"""
        return None if self._agenda.verifying else self._outcomes.went_on()

    def _disarm(self, check: str) -> None:
        for source in self.sources.values():
            source.disarm(check)

    # -- what people bring ------------------------------------------------------------------------

    def enter(self, entry: Entry, at: At) -> Sequence[Finding]:
        """Refused: it fits no open check, no characteristic, no unit."""
        match entry.kind:
            case "take":
                return self._tare(entry, at) if entry.stage == TARE else self._take(entry, at)
            case "reweigh":
                return self._reweigh(entry, at)
            case "value":
                return self._value(entry, at)
            case "recalibrated":
                return self._agenda.recalibrated(at) or NOTHING
            case "scale":
                return self._scale_found(entry)
            case _:
                known = "take, value, reweigh"
                raise Refused("no_such_entry", f"rule {self._terms.rule} takes no {entry.kind!r}; it takes: {known}")

    def _take(self, entry: Entry, at: At) -> Sequence[Finding]:
        """Arm the balance for the next sample; without an open check this is one on request."""
        self._something_is_taken()
        agenda = self._agenda
        work = named(entry, agenda.work, agenda.queue)
        name = characteristic(entry, work, self._standards, taken=True)
        self._judges(name)
        tare = self._tares.of(name, entry.item)
        unit_no = unit_number(entry, work, name, self._made())
        check_id = work.check.id if work is not None else agenda.next_id()
        tray = entry.tray or self._production.tray_of(unit_no)
        take = Take(
            self._terms.rule, check_id, name, unit_no, tray, entry.person, at.wall_ns, item=entry.item, tare=tare
        )
        self._arm(take, at)
        return NOTHING if work is not None else agenda.request({name: 1}, unit_no, at)

    def _tare(self, entry: Entry, at: At) -> Sequence[Finding]:
        """Arm the balance for an empty one; it belongs to no check yet."""
        self._something_is_taken()
        tared = [one.name for one in self._standards.values() if one.tare is not None]
        name = entry.characteristic or next(iter(tared), "")
        if name not in tared:
            raise Refused("no_tare", f"the gateway takes no tare off {name or 'anything'} in {self._terms.rule}")
        self._tares.asked(name, entry.item)
        take = Take(self._terms.rule, "", name, entry.unit_no, entry.tray, entry.person, at.wall_ns, TARE, entry.item)
        self._arm(take, at)
        return NOTHING

    def _reweigh(self, entry: Entry, at: At) -> Sequence[Finding]:
        """Arm the balance for a sample that was weighed already."""
        self._something_is_taken()
        work = named(entry, self._agenda.work, self._agenda.queue)
        work, at_sample, old = again(entry, work, self._standards, self._terms.plan.reweigh)
        self._judges(old.characteristic)
        take = Take(
            self._terms.rule,
            work.check.id,
            old.characteristic,
            old.unit_no,
            old.tray,
            entry.person,
            at.wall_ns,
            item=old.item,
            tare=old.tare,
            reweigh=old.reweigh + 1,
            why=entry.text.strip(),
            again=at_sample,
        )
        self._arm(take, at)
        return NOTHING

    def _something_is_taken(self) -> None:
        if not self.sources:
            raise Refused("not_weighed", f"nothing in {self._terms.rule} is weighed; enter the value instead")

    def _judges(self, name: str) -> None:
        """Refused: the scale cannot judge so little, with the figures."""
        why = self._unfit(name)
        if why:
            raise Refused("scale_unfit", why)

    def _unfit(self, name: str) -> str:
        one = self._standards[name]
        if self._scale is None or not one.weighed:
            return ""
        return self._scale.unfit(one)

    def _arm(self, take: Take, at: At) -> None:
        self.sources[take.characteristic].arm(take, at.now_ns, self._terms.take_within_ns)

    def _made(self) -> Made:
        return Made(self._production.units, self._terms.tray_size, self._agenda.from_unit)

    def _value(self, entry: Entry, at: At) -> Sequence[Finding]:
        work = named(entry, self._agenda.work, self._agenda.queue)
        if work is None:
            raise Refused("no_such_check", f"no check of {self._terms.rule} is open")
        name = characteristic(entry, work, self._standards, taken=False)
        standard = self._standards[name]
        unit_no = entered_unit(entry, work, standard, self._made())
        tray = entry.tray or (work.check.tray if unit_no is None else self._production.tray_of(unit_no))
        value = standard.entered(entry.value, entry.unit, work.looked_at(name))
        sample = Sample(name, value, standard.unit, unit_no, tray, at.wall_ns, entry.person, None, item=entry.item)
        return self._add(work, sample, Net(NONE, uncertainty=standard.uncertainty), at.wall_ns, 0)

    def _scale_found(self, entry: Entry) -> Sequence[Finding]:
        """The daily check found this repeatability; from now on it is judged by."""
        if self._scale is None:
            raise Refused("no_scale", f"rule {self._terms.rule} knows nothing of its scale: give `scale` with its d")
        try:
            found = Decimal(str(entry.value))
            if not found.is_finite() or found < 0:
                raise ValueError(f"{entry.value} is no standard deviation")
            self._scale = self._scale.found(found, entry.unit or self._scale.unit)
        except (ValueError, ArithmeticError) as error:
            raise Refused("bad_value", f"repeatability: {error}") from None
        return NOTHING

    # -- what devices bring -----------------------------------------------------------------------

    def bind(self, take: Take, sample: Sample, scan: Scan) -> Sequence[Finding]:
        """What a take waited for.  If its check is gone by now it is recorded all the same."""
        if take.stage == TARE:
            assert isinstance(sample.value, Decimal)
            said = self._tares.put(take.characteristic, take.item, sample.value)
            return (Weighing(self._terms.rule, msgspec.structs.replace(sample, reason=said, item=take.item), None),)
        work = self._agenda.work
        wanted = work is not None and work.check.id == take.check
        if work is None or not wanted or (not take.reweigh and work.lacks(take.characteristic) <= 0):
            waits = work is not None and any(each.id == take.check for each in self.open()[1:])
            became = "had to stand back; take it again in its turn" if waits else "is not open any more"
            reason = f"check {take.check} {became}"
            return (Weighing(self._terms.rule, msgspec.structs.replace(sample, reason=reason), None),)
        net = self._net(take, sample)
        if take.item and not take.reweigh:
            self._tares.used(take.characteristic, take.item)
        sample = msgspec.structs.replace(
            sample,
            value=net.value,
            gross=net.gross,
            tare=net.tare,
            item=take.item,
            reweigh=take.reweigh,
            why=take.why,
        )
        return self._add(work, sample, net, scan.time_ns, scan.mono_ns, take.again)

    def _net(self, take: Take, sample: Sample) -> Net:
        standard, value = self._standards[take.characteristic], sample.value
        assert isinstance(value, Decimal)
        if not standard.weighed:
            return Net(value, uncertainty=standard.uncertainty)
        if self._scale is None:
            return self._tares.net(take.characteristic, value, take.tare, standard.uncertainty)
        wide = self._scale.expanded(standard.unit, standard.uncertainty)
        return self._tares.net(take.characteristic, value, take.tare, wide)

    def unsettled(self, take: Take | None) -> None:
        """A reading for this take did not settle."""
        work = self._agenda.work
        if take is not None and work is not None and take.check == work.check.id:
            work.unsettled += 1

    # -- judging ----------------------------------------------------------------------------------

    def _add(  # one sample: its check, its value, how sure, when, which one it takes the place of
        self, work: Work, sample: Sample, sure: Net, wall_ns: int, sampled_ns: int, again: int | None = None
    ) -> Sequence[Finding]:
        judged = self._standards[sample.characteristic].judge(sample.value, sure.uncertainty)
        if sure.doubt and judged.verdict != FAIL:
            judged = Judgement(INDETERMINATE, sure.doubt)
        sample = msgspec.structs.replace(
            sample,
            passed=judged.passed,
            reason=judged.text,
            verdict=judged.verdict,
            uncertainty=sure.uncertainty or None,
        )
        work.add(sample, again)
        taken = CheckChange("taken", work.check, sample)
        if judged.verdict == FAIL:
            judged = msgspec.structs.replace(judged, text=f"{about(sample)} {judged.text}")
            return self._fail(work, taken, judged, wall_ns, sampled_ns)
        return self._judge(work, taken, wall_ns, sampled_ns) if work.complete() else (taken,)

    def _fail(
        self, work: Work, taken: CheckChange, judged: Judgement, wall_ns: int, sampled_ns: int
    ) -> Sequence[Finding]:
        found = self._outcomes.fail(work, taken, judged, wall_ns, sampled_ns)
        self._agenda.close(work, wall_ns)
        return found

    def _judge(self, work: Work, taken: CheckChange, wall_ns: int, sampled_ns: int) -> Sequence[Finding]:
        """All are in: the means, then whatever is in doubt."""
        means = {name: self._mean(work, name) for name in work.asked}
        failed = next((each for each in means.values() if each.verdict == FAIL), None)
        if failed is not None:
            return self._fail(work, taken, failed, wall_ns, sampled_ns)
        doubts = [f"{about(each)} {each.reason}" for each in work.doubtful]
        doubts += [each.text for each in means.values() if each.verdict == INDETERMINATE]
        if doubts:
            return self._doubt(work, taken, "; ".join(doubts), wall_ns, sampled_ns)
        found = self._outcomes.passed(work, taken, _drift(work, means), wall_ns, sampled_ns)
        self._agenda.close(work, wall_ns)
        return found

    def _doubt(self, work: Work, taken: CheckChange, why: str, wall_ns: int, sampled_ns: int) -> Sequence[Finding]:
        """Weighed again where the plan still allows it; else it stays in doubt for good."""
        left = self._terms.plan.reweigh - work.reweighed
        weighed = any(self._standards[each.characteristic].weighed for each in work.standing)
        if left > 0 and weighed and work.can_be_missed:
            work.change(text=f"{why} ({left} re-weighing{'s' * (left > 1)} left)")
            return (CheckChange("taken", work.check, taken.sample),)
        found = self._outcomes.indeterminate(work, why, wall_ns, taken, sampled_ns)
        self._agenda.close(work, wall_ns)
        return found

    def _mean(self, work: Work, name: str) -> Judgement:
        samples = [each for each in work.standing if each.characteristic == name]
        values = [each.value for each in samples if isinstance(each.value, Decimal)]
        wide = max((each.uncertainty or NONE for each in samples), default=NONE)
        return self._standards[name].judge_mean(values, wide)

    # -- over a restart ---------------------------------------------------------------------------

    def dump(self) -> dict[str, Json]:
        takes = {name: source.take for name, source in self.sources.items()}
        mine = [
            take
            for name, take in takes.items()
            if take is not None and (take.rule, take.characteristic) == (self._terms.rule, name)
        ]
        pan = next((take for take in mine if self._standards[take.characteristic].weighed), None)
        others = [msgspec.to_builtins(take) for take in mine if take is not pan]
        return {
            **self._agenda.dump(),
            **self._outcomes.dump(),
            "take": msgspec.to_builtins(pan) if pan is not None else None,
            "takes": others,
            "tares": self._tares.dump(),
            "scale": self._scale.model_dump(mode="json") if self._scale is not None else None,
        }

    def load(self, state: Json) -> None:
        self._agenda.load(state)
        self._outcomes.load(state)
        self._tares.load(state.get("tares"))
        if self._scale is not None and state.get("scale"):
            self._scale = Scale.model_validate(state["scale"])
        for row in (state["take"], *state.get("takes", ())):
            take = msgspec.convert(row, Take) if row else None
            if take is not None and take.characteristic in self.sources:
                self.sources[take.characteristic].restore(take, self._terms.take_within_ns)


def _drift(work: Work, means: Mapping[str, Judgement]) -> tuple[str, Sample] | None:
    """What is beyond a limit that only warns: the newest sample, else a mean."""
    drifting = next((each for each in reversed(work.standing) if each.reason), None)
    if drifting is not None:
        return f"{about(drifting)} {drifting.reason}", drifting
    mean = next((each.text for each in means.values() if each.text), None)
    return (mean, work.standing[-1]) if mean is not None else None
