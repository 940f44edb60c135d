"""A check while it is open: which samples it lacks, how one is judged, and its way through a restart.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from gateway.errors import Refused
from gateway.model import Asked, Check, CheckState, Json, Priority, Sample, Severity, TagSpec, Value, Verdict
from gateway.recipe import Characteristic, Plan
from gateway.rules.inputs import Bounds, beyond, bounds, convert, measure
from gateway.units import duration_text

VERIFICATION: Final = "verification"
REQUEST: Final = "request"


class Standard(msgspec.Struct, frozen=True):
    """One characteristic, ready to judge by."""

    name: str
    unit: str
    weighed: bool
    accept: int | None = None
    """Attribute: how many defects are accepted; None for a variable."""
    within: Bounds | None = None

    def judge(self, value: Value) -> tuple[bool, str, Value]:
        """(passed, what is wrong or drifting, the limit).  Exactly at a limit passes."""
        if self.accept is not None:
            assert isinstance(value, int)
            text = f"{value} with defects, {self.accept} accepted" if value > self.accept else ""
            return value <= self.accept, text, self.accept
        assert isinstance(value, Decimal)
        assert self.within is not None
        ends = (self.within.high, True), (self.within.low, False)
        for limit, above in ends:
            if limit is not None and (value > limit if above else value < limit):
                return False, beyond(value, limit, self.unit, above=above), limit
        return True, self._drift(value), None

    def _drift(self, value: Decimal) -> str:
        assert self.within is not None
        for limit, above in ((self.within.warn_high, True), (self.within.warn_low, False)):
            if limit is not None and (value > limit if above else value < limit):
                return beyond(value, limit, self.unit, above=above)
        return ""

    def entered(self, value: Value, unit: str | None) -> Decimal | int:
        """What a person put in, in this characteristic's unit.  Refused if it is not such a value."""
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or isinstance(value, bool):
            raise Refused("bad_value", f"{self.name}: {measure(value)} is not a number")
        if self.accept is not None:
            if number != int(number) or number < 0:
                raise Refused("bad_value", f"{self.name} is a count of defects: 0, 1, 2 ..., not {number}")
            return int(number)
        return number if unit in {None, self.unit} else self._converted(number, str(unit))

    def _converted(self, number: Decimal, unit: str) -> Decimal:
        try:
            return convert(number, unit, self.unit)
        except ValueError as error:
            raise Refused("wrong_unit", f"{self.name} is in {self.unit}: {error}") from None


def standard(characteristic: Characteristic, weight: TagSpec | None) -> Standard:
    """ValueError: its limits do not fit what measures it.  Weighed values are judged in the balance's unit."""
    name, window = characteristic.name, characteristic.window
    if characteristic.kind == "attribute" or window is None:
        return Standard(name, "{count}", weighed=False, accept=characteristic.accept)
    weighed = characteristic.source == "weighing"
    unit = weight.unit if weighed and weight is not None else window.unit
    within = bounds(window, TagSpec(name, unit, "decimal"))
    return Standard(name, unit, weighed, within=within)


def plan_text(plan: Plan) -> str:
    """`5 every 15min`, `1 every 100 units`."""
    every = f"{plan.every_units} units" if plan.every_s is None else duration_text(plan.every_s)
    return f"{plan.n} every {every}"


class Work:
    """One open check and what it still asks for."""

    def __init__(self, check: Check, asked: Mapping[str, int], now_ns: int | None, wall_ns: int) -> None:
        self.check = check
        self.asked = dict(asked)
        """Characteristic -> samples asked for."""
        self.since_ns = now_ns
        """Monotonic time the grace runs from; None after a restart, until the first event tells the time."""
        self.since_wall_ns = wall_ns

    @property
    def can_be_missed(self) -> bool:
        return self.check.state in {CheckState.DUE, CheckState.TAKEN}

    def lacks(self, name: str) -> int:
        """How many samples of this characteristic are still to come."""
        return self.asked.get(name, 0) - sum(sample.characteristic == name for sample in self.check.samples)

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

    def wait_again(self, wall_ns: int) -> None:
        """The grace begins anew: it had to stand back."""
        self.since_ns, self.since_wall_ns = None, wall_ns

    def add(self, sample: Sample) -> None:
        late = self.check.state is CheckState.MISSED
        self.change(
            state=CheckState.MISSED if late else CheckState.TAKEN,
            late=late,
            samples=(*self.check.samples, sample),
        )

    def change(self, **facts: object) -> None:
        self.check = msgspec.structs.replace(self.check, **facts)

    def dump(self) -> Json:
        check = msgspec.to_builtins(self.check)
        return {"check": check, "asked": self.asked, "since_wall_ns": self.since_wall_ns}


def load_work(state: Json, standards: Mapping[str, Standard]) -> Work | None:
    """An open check as it was dumped.  By hand, because a sample's value is text, number or count alike."""
    if state is None:
        return None
    row = dict(state["check"])
    samples = tuple(Sample(**{**each, "value": _value(each, standards)}) for each in row.pop("samples"))
    asks = msgspec.convert(row.pop("asks"), tuple[Asked, ...])
    check = Check(**{**row, "state": CheckState(row["state"]), "samples": samples, "asks": asks})
    return Work(check, state["asked"], None, state["since_wall_ns"])


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
