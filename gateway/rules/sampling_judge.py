"""One sampling rule at work: it reads the machine, watches the pan with others, and leaves the checks to their desk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.ledger.canonical import canonical
from gateway.model import Entry, Json, Scan, Severity, TagSet, TagSpec, Value
from gateway.plans import Plan
from gateway.rules.agenda import At
from gateway.rules.base import NOTHING, Closure, RuleContext
from gateway.rules.checks import Checks
from gateway.rules.inputs import S_NS, locate, unusable
from gateway.rules.instrument import Instrument
from gateway.rules.outcomes import Terms
from gateway.rules.pan import EMPTY_BELOW, Pan
from gateway.rules.production import Production
from gateway.rules.scale import Scale
from gateway.rules.standard import NONE, standard
from gateway.rules.takes import Take
from gateway.rules.triggers import Triggers
from gateway.verdicts import Check, Finding, Sample, Verdict

if TYPE_CHECKING:
    from gateway.rules.sampling import SamplingConfig

KEEP_EVERY_NS: Final = 5 * S_NS
"""Running time alone is worth keeping this often: a kill -9 makes a check late by no more."""
EXECUTE: Final = (6,)
"""PackML."""
EVENTS: Final[Mapping[str, str]] = {"adjusted": "adjustment", "released": "release"}
"""Entries that are events of the line -> what a plan's `after` calls them."""


