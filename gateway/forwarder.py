"""One sink's life: connect, give it what is most urgent, settle, back off; the only owner of a sink's retries.

    evidence store --(alarms, then evidence)--+
    offer(scan) ---(live, a small buffer)-----+--> deliver() --> settled: cursor, confirmed range
    telemetry store --(holes of history)------+

Only what the sink confirmed counts.  Live scans go out at once; what the buffer could not take, and what came while
the sink was away, is in the store and follows behind, in chunks small enough that an alarm never waits for long.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
import structlog

from gateway.errors import Rejected, SinkError, StoreError
from gateway.forwarder_lanes import RECORD_LANES, EvidenceStore, RecordLanes, ScanLanes, TelemetryStore
from gateway.model import Record, Scan, Watermark
from gateway.sinks.base import Sink, SinkConfig, SinkPorts
from gateway.world import World

log = structlog.get_logger()

RECORDS_AT_ONCE: Final = 64
HISTORY_AT_ONCE: Final = 100
"""10,000 values of 100-tag scans: some 10 ms, so an alarm waits less than 100 ms behind it (DESIGN 4)."""
LIVE_LIMIT: Final = 2000
"""Scans in the live buffer; beyond it the store takes over."""
BACKOFF_S: Final = 0.25
BACKOFF_CAP_S: Final = 5.0
"""A sink that is back is found again within ten seconds, a try that just failed included (BARS R17)."""
LATE_CHECK_S: Final = 1.0
LOOK_S: Final = 1.0
"""Without any news the store is asked again for what is pending: what was put there last shows a little later."""


class SinkStatus(msgspec.Struct, frozen=True):
    """How a sink is doing."""

    name: str
    address: str
    connected: bool
    error: str
    """Why it is away; empty while connected."""
    records: int
    """Delivered since the start."""
    scans: int
    rejected: int
    unhanded: int
    """Records that wait to be handed over."""
    unacknowledged: int
    """Records handed over that the consumer has not said it committed."""
    live: int
    """Scans in the live buffer."""
    holes: int
    """Ranges of stored scans still to be sent."""
    late: bool
    """The consumer should have acknowledged long ago."""


class Forwarder:
    """Brings one sink what it wants, for ever."""

    def __init__(  # what one sink's life needs, in the order app.py has it
        self,
        name: str,
        config: SinkConfig,
        evidence: EvidenceStore,
        telemetry: TelemetryStore,
        ports: SinkPorts,
        world: World,
    ) -> None:
        self.name = name
        self.on_late_ack: Callable[[str, int], None] = _nothing
        """(sink, records waiting) when the consumer is connected and silent; (sink, 0) when it spoke again."""
        self.on_ahead: Callable[[str, int], None] = _nothing
        """(sink, index) when the consumer has committed more than this ledger holds: records were lost here."""
        self.on_rejected: Callable[[str, int, str], None] = _nothing
        """(sink, items, reason), once for each reason."""
        self.on_turn: Callable[[str, bool, str], None] = _nothing
        """(sink, connected, what happens next) when it is lost and when it is back."""
        self._config = config
        self._evidence = evidence
        self._world = world
        self._tell_watermark = ports.on_acknowledged
        self._ports = msgspec.structs.replace(ports, on_acknowledged=self._acknowledged)
        self._records = RecordLanes(name, evidence, acknowledges=config.acknowledges)
        self._scans = ScanLanes(name, telemetry, LIVE_LIMIT)
        self._live_due_s = 0.0
        self._wake = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._reasons: set[str] = set()
        self._up: bool | None = None
        self._error = "not connected yet"
        self._late = False
        self._ahead = -1
        """The furthest record that the consumer has and the ledger has not; -1: never."""
        self._settled_any = False

    def offer(self, scan: Scan) -> None:
        """A live scan, as Line has it: never waits.  It is in the store already."""
        if self._scans.offer(scan):
            self._wake.set()

    def status(self) -> SinkStatus:
        return SinkStatus(
            name=self.name,
            address=self._config.address(),
            connected=bool(self._up),
            error="" if self._up else self._error,
            records=self._counts["records"],
            scans=self._counts["scans"],
            rejected=self._counts["rejected"],
            unhanded=self._records.unhanded if self._config.wants_records else 0,
            unacknowledged=self._records.unacknowledged,
            live=self._scans.live,
            holes=len(self._scans.holes()),
            late=self._late,
        )

    async def run(self) -> None:
        """Until cancelled: a session, a pause, a session ..."""
        deaf = self._evidence.listen(lambda _: self._wake.set())
        attempt = 0
        try:
            while True:
                began_s = self._now()
                self._settled_any = False
                try:
                    await self._session()
                except (SinkError, StoreError) as error:
                    if self._settled_any or self._now() - began_s > BACKOFF_CAP_S:
                        attempt = 0
                    delay_s = self._delay(attempt)
                    self._lost(str(error), delay_s)
                attempt += 1
                await asyncio.sleep(delay_s)
        finally:
            deaf()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _delay(self, attempt: int) -> float:
        """Doubling, capped, jittered by half: many gateways do not come back at the same moment."""
        ceiling_s = min(BACKOFF_CAP_S, BACKOFF_S * 2.0 ** min(attempt, 30))
        return ceiling_s * self._world.rng.uniform(0.5, 1.0)

    # -- one connection --------------------------------------------------------------------------

    async def _session(self) -> None:
        """Connect and serve; ends only with SinkError or StoreError."""
        async with AsyncExitStack() as stack:
            sink: Sink = await self._connect(stack)
            lost = asyncio.ensure_future(sink.closed())
            lost.add_done_callback(lambda _: self._wake.set())
            stack.push_async_callback(_end, lost)
            await self._records.start()
            if self._config.wants_scans:
                self._scans.start()
            stack.callback(self._scans.stop)
            try:
                await self._serve(sink, lost)
            except (SinkError, StoreError) as error:
                self._lost(str(error), BACKOFF_S)  # told before it is closed: a link that hangs closes slowly
                raise

    async def _connect(self, stack: AsyncExitStack) -> Any:
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await stack.enter_async_context(self._config.connect(self.name, self._ports))
        except TimeoutError as error:
            raise SinkError(f"no connection to {self._config.address()} in {self._config.timeout_s:g} s") from error

    async def _serve(self, sink: Sink, lost: asyncio.Future[None]) -> None:
        while True:
            self._wake.clear()
            if lost.done():
                lost.result()
                raise SinkError("the connection was closed")
            if not await self._deliver_next(sink):
                self._found()
                await self._idle()
            self._check_late()
            if self._records.send_again(self._now()):
                log.warning(
                    "the consumer has less than it was given: again", sink=self.name, records=self._records.unhanded
                )

    async def _idle(self) -> None:
        """Until there is something to do, or time to look again."""
        waits = [LATE_CHECK_S] if self._records.late_from is not None else []
        waits += [max(0.0, self._live_due_s - self._now())] if self._scans.live else []
        waits += [LOOK_S] if self._config.wants_scans and not self._scans.live else []
        try:
            async with asyncio.timeout(min(waits, default=None)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _deliver_next(self, sink: Sink) -> bool:
        """The most urgent thing there is.  False: there is nothing."""
        if self._config.wants_records:
            for lane in RECORD_LANES:
                if self._records.has(lane):
                    records, settled = await self._records.next(lane, RECORDS_AT_ONCE)
                    await self._hand_over(sink, records, "records")
                    settled(self._now())
                    return True
        if self._scans.live and self._live_is_due():
            scans, confirmed = self._scans.next_live(self._config.scans_at_once)
        elif self._config.wants_scans and (stored := await self._scans.next_history(HISTORY_AT_ONCE)):
            scans, confirmed = stored
        else:
            return False
        await self._hand_over(sink, scans, "scans")
        confirmed()
        return True

    def _live_is_due(self) -> bool:
        """Where scans are gathered, the first one to come sets the time."""
        gather_s = self._config.gather_s
        if not gather_s or self._scans.live >= self._config.scans_at_once:
            return True
        now_s = self._now()
        if not self._live_due_s:
            self._live_due_s = now_s + gather_s
        if now_s < self._live_due_s:
            return False
        self._live_due_s = 0.0
        return True

    async def _hand_over(self, sink: Sink, items: Sequence[Record | Scan], what: str) -> None:
        """SinkError: nothing is known of any of them."""
        if not items:
            return
        try:
            async with asyncio.timeout(self._config.timeout_s):
                await sink.deliver(items)
        except TimeoutError as error:
            raise SinkError(f"no answer in {self._config.timeout_s:g} s") from error
        except Rejected as error:
            self._rejected(len(error.positions), error.reason)
            self._counts[what] -= len(error.positions)
        self._counts[what] += len(items)
        self._settled_any = True
        self._found()

    # -- what people are told --------------------------------------------------------------------

    def _found(self) -> None:
        if self._up:
            return
        self._up = True
        text = (
            f"{self.name} is connected; {self._records.unhanded} record(s) and {len(self._scans.holes())} gap(s) follow"
        )
        log.info("sink is back", sink=self.name, address=self._config.address(), next=text)
        self.on_turn(self.name, True, text)

    def _lost(self, reason: str, delay_s: float) -> None:
        self._error = reason
        if self._up is False:
            return
        self._up = False
        text = f"{self.name} is away ({reason}); everything is kept, next try in {delay_s:.1f} s, then again for ever"
        log.warning("sink is lost", sink=self.name, address=self._config.address(), reason=reason, next=text)
        self.on_turn(self.name, False, text)

    def _rejected(self, items: int, reason: str) -> None:
        self._counts["rejected"] += items
        if reason in self._reasons:
            return
        self._reasons.add(reason)
        log.error("the sink will never take this; it stays in the store", sink=self.name, items=items, reason=reason)
        self.on_rejected(self.name, items, reason)

    # -- the consumer's word ---------------------------------------------------------------------

    def _acknowledged(self, mark: Watermark) -> None:
        if not self._config.acknowledges:
            return
        before = self._records.acknowledged
        if mark.ledger_id == self._evidence.ledger_id:
            self._check_ahead(mark.committed_upto)
        self._records.acknowledge(mark, self._now())
        self._wake.set()
        if self._records.acknowledged > before:
            sure = min(mark.committed_upto, self._records.acknowledged)  # nobody has what this ledger does not hold
            self._tell_watermark(msgspec.structs.replace(mark, committed_upto=sure))
            self._speak_again()

    def _check_ahead(self, index: int) -> None:
        """Told once: the alarm is a record, and a consumer that acknowledges each record would say it again."""
        if index > max(self._evidence.committed, self._ahead):
            self._ahead = index
            self.on_ahead(self.name, index)

    def _speak_again(self) -> None:
        if self._late:
            self._late = False
            self.on_late_ack(self.name, 0)

    def _check_late(self) -> None:
        since_s = self._records.late_from
        if self._late or since_s is None or self._now() - since_s < self._config.patience_s:
            return
        self._late = True
        waiting = self._records.unacknowledged
        log.error("the consumer is connected and does not acknowledge", sink=self.name, records=waiting)
        self.on_late_ack(self.name, waiting)


async def _end(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _nothing(*_: object) -> None:
    """Nobody listens."""
