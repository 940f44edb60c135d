"""The crossroads: a scan comes in, is judged, acted on, stored.  Synchronous, no queue, no wait.

Station --scan--> Line.take -- engine.judge --> verdicts
                    |  1. halts: the stations hear of them now
                    |  2. alarms, checks, batch: changed, noted
                    |  3. journal.commit: one transaction to the evidence store (never waited for)
                    |  4. telemetry.put, live sinks
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import msgspec
import structlog

from gateway.derive.deriver import Derived
from gateway.halts import Halt, Needs
from gateway.journal import Journal
from gateway.line.acts import Acts
from gateway.line.alarms import Alarms
from gateway.line.batch import Run
from gateway.line.checks import CheckBook
from gateway.line.clock import WallClock
from gateway.line.consumers import Consumers
from gateway.line.contradiction import Contradictions
from gateway.line.halts import HALT_FAILED, Holds
from gateway.line.handling import Handling
from gateway.line.links import Links
from gateway.line.pauses import Pauses
from gateway.line.releases import NO_RECORD, Releases, alarm_of
from gateway.line.sight import Sight
from gateway.line.suppression import Suppression
from gateway.model import Entry, HaltProof, Json, Priority, Scan, Severity
from gateway.rules.engine import Engine
from gateway.verdicts import CheckChange, Finding, Noted, Suspicion, Verdict
from gateway.world import World

log = structlog.get_logger()

TICK_S: Final = 0.1
TICK_NS: Final = 100_000_000
TIMER_S: Final = 0.001
"""A timer may ring a millisecond early."""
KEEP_RULES_TICKS: Final = 10
"""Running time and counters of rules are kept once a second: a kill -9 costs no more of them."""
HEAD_START_S: Final = 0.002
"""The halt write goes out before anything is sealed: sealing and showing take some hundred microseconds."""


class TelemetryPort(Protocol):
    def put(self, scan: Scan) -> None: ...


class Line:
    """The only owner of the state of alarms, halts, checks and batch."""

    def __init__(self, run: Run, holds: Holds, journal: Journal, telemetry: TelemetryPort, world: World) -> None:
        self.run = run
        self.holds = holds
        self.checks = CheckBook(journal, run)
        self.acts = Acts(journal, run, self.enter)
        self.latest: dict[str, Scan] = {}
        self.next_seq: Callable[[], int] = itertools.count(1).__next__
        """Numbers scans, gateway-wide and without a gap."""
        self.live: list[Callable[[Scan], None]] = []
        """Sinks that take scans as they come."""
        self.progress = 0
        self.unrecorded = ""
        """Why nothing can be recorded now; empty while all is well."""
        self._journal = journal
        self._telemetry = telemetry
        self._world = world
        self._unnoted: list[tuple[Sequence[Finding], str]] = []
        self._head_start = False
        """A halt was ordered this very moment: nothing is sealed, stored or sent until the station had its turn."""
        self._contradictions, self._sight = Contradictions(run.counters), Sight(holds)
        self._timed_ns = 0
        """The overdue hold for which a timer is set; loop time."""
        self._behind: list[Scan] = []
        journal.before.append(self._note_findings)
        self.alarms = Alarms(journal, world, lambda: run.running)
        self._handling = Handling(self.alarms, world)
        self.clock = WallClock(self.alarms, journal, world, lambda: (run.running, run.producing))
        self._pauses = Pauses(self.alarms, journal, lambda: (run.running, run.producing))
        self.suppression = Suppression(run.rules, self.latest, self.alarms.standing)
        self.suppression.holds = self.alarms.holds
        self.alarms.suppression = self.suppression
        self.alarms.dependents.rules = run.rules
        self.alarms.latched = holds.standing.__contains__
        self.alarms.hold = self._hold
        self.alarms.owners[HALT_FAILED] = lambda device: device in holds.stations or bool(holds.of(device))
        self.alarms.known = run.rules.__contains__
        self.alarms.longest_shelf_s = run.rules.longest_shelf_s
        self.links = Links(self.alarms, self.suppression, journal, world, lambda: run.running)
        self.links.losses = run.rules.flapping_from
        self.identities = self.links.identities
        self._releases = Releases(run, holds, self.alarms, journal, self._judge, lambda: self.unrecorded)
        self.consumers = Consumers(journal.board, self.alarms, self.commit)
        journal.on_mended = partial(self.alarms.tell, "gateway:journal")
        run.on_dropped = self._drop
        holds.alarm = self.alarms.take

    # -- the way of one reading ------------------------------------------------------------------

    def take(self, scan: Scan, *, keep: bool = True) -> None:
        """Judge, halt, note, keep.  Called by stations; returns at once."""
        findings = self.run.engine.judge(scan, scan.mono_ns, scan.time_ns)
        if findings:
            self._act(findings, scan.time_ns, scan.mono_ns)
        device = scan.tagset.device
        self.latest[device] = scan
        if scan.held is not None:
            self._watch(scan, device)
        elif self.holds.standing:
            self._sight.silent(device, scan.mono_ns)
        if device in self.run.watched:
            self.run.count(scan)
        self.commit()
        if keep:
            self._behind.append(scan)
            if not self._head_start:
                self._pass_on()
        deriver = self.run.rules.deriver
        if deriver is not None:
            for made in deriver.derive(scan):
                self._take_derived(made, scan, keep=keep)

    def _take_derived(self, made: Derived, source: Scan, *, keep: bool) -> None:
        """What was computed goes the way of what was measured."""
        seq = self.next_seq() if keep else 0
        derived = Scan(made.tagset, seq, source.time_ns, source.mono_ns, made.values, made.faults)
        self.take(derived, keep=keep)

    def _pass_on(self) -> None:
        """To the telemetry store and the live sinks, in order; what a halt held back goes behind it."""
        for scan in self._behind:
            self._telemetry.put(scan)
            for offer in self.live:
                offer(scan)
        self._behind.clear()

    def _watch(self, scan: Scan, device: str) -> None:
        position = scan.tagset.index.get("state")
        state = scan.values[position] if position is not None else None
        self.holds.watch(device, bool(scan.held), state, self.run.producing, scan.mono_ns)
        self._sight.seen(device)
        counter = self._contradictions.see(scan)
        if counter:
            self.holds.contradicted(device, counter)

    def _act(self, findings: Sequence[Finding], wall_ns: int, mono_ns: int, by: str = "gateway") -> None:
        """Halts first: every station has its order, and its head start, before anything is noted."""
        for finding in findings:
            if isinstance(finding, Verdict) and finding.halts and (machines := self.alarms.to_hold(finding)):
                asked = finding if machines == finding.halts else msgspec.structs.replace(finding, halts=machines)
                self.holds.demand(asked, self._needs(finding), self.run.running, wall_ns, mono_ns)
                self._give_head_start()
        self._unnoted.append((findings, by))

    def _hold(self, verdict: Verdict) -> None:
        """What another rule's latch was enough for has a latch of its own from now on."""
        mono_ns = int(asyncio.get_running_loop().time() * 1e9)
        self.holds.demand(verdict, self._needs(verdict), self.run.running, self._world.time_ns(), mono_ns)

    def _give_head_start(self) -> None:
        if not self._head_start:
            self._head_start = True
            asyncio.get_running_loop().call_later(HEAD_START_S, self._catch_up)

    def _catch_up(self) -> None:
        """The station had its turn: note and commit what waited for it."""
        self._head_start = False
        self.commit()
        self._pass_on()

    def commit(self) -> None:
        """Note and seal what happened; while a halt has its head start, `_catch_up` will."""
        if not self._head_start:
            self._journal.commit()

    def _note_findings(self) -> None:
        """Before a commit: what the findings since the last one mean: alarms, checks, weighings, rule states."""
        if not self._unnoted:
            return
        self.holds.say()
        unnoted, self._unnoted = self._unnoted, []
        for findings, by in unnoted:
            for finding in findings:
                if isinstance(finding, Verdict):
                    self._alarm(finding)
                elif isinstance(finding, CheckChange):
                    self.checks.changed(finding, by)
                elif isinstance(finding, Suspicion):
                    self.run.suspect(finding.trays, finding.text)
                elif isinstance(finding, Noted):
                    self._journal.note(finding.kind, dict(finding.body), batch=self.run.running)
                else:
                    self.checks.weighed(finding, by)
        self._keep_rules()

    def _keep_rules(self) -> None:
        for rule, state in self.run.engine.changed().items():
            self._journal.keep("rule", rule, state)
        for device, state in self.run.rules.changed_derived().items():
            self._journal.keep("derived", device, state)

    def demand(self, verdict: Verdict) -> None:
        """A halt for a cause of the gateway's own."""
        mono_ns = int(asyncio.get_running_loop().time() * 1e9)
        self._act((verdict,), self._world.time_ns(), mono_ns)

    def _needs(self, verdict: Verdict) -> Needs:
        if not verdict.fleeting or verdict.rule == NO_RECORD:
            return Needs.CONDITION_GONE
        return Needs.RECALIBRATION if self.run.rules.is_sampling(verdict.rule) else Needs.CORRECTION

    # -- alarms ----------------------------------------------------------------------------------

    def _alarm(self, verdict: Verdict) -> None:
        if verdict.suspects:
            self.run.suspect(verdict.suspects, verdict.text)
        self.alarms.take(verdict)

    def _drop(self, rules: Collection[str], batch: str) -> None:
        """Their batch ended, and they judge no longer."""
        self._note_findings()
        self.alarms.drop(rules, f"batch {batch} ended; the rule judges no longer", batch)

    def asked(self) -> Handling:
        """The alarms as they stand at this moment, for what a person wants of them."""
        self._note_findings()
        return self._handling

    # -- checks ----------------------------------------------------------------------------------

    def enter(self, entry: Entry) -> None:
        """A take, an entered value, a recalibration.  Refused by the rule if it does not fit."""
        self._judge(entry)
        self.commit()

    def _judge(self, entry: Entry) -> None:
        mono_ns = int(asyncio.get_running_loop().time() * 1e9)
        wall_ns = self._world.time_ns()
        findings = self.run.engine.judge(entry, mono_ns, wall_ns)
        self._act(findings, wall_ns, mono_ns, by=entry.person)

    async def settled(self) -> None:
        """Wait out the head start of a halt that was just ordered."""
        if self._head_start:
            await asyncio.sleep(HEAD_START_S)

    # -- halts: what stations say, what people release -------------------------------------------

    def commanded(self, halt_id: str) -> None:
        self.holds.commanded(halt_id, int(asyncio.get_running_loop().time() * 1e9))

    def confirmed(self, halt_id: str, proof: HaltProof) -> None:
        self._note_findings()
        self.holds.confirmed(halt_id, proof)
        self._journal.commit(urgent=True)

    def not_held(self, halt_id: str, reason: str) -> None:
        self.holds.not_held(halt_id, reason)
        self.commit()

    def withdrawn(self, device: str) -> None:
        self.holds.withdrawn(device)
        self.commit()

    async def release(self, halt_id: str, seen: int, person: str, reason: str, recalibration: str) -> None:
        """Guarded, recorded, then let go.  Raises Refused, and StoreError where it could not be recorded."""
        self._note_findings()
        await self._releases.release(halt_id, seen, person, reason, recalibration)

    # -- devices ---------------------------------------------------------------------------------

    def connected(self, device: str, identity: Mapping[str, str]) -> None:
        self.links.connected(device, identity)
        self.commit()

    def lost(self, device: str, reason: str) -> None:
        self.links.lost(device, reason)
        self._sight.lost(device)
        self.commit()

    # -- the one timer ---------------------------------------------------------------------------

    async def tick_for_ever(self) -> None:
        """Staleness, delays, overdue checks and halts, clock steps."""
        loop = asyncio.get_running_loop()
        rang_s = loop.time()
        while True:
            due_s = rang_s + TICK_S
            await asyncio.sleep(TICK_S)
            rang_s = loop.time()
            self._pauses.rang(int(rang_s * 1e9), int((rang_s - due_s) * 1e9))
            self.tick(int(loop.time() * 1e9))

    def farewell(self) -> None:
        """What was to be told later is told now: the gateway ends."""
        self._pauses.farewell()
        self.clock.farewell()

    def tick(self, mono_ns: int) -> None:
        """A tenth of a second went by."""
        self.progress += 1
        wall_ns = self._world.time_ns()
        self._judge_tick(self.run.engine, self.run.engine.tick_in_parts(mono_ns, wall_ns), wall_ns, mono_ns)
        self._fail_overdue(mono_ns)
        self.links.tick()
        self.alarms.review()
        self.clock.tick(mono_ns, wall_ns)
        if self.progress % KEEP_RULES_TICKS == 0:
            self._keep_rules()
        self.commit()

    def _judge_tick(self, engine: Engine, parts: Iterator[Sequence[Finding]], wall_ns: int, mono_ns: int) -> None:
        """The next part; the one after it once the loop has gone round.  Of an engine that was replaced: no more."""
        findings = next(parts, None) if engine is self.run.engine else None
        if findings is not None:
            self._act(findings, wall_ns, mono_ns)
            asyncio.get_running_loop().call_soon(self._go_on, engine, parts, wall_ns, mono_ns)

    def _go_on(self, engine: Engine, parts: Iterator[Sequence[Finding]], wall_ns: int, mono_ns: int) -> None:
        self._judge_tick(engine, parts, wall_ns, mono_ns)
        self.commit()

    def _fail_overdue(self, mono_ns: int) -> None:
        """HALT FAILED at its very moment: where that comes before the next tick, nobody waits for the tick."""
        self.holds.tick(mono_ns)
        due_ns = self.holds.due_ns()
        loop = asyncio.get_running_loop()
        if due_ns is not None and due_ns != self._timed_ns and due_ns - mono_ns < TICK_NS:
            self._timed_ns = due_ns
            loop.call_at(due_ns / 1e9 + TIMER_S, self._overdue_now)

    def _overdue_now(self) -> None:
        self._fail_overdue(int(asyncio.get_running_loop().time() * 1e9))
        self.commit()

    # -- the last run ----------------------------------------------------------------------------

    def restore(
        self,
        load: Callable[[str], Mapping[str, Json]],
        latches: Mapping[str, Json] | None,
        known: Collection[str],
        mono_ns: int,
        newest_ns: int = 0,
    ) -> None:
        """What stood at the last stop stands again, latches first: no station starts before it knows its orders.

        `load`: the state rows of a kind.  `latches`: the latch file, the second home of halts; None: it is gone.
        `known`: devices and sinks there are; alarms of others are over.  `newest_ns`: time of the newest record.
        """
        self.clock.begin(newest_ns, load("clock"), load("batch"))
        self.alarms.restore(load("alarm"))
        rows = load("halt")
        self.holds.restore(rows, latches or {}, mono_ns, load("released"))
        self.run.rules.scales |= {device: (row[0], row[1]) for device, row in load("scale").items()}
        self.run.restore()
        self.holds.compare(rows, latches, self.run.running)
        for halt in self.holds.standing.values():
            self._vouch(halt, stored=halt.id in rows)
        self.alarms.drop_unknown(lambda name: name in self.run.rules or name in known)
        self.clock.show()
        self.holds.show()
        self.checks.show()

    def _vouch(self, halt: Halt, *, stored: bool) -> None:
        """A latch that comes back without its alarm (the ledger was lost) is acknowledged before it is released.

        Of one that only the file knows, an alarm that is over is that of the halt before it.
        """
        name = alarm_of(halt)
        if name not in self.alarms or (not stored and self.alarms.book.there(name) is None):
            self._alarm(Verdict(name, Severity.HALT, halt.device, halt.text, priority=Priority.HIGH, fleeting=True))
