"""The engine: an event in, findings out.  Pure, and it knows no clock: every time comes with the event.

Per tag set the judges' closures stand ready in a tuple; a scan nobody judges costs one dict lookup.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from gateway.errors import Refused
from gateway.model import Entry, Json, Scan, Severity, TagSet, Tick
from gateway.rules.base import (
    NEVER_NS,
    NOTHING,
    Checking,
    Closure,
    Counting,
    Following,
    Group,
    Grouping,
    Judge,
    Resting,
    Sparing,
)
from gateway.verdicts import Check, CheckChange, Finding, Verdict

PART: Final = 100
"""Findings; about so many: what follows from them takes a millisecond or two."""


class Engine:
    """All rules of the line, compiled for the tag sets of its devices."""

    def __init__(self, judges: Mapping[str, Judge], tagsets: Iterable[TagSet]) -> None:
        self._judges = dict(judges)
        self._plans: dict[TagSet, Closure] = {}
        groups: list[Group] = []
        looking = _by_tagset(self._judges.values())
        for tagset in tagsets:
            closures, made = _compile(_in_order(looking.get(tagset, ()), looking[None]), tagset)
            groups += made
            if closures:
                self._plans[tagset] = closures[0] if len(closures) == 1 else _in_turn(closures)
        names = {id(judge): name for name, judge in self._judges.items()}
        self._grouped = tuple((group, tuple(names.pop(id(judge)) for judge in group.members)) for group in groups)
        self._alone = {name: self._judges[name] for name in names.values()}
        alone = self._alone.values()
        self._ticks = (*(group.tick for group in groups), *(judge.tick for judge in alone))
        self._rests = _resting((*groups, *alone))
        self._followers: dict[str, list[Following]] = {}
        self._listeners: dict[str, list[Following]] = {}
        """Of entries: those that follow the rule, and those that begin anew after its recalibration."""
        for judge in _able(self._judges.values(), Following):
            if judge.follows is not None:
                self._followers.setdefault(judge.follows, []).append(judge)
            for name in dict.fromkeys((judge.follows, *getattr(judge, "anew_after", ()))):
                if name is not None:
                    self._listeners.setdefault(name, []).append(judge)
        self._checking: tuple[Checking, ...] = tuple(_able(self._judges.values(), Checking))
        self._busy: dict[str, tuple[Sparing, ...]] = {}
        """Device -> who would take its silence for a loss."""
        self._spared_ns = 0

    def judge(self, event: Scan | Tick | Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """What changed by this event; NOTHING if nothing did.

        `now_ns` monotonic, `wall_ns` only stamps checks and samples.  Refused: an entry its rule cannot take.
        """
        if self._busy:
            self._spare(now_ns)
        if type(event) is Scan:
            plan = self._plans.get(event.tagset)
            found = NOTHING if plan is None else plan(event, now_ns)
        elif isinstance(event, Entry):
            found = self._entered(event, now_ns, wall_ns)
        else:
            return tuple(chain.from_iterable(self.tick_in_parts(now_ns, wall_ns)))
        return self._followed(found, now_ns) if found and self._followers else found

    def tick_in_parts(self, now_ns: int, wall_ns: int) -> Iterator[Sequence[Finding]]:
        """As the judgement of a Tick, in parts of few findings: ten thousand inputs may be found dead by one tick.

        What is not asked for any more is found by the next tick.
        """
        if self._busy:
            self._spare(now_ns)
        found: Sequence[Finding] = NOTHING
        for tick in self._ticks:
            new = tick(now_ns, wall_ns)
            if new:
                found = (*found, *new)
                if len(found) >= PART:
                    yield self._followed(found, now_ns)
                    found = NOTHING
        if found:
            yield self._followed(found, now_ns)

    def rests_until(self, now_ns: int) -> int:
        """No tick after `now_ns`, the last tick's time, and before this one does anything unless something else comes.

        A judge that does not say is ticked always: then it is `now_ns` itself.
        """
        if self._rests is None:
            return now_ns
        until = NEVER_NS
        for rests_until in self._rests:
            until = min(until, rests_until(now_ns))
            if until <= now_ns:
                break
        return until

    def _followed(self, found: Sequence[Finding], now_ns: int) -> Sequence[Finding]:
        """What charts say of the checks that changed comes after them."""
        more: list[Finding] = []
        for finding in found:
            if isinstance(finding, CheckChange):
                for judge in self._followers.get(finding.check.rule, ()):
                    more += judge.hear(finding, now_ns)
        return (*found, *more) if more else found

    def _entered(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        judge = self._judges.get(entry.rule)
        if judge is None:
            known = ", ".join(sorted(self._judges)) or "none"
            raise Refused("no_such_rule", f"no rule {entry.rule!r} judges now; those that do: {known}")
        found = judge.enter(entry, now_ns, wall_ns)
        for follower in self._listeners.get(entry.rule, ()):
            found = (*found, *follower.heard(entry))
        return found

    def begin(self, scans: Iterable[Scan]) -> None:
        """A batch begins: what its machines make from now on is counted, whenever the next scan of them comes."""
        scans = list(scans)
        for judge in _able(self._judges.values(), Counting):
            for scan in scans:
                judge.begin(scan)

    # -- what the gateway itself keeps silent -----------------------------------------------------

    def begin_busy(self, device: str, now_ns: int) -> None:
        """It is not polled from now on: a tare, a zero.  Its silence is nobody's fault, and not counted."""
        self._spare(now_ns)
        sparing = _able((*(group for group, _ in self._grouped), *self._judges.values()), Sparing)
        self._busy[device] = tuple(each for each in sparing if each.tagset.device == device)

    def end_busy(self, device: str, now_ns: int) -> None:
        self._spare(now_ns)
        self._busy.pop(device, None)

    def take_over(self, older: Engine) -> None:
        """What is busy while the rules change stays so."""
        for device in older._busy:
            self.begin_busy(device, older._spared_ns)

    def _spare(self, now_ns: int) -> None:
        ns, self._spared_ns = now_ns - self._spared_ns, now_ns
        for waiting in self._busy.values():
            for each in waiting:
                each.spare(ns, now_ns)

    def current(self, rule: str) -> Verdict | None:
        """The verdict that stands; None before the first input, and for a rule that does not judge now."""
        judge = self._judges.get(rule)
        return None if judge is None else judge.current()

    def dump(self) -> dict[str, Json]:
        """State by rule, of those that have any."""
        states = {name: judge.dump() for name, judge in self._judges.items()}
        return {name: state for name, state in states.items() if state is not None}

    def changed(self) -> dict[str, Json]:
        """State by rule, of those that changed since this was last asked; None: it has none any more."""
        states: dict[str, Json] = {}
        _gather(self._alone.items(), states)
        for group, names in self._grouped:
            if group.stirred():
                _gather(zip(names, group.members, strict=True), states)
        return states

    def load(self, states: Mapping[str, Json]) -> None:
        """Go on from dumped states; those of rules that are gone are ignored."""
        for name, state in states.items():
            if name in self._judges and state is not None:
                self._judges[name].load(state)

    def suspects(self, check: Check) -> Sequence[str]:
        """Trays under suspicion if this open check is not done."""
        judge = self._judges.get(check.rule)
        return judge.suspects() if isinstance(judge, Checking) else ()

    def unproven(self) -> Iterator[tuple[Verdict, list[str]]]:
        """Where a check that was not passed stands: trays it did not name, and that no good one vouches for."""
        for judge in self._checking:
            verdict = judge.current()
            if verdict is not None and verdict.severity >= Severity.ALARM:
                trays = [tray for tray in judge.suspects() if tray not in verdict.suspects]
                if trays:
                    yield verdict, trays

    def checks(self) -> list[Check]:
        """Open checks of all rules that ask for them."""
        return [check for judge in self._checking for check in judge.checks()]


