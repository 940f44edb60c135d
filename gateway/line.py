"""The crossroads: a scan comes in, is judged, acted on, stored.  Synchronous, no queue, no wait.

Station --scan--> Line.take -- engine.judge --> verdicts
                    |  1. halts: the stations hear of them now
                    |  2. alarms, checks, batch: changed, noted
                    |  3. journal.commit: one transaction to the evidence store (never waited for)
                    |  4. telemetry.put, live sinks
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from gateway import alarms
from gateway.alarms import Alarm
from gateway.errors import Refused
from gateway.halts import Halt, Needs
from gateway.journal import Journal, body_of
from gateway.line_batch import Run
from gateway.line_halts import FOUND_HELD, Holds
from gateway.model import (
    Check,
    CheckChange,
    Entry,
    Finding,
    HaltProof,
    Json,
    Lane,
    Priority,
    Scan,
    Severity,
    Tick,
    Verdict,
    Watermark,
    Weighing,
)
from gateway.world import World

log = structlog.get_logger()

TICK_S: Final = 0.1
CLOCK_STEP_NS: Final = 1_000_000_000
"""A wall clock that moved this much against the monotonic one was stepped: that is a record (BARS R11)."""
TICK: Final = Tick()
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
        self.alarms: dict[str, Alarm] = {}
        self._past: dict[str, Alarm] = {}
        """Alarms that are over: their occurrences go on counting, so no old acknowledgement hits a new one."""
        self.checks: dict[str, Check] = {}
        self.latest: dict[str, Scan] = {}
        self.live: list[Callable[[Scan], None]] = []
        """Sinks that take scans as they come."""
        self.identities: dict[str, Mapping[str, str]] = {}
        self.progress = 0
        self._journal = journal
        self._telemetry = telemetry
        self._world = world
        self._clock_offset = 0
        self._unnoted: tuple[Sequence[Finding], str] | None = None
        self._alarms_changed = False
        journal.before.append(self._show_alarms)
        holds.alarm = self._alarm

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
        if device in self.run.watched:
            self.run.count(scan)
            self._journal.commit()
        if keep:
            self._telemetry.put(scan)
            for offer in self.live:
                offer(scan)

    def _watch(self, scan: Scan, device: str) -> None:
        position = scan.tagset.index.get("state")
        state = scan.values[position] if position is not None else None
        self.holds.watch(device, bool(scan.held), state, self.run.producing, scan.mono_ns)
        self._journal.commit()

    def _act(self, findings: Sequence[Finding], wall_ns: int, mono_ns: int, by: str = "gateway") -> None:
        """Halts first: every station has its order, and its head start, before anything is noted."""
        self._catch_up()
        halting = False
        for finding in findings:
            if isinstance(finding, Verdict) and finding.halts:
                self.holds.demand(finding, self._needs(finding), self.run.running, wall_ns, mono_ns)
                halting = True
        self._unnoted = (findings, by)
        if halting:
            asyncio.get_running_loop().call_later(HEAD_START_S, self._catch_up)
        else:
            self._catch_up()

    def _catch_up(self) -> None:
        """Note what the last findings mean: alarms, checks, weighings, rule states; then commit."""
        if self._unnoted is None:
            return
        (findings, by), self._unnoted = self._unnoted, None
        for finding in findings:
            if isinstance(finding, Verdict):
                self._alarm(finding)
            elif isinstance(finding, CheckChange):
                self._check(finding, by)
            else:
                self._weighing(finding, by)
        self._keep_rules()
        self._journal.commit()

    def _keep_rules(self) -> None:
        for rule, state in self.run.engine.changed().items():
            self._journal.keep("rule", rule, state)

    def _needs(self, verdict: Verdict) -> Needs:
        if not verdict.fleeting:
            return Needs.CONDITION_GONE
        return Needs.RECALIBRATION if self.run.is_sampling(verdict.rule) else Needs.CORRECTION

    # -- alarms ----------------------------------------------------------------------------------

    def _alarm(self, verdict: Verdict) -> None:
        """A verdict raises, raises higher or clears the alarm of its rule (ISA-18.2)."""
        previous = self.alarms.get(verdict.rule) or self._past.get(verdict.rule)
        now = self._world.time_ns()
        if verdict.severity is Severity.NORMAL:
            if previous is None or not alarms.is_active(previous):
                return
            self._put_alarm(alarms.cleared(previous, now), "alarm.cleared")
            return
        raised = alarms.raised(previous, verdict, now)
        self._put_alarm(raised, "alarm.raised")
        if verdict.suspects:
            self.run.suspect(verdict.suspects, verdict.text)
        log.warning("alarm raised", alarm=verdict.rule, text=verdict.text, severity=verdict.severity.name)

    def _put_alarm(self, alarm: Alarm, kind: str, by: str = "gateway") -> None:
        if alarms.is_normal(alarm):
            self.alarms.pop(alarm.rule, None)
            self._past[alarm.rule] = alarm
        else:
            self.alarms[alarm.rule] = alarm
        self._journal.keep("alarm", alarm.rule, alarms.to_json(alarm))
        self._journal.note(kind, alarms.body(alarm), batch=self.run.running, by=by, lane=Lane.ALARMS)
        self._alarms_changed = True

    def _show_alarms(self) -> None:
        """Before a commit: the picture of all that stand, once for many that changed (a lost device is a flood)."""
        if self._alarms_changed:
            self._alarms_changed = False
            self._journal.board.set("alarms", {rule: alarms.body(each) for rule, each in sorted(self.alarms.items())})

    def acknowledge(self, rule: str, occurrence: int, person: str, comment: str) -> Alarm:
        """A person saw this occurrence.  Refused if another one stands by now."""
        self._catch_up()
        alarm = self.alarms.get(rule)
        if alarm is None:
            raise Refused("no_such_alarm", f"no alarm {rule} stands; `linegate alarms` lists those that do")
        done = alarms.acknowledged(alarm, occurrence, person, comment, self._world.time_ns())
        self._put_alarm(done, "alarm.acknowledged", by=person)
        return done

    # -- checks ----------------------------------------------------------------------------------

    def _check(self, change: CheckChange, by: str) -> None:
        document = body_of(change.check)
        sample = {"sample": body_of(change.sample)} if change.sample else {}
        more = {**sample, "suspects": list(change.suspects)}
        self._journal.note(f"check.{change.what}", {**document, **more}, batch=self.run.running, by=by)
        if change.what == "taken" and change.sample is not None:
            self.run.weighed(change.sample)
        if change.what == "judged" and change.check.why == "verification":
            facts = {"rule": change.check.rule, "check": change.check.id, "state": change.check.state.value}
            self._journal.note("verification.ended", facts, batch=self.run.running, by=by)
        self._show_checks()

    def _weighing(self, weighing: Weighing, by: str) -> None:
        body = {**body_of(weighing.sample), "rule": weighing.rule, "check": weighing.check}
        self._journal.note("weighing.recorded", body, batch=self.run.running, by=by)

    def _show_checks(self) -> None:
        self.checks = {check.id: check for check in self.run.engine.checks()}
        self._journal.board.set("checks", {key: body_of(each) for key, each in sorted(self.checks.items())})

    def enter(self, entry: Entry) -> None:
        """A take, an entered value, a recalibration.  Refused by the rule if it does not fit."""
        mono_ns = int(asyncio.get_running_loop().time() * 1e9)
        wall_ns = self._world.time_ns()
        findings = self.run.engine.judge(entry, mono_ns, wall_ns)
        self._act(findings, wall_ns, mono_ns, by=entry.person)

    # -- halts: what stations say, what people release -------------------------------------------

    def commanded(self, halt_id: str) -> None:
        self.holds.commanded(halt_id)

    def confirmed(self, halt_id: str, proof: HaltProof) -> None:
        self._catch_up()
        self.holds.confirmed(halt_id, proof)
        self._journal.commit(urgent=True)

    def not_held(self, halt_id: str, reason: str) -> None:
        self.holds.not_held(halt_id, reason)
        self._journal.commit()

    async def release(self, halt_id: str, seen: int, person: str, reason: str, recalibration: str) -> None:
        """Guarded, recorded, then let go: the station hears of it only after the commit."""
        self._catch_up()
        halt = self.holds.prepare_release(
            halt_id,
            seen,
            reason,
            stands=self._stands,
            acknowledged=self._acknowledged,
            recalibration=recalibration,
        )
        if halt.needs is Needs.RECALIBRATION and self.run.is_sampling(halt.rule):
            self.enter(Entry("recalibrated", halt.rule, person, text=recalibration))
            body = {"rule": halt.rule, "recalibration": recalibration, "halt": halt.id}
            self._journal.note("verification.started", body, batch=halt.batch, by=person)
        self.holds.release(halt, person, reason, recalibration)
        await self._journal.durable()
        self.holds.let_go(halt)

    def _stands(self, halt: Halt) -> str:
        """The text of a condition that still holds; bad input counts as standing."""
        verdict = self.run.engine.current(halt.rule)
        return verdict.text if verdict is not None and verdict.severity is Severity.HALT else ""

    def _acknowledged(self, halt: Halt) -> bool:
        name = f"{FOUND_HELD}:{halt.device}" if halt.rule == FOUND_HELD else halt.rule
        alarm = self.alarms.get(name)
        return alarm is None or alarms.is_acknowledged(alarm)

    # -- devices ---------------------------------------------------------------------------------

    def connected(self, device: str, identity: Mapping[str, str]) -> None:
        self.identities[device] = identity
        self._link(device, up=True, text=f"{device} is connected", more={"identity": dict(identity)})

    def lost(self, device: str, reason: str) -> None:
        self._link(device, up=False, text=f"{device} was lost: {reason}", more={"reason": reason})

    def _link(self, device: str, *, up: bool, text: str, more: Mapping[str, Json]) -> None:
        kind = "device.connected" if up else "device.lost"
        self._journal.note(kind, {"device": device, "text": text, **more}, batch=self.run.running)
        severity = Severity.NORMAL if up else Severity.ALARM
        self._alarm(Verdict(f"link:{device}", severity, device, text, priority=Priority.MEDIUM))
        self._journal.board.set(
            f"devices/{device}", {"connected": up, "since": str(self._world.time_ns()), **dict(more)}
        )
        self._journal.commit()

    def acknowledged_by_mes(self, mark: Watermark) -> None:
        self._journal.board.set("mes", {"committed_upto": mark.committed_upto, "root": mark.root})

    def late_acknowledgement(self, sink: str, waiting: int) -> None:
        """The MES is connected and does not say that it committed: an alarm; 0 waiting clears it."""
        severity = Severity.ALARM if waiting else Severity.NORMAL
        text = f"{sink} has not acknowledged {waiting} record(s)"
        self._alarm(Verdict(f"late-ack:{sink}", severity, sink, text, priority=Priority.MEDIUM))
        self._journal.commit()

    # -- the one timer ---------------------------------------------------------------------------

    async def tick_for_ever(self) -> None:
        """Staleness, delays, overdue checks and halts, clock steps."""
        loop = asyncio.get_running_loop()
        self._clock_offset = self._world.time_ns() - int(loop.time() * 1e9)
        while True:
            await asyncio.sleep(TICK_S)
            self.tick(int(loop.time() * 1e9))

    def tick(self, mono_ns: int) -> None:
        self.progress += 1
        wall_ns = self._world.time_ns()
        findings = self.run.engine.judge(TICK, mono_ns, wall_ns)
        if findings:
            self._act(findings, wall_ns, mono_ns)
        self.holds.tick(mono_ns)
        self._watch_clock(mono_ns, wall_ns)
        if self.progress % KEEP_RULES_TICKS == 0:
            self._keep_rules()
        self._journal.commit()

    def _watch_clock(self, mono_ns: int, wall_ns: int) -> None:
        offset = wall_ns - mono_ns
        step = offset - self._clock_offset
        if abs(step) > CLOCK_STEP_NS:
            self._clock_offset = offset
            body = {"step": str(step), "clock": self._world.clock()}
            self._journal.note("clock.stepped", body, batch=self.run.running)
            log.warning("the wall clock was stepped", step_s=step / 1e9)

    def restore(self, alarm_rows: Mapping[str, Json]) -> None:
        """Standing alarms of the last run; checks come back with their rules."""
        for rule, row in alarm_rows.items():
            alarm = alarms.from_json(row)
            (self._past if alarms.is_normal(alarm) else self.alarms)[rule] = alarm
        self._show_checks()
