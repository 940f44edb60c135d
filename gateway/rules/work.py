"""A check while it is open: which samples it lacks, and its way through a restart.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from gateway.model import Json, Priority, Severity, Value
from gateway.plans import Plan
from gateway.rules.standard import INDETERMINATE, Standard
from gateway.units import duration_text
from gateway.verdicts import Asked, Check, CheckState, Sample, Verdict

VERIFICATION: Final = "verification"
REQUEST: Final = "request"


def plan_text(plan: Plan) -> str:
    """`5 every 15min`, `1 every 100 units`, `2 after start and stop`."""
    told = []
    if plan.every_s is not None:
        told.append(f"every {duration_text(plan.every_s)}")
    if plan.every_units is not None:
        told.append(f"every {plan.every_units} units")
    if plan.random is not None:
        times = "once" if plan.random.n == 1 else f"{plan.random.n} times"
        told.append(f"at random {times} per {plan.random.per}")
    if plan.after:
        told.append(f"after {' and '.join(plan.after)}")
    return f"{plan.n} {', '.join(told)}"


class Work:
    """One open check and what it still asks for."""

    def __init__(
        self,
        check: Check,
        asked: Mapping[str, int],
        now_ns: int | None,
        wall_ns: int,
        trigger: str = "",
        made: int | None = None,
    ) -> None:
        self.check = check
        self.asked = dict(asked)
        """Characteristic -> samples asked for."""
        self.since_ns = now_ns
        """Monotonic time the grace runs from; None after a restart, until the first event tells the time."""
        self.since_wall_ns = wall_ns
        self.trigger = trigger
        """What made it fall due; the next one of the same takes its place."""
        self.since_units = check.due_units if check.due_units is not None else made
        """Unit count the grace in units runs from."""
        self.made = made
        """Units made when it fell due; None: nobody counts."""
        self.unsettled = 0
        """Takes whose weight never settled."""

    @property
    def can_be_missed(self) -> bool:
        return self.check.state in {CheckState.DUE, CheckState.TAKEN}

    @property
    def standing(self) -> tuple[Sample, ...]:
        """The samples that count: those that were weighed again do not."""
        return tuple(sample for sample in self.check.samples if not sample.superseded)

    @property
    def doubtful(self) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.standing if sample.verdict == INDETERMINATE)

    @property
    def reweighed(self) -> int:
        """How many of its samples were weighed again, each time counted."""
        return sum(sample.reweigh > 0 for sample in self.check.samples)

    def lacks(self, name: str) -> int:
        """How many samples of this characteristic are still to come."""
        return self.asked.get(name, 0) - sum(sample.characteristic == name for sample in self.standing)

    def looked_at(self, name: str) -> int:
        """Of how many units it is, if it is a count."""
        return next((each.units for each in self.check.asks if each.name == name), self.check.n)

    def next_of(self, names: Iterable[str]) -> str | None:
        """The first of these characteristics that lacks a sample."""
        return next((name for name in names if self.lacks(name) > 0), None)

    def complete(self) -> bool:
        return self.next_of(self.asked) is None

    def waited_ns(self, now_ns: int, wall_ns: int) -> int:
        """How long it has been waiting; time the gateway was down counts by the wall clock."""
        if self.since_ns is None:
            self.since_ns = now_ns - max(0, wall_ns - self.since_wall_ns)
        return now_ns - self.since_ns

    def wait_again(self, wall_ns: int, units: int | None) -> None:
        """The grace begins anew: it had to stand back."""
        self.since_ns, self.since_wall_ns = None, wall_ns
        if self.since_units is not None and units is not None:
            self.since_units = units

    def proves(self) -> int | None:
        """The unit up to which it vouches, if it is good: what was looked at first, or was there when it fell due."""
        units = (self.made if each.unit_no is None else each.unit_no for each in self.standing)
        return min((unit for unit in units if unit is not None), default=self.check.due_units)

    def newest(self) -> int | None:
        """The last unit that was looked at; of a count, what was made when it fell due."""
        units = (self.made if each.unit_no is None else each.unit_no for each in self.standing)
        return max((unit for unit in units if unit is not None), default=self.check.due_units)

    def add(self, sample: Sample, again: int | None = None) -> None:
        """One more; one that was weighed again sets the one before it, `again`, aside."""
        late = self.check.state is CheckState.MISSED
        older = list(self.check.samples)
        if again is not None:
            older[again] = msgspec.structs.replace(older[again], superseded=True)
        self.change(
            state=CheckState.MISSED if late else CheckState.TAKEN,
            late=late,
            samples=(*older, sample),
        )

    def change(self, **facts: object) -> None:
        self.check = msgspec.structs.replace(self.check, **facts)

    def dump(self) -> Json:
        return {
            "check": msgspec.to_builtins(self.check),
            "asked": self.asked,
            "since_wall_ns": self.since_wall_ns,
            "since_units": self.since_units,
            "made": self.made,
            "trigger": self.trigger,
            "unsettled": self.unsettled,
        }


def load_work(state: Json, standards: Mapping[str, Standard]) -> Work | None:
    """An open check as it was dumped.  By hand, because a sample's value is text, number or count alike."""
    if state is None:
        return None
    row = dict(state["check"])
    samples = tuple(_sample(each, standards) for each in row.pop("samples"))
    asks = msgspec.convert(row.pop("asks"), tuple[Asked, ...])
    check = Check(**{**row, "state": CheckState(row["state"]), "samples": samples, "asks": asks})
    work = Work(check, state["asked"], None, state["since_wall_ns"], state.get("trigger", ""), state.get("made"))
    work.since_units, work.unsettled = state.get("since_units", check.due_units), state.get("unsettled", 0)
    return work


def _sample(row: Json, standards: Mapping[str, Standard]) -> Sample:
    exact = {name: Decimal(row[name]) for name in ("gross", "tare", "uncertainty") if row.get(name) is not None}
    return Sample(**{**row, **exact, "value": _value(row, standards)})


def _value(sample: Json, standards: Mapping[str, Standard]) -> Value:
    known = standards.get(sample["characteristic"])
    value = sample["value"]
    if value is None:
        return None
    return int(value) if known is not None and known.accept is not None else Decimal(str(value))


def dump_verdict(verdict: Verdict | None) -> Json:
    if verdict is None:
        return None
    row = msgspec.to_builtins(verdict)
    return {
        **row,
        "value": None if verdict.value is None else str(verdict.value),
        "limit": None if verdict.limit is None else str(verdict.limit),
    }


def load_verdict(row: Json) -> Verdict | None:
    """The verdict that stood before a restart."""
    if row is None:
        return None
    facts = {
        "severity": Severity(row["severity"]),
        "priority": Priority(row["priority"]),
        "halts": tuple(row["halts"]),
        "suspects": tuple(row["suspects"]),
        "value": None if row["value"] is None else Decimal(row["value"]),
        "limit": None if row["limit"] is None else Decimal(row["limit"]),
        "sampled_ns": 0,
    }
    return Verdict(**{**row, **facts})
