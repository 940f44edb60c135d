"""What judging an event brings: verdicts, checks and their samples, weighings, notes.  Nouns, as those of model.py."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from gateway.model import Json, Priority, Severity, Value


class Verdict(msgspec.Struct, frozen=True):
    """What a rule says now, with the value and the limit it compared.  Emitted when it changes."""

    rule: str
    severity: Severity
    subject: str
    """The tag, check or device it is about."""
    text: str
    """One sentence for a person: what, value with unit, limit with unit."""
    value: Value = None
    limit: Value = None
    unit: str = "1"
    priority: Priority = Priority.MEDIUM
    halts: tuple[str, ...] = ()
    """Devices to be held; not empty only with severity HALT."""
    sampled_ns: int = 0
    """Monotonic time of the scan that led here; 0 for a tick."""
    suspects: tuple[str, ...] = ()
    """Trays since the last good check, where a check failed or was missed."""
    fleeting: bool = False
    """A single judgement (a failed check, a wrong label), not a condition that lasts."""
    blind: bool = False
    """About input that is missing or bad, not about a value: a lost link explains it."""


class Sample(msgspec.Struct, frozen=True):
    """One weighing, or one entered value, bound to a check."""

    characteristic: str
    value: Value
    """Decimal for measured and entered variables, int for attributes (count of defects)."""
    unit: str
    unit_no: int | None
    tray: str | None
    time_ns: int
    person: str
    passed: bool | None
    """None: recorded, never judged (not stable, no unit)."""
    reason: str = ""
    raw: str = ""
    """The device's own line, as text."""
    verdict: str = ""
    """pass, fail or indeterminate; empty: never judged.  `passed` is None for an indeterminate one."""
    item: str = ""
    """The tracked cartridge or group."""
    gross: Decimal | None = None
    tare: Decimal | None = None
    """What `value` is the difference of, where the gateway takes the tare off."""
    uncertainty: Decimal | None = None
    """Expanded (k = 2), where it is known."""
    reweigh: int = 0
    """0: the first weighing; 1: weighed again once ..."""
    why: str = ""
    """The reason it was weighed again."""
    superseded: bool = False
    """Weighed again: it stays in the record and counts no more."""


class LimitSet(msgspec.Struct, frozen=True):
    """One of the named sets of limits of a characteristic, in its unit."""

    name: str
    """warning, action, specification, legal."""
    low: Decimal | None
    high: Decimal | None
    of: str = "each"
    """each sample, or the mean."""
    fails: bool = False
    """Beyond it the check fails (and halts, where the rule halts); else it is a warning, or known to be worse."""


class CheckState(StrEnum):
    DUE = "due"
    TAKEN = "taken"
    """Some samples in, more to come."""
    PASSED = "passed"
    FAILED = "failed"
    MISSED = "missed"
    """Not done within its grace; a deviation.  It may still be done late."""
    INDETERMINATE = "indeterminate"
    """Done, and it proves neither; never a pass."""


class Asked(msgspec.Struct, frozen=True):
    """What a check wants of its samples: so that whoever reads a due check knows what to do."""

    name: str
    """The characteristic."""
    source: str
    """weighing, entry or tag."""
    unit: str
    n: int
    """How many samples; a count of defects is one for all units looked at."""
    units: int = 0
    """How many units are looked at: n of a variable, the plan's n of a count of defects; 0 in older records."""
    limits: tuple[LimitSet, ...] = ()
    """All sets that are known, innermost first."""
    tare: str = ""
    """paired, group or fixed, where the gateway takes the tare off."""


class Check(msgspec.Struct, frozen=True):
    """One occurrence of a sampling plan."""

    id: str
    """`<rule>#<number>`, number counted per batch from 1."""
    rule: str
    plan: str
    why: str
    """schedule, random, `after start` (stop, adjustment, release), verification, request (nobody asked for it)."""
    state: CheckState
    n: int
    """Samples asked for, of each characteristic."""
    due_ns: int
    """Wall clock when it fell due."""
    due_units: int | None
    """Unit count at which it fell due."""
    tray: str | None
    late: bool = False
    samples: tuple[Sample, ...] = ()
    closed_ns: int | None = None
    text: str = ""
    asks: tuple[Asked, ...] = ()
    """All of it, done or not."""
    plan_hash: str = ""
    """SHA-256, hex, of the plan's canonical JSON: which version of the plan this check is of."""


class CheckChange(msgspec.Struct, frozen=True):
    """A check fell due, was taken in part, was judged, was missed."""

    what: str
    """due, taken, judged, missed."""
    check: Check
    sample: Sample | None = None
    suspects: tuple[str, ...] = ()
    """Trays since the last good check, where it was judged failed, or missed."""


class Weighing(msgspec.Struct, frozen=True):
    """A weighing seen on a balance: recorded always, judged only where bound and stable."""

    rule: str
    sample: Sample
    check: str | None


class Noted(msgspec.Struct, frozen=True):
    """Something a rule found out that belongs into the record: a chart's limits."""

    rule: str
    kind: str
    """Of the record: `chart.frozen`."""
    body: Mapping[str, Json]


class Suspicion(msgspec.Struct, frozen=True):
    """Trays the machine went on to after a check did not pass: held as those are that the check itself named."""

    rule: str
    trays: tuple[str, ...]
    text: str


Finding = Verdict | CheckChange | Weighing | Noted | Suspicion
"""What the engine says of one event."""
