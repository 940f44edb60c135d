"""The latches of the line: demanded by verdicts, carried out by stations, released by people.

Halt first, record second: the station hears of an order before anything is sealed or stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
import structlog

from gateway import halts
from gateway.errors import Refused
from gateway.halts import Halt, HaltState, Needs
from gateway.journal import Journal
from gateway.model import HaltOrder, HaltProof, Json, Priority, Severity, Verdict
from gateway.world import World

log = structlog.get_logger()

FOUND_HELD: Final = "found-held"
HOLDING, HELD = 10, 11


class StationPort(Protocol):
    """What the line needs of a station: both calls are synchronous and never wait."""

    withhold_beat: bool

    def halt(self, order: HaltOrder) -> None: ...
    def release(self, halt_id: str) -> None: ...


class Holds:
    """Owner of every standing latch."""

    def __init__(self, journal: Journal, world: World, save: Callable[[Mapping[str, Json]], None]) -> None:
        self.standing: dict[str, Halt] = {}
        self.stations: Mapping[str, StationPort] = {}
        self.alarm: Callable[[Verdict], None] = lambda _: None
        """Raises or clears the alarm that goes with a halt's own trouble; line.py fills it."""
        self._journal = journal
        self._world = world
        self._save = save
        self._since: dict[str, int] = {}
        self._changed: set[str] = set()
        journal.before.append(self._gather)
        self._may_stand: set[str] = set()
        """Devices released but not seen moving yet: found held is no news there."""

    def restore(self, rows: Mapping[str, Json], file: Mapping[str, Json], now_ns: int) -> None:
        """The union of both homes holds; each latch is asserted again before any other write."""
        for halt_id in sorted({*rows, *file}):
            known = [halts.from_json(home[halt_id]) for home in (rows, file) if halt_id in home]
            halt = max(known, key=lambda each: each.version)
            self._put(halts.reasserted(halt, "the gateway was restarted"), now_ns)
            self._record("halt.reasserted", self.standing[halt_id])
            self._order(self.standing[halt_id])
        self._keep_file()

    # -- from the rules --------------------------------------------------------------------------

    def demand(self, verdict: Verdict, needs: Needs, batch: str | None, sampled_ns: int, now_ns: int) -> None:
        """A verdict holds its devices.  The order goes out here and now; the record follows in the same event."""
        for device in verdict.halts:
            previous = self.standing.get(f"{device}:{verdict.rule}")
            wall = self._world.time_ns()
            halt = halts.requested(previous, verdict, device, needs, batch, sampled_ns or wall, wall)
            if previous is None or previous.state is not HaltState.CONFIRMED:
                self._order(halt)
            if previous is None:
                self._since[halt.id] = now_ns
                log.warning("halt requested", device=device, rule=verdict.rule, text=verdict.text)
            self._put(halt, self._since.get(halt.id, now_ns))
            self._record("halt.requested", halt)
            self._keep_file()

    def watch(self, device: str, held: bool, state: object, batch: str | None, now_ns: int) -> None:
        """The machine's own word: did it leave Held while latched, or is it held without a latch?"""
        latched = [halt for halt in self.standing.values() if halt.device == device]
        if not held:
            self._may_stand.discard(device)
            for halt in latched:
                if halt.state is HaltState.CONFIRMED:
                    self._left(halt, now_ns)
        elif not latched and batch and state in (HOLDING, HELD) and device not in self._may_stand:
            text = f"{device} was found held ({state}) in an open batch without a halt of ours"
            verdict = Verdict(FOUND_HELD, Severity.HALT, device, text, priority=Priority.HIGH, halts=(device,))
            self.alarm(msgspec.structs.replace(verdict, rule=f"{FOUND_HELD}:{device}", fleeting=True))
            self.demand(verdict, Needs.CORRECTION, batch, 0, now_ns)

    def _left(self, halt: Halt, now_ns: int) -> None:
        again = halts.reasserted(halt, "the machine left its held state while latched")
        self._put(again, now_ns)
        self._order(again)
        self._record("halt.reasserted", again)
        text = f"{halt.device} left its held state while latched by {halt.rule}; the hold was requested again"
        self.alarm(
            Verdict(
                f"left-held:{halt.device}",
                Severity.ALARM,
                halt.device,
                text,
                priority=Priority.CRITICAL,
                fleeting=True,
            )
        )
        log.error("machine left held while latched", device=halt.device, halt=halt.id)

    # -- from the stations -----------------------------------------------------------------------

    def commanded(self, halt_id: str) -> None:
        halt = self.standing.get(halt_id)
        if halt is not None:
            self._put(halts.commanded(halt, self._world.time_ns()))

    def confirmed(self, halt_id: str, proof: HaltProof) -> None:
        halt = self.standing.get(halt_id)
        if halt is None:
            return
        was_failed = halt.state is HaltState.FAILED
        done = halts.confirmed(halt, proof, self._world.time_ns())
        self._put(done)
        self._since.pop(halt_id, None)
        self._record("halt.confirmed", done, wrote=proof.wrote)
        self._withhold(halt.device)
        if was_failed:
            self.alarm(self._failure(done, Severity.NORMAL))
        log.warning("halt confirmed", device=halt.device, halt=halt_id, state=proof.state)

    def not_held(self, halt_id: str, reason: str) -> None:
        halt = self.standing.get(halt_id)
        if halt is not None:
            self._put(halts.troubled(halt, reason))

    def tick(self, now_ns: int) -> None:
        """Whoever is not confirmed in time is a HALT FAILED: top lane, heartbeat withheld, tried for ever."""
        for halt in list(self.standing.values()):
            since = self._since.get(halt.id)
            if since is None or not halts.overdue(halt, since, now_ns):
                continue
            lost = halts.failed(halt)
            self._put(lost)
            self._record("halt.failed", lost)
            self._withhold(halt.device)
            self.alarm(self._failure(lost, Severity.ALARM))
            self._keep_file()
            log.error("HALT FAILED", device=halt.device, halt=halt.id, reason=lost.trouble, next="a try each second")

    # -- from people -----------------------------------------------------------------------------

    def prepare_release(
        self,
        halt_id: str,
        seen_version: int,
        reason: str,
        *,
        stands: Callable[[Halt], str],
        acknowledged: Callable[[Halt], bool],
        recalibration: str = "",
    ) -> Halt:
        """The guard: the latch that would be released.  Raises Refused."""
        halt = self.standing.get(halt_id)
        return halts.check_release(
            halt,
            seen_version,
            reason,
            condition_stands=stands(halt) if halt else "",
            acknowledged=acknowledged(halt) if halt else False,
            recalibration=recalibration,
        )

    def release(self, halt: Halt, by: str, reason: str, recalibration: str) -> None:
        """Take the latch off the line's state and note who did it; the station hears of it after the commit."""
        if self.standing.pop(halt.id, None) is None:
            raise Refused("no_such_halt", f"{halt.id} was released meanwhile")
        self._since.pop(halt.id, None)
        self._may_stand.add(halt.device)
        self._changed.add(halt.id)
        body = halt.body(reason=reason, recalibration=recalibration, released=str(self._world.time_ns()))
        self._journal.note("halt.released", body, batch=halt.batch, by=by, lane=halts.LANE)
        if halt.state is HaltState.FAILED:
            self.alarm(self._failure(halt, Severity.NORMAL))

    def let_go(self, halt: Halt) -> None:
        """The release is durable: the file forgets, the station withdraws our hold output.  Nothing is started."""
        self._keep_file()
        self._withhold(halt.device)
        self.stations[halt.device].release(halt.id)
        log.info("halt released", device=halt.device, halt=halt.id)

    # -- inside ----------------------------------------------------------------------------------

    def _order(self, halt: Halt) -> None:
        station = self.stations.get(halt.device)
        if station is not None:
            station.halt(halt.order())

    def _put(self, halt: Halt, since_ns: int | None = None) -> None:
        self.standing[halt.id] = halt
        if since_ns is not None and halt.state is not HaltState.CONFIRMED:
            self._since[halt.id] = since_ns
        self._changed.add(halt.id)

    def _record(self, kind: str, halt: Halt, **more: Json) -> None:
        self._journal.note(kind, halt.body(**more), batch=halt.batch, lane=halts.LANE)

    def _keep_file(self) -> None:
        self._save({halt_id: halts.to_json(halt) for halt_id, halt in self.standing.items()})

    def _withhold(self, device: str) -> None:
        failed = any(h.device == device and h.state is HaltState.FAILED for h in self.standing.values())
        if device in self.stations:
            self.stations[device].withhold_beat = failed

    def _gather(self) -> None:
        """Before a commit: the changed rows, and the picture of all that stand."""
        if not self._changed:
            return
        for halt_id in self._changed:
            halt = self.standing.get(halt_id)
            self._journal.keep("halt", halt_id, None if halt is None else halts.to_json(halt))
        self._changed.clear()
        self._journal.board.set("halts", {halt_id: halt.body() for halt_id, halt in sorted(self.standing.items())})

    @staticmethod
    def _failure(halt: Halt, severity: Severity) -> Verdict:
        text = f"HALT FAILED: {halt.device} is not held after {halt.tries} tries: {halt.trouble}. Stop it by hand now."
        return Verdict(f"halt-failed:{halt.device}", severity, halt.device, text, priority=Priority.CRITICAL)
