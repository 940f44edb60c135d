"""What a check comes to: the verdict of its rule, what it vouches for, and what is said of it.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.model import Json, Priority, Severity
from gateway.plans import Plan
from gateway.rules.inputs import sentence
from gateway.rules.production import Production
from gateway.rules.standard import Judgement
from gateway.rules.work import REQUEST, VERIFICATION, Work, dump_verdict, load_verdict
from gateway.verdicts import CheckChange, CheckState, Finding, Sample, Suspicion, Verdict


class Terms(msgspec.Struct, frozen=True):
    """What a rule demands of its checks."""

    rule: str
    plan: Plan
    plan_hash: str
    halts: tuple[str, ...]
    missed: Severity
    priority: Priority
    advice: str
    take_within_ns: int
    verification_units: int
    tray_size: int


class Outcomes:
    """Owner of the rule's verdict.  Each of its four ends changes the check and says so."""

    def __init__(self, terms: Terms, production: Production) -> None:
        self.standing: Verdict | None = None
        self._terms = terms
        self._production = production
        self._failed = False
        """A check failed, or proved nothing, and nothing has made it good yet."""
        self._bad_unit: int | None = None
        """The last unit such a check looked at; None: nobody counts."""

    def fail(
        self, work: Work, taken: CheckChange, judged: Judgement, wall_ns: int, sampled_ns: int
    ) -> tuple[Finding, ...]:
        """One sample is enough: the halt does not wait for the others."""
        text = f"check {work.check.id}: {judged.text}"
        severity = Severity.HALT if self._terms.halts else Severity.ALARM
        self._failed = True
        verdict = self._bad(work, CheckState.FAILED, severity, text, wall_ns, taken.sample, sampled_ns)
        verdict = msgspec.structs.replace(verdict, limit=judged.limit, value=judged.value or verdict.value)
        self.standing = verdict
        return (verdict, taken, CheckChange("judged", work.check, taken.sample, verdict.suspects))

    def indeterminate(
        self, work: Work, why: str, wall_ns: int, taken: CheckChange | None = None, sampled_ns: int = 0
    ) -> tuple[Finding, ...]:
        """Done, and neither good nor bad: whatever it is about stays suspect."""
        halting = self._terms.plan.indeterminate == "halt" and bool(self._terms.halts)
        text = f"check {work.check.id} is indeterminate, which is not passed: {why}"
        sample = taken.sample if taken else None
        severity = Severity.HALT if halting else Severity.ALARM
        self._failed = self._failed or halting or not self._terms.halts
        verdict = self._bad(work, CheckState.INDETERMINATE, severity, text, wall_ns, sample, sampled_ns)
        judged = CheckChange("judged", work.check, sample, verdict.suspects)
        return (verdict, taken, judged) if taken else (verdict, judged)

    def _bad(  # what came of it: the check, its state, how bad, in words, when, by which sample
        self,
        work: Work,
        state: CheckState,
        severity: Severity,
        text: str,
        wall_ns: int,
        sample: Sample | None,
        sampled_ns: int,
    ) -> Verdict:
        tray = (sample.tray,) if sample is not None and sample.tray else ()
        suspects = tuple(dict.fromkeys((*self._production.suspects(), *tray)))
        work.change(state=state, closed_ns=wall_ns, text=text)
        self._bad_unit = max((unit for unit in (self._bad_unit, work.newest()) if unit is not None), default=None)
        return self._stand(
            severity,
            work.check.id,
            suspected(text, suspects),
            suspects=suspects,
            sample=sample,
            sampled_ns=sampled_ns,
            fleeting=True,
        )

    def passed(
        self, work: Work, taken: CheckChange, drift: tuple[str, Sample] | None, wall_ns: int, sampled_ns: int
    ) -> tuple[Finding, ...]:
        """All samples are in and good; `drift`: what is beyond a limit that only warns."""
        text = f"check {work.check.id} passed" + (f"; {drift[0]}" if drift else "")
        work.change(state=CheckState.PASSED, closed_ns=wall_ns, text=text)
        found: list[Finding] = [taken, CheckChange("judged", work.check, taken.sample)]
        why = work.check.why
        if why == VERIFICATION or (why != REQUEST and not self._terms.halts and self._is_newer(work)):
            self._failed, self._bad_unit = False, None
        if why != REQUEST and not self._failed:
            self._production.prove(work.proves(), [each.tray for each in work.standing if each.tray])
            found[:0] = self._good(text, drift[1] if drift else None, sampled_ns)
        return tuple(found)

    def _is_newer(self, work: Work) -> bool:
        """Does it look at what was made after the bad unit?  One that waited may be of a unit before it."""
        proves = work.proves()
        return self._bad_unit is None or proves is None or proves > self._bad_unit

    def _good(self, text: str, drifting: Sample | None, sampled_ns: int) -> Iterator[Finding]:
        """What a good check says: a warning of drift, or that all is well again."""
        if drifting is not None:
            yield self._stand(
                Severity.WARNING, self._terms.rule, text, sample=drifting, sampled_ns=sampled_ns, fleeting=True
            )
        elif self.standing is None or self.standing.severity is not Severity.NORMAL:
            yield self._stand(Severity.NORMAL, self._terms.rule, text, sampled_ns=sampled_ns)

    def missed(self, work: Work, why: str, wall_ns: int, *, final: bool) -> tuple[Finding, ...]:
        """Not done in time.  `final`: it can no longer be done late."""
        check = work.check
        text = f"check {check.id} ({check.plan}) was missed: {why}"
        final = final or check.why == REQUEST
        work.change(state=CheckState.MISSED, text=text, closed_ns=wall_ns if final else None)
        if check.why == REQUEST:  # nobody but the person asked for it
            return (CheckChange("missed", work.check),)
        suspects = self._production.suspects()
        verdict = self._stand(self._terms.missed, check.id, suspected(text, suspects), suspects=suspects)
        return verdict, CheckChange("missed", work.check, suspects=suspects)

    def went_on(self) -> Suspicion | None:
        """Trays filled after a failure, until it is made good: before the machine stood, or where nothing halts it."""
        standing = self.standing
        if not self._failed or standing is None:
            return None
        more = tuple(tray for tray in self._production.suspects() if tray not in standing.suspects)
        if not more:
            return None
        self.standing = msgspec.structs.replace(standing, suspects=(*standing.suspects, *more))
        text = f"filled after check {standing.subject} did not pass, and before a check was good again"
        return Suspicion(self._terms.rule, more, text)

    def _stand(
        self,
        severity: Severity,
        subject: str,
        text: str,
        *,
        suspects: tuple[str, ...] = (),
        sample: Sample | None = None,
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
            unit=sample.unit if sample else "1",
            priority=terms.priority,
            halts=terms.halts if severity is Severity.HALT else (),
            sampled_ns=sampled_ns,
            suspects=suspects,
            fleeting=fleeting,
        )
        return self.standing

    def dump(self) -> dict[str, Json]:
        return {"failed": self._failed, "bad_unit": self._bad_unit, "standing": dump_verdict(self.standing)}

    def load(self, state: Json) -> None:
        self._failed, self.standing = state["failed"], load_verdict(state["standing"])
        self._bad_unit = state.get("bad_unit")


def about(sample: Sample) -> str:
    """`weight of unit 300 (tray T-003):`."""
    unit = f" of unit {sample.unit_no}" if sample.unit_no is not None else ""
    tray = f" (tray {sample.tray})" if sample.tray else ""
    return f"{sample.characteristic}{unit}{tray}:"


def suspected(text: str, suspects: tuple[str, ...]) -> str:
    if not suspects:
        return f"{text}. Suspect is all since the last good check; the rule counts no units and knows no trays"
    return f"{text}. Suspect since the last good check: {', '.join(suspects)}"
