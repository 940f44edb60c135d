"""What a person wants of a device, a tare or a zero: done between two polls, once, soon, or never.

An errand that has not begun when its time is up, when the link is lost, or when nobody waits for it any more is never
begun.  One that has begun is seen to its end, whoever still waits: what became of it is known, or said not to be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.drivers.base import Device, DriverConfig
from gateway.errors import DeviceError, NotDone, Refused
from gateway.model import Reading
from gateway.station.attention import Attention, Interrupted

BEGINS_S: Final = 1.0
"""So much longer than one poll an errand waits for its turn."""
GRACE_S: Final = 0.1
"""So much longer than its budget it may take: a driver's own NotDone keeps the link, a time-out costs it."""


class Errand:
    """One of them."""

    def __init__(self, what: str, work: Callable[[Device], Awaitable[Reading]], budget_s: float) -> None:
        self.what = what
        self.work = work
        self.budget_s = budget_s
        """Once begun."""
        self.begun = False
        self.done: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()

    async def shown(self) -> Reading:
        """What the device shows of it.  NotDone, DeviceError.  Who is cancelled here takes back what has not begun."""
        try:
            return await asyncio.shield(self.done)
        except asyncio.CancelledError:
            if not self.begun:
                self.done.cancel()
            raise

    def fail(self, error: DeviceError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # seen, also where nobody waits


class Errands:
    """Of one device: one at a time."""

    def __init__(self, name: str, config: DriverConfig, attention: Attention) -> None:
        self._name = name
        self._config = config
        self._attention = attention
        self._errand: Errand | None = None

    def take(self, errand: Errand) -> None:
        """Refused `busy`: another one is not done yet."""
        standing = self._errand
        if standing is not None and not standing.done.done():
            raise Refused("busy", f"a {standing.what} of {self._name} is under way; wait until it is done")
        self._errand = errand
        within_s = self._config.timeout_s + BEGINS_S
        timer = asyncio.get_running_loop().call_later(within_s, self._lapse, errand, within_s)
        errand.done.add_done_callback(lambda _: timer.cancel())

    def _lapse(self, errand: Errand, within_s: float) -> None:
        if not errand.begun:
            errand.fail(NotDone(f"{self._name}: the {errand.what} was not begun within {within_s:g} s; ask again"))

    def drop(self, why: str) -> None:
        """The link is lost: what has not begun never will."""
        if self._errand is not None:
            self._errand.fail(NotDone(f"{self._name}: the {self._errand.what} was not begun: {why}"))
            self._errand = None

    async def run(self, device: Device) -> None:
        """The one that waits.  DeviceError where the link failed over it."""
        errand = self._errand
        if errand is None:
            return
        try:
            if not errand.done.done():
                errand.begun = True
                await self._carry_out(errand, device)
        finally:
            self._errand = None
            errand.fail(NotDone(self._unknown(errand, "the gateway stopped over it")))

    async def _carry_out(self, errand: Errand, device: Device) -> None:
        try:
            reading = await self._attention.within(errand.budget_s + GRACE_S, errand.work(device))
        except Interrupted:
            errand.fail(NotDone(self._unknown(errand, "given up for what is more urgent")))
            raise
        except NotDone as error:
            errand.fail(error)
        except DeviceError as error:
            errand.fail(NotDone(self._unknown(errand, str(error))))
            raise
        else:
            errand.done.set_result(reading)

    def _unknown(self, errand: Errand, why: str) -> str:
        return f"{self._name}: {errand.what}: {why}; whether it was carried out is not known: look at what it shows"