class SamplingJudge:
    """Reads the machine, watches the pan, and leaves the checks to its desk."""

    def __init__(self, name: str, config: SamplingConfig, context: RuleContext) -> None:
        self.name = name
        self.dirty = False
        self._config = config
        self._batch = context.batch
        self._count = locate(context, config.count) if config.count else None
        self._running = locate(context, config.running) if config.running else None
        self._tray = locate(context, config.tray) if config.tray else None
        _read_as_number(self._count, f"`count`: {config.count}")
        _read_as_number(self._running, f"`running`: {config.running}")
        places = {name: locate(context, tag) for name, tag in config.tags.items()}
        weight = locate(context, config.weight) if config.weight else None
        self._standards = {
            each.name: standard(each, _spec(weight if each.source == "weighing" else places.get(each.name)))
            for each in config.plan.characteristics
        }
        self._production = Production(
            context.batch, context.tray_size, counts=self._count is not None, tray_tag=self._tray is not None
        )
        self._production.running = self._running is None
        scale = _scale(config, context)
        self._checks = Checks(_terms(name, config, context), self._standards, self._production, scale)
        self._instruments = {each: Instrument(*place, self) for each, place in places.items()}
        self._checks.sources.update(self._instruments)
        self.pan: Pan | None = None
        if weight is not None:
            targets = [each.about() for each in self._standards.values() if each.weighed]
            empty_below = EMPTY_BELOW * min(targets, default=NONE)
            self._seat(Pan(*weight, empty_below, round(config.settle_s * S_NS)))
        self._triggers = Triggers(config.plan, _seed(name, config, context), self._production)
        self._kept_ns = 0

    # -- the Judge contract -----------------------------------------------------------------------

    @staticmethod
    def group(judges: Sequence[SamplingJudge], tagset: TagSet) -> PanGroup | None:
        members = [judge for judge in judges if judge.weighs_on is tagset]
        return PanGroup(members) if members else None

    def plan(self, tagset: TagSet) -> Closure | None:
        """The machine's tags; the pan is looked at by the group."""
        if self.weighs_on is tagset:
            return PanGroup([self]).scan
        return self.machine if self.reads(tagset) else None

    def begin(self, scan: Scan) -> None:
        """Where the counter stood when the batch began."""
        if self._count is not None and self._count[0] is scan.tagset and unusable(scan, self._count[1]) is None:
            self._production.count(int(scan.values[self._count[1]]), scan.mono_ns, scan.time_ns)  # type: ignore[arg-type]
            self.dirty = True

    @property
    def weighs_on(self) -> TagSet | None:
        return self.pan.tagset if self.pan is not None else None

    def reads(self, tagset: TagSet | None) -> bool:
        """Are tags of the machine or of an instrument on it?"""
        places = (self._count, self._running, self._tray)
        by_machine = any(place is not None and place[0] is tagset for place in places)
        return by_machine or any(each.tagset is tagset for each in self._instruments.values())

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        if self.pan is not None:
            self.pan.expire(now_ns, wall_ns)
        for instrument in self._instruments.values():
            instrument.expire(now_ns, wall_ns)
        self._pass_time(now_ns, wall_ns)
        return self._follow(now_ns, wall_ns)

    def enter(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """A take, a value, an event of the line.  Refused: no such check or characteristic, wrong unit, armed already.

        What happened at the line (`adjusted`, `released`) makes a check fall due where the plan says so.
        """
        self.dirty = True
        self._pass_time(now_ns, wall_ns)
        event = EVENTS.get(entry.kind)
        if event is not None:
            return self._follow(now_ns, wall_ns) if self._triggers.note(event) else NOTHING
        return self._checks.enter(entry, At(now_ns, wall_ns))

    def unsettled(self, take: Take | None) -> None:
        self.dirty = True
        self._checks.unsettled(take)

    def bind(self, take: Take, sample: Sample, scan: Scan) -> Sequence[Finding]:
        """The pan has the weight that a take waited for."""
        self.dirty = True
        return self._checks.bind(take, sample, scan)

    def current(self) -> Verdict | None:
        return self._checks.standing

    def checks(self) -> Sequence[Check]:
        return self._checks.open()

    def suspects(self) -> Sequence[str]:
        return self._production.suspects()

    def dump(self) -> Json:
        return {
            "batch": self._batch,
            "production": self._production.dump(),
            "pan": self.pan.dump() if self.pan is not None else None,
            "seen": {name: each.seen for name, each in self._instruments.items()},
            **self._triggers.dump(),
            **self._checks.dump(),
        }

    def load(self, state: Json) -> None:
        """Goes on where it was, if it is still the same batch."""
        if not state or state["batch"] != self._batch:
            return
        self._production.load(state["production"])
        self._kept_ns = self._production.produced_ns
        self._triggers.load(state)
        self._checks.load(state)
        if self.pan is not None and state["pan"]:
            self.pan.load(state["pan"])
        for name, seen in state.get("seen", {}).items():
            if name in self._instruments:
                self._instruments[name].seen = seen

    # -- the machine ------------------------------------------------------------------------------

    def machine(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        """Units, trays, running or not; then what fell due by it."""
        production = self._production
        self._pass_time(now_ns, scan.time_ns)
        found: list[Finding] = []
        for instrument in self._instruments.values():
            if instrument.tagset is scan.tagset:
                found += instrument.scan(scan, now_ns)
        made = 0
        self._look(scan)
        if self._count is not None and self._count[0] is scan.tagset and unusable(scan, self._count[1]) is None:
            first = production.units is None
            made = production.count(int(scan.values[self._count[1]]), now_ns, scan.time_ns)  # type: ignore[arg-type]
            self.dirty = self.dirty or first
        if self._tray is not None and self._tray[0] is scan.tagset:
            tray = scan.values[self._tray[1]]
            if isinstance(tray, str) and production.see_tray(tray, made):
                self.dirty = True
        if self._running is not None and self._running[0] is scan.tagset and unusable(scan, self._running[1]) is None:
            running = self._is_running(scan.values[self._running[1]])
            self.dirty = self.dirty or running is not production.running
            production.running = running
        more_suspect = self._checks.went_on()
        if more_suspect is not None:
            self.dirty = True
            found.append(more_suspect)
        more = self._follow(now_ns, scan.time_ns)
        return (*found, *more) if found else more

    def _look(self, scan: Scan) -> None:
        """Does the machine say what it made?"""
        place = self._count or self._tray
        if place is None or place[0] is not scan.tagset:
            return
        in_sight = unusable(scan, place[1]) is None if self._count else isinstance(scan.values[place[1]], str)
        self.dirty = self.dirty or in_sight is not self._production.in_sight
        self._production.in_sight = in_sight

    def _is_running(self, state: Value) -> bool:
        """A number of a state, or simply true; of a signal that is false while it runs, 0 is the state."""
        states = self._config.running_states
        return state if isinstance(state, bool) and states == EXECUTE else state in states

    def _pass_time(self, now_ns: int, wall_ns: int) -> None:
        production = self._production
        production.pass_time(now_ns, wall_ns, self._triggers.longest_ns)
        if production.produced_ns - self._kept_ns >= KEEP_EVERY_NS:
            self._kept_ns, self.dirty = production.produced_ns, True

    def _follow(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """What is due by now, in its order, and what is overdue."""
        found: list[Finding] = []
        at = At(now_ns, wall_ns)
        for due in self._triggers.due(event_open=self._checks.event_open):
            self._checks.fall_due(due, at, found)
        self._checks.follow(at, found)
        if not found:
            return NOTHING
        self.dirty = True
        return found

    def _seat(self, pan: Pan) -> None:
        self.pan = pan
        self._checks.sources.update({each.name: pan for each in self._standards.values() if each.weighed})
        if self not in pan.members:
            pan.members.append(self)

    def share(self, pan: Pan) -> None:
        """Weigh on the same pan as others; what was armed or on it goes along."""
        mine = self.pan
        if mine is None or mine is pan:
            return
        if mine.take is not None and mine.take.rule == self.name:
            pan.restore(mine.take, round(self._config.take_within_s * S_NS))
        pan.join(mine)
        self._seat(pan)


class PanGroup:
    """Sampling rules on one balance: a weighing is one rule's, and is recorded once."""

    def __init__(self, members: Sequence[SamplingJudge]) -> None:
        self.members = tuple(members)
        pans: dict[int, Pan] = {}
        for judge in members:
            if judge.pan is not None:
                judge.share(pans.setdefault(judge.pan.position, judge.pan))
        self._scans = [judge.machine for judge in members if judge.reads(judge.weighs_on)]
        self._scans += [pan.scan for pan in pans.values()]

    def scan(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        found: Sequence[Finding] = NOTHING
        for look in self._scans:
            new = look(scan, now_ns)
            if new:
                found = (*found, *new)
        return found

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        found: Sequence[Finding] = NOTHING
        for judge in self.members:
            new = judge.tick(now_ns, wall_ns)
            if new:
                found = (*found, *new)
        return found

    def stirred(self) -> bool:
        """They are few."""
        return True


def _seed(name: str, config: SamplingConfig, context: RuleContext) -> str:
    """What random checks are drawn by: the auditor's words (docs/plans.md)."""
    words = f"{context.batch or ''}/{name}/{config.plan.name}"
    return f"{config.secret}/{words}" if config.secret else words


def _read_as_number(place: tuple[TagSet, int] | None, what: str) -> None:
    """ValueError: a text would never count, nor ever run."""
    spec = _spec(place)
    if spec is not None and spec.kind == "text":
        raise ValueError(f"{what} is text; it takes a tag that is a number")


def _spec(place: tuple[TagSet, int] | None) -> TagSpec | None:
    return None if place is None else place[0].specs[place[1]]


def _scale(config: SamplingConfig, context: RuleContext) -> Scale | None:
    """As the last check of its repeatability found it."""
    found = context.scales.get(config.weight.partition("/")[0]) if config.weight else None
    return config.scale.found(Decimal(found[0]), found[1]) if config.scale and found else config.scale


def plan_hash(plan: Plan) -> str:
    """SHA-256, hex, of the plan's canonical JSON: what check records name as the version they are of."""
    return hashlib.sha256(canonical(plan.model_dump(mode="json", by_alias=True))).hexdigest()


def _terms(name: str, config: SamplingConfig, context: RuleContext) -> Terms:
    return Terms(
        rule=name,
        plan=config.plan,
        plan_hash=plan_hash(config.plan),
        halts=config.halt,
        missed=Severity.HALT if config.missed == "halt" else Severity.ALARM,
        priority=config.alarm,
        advice=config.text,
        take_within_ns=round(config.take_within_s * S_NS),
        verification_units=context.verification_units,
        tray_size=context.tray_size,
    )