def _gather(judges: Iterable[tuple[str, Judge]], states: dict[str, Json]) -> None:
    for name, judge in judges:
        if judge.dirty:
            judge.dirty = False
            states[name] = judge.dump()


def _able(judges: Iterable[Any], protocol: Any) -> Iterator[Any]:
    """Those that are so.  One of each kind is looked at: to look at ten thousand takes a quarter of a second."""
    able: dict[type, bool] = {}
    for judge in judges:
        kind = type(judge)
        if kind not in able:
            able[kind] = isinstance(judge, protocol)
        if able[kind]:
            yield judge


def _resting(ticking: Sequence[Group | Judge]) -> tuple[Callable[[int], int], ...] | None:
    """What says until when ticks are idle; None where one does not say."""
    resting = tuple(each.rests_until for each in _able(ticking, Resting))
    return resting if len(resting) == len(ticking) else None


def _by_tagset(judges: Iterable[Judge]) -> Mapping[TagSet | None, Sequence[tuple[int, Judge]]]:
    """Numbered judges by the one tag set they look at; under None those that look at several.

    Ten thousand rules over a hundred devices are usual: none is asked for all of them.
    """
    found: dict[TagSet | None, list[tuple[int, Judge]]] = {None: []}
    for number, judge in enumerate(judges):
        found.setdefault(getattr(judge, "tagset", None), []).append((number, judge))
    return found


def _in_order(*numbered: Sequence[tuple[int, Judge]]) -> list[Judge]:
    return [judge for _, judge in heapq.merge(*numbered, key=itemgetter(0))]


def _compile(judges: Iterable[Judge], tagset: TagSet) -> tuple[list[Closure], list[Group]]:
    """The closures for scans of this tag set: those of groups first, then of judges for themselves."""
    kinds: dict[type, list[Judge]] = {}
    for judge in judges:
        kinds.setdefault(type(judge), []).append(judge)
    groups = [
        group
        for same in kinds.values()
        if isinstance(same[0], Grouping) and (group := same[0].group(same, tagset)) is not None
    ]
    members = {id(judge) for group in groups for judge in group.members}
    plans = [judge.plan(tagset) for same in kinds.values() for judge in same if id(judge) not in members]
    return [*(group.scan for group in groups), *(plan for plan in plans if plan is not None)], groups


def _in_turn(closures: Sequence[Closure]) -> Closure:
    def judge(scan: Scan, now_ns: int) -> Sequence[Finding]:
        found: Sequence[Finding] = NOTHING
        for closure in closures:
            new = closure(scan, now_ns)
            if new:
                found = (*found, *new)
        return found

    return judge
