"""One device's life: connect, obey halts, beat, poll on a grid, stamp, back off.  The only owner of device retries.

connect -> [halts first] -> show -> beat -> poll -> Line.take(scan) -> wait for the slot, or a halt
   ^                                 |
   +---- back off (capped, jittered, never gives up; a bad scan for each slot missed) ----+
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Protocol

import structlog

from gateway.drivers.base import Beating, Device, DriverConfig, Haltable, Pattern, Showing
from gateway.errors import DeviceError, NotHeld
from gateway.halts import CONFIRM_WITHIN_NS, TRIES
from gateway.model import HaltOrder, HaltProof, Scan, TagSet
from gateway.world import World

log = structlog.get_logger()

SHORTEST_S: Final = 0.25
LONGEST_S: Final = 5.0
CONNECT_S: Final = 5.0
"""With the longest back-off: whoever is back is found within ten seconds, a try that just failed included (R17)."""
EARLY_S: Final = 0.001
"""uvloop counts whole milliseconds: a timer may ring so much early, and to wait for the rest is to spin."""
AWAY: Final = "not connected"
"""Why nothing is known of a device that is away."""
GRACE_S: Final = 0.1
"""So much longer than its budget a halt may take: a driver's own NotHeld keeps the link, a time-out costs it."""
KEEP_MISSED_S: Final = 10.0
"""Of the bad scans of a device that is away, one in so long is kept as telemetry; rules see every one."""


class LinePort(Protocol):
    """What a station needs of the line.  All of it is synchronous and never waits."""

    def take(self, scan: Scan, *, keep: bool = True) -> None: ...
    def connected(self, device: str, identity: Mapping[str, str]) -> None: ...
    def lost(self, device: str, reason: str) -> None: ...
    def commanded(self, halt_id: str) -> None: ...
    def confirmed(self, halt_id: str, proof: HaltProof) -> None: ...
    def not_held(self, halt_id: str, reason: str) -> None: ...


class _Standing:
    """An order until it is released: confirmed or to be tried again at `next_try` (loop time)."""

    __slots__ = ("confirmed", "next_try", "order", "tries")

    def __init__(self, order: HaltOrder) -> None:
        self.order = order
        self.confirmed = False
        self.next_try = 0.0
        self.tries = 0


