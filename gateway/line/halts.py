"""The latches of the line: demanded by verdicts, carried out by stations, released by people.

Halt first, record second: the station hears of an order before anything is sealed or stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

import msgspec
import structlog

from gateway import halts
from gateway.errors import Refused
from gateway.halts import Halt, HaltState, Needs
from gateway.journal import Journal
from gateway.line import homes
from gateway.line.pasts import Pasts
from gateway.model import HaltOrder, HaltProof, Json, Priority, Severity
from gateway.verdicts import Verdict
from gateway.world import World

log = structlog.get_logger()

LEFTS_TOLD: Final = 3
LEFT_AGAIN_NS: Final = 10_000_000_000
FOUND_HELD: Final = "found-held"
HALT_FAILED: Final = "halt-failed"
HOLDING, HELD = 10, 11


class StationPort(Protocol):
    """What the line needs of a station: both calls are synchronous and never wait."""

    withhold_beat: bool

    def halt(self, order: HaltOrder) -> None: ...
    def release(self, halt_id: str) -> None: ...
    def take_back(self) -> None: ...


class Holds:
    """Owner of every standing latch."""

    def __init__(self, journal: Journal, world: World, save: Callable[[Mapping[str, Json]], None]) -> None:
        self.standing: dict[str, Halt] = {}
        self._of: dict[str, dict[str, Halt]] = {}
        """Device -> its own among them: each scan asks, and thousands may stand."""
        self.stations: Mapping[str, StationPort] = {}
        self.patience_ns: Mapping[str, int] = {}
        """How long a hold of each device may be unconfirmed; 2 s where nothing is said."""
        self.alarm: Callable[[Verdict], object] = lambda _: None
        """Raises or clears the alarm that goes with a halt's own trouble; line.py fills it."""
        self._journal = journal
        self._world = world
        self._save = save
        self._since: dict[str, int] = {}
        self._lefts: dict[str, tuple[int, int]] = {}
        """Halt id -> (when its machine's leaving was last told, how often it left)."""
        self._untold: set[str] = set()
        """Those whose last leaving was not told: nor is its confirmation."""
        self._changed: set[str] = set()
        self._file_due = False
        self._unsaid: list[tuple[Halt, bool]] = []
        """Requested, and not recorded yet; True: anew, so it is logged, too.  What goes out first is the order."""
        journal.before.append(self._gather)
        self._pasts = Pasts(journal)
        self._leaving: dict[str, Halt] = {}
        """Released, and that is not durable yet: shown until it is, and holding whoever does not wait for it."""

    def restore(
        self,
        rows: Mapping[str, Json],
        file: Mapping[str, Json],
        now_ns: int,
        released: Mapping[str, Json] = MappingProxyType({}),
    ) -> None:
        """The union of both homes holds, the newest version of each; all are asserted again before any other write.

        `released`: what earlier latches left behind.
        """
        self._pasts.restore(released)
        for halt_id in sorted({*rows, *file}):
            known = [halt for home in (rows, file) if halt_id in home and (halt := _read(halt_id, home[halt_id]))]
            halt = max(known, key=lambda each: each.version) if known else self._rebuilt(halt_id)
            if halt is None:
                continue
            again = halts.reasserted(halt, "the gateway was restarted")
            self._order(again)
            self._put(again, now_ns)
            again = self.standing[halt_id]
            self._record("halt.reasserted", again)
            if again.state is HaltState.FAILED:
                self._withhold(again.device)
                self.alarm(_failure(again))
        self._owed_still()
        self._keep_file()

    def _owed_still(self) -> None:
        """A person released, and the gateway ended before it could say so to the machine: it is said now."""
        held = {halt.device for halt in self.standing.values()}
        for device in self._pasts.owed() - held:
            if device in self.stations:
                self.stations[device].take_back()
                log.warning("release still to be carried out", device=device, next="our hold output is withdrawn")

    def compare(self, rows: Mapping[str, Json], file: Mapping[str, Json] | None, batch: str | None) -> None:
        """The two homes are written within milliseconds: what only one of them knows, a person must look into.

        `file`: None where it is gone and should be there.
        """
        differs = homes.difference(rows, file, self._pasts.versions())
        if differs is None:
            return
        self._journal.note("store.differs", differs.body(), batch=batch, lane=halts.LANE)
        name = f"gateway:{homes.LATCHES}-differs"
        self.alarm(Verdict(name, Severity.ALARM, "gateway", differs.text, priority=Priority.HIGH, fleeting=True))
        log.error("latch file and ledger differ", text=differs.text)

    def _rebuilt(self, halt_id: str) -> Halt | None:
        halt = halts.rebuilt(halt_id, self._world.time_ns())
        log.error("stored latch cannot be read", halt=halt_id, next="it holds by its name" if halt else "it is dropped")
        return halt and msgspec.structs.replace(halt, version=self._pasts.next_version(halt_id))

    # -- from the rules --------------------------------------------------------------------------

    def demand(self, verdict: Verdict, needs: Needs, batch: str | None, sampled_ns: int, now_ns: int) -> None:
        """A verdict holds its devices.  The order goes out here and now; the record follows in the same event."""
        wall = self._world.time_ns()
        self._order_all(verdict, wall)
        for device in verdict.halts:
            halt_id = f"{device}:{verdict.rule}"
            previous = self.standing.get(halt_id)
            version = self._pasts.next_version(halt_id)
            halt = halts.requested(previous, verdict, device, needs, batch, sampled_ns or wall, wall, version=version)
            if previous is None:
                self._since[halt.id] = now_ns
            self._put(halt, self._since.get(halt.id, now_ns))
            self._unsaid.append((halt, previous is None))
        self._file_due = True  # with the commit, after the head start: no other thread wakes before the write went out

    def _order_all(self, verdict: Verdict, wall_ns: int) -> None:
        """Nothing goes before this, not even our own notes: what a latch is to hold of it is made up afterwards."""
        for device in verdict.halts:
            halt_id = f"{device}:{verdict.rule}"
            previous = self.standing.get(halt_id)
            station = self.stations.get(device)
            if station is None or (previous is not None and previous.state is HaltState.CONFIRMED):
                continue
            judged_ns = previous.judged_ns if previous else wall_ns
            version = previous.version + 1 if previous else self._pasts.next_version(halt_id)
            station.halt(HaltOrder(halt_id, device, verdict.rule, verdict.text, judged_ns, version))

    def of(self, device: str) -> list[Halt]:
        """The latches that hold this machine."""
        return list(self._of.get(device, {}).values())

    def watch(self, device: str, held: bool, state: object, batch: str | None, now_ns: int) -> None:
        """The machine's own word: did it leave Held while latched, or is it held without a latch?"""
        if not held:
            self._stay(device)
            self._pasts.moved(device)
        latched = self.of(device)
        if not held:
            for halt in latched:
                if halt.state is HaltState.CONFIRMED:
                    self._left(halt, now_ns)
        elif not latched and batch and state in (HOLDING, HELD) and not self._pasts.may_stand(device):
            text = f"{device} was found held ({state}) in an open batch without a halt of ours"
            verdict = Verdict(FOUND_HELD, Severity.HALT, device, text, priority=Priority.HIGH, halts=(device,))
            self.alarm(msgspec.structs.replace(verdict, rule=f"{FOUND_HELD}:{device}", fleeting=True))
            self.demand(verdict, Needs.CORRECTION, batch, 0, now_ns)

    def _stay(self, device: str) -> None:
        """It did not wait for its release to be durable: that one is void, and the latch holds on."""
        for halt in list(self._leaving.values()):
            if halt.device == device and halt.state is HaltState.CONFIRMED and halt.id not in self.standing:
                self._stand(self._leaving.pop(halt.id))

    def _left(self, halt: Halt, now_ns: int) -> None:
        again = halts.reasserted(halt, "the machine left its held state while latched")
        self._order(again)
        self._put(again, now_ns)
        if self._told_enough(halt.id, now_ns):
            return
        self._record("halt.reasserted", again, left=self._lefts[halt.id][1])
        self._keep_file()
        text = f"{halt.device} left its held state while latched by {halt.rule}; the hold was requested again"
        verdict = Verdict(f"left-held:{halt.device}", Severity.ALARM, halt.device, text, fleeting=True)
        self.alarm(msgspec.structs.replace(verdict, priority=Priority.CRITICAL))
        log.error("machine left held while latched", device=halt.device, halt=halt.id)

    def contradicted(self, device: str, counter: str) -> None:
        """It goes on counting while it says that it stands: a halt of it would be believed without being asked."""
        latched = bool(self.of(device))
        todo = "Stop it by hand now, and look" if latched else "Look"
        text = f"{counter} goes on counting while {device} says that it stands still. {todo} at what confirms its halt"
        verdict = Verdict(f"counts-standing:{device}", Severity.ALARM, device, text, fleeting=True)
        self.alarm(msgspec.structs.replace(verdict, priority=Priority.CRITICAL if latched else Priority.HIGH))
        log.error("machine counts while it says that it stands", device=device, counter=counter, latched=latched)

    def _told_enough(self, halt_id: str, now_ns: int) -> bool:
        """A machine that leaves Held again and again is held again each time, and told of at most every ten seconds.

        Each of those records counts how often it left by then: evidence is never shed, so it must not be flooded.
        """
        told_ns, times = self._lefts.get(halt_id, (0, 0))
        enough = times >= LEFTS_TOLD and now_ns - told_ns < LEFT_AGAIN_NS
        self._lefts[halt_id] = (told_ns if enough else now_ns, times + 1)
        (self._untold.add if enough else self._untold.discard)(halt_id)
        return enough

    # -- from the stations -----------------------------------------------------------------------

    def commanded(self, halt_id: str, now_ns: int) -> None:
        """An attempt begins; of a hold that was confirmed before its device was lost, with its full time again."""
        halt = self.standing.get(halt_id)
        if halt is not None:
            self._put(halts.commanded(halt, self._world.time_ns()))
            self._since.setdefault(halt_id, now_ns)

    def confirmed(self, halt_id: str, proof: HaltProof) -> None:
        halt = self.standing.get(halt_id)
        if halt is None:
            return
        done = halts.confirmed(halt, proof, self._world.time_ns())
        self._put(done)
        self._since.pop(halt_id, None)
        if halt_id not in self._untold:
            self._record("halt.confirmed", done, wrote=proof.wrote)
        self._trouble_over(halt.device)
        log.warning("halt confirmed", device=halt.device, halt=halt_id, state=proof.state)

    def not_held(self, halt_id: str, reason: str) -> None:
        halt = self.standing.get(halt_id)
        if halt is not None:
            self._put(halts.troubled(halt, reason))

    def doubt(self, halt: Halt, why: str) -> None:
        """What stands against its confirmation; empty: nothing any more."""
        self._put(halts.troubled(halt, why))

    def withdrawn(self, device: str) -> None:
        """The machine was told of the release: nothing is owed to it any more."""
        self._pasts.withdrawn(device)

    def tick(self, now_ns: int) -> None:
        """Whoever is not confirmed in time is a HALT FAILED: top lane, heartbeat withheld, tried for ever."""
        for halt in list(self.standing.values()):
            since = self._since.get(halt.id)
            within_ns = self.patience_ns.get(halt.device, halts.CONFIRM_WITHIN_NS)
            if since is None or not halts.overdue(halt, since, now_ns, within_ns):
                continue
            lost = halts.failed(halt)
            self._put(lost)
            self._record("halt.failed", lost)
            self._withhold(halt.device)
            self.alarm(_failure(lost))
            self._keep_file()
            log.error("HALT FAILED", device=halt.device, halt=halt.id, reason=lost.trouble, next="a try each second")

    def due_ns(self) -> int | None:
        """When the next hold that is not confirmed will have failed; None where none can."""
        waiting = [
            since + self.patience_ns.get(halt.device, halts.CONFIRM_WITHIN_NS)
            for halt in self.standing.values()
            if halt.state in halts.WAITING and (since := self._since.get(halt.id)) is not None
        ]
        return min(waiting, default=None)

    # -- from people -----------------------------------------------------------------------------

    def release(self, halt: Halt, by: str, reason: str, recalibration: str) -> None:
        """Take the latch off the line's state and note who did it; the station hears of it only by `let_go`."""
        if self.standing.pop(halt.id, None) is None:
            raise Refused("no_such_halt", f"{halt.id} was released meanwhile")
        self._of[halt.device].pop(halt.id)
        self.say()
        self._lefts.pop(halt.id, None)
        self._untold.discard(halt.id)
        self._pasts.released(halt.id, halt.device, halt.version)
        self._leaving[halt.id] = halt
        self._changed.add(halt.id)
        body = halt.body(reason=reason, recalibration=recalibration, released=str(self._world.time_ns()))
        self._journal.note("halt.released", body, batch=halt.batch, by=by, lane=halts.LANE)

    def let_go(self, halt: Halt) -> None:
        """The release is durable: the file forgets, the station withdraws our hold output.  Nothing is started.

        Where the same rule demanded the hold again meanwhile, that latch holds on.
        """
        self._leaving.pop(halt.id, None)
        self._keep_file()
        self._trouble_over(halt.device)
        self.show()
        station = self.stations.get(halt.device)
        if halt.id not in self.standing:
            self._since.pop(halt.id, None)
            if station is not None:
                station.release(halt.id)
        log.info("halt released", device=halt.device, halt=halt.id)

    def take_back(self, halt: Halt) -> None:
        """The release could not be recorded, so it did not happen: the latch stands on, as the station never knew.

        What the machine said meanwhile nobody took, so it is asked again.
        """
        self._leaving.pop(halt.id, None)
        if halt.id not in self.standing:
            self._stand(halt)
            self._order(halt)
        log.error("release not recorded", halt=halt.id, next="the latch stands")

    # -- inside ----------------------------------------------------------------------------------

    def _order(self, halt: Halt) -> None:
        station = self.stations.get(halt.device)
        if station is not None:
            station.halt(halt.order())

    def _put(self, halt: Halt, since_ns: int | None = None) -> None:
        if halt.device not in self.stations:
            halt = halts.troubled(halt, f"no device {halt.device} is configured")
        self._stand(halt)
        if since_ns is not None and halt.state is not HaltState.CONFIRMED:
            self._since[halt.id] = since_ns

    def _stand(self, halt: Halt) -> None:
        self.standing[halt.id] = self._of.setdefault(halt.device, {})[halt.id] = halt
        self._changed.add(halt.id)

    def _record(self, kind: str, halt: Halt, **more: Json) -> None:
        self.say()
        self._note(kind, halt, **more)

    def _note(self, kind: str, halt: Halt, **more: Json) -> None:
        self._untold.discard(halt.id)  # what follows from a record is one
        self._journal.note(kind, halt.body(**more), batch=halt.batch, lane=halts.LANE)

    def _keep_file(self) -> None:
        self._file_due = False
        self._save({halt_id: halts.to_json(halt) for halt_id, halt in self.standing.items()})

    def _trouble_over(self, device: str) -> None:
        """Nothing on this device has failed any more: beat again, clear the alarm, whichever run raised it."""
        if not self._withhold(device):
            text = f"no hold of {device} is in trouble any more"
            self.alarm(Verdict(f"{HALT_FAILED}:{device}", Severity.NORMAL, device, text, priority=Priority.CRITICAL))

    def _withhold(self, device: str) -> bool:
        failed = any(halt.state is HaltState.FAILED for halt in self.of(device))
        if device in self.stations:
            self.stations[device].withhold_beat = failed
        return failed

    def _gather(self) -> None:
        """Before a commit: what was requested, the changed rows, and the picture of all that stand."""
        self.say()
        if not self._changed:
            return
        for halt_id in self._changed:
            halt = self.standing.get(halt_id)
            self._journal.keep("halt", halt_id, None if halt is None else halts.to_json(halt))
        self._changed.clear()
        if self._file_due:
            self._keep_file()
        self.show()

    def say(self) -> None:
        """Note what was requested; before anything that follows from it."""
        unsaid, self._unsaid = self._unsaid, []
        for halt, anew in unsaid:
            self._note("halt.requested", halt)
            if anew:
                log.warning("halt requested", device=halt.device, rule=halt.rule, text=halt.text)

    def show(self) -> None:
        """Put all that stand on the board, and what nobody let go yet."""
        shown = {**self._leaving, **self.standing}
        self._journal.board.set("halts", {halt_id: halt.body() for halt_id, halt in sorted(shown.items())})


def _read(halt_id: str, document: Json) -> Halt | None:
    """A stored latch under its own name; None if it is none."""
    try:
        halt = halts.from_json(document)
    except msgspec.ValidationError:
        return None
    return halt if halt.id == halt_id else None


def _failure(halt: Halt) -> Verdict:
    text = f"HALT FAILED: {halt.device} is not held after {halt.tries} tries: {halt.trouble}. Stop it by hand now."
    # of the severity of a halt: nobody shelves it, and no design hides it
    return Verdict(f"{HALT_FAILED}:{halt.device}", Severity.HALT, halt.device, text, priority=Priority.CRITICAL)
