"""One device's life: connect, obey halts, beat, poll on a grid, stamp, back off.  The only owner of device retries.

connect -> [halts first] -> show -> beat -> errand -> poll -> Line.take(scan) -> wait for the slot, or a halt
   ^                                 |
   +---- back off (capped, jittered, never gives up; a bad scan for each slot missed) ----+
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from gateway.drivers.base import Device, DriverConfig, Pattern
from gateway.errors import DeviceError, Refused
from gateway.halts import CONFIRM_WITHIN_NS
from gateway.model import HaltOrder, Reading, TagSet
from gateway.station.attention import EARLY_S, NEVER, Attention, Interrupted
from gateway.station.away import Absence
from gateway.station.beating import Heart
from gateway.station.errands import Errand, Errands
from gateway.station.grid import Grid
from gateway.station.obeying import Orders
from gateway.station.port import LinePort
from gateway.station.presence import BackOff, Presence
from gateway.station.showing import Display
from gateway.station.stamping import Stamp
from gateway.world import World

CONNECT_S: Final = 5.0
"""With the longest back-off: whoever is back is found within ten seconds, a try that just failed included (R17)."""
BACK_OFF: Final = BackOff()


class Station:
    """The life of one device."""

    def __init__(
        self,
        name: str,
        config: DriverConfig,
        tagset: TagSet,
        line: LinePort,
        world: World,
        next_seq: Callable[[], int],
        back_off: BackOff = BACK_OFF,
    ) -> None:
        self.name = name
        self.config = config
        self.progress = 0
        """Grows whenever the loop comes round: the supervisor's evidence of life."""
        self.withhold_beat = False
        """A hold of this device failed."""
        self.mute = False
        """Nothing vouches for the gateway as a whole: no device gets a beat."""
        self._world = world
        self._back_off = back_off
        self._serving = False
        self._attention = Attention(config.address)
        self._orders = Orders(name, config, line)
        self._display = Display(config.timeout_s, self._attention)
        self._heart = Heart(config.beat_s, config.timeout_s, self._attention)
        self._errands = Errands(name, config, self._attention)
        self._grid = Grid(config.period_s)
        self._stamp = Stamp(tagset, line, world, next_seq)
        self._presence = Presence(name, config, line)
        self._absence = Absence(name, self._grid, self._stamp)

    @property
    def patience_ns(self) -> int:
        """How long a halt here may be unconfirmed: more than usual only where one attempt is not all it takes."""
        slow = self.config.stands_within_s > self.config.halt_budget_s
        return max(CONFIRM_WITHIN_NS, round(self.config.stands_within_s * 1e9) if slow else 0)

    @property
    def overruns(self) -> int:
        """Slots of the grid that polls ran over."""
        return self._grid.overruns

    # -- what Line calls; synchronous ------------------------------------------------------------

    def halt(self, order: HaltOrder) -> None:
        """Latch the order and wake the station.  A poll in flight is cancelled."""
        self._orders.latch(order)
        self._attention.interrupt()

    def release(self, halt_id: str) -> None:
        """Forget the order; with the last one gone our hold output is withdrawn."""
        if self._orders.drop(halt_id):
            self._attention.interrupt()

    def take_back(self) -> None:
        """A release of an earlier run was never carried out: withdraw our hold output, where no order stands."""
        self._orders.take_back()
        self._attention.interrupt()

    def show(self, pattern: Pattern) -> None:
        """Latch what is to be shown; the newest counts.  A station that is away hears of it when it is back.

        It is shown after what is in flight: no poll is given up for it, but one that only waits for news.
        """
        if self._display.set(pattern) and self._serving:
            self._call()

    def send(self, errand: Errand) -> None:
        """Do it after what is in flight.  Refused: it is not connected, or has another errand still to do."""
        if not self._serving or not self._presence.there:
            raise Refused("not_connected", f"{self.name} is not connected; ask again once it is back")
        self._errands.take(errand)
        self._call()

    def _call(self) -> None:
        """There is something to do: a poll that only waits for news is given up for it, no other."""
        if self.config.subscribes:
            self._attention.interrupt()
        else:
            self._attention.rouse()

    # -- the life --------------------------------------------------------------------------------

    async def run(self) -> None:
        """For ever: never returns, never gives up; only cancellation ends it."""
        self._grid.begin(_now(), self._world.rng.random())
        try:
            while True:
                await self._session()
                await self._pause()
        finally:
            self._absence.end()

    async def _session(self) -> None:
        """One connection, from the first try to its loss."""
        self._absence.begin()
        try:
            async with AsyncExitStack() as stack:
                device = await self._connect(stack)
                await self._attend(device)
        except DeviceError as error:
            self._presence.failures += 1
            self._presence.lost(str(error))

    async def _connect(self, stack: AsyncExitStack) -> Device:
        try:
            async with asyncio.timeout(CONNECT_S):
                device: Device = await stack.enter_async_context(self.config.connect(self.name))
        except TimeoutError:
            raise DeviceError(f"{self.config.address()} did not let us connect within {CONNECT_S:g} s") from None
        return device

    async def _attend(self, device: Device) -> None:
        self._absence.end()
        self._heart.due_now()
        self._display.forget()
        self._orders.assert_again()
        self._presence.connected(device.identity)
        self._serving = True
        self._orders.serve(device)
        try:
            await self._serve(device)
        except DeviceError as error:
            # told before it is closed: a link that hangs closes slowly
            self._presence.lost(str(error))
            self._absence.begin()
            self._errands.drop(str(error))
            raise
        finally:
            self._serving = False
            self._orders.serve(None)
            self._errands.drop("the gateway stopped")

    async def _pause(self) -> None:
        """Wait before the next try.  A new order ends the wait once; a standing one keeps it short."""
        dice = self._world.rng.random()
        delay_s = self._back_off.delay_s(self._presence.failures, dice, urgent=bool(self._orders))
        await self._attention.wait(_now() + delay_s)

    # -- connected -------------------------------------------------------------------------------

    async def _serve(self, device: Device) -> None:
        self._grid.back(_now())
        while True:
            self.progress += 1
            try:
                await self._turn(device)
            except Interrupted:
                continue

    async def _turn(self, device: Device) -> None:
        """Once round: what is most urgent first, and a poll where its slot has come."""
        self._attention.collect()
        await self._orders.obey(device)
        await self._display.show(device)
        await self._heart.beat(device, silent=self.withhold_beat or self.mute)
        await self._errands.run(device)
        if self.config.subscribes:
            self._take(await self._news(device))
        elif self._grid.slot - _now() >= EARLY_S:
            await self._attention.wait(min(self._grid.slot, self._orders.next_try(), self._heart.due_at))
        else:
            self._take(await self._attention.within(self.config.timeout_s, device.poll()))
            self._grid.done(_now())

    async def _news(self, device: Device) -> Reading:
        """A poll that waits for a change: the next attempt at a halt ends it."""
        next_try = self._orders.next_try()
        retry = asyncio.get_running_loop().call_at(next_try, self._attention.interrupt) if next_try < NEVER else None
        try:
            return await self._attention.within(self.config.timeout_s, device.poll(), news_s=self.config.period_s)
        finally:
            if retry is not None:
                retry.cancel()

    def _take(self, reading: Reading) -> None:
        self._presence.answered()
        self._stamp.taken(reading)


def _now() -> float:
    return asyncio.get_running_loop().time()
