"""One rule set through the data: the engine and the deriver of the line, in the order in which the line calls them.

The line ticks each tenth of a second.  Here ticks stand on the same grid of data time, and those are passed over of
which every judge says that they do nothing (`Resting`); `every_tick` leaves none out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gateway.backtest.ruleset import Ruleset
from gateway.backtest.taken import TAKES
from gateway.backtest.terms import Due
from gateway.derive.deriver import Derived
from gateway.errors import Refused
from gateway.model import Scan, TagSet, Tick
from gateway.verdicts import CheckChange, Finding

GRID_NS: Final = 100_000_000
SAMPLES: Final = (*TAKES, "value")
_TICK: Final = Tick()

Tell = Callable[[int, Finding], None]
"""`tell(time_ns, finding)`."""


class Player:
    """Takes scans in the order of time."""

    def __init__(
        self, rules: Ruleset, tell: Tell, *, every_tick: bool = False, see: Callable[[Scan], None] | None = None
    ) -> None:
        """`see`: shown every scan that is judged, derived ones, too."""
        self._engine, self._deriver = rules.engine, rules.deriver
        self._tell = tell
        self._every_tick = every_tick
        self._see = see
        self._ticked_ns: int | None = None
        self._next_ns = 0
        self.ticks = 0
        self._entries = deque(rules.entries)
        """What people brought, still to come."""
        self._rules, self._begins_ns = rules, rules.started_ns
        self._before: dict[TagSet, Scan] = {}
        """What each device showed last before the batch began."""
        self._ended_ns = self._ends_ns = rules.ended_ns
        self._of_batch = frozenset(name for name, each in rules.configs.items() if each.needs_batch)
        self._turns = deque(sorted(_turns(rules)))
        """When devices become busy, and when they are polled again."""
        self.refused = 0
        """Takes and entries that fitted nothing."""
        self.why_refused = ""
        self.unbound: list[Due] = []
        """Takes whose weight the data lacks."""

    def take(self, scan: Scan) -> None:
        """Ticks that were due before it; then it is judged, and after it what is computed from it."""
        if scan.mono_ns >= self._next_ns:
            self._tick_before(scan.mono_ns)
        if self._turns:
            self._turn(scan.mono_ns)
        if self._begins_ns is not None and scan.time_ns >= self._begins_ns:
            self._begin()
        elif self._begins_ns is not None:
            self._before[scan.tagset] = scan
        if self._ends_ns is not None and scan.time_ns > self._ends_ns:
            self._ends_ns = None
            self._derive_for(None)
        if self._entries and self._entries[0].time_ns <= scan.time_ns:
            self._enter_before(scan)
        self._judge(scan)

    def _begin(self) -> None:
        """What was counted and added up before the batch is not its own."""
        self._begins_ns, older = None, self._engine
        self._engine = self._rules.begun()
        self._engine.take_over(older)
        self._engine.begin(self._before.values())
        self._derive_for(self._rules.context.batch)

    def _derive_for(self, batch: str | None) -> None:
        if self._deriver is not None:
            self._deriver.begin(batch)

    def _enter_before(self, scan: Scan) -> None:
        """What was brought before this scan was seen."""
        while self._entries and self._entries[0].time_ns <= scan.time_ns:
            due = self._entries.popleft()
            if due.binds and scan.time_ns > due.time_ns + 1:
                self.unbound.append(due)
                continue
            try:
                self._told(scan.mono_ns, self._engine.judge(due.entry, scan.mono_ns, due.time_ns))
            except Refused as refusal:  # other rules ask for other samples
                self.refused += 1
                self.why_refused = self.why_refused or f"{due.entry.rule}: {refusal}"

    def left(self, until_ns: int | None) -> list[Due]:
        """Samples that were not judged, as the data lacks their moment or ends before it."""
        after = (due for due in self._entries if due.entry.kind in SAMPLES)
        return [*self.unbound, *(due for due in after if until_ns is None or due.time_ns <= until_ns)]

    def _judge(self, scan: Scan) -> None:
        now_ns = scan.mono_ns
        findings = self._engine.judge(scan, now_ns, scan.time_ns)
        if findings:
            self._told(now_ns, findings)
        if self._see is not None:
            self._see(scan)
        if self._deriver is not None:
            for made in self._deriver.derive(scan):
                self._judge(_derived(made, scan))

    def _tick_before(self, now_ns: int) -> None:
        """Every tick before `now_ns` at which anything can happen."""
        if self._ticked_ns is None:
            self._ticked_ns = now_ns - now_ns % GRID_NS
        while (due_ns := self._due(self._ticked_ns)) < now_ns:
            self._turn(due_ns)
            findings = self._engine.judge(_TICK, due_ns, due_ns)
            self.ticks += 1
            if findings:
                self._told(due_ns, findings)
            self._ticked_ns = due_ns
        passed_ns = now_ns - 1
        self._ticked_ns = max(self._ticked_ns, passed_ns - passed_ns % GRID_NS)
        self._next_ns = self._ticked_ns + GRID_NS + 1

    def _turn(self, now_ns: int) -> None:
        """Devices that were tared up to now: their silence is not counted."""
        while self._turns and self._turns[0][0] <= now_ns:
            at_ns, begins, device = self._turns.popleft()
            (self._engine.begin_busy if begins else self._engine.end_busy)(device, at_ns)

    def _due(self, ticked_ns: int) -> int:
        next_ns = ticked_ns + GRID_NS
        if self._every_tick:
            return next_ns
        until_ns = self._engine.rests_until(ticked_ns)
        return max(next_ns, until_ns + -until_ns % GRID_NS)

    def _told(self, now_ns: int, findings: Sequence[Finding]) -> None:
        """What judges in a batch begins and ends with it: what a plan had open then is not missed."""
        idle = self._begins_ns is not None or (self._ended_ns is not None and now_ns > self._ended_ns)
        for finding in findings:
            if not idle or _rule(finding) not in self._of_batch:
                self._tell(now_ns, finding)


def _turns(rules: Ruleset) -> Iterator[tuple[int, bool, str]]:
    """(time, is it busy from then on?, device), what is derived from one along with it."""
    for each in rules.busy:
        if each.device in rules.settings.devices and each.until_ns > each.since_ns:
            for device in rules.settings.fed_by(each.device):
                yield each.since_ns, True, device
                yield each.until_ns, False, device


def _rule(finding: Finding) -> str:
    return finding.check.rule if isinstance(finding, CheckChange) else finding.rule


def _derived(made: Derived, source: Scan) -> Scan:
    return Scan(made.tagset, 0, source.time_ns, source.mono_ns, made.values, made.faults)