class Station:
    """The life of one device."""

    def __init__(
        self, name: str, config: DriverConfig, tagset: TagSet, line: LinePort, world: World, next_seq: Callable[[], int]
    ) -> None:
        self.name = name
        self.config = config
        self.progress = 0
        """Grows whenever the loop comes round: the supervisor's evidence of life."""
        self.overruns = 0
        """Slots of the grid that polls ran over."""
        self.withhold_beat = False
        """A hold of this device failed."""
        self.mute = False
        """Nothing vouches for the gateway as a whole: no device gets a beat."""
        self._tagset = tagset
        self._line = line
        self._world = world
        self._next_seq = next_seq
        self._orders: dict[str, _Standing] = {}
        self._withdraw = False
        self._pattern: Pattern | None = None
        self._shown: Pattern | None = None
        self._serving = False
        self._wake: asyncio.Future[None] | None = None
        self._woken = False
        self._polling: asyncio.Timeout | None = None
        self._interrupted = False
        self._slot = 0.0
        self._next_beat = 0.0
        self._beats = 0
        self._failures = 0
        self._away = False
        self._announced = False
        """The line was told of this connection."""
        self._identity: Mapping[str, str] = {}

    @property
    def patience_ns(self) -> int:
        """How long a halt here may be unconfirmed: more than usual only where one attempt is not all it takes."""
        slow = self.config.stands_within_s > self.config.halt_budget_s
        return max(CONFIRM_WITHIN_NS, round(self.config.stands_within_s * 1e9) if slow else 0)

    # -- what Line calls; synchronous ------------------------------------------------------------

    def halt(self, order: HaltOrder) -> None:
        """Latch the order and wake the station.  A poll in flight is cancelled."""
        self._orders[order.id] = _Standing(order)
        self._interrupt()

    def release(self, halt_id: str) -> None:
        """Forget the order; with the last one gone our hold output is withdrawn."""
        if self._orders.pop(halt_id, None) is not None and not self._orders:
            self._withdraw = True
            self._interrupt()

    def show(self, pattern: Pattern) -> None:
        """Latch what is to be shown; the newest counts.  A station that is away hears of it when it is back.

        It is shown after what is in flight: no poll is given up for it, but one that only waits for news.
        """
        if pattern == self._pattern:
            return
        self._pattern = pattern
        if self._serving and self.config.subscribes:
            self._interrupt()
        elif self._serving:
            self._rouse()

    def _rouse(self) -> None:
        self._woken = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _interrupt(self) -> None:
        self._rouse()
        if self._polling is not None and not self._polling.expired():
            self._interrupted = True
            self._polling.reschedule(asyncio.get_running_loop().time())

    # -- the life --------------------------------------------------------------------------------

    async def run(self) -> None:
        """For ever: never returns, never gives up; only cancellation ends it."""
        loop = asyncio.get_running_loop()
        self._slot = loop.time() + self.config.period_s * self._world.rng.random() * 0.1
        while True:
            missing = asyncio.create_task(self._report_missing(), name=f"missing {self.name}")
            try:
                async with AsyncExitStack() as stack:
                    device = await self._connect(stack)
                    missing.cancel()
                    self._serving = True
                    try:
                        await self._serve(device)
                    except DeviceError as error:
                        # told before it is closed: a link that hangs closes slowly
                        self._down(str(error))
                        missing = asyncio.create_task(self._report_missing(), name=f"missing {self.name}")
                        raise
            except DeviceError as error:
                self._failures += 1
                self._down(str(error))
            finally:
                self._serving = False
                missing.cancel()
            await self._back_off()

    async def _connect(self, stack: AsyncExitStack) -> Device:
        try:
            async with asyncio.timeout(CONNECT_S):
                device: Device = await stack.enter_async_context(self.config.connect(self.name))
        except TimeoutError:
            raise DeviceError(f"{self.config.address()} did not let us connect within {CONNECT_S:g} s") from None
        self._up(device)
        return device

    def _up(self, device: Device) -> None:
        self._identity = device.identity
        self._next_beat = 0.0
        self._shown = None
        for standing in self._orders.values():  # whatever happened meanwhile: the machine says it again
            standing.confirmed = False
            standing.next_try = 0.0
        self._announced = False
        if self._failures <= 1:
            self._announce()

    def _announce(self) -> None:
        """It is back.  Bridges take connections for a dead device: after two failures only an answer counts."""
        if self._announced:
            return
        self._announced = True
        log.info("device connected", device=self.name, address=self.config.address())
        self._away = False
        self._line.connected(self.name, self._identity)

    def _down(self, reason: str) -> None:
        if self._away:
            return
        self._away = True
        log.warning("device lost", device=self.name, reason=reason, next="connecting again until it is back")
        self._line.lost(self.name, reason)

    async def _back_off(self) -> None:
        """Wait before the next try.  A new order ends the wait once; a standing one keeps it short."""
        delay = min(LONGEST_S, SHORTEST_S * 2 ** min(self._failures, 10))
        if self._orders:
            delay = SHORTEST_S
        missing = asyncio.create_task(self._report_missing(), name=f"missing {self.name}")
        try:
            await self._wait(asyncio.get_running_loop().time() + delay * (0.5 + 0.5 * self._world.rng.random()))
        finally:
            missing.cancel()

    async def _wait(self, until: float) -> None:
        """Until then, or until woken.  The wake-up is spent here; the order stays."""
        if self._woken:
            self._woken = False
            return
        loop = asyncio.get_running_loop()
        if until - loop.time() < EARLY_S:
            return
        wake: asyncio.Future[None] = loop.create_future()
        self._wake = wake
        timer = loop.call_at(until, _finish, wake)
        try:
            await wake
        finally:
            timer.cancel()
            self._wake = None
            self._woken = False

    async def _report_missing(self) -> None:
        """While the device is away: a bad scan for each slot of the grid."""
        loop = asyncio.get_running_loop()
        kept = 0.0
        while True:
            await asyncio.sleep(max(0.0, self._slot + self.config.period_s - loop.time()))
            self._slot = max(self._slot + self.config.period_s, loop.time())
            keep = loop.time() - kept >= KEEP_MISSED_S
            kept = loop.time() if keep else kept
            self._missed(AWAY, keep=keep)

    def _missed(self, reason: str, *, keep: bool) -> None:
        faults = self._tagset.all_bad(reason)
        seq = self._next_seq() if keep else 0
        mono_ns = int(asyncio.get_running_loop().time() * 1e9)
        values = (None,) * len(self._tagset.tags)
        self._line.take(Scan(self._tagset, seq, self._world.time_ns(), mono_ns, values, faults), keep=keep)

    # -- connected -------------------------------------------------------------------------------

    async def _serve(self, device: Device) -> None:
        loop = asyncio.get_running_loop()
        paced = not self.config.subscribes
        self._slot = max(self._slot, loop.time())
        while True:
            self.progress += 1
            await self._obey(device)
            if self._shown != self._pattern and not await self._show(device):
                continue
            if not await self._beat(device):
                continue
            if paced and self._slot - loop.time() >= EARLY_S:
                await self._wait(min(self._slot, self._next_try(), self._next_beat_at()))
            elif await self._poll(device) and paced:
                self._next_slot(loop.time())

    def _next_slot(self, now: float) -> None:
        """The grid never shifts.  Slots that a slow poll ran over are counted: its value came, late but good.

        Rules hear of them by time alone (the line's ticks): a bad scan for each would make an overload worse.
        """
        missed = max(0, int((now - self._slot) / self.config.period_s))
        self._slot += (missed + 1) * self.config.period_s
        self.overruns += missed

    async def _poll(self, device: Device) -> bool:
        """One poll; False if a halt, or the next attempt at one, interrupted it."""
        if self.config.subscribes and self._next_try() < float("inf"):
            retry = asyncio.get_running_loop().call_at(self._next_try(), self._interrupt)
        else:
            retry = None
        try:
            async with asyncio.timeout(self._budget_s()) as self._polling:
                reading = await device.poll()
        except TimeoutError:
            if self._interrupted:
                return False
            raise DeviceError(f"{self.config.address()} did not answer within {self.config.timeout_s:g} s") from None
        finally:
            self._polling = None
            self._interrupted = False
            if retry is not None:
                retry.cancel()
        self._failures = 0
        self._announce()
        scan = Scan(
            self._tagset,
            self._next_seq(),
            self._world.time_ns(),
            int(asyncio.get_running_loop().time() * 1e9),
            reading.values,
            reading.faults,
            reading.source_ns,
            reading.raw,
            reading.held,
            changed=reading.changed,
            server_ns=reading.server_ns,
        )
        self._line.take(scan)
        return True

    def _budget_s(self) -> float:
        return self.config.timeout_s + (self.config.period_s if self.config.subscribes else 0.0)

    async def _show(self, device: Device) -> bool:
        """The newest pattern; False if a halt interrupted it: then it is shown after that."""
        pattern = self._pattern
        if pattern is None or not isinstance(device, Showing):
            self._shown = pattern
            return True
        try:
            async with asyncio.timeout(self.config.timeout_s) as self._polling:
                await device.show(pattern)
        except TimeoutError:
            if self._interrupted:
                return False
            raise DeviceError(f"{self.config.address()} did not answer within {self.config.timeout_s:g} s") from None
        finally:
            self._polling = None
            self._interrupted = False
        self._shown = pattern
        return True

    # -- halts and heartbeat ---------------------------------------------------------------------

    def _next_try(self) -> float:
        waiting = [standing.next_try for standing in self._orders.values() if not standing.confirmed]
        return min(waiting, default=float("inf"))

    async def _obey(self, device: Device) -> None:
        """Every standing order that is not confirmed, before anything else is read or written."""
        self._woken = False
        if self._withdraw and not self._orders:
            await self._take_back(device)
        now = asyncio.get_running_loop().time()
        for standing in list(self._orders.values()):
            if not standing.confirmed and standing.next_try - now < EARLY_S:
                await self._attempt(device, standing)

    async def _attempt(self, device: Device, standing: _Standing) -> None:
        loop = asyncio.get_running_loop()
        order = standing.order
        standing.tries += 1
        standing.next_try = loop.time() + (0.0 if standing.tries < TRIES else 1.0)
        if not isinstance(device, Haltable):
            standing.next_try = loop.time() + 1.0
            self._line.not_held(order.id, f"{self.name} has no way to be held")
            return
        self._line.commanded(order.id)
        try:
            async with asyncio.timeout(self.config.halt_budget_s + GRACE_S):
                proof = await device.halt(order)
        except TimeoutError:
            self._line.not_held(order.id, f"no read-back within {self.config.halt_budget_s:g} s")
            raise DeviceError(f"{self.config.address()} did not answer to a halt") from None
        except NotHeld as error:
            self._line.not_held(order.id, str(error))
        except DeviceError as error:
            self._line.not_held(order.id, str(error))
            raise
        else:
            if self._orders.get(order.id) is standing:
                standing.confirmed = True
                self._line.confirmed(order.id, proof)

    async def _take_back(self, device: Device) -> None:
        if isinstance(device, Haltable):
            async with _budget(self.config.halt_budget_s, self.config.address()):
                await device.withdraw()
        self._withdraw = False

    def _next_beat_at(self) -> float:
        return self._next_beat if self.config.beat_s else float("inf")

    async def _beat(self, device: Device) -> bool:
        """Where it is due; False if a halt interrupted it: then it comes after that, if it is not withheld by then."""
        now = asyncio.get_running_loop().time()
        if not self.config.beat_s or self._next_beat - now >= EARLY_S:
            return True
        if self.withhold_beat or self.mute or not isinstance(device, Beating):
            self._set_next_beat(self.config.beat_s, now)
            return True
        self._beats = (self._beats + 1) % 65536
        try:
            async with asyncio.timeout(self.config.timeout_s) as self._polling:
                await device.beat(self._beats)
        except TimeoutError:
            if self._interrupted:
                return False
            raise DeviceError(f"{self.config.address()} did not answer within {self.config.timeout_s:g} s") from None
        finally:
            self._polling = None
            self._interrupted = False
        self._set_next_beat(self.config.beat_s, now)
        return True

    def _set_next_beat(self, beat_s: float, now: float) -> None:
        self._next_beat = max(self._next_beat + beat_s, now + beat_s / 2)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _budget:  # noqa: N801  # reads as a block: `async with _budget(...)`
    """A time limit that speaks of the device."""

    def __init__(self, seconds: float, address: str) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._text = f"{address} did not answer within {seconds:g} s"

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise DeviceError(self._text) from None
