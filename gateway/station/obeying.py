"""Halts: what was ordered and how far it is.  What stands here goes before any other read or write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, cast

from gateway.drivers.base import Device, DriverConfig, Haltable, Owing, Prompt
from gateway.errors import DeviceError, NotHeld
from gateway.halts import TRIES
from gateway.model import HaltOrder, HaltProof
from gateway.station.attention import EARLY_S, NEVER
from gateway.station.port import LinePort

GRACE_S: Final = 0.1
"""So much longer than its budget a halt may take: a driver's own NotHeld keeps the link, a time-out costs it."""
QUICK_S: Final = 0.3
"""Between two attempts at first: a machine that refuses at once, or is busy, has some time to change."""
SLOW_S: Final = 1.0
"""Between two attempts once the first few did not help."""


class _Standing:
    """An order until it is released: confirmed or to be tried again at `next_try` (loop time)."""

    __slots__ = ("confirmed", "next_try", "order", "tries")

    def __init__(self, order: HaltOrder) -> None:
        self.order = order
        self.confirmed = False
        self.next_try = 0.0
        self.tries = 0


class Orders:
    """Of one device."""

    def __init__(self, name: str, config: DriverConfig, line: LinePort) -> None:
        self._name = name
        self._config = config
        self._line = line
        self._standing: dict[str, _Standing] = {}
        self._withdraw = False
        self._asked_back = False
        """`withdraw` was called, and the device owes it still."""
        self._withdrawing: asyncio.Timeout | None = None
        """`withdraw` is under way."""
        self._halt_now: Callable[[], None] = _nothing
        """Of the device that is there, if it is prompt."""

    def __bool__(self) -> bool:
        return bool(self._standing)

    def serve(self, device: Device | None) -> None:
        """This one is there; None: there is none any more."""
        self._halt_now = device.halt_now if isinstance(device, Prompt) else _nothing

    def latch(self, order: HaltOrder) -> None:
        """The order stands from now on; a prompt device is told before anything else is done."""
        if self._withdrawing is None:  # a release that waits for its turn would come after it
            self._halt_now()
        self._standing[order.id] = _Standing(order)
        self._asked_back = False
        if self._withdrawing is not None and not self._withdrawing.expired():
            self._withdrawing.reschedule(asyncio.get_running_loop().time())

    def drop(self, halt_id: str) -> bool:
        """Forget it.  True: that was the last one, and our hold output is to be withdrawn."""
        if self._standing.pop(halt_id, None) is None or self._standing:
            return False
        self.take_back()
        return True

    def take_back(self) -> None:
        """Our hold output is to be withdrawn as soon as the device is there and no order stands."""
        self._withdraw, self._asked_back = True, False

    def assert_again(self) -> None:
        """Whatever happened while it was away: the machine says it again."""
        for standing in self._standing.values():
            standing.confirmed = False
            standing.next_try = 0.0

    def next_try(self) -> float:
        """Loop time; NEVER where nothing is to be tried."""
        waiting = [standing.next_try for standing in self._standing.values() if not standing.confirmed]
        return min(waiting, default=NEVER)

    async def obey(self, device: Device) -> None:
        """Every standing order that is not confirmed."""
        if self._withdraw and not self._standing:
            await self._take_back(device)
        if self.next_try() - asyncio.get_running_loop().time() < EARLY_S:
            await self._attempt(device)
        while any(standing.tries == 0 for standing in self._standing.values()):  # ordered meanwhile
            await self._attempt(device)

    async def _attempt(self, device: Device) -> None:
        """One for all that are not confirmed: they ask the same of the machine, and its word proves each of them."""
        asking = [standing for standing in self._standing.values() if not standing.confirmed]
        self._begin(asking)
        if not _can_halt(type(device)):
            self._not_held(asking, f"{self._name} has no way to be held")
            return
        for standing in asking:
            self._line.commanded(standing.order.id)
        try:
            async with asyncio.timeout(self._config.halt_budget_s + GRACE_S):
                proof = await cast("Haltable", device).halt(asking[0].order)
        except TimeoutError:
            self._not_held(asking, f"no read-back within {self._config.halt_budget_s:g} s")
            raise DeviceError(f"{self._config.address()} did not answer to a halt") from None
        except NotHeld as error:
            self._not_held(asking, str(error))
        except DeviceError as error:
            self._not_held(asking, str(error))
            raise
        else:
            self._confirm(asking, proof)

    def _begin(self, asking: Sequence[_Standing]) -> None:
        now = asyncio.get_running_loop().time()
        for standing in asking:
            standing.tries += 1
            standing.next_try = now + (QUICK_S if standing.tries < TRIES else SLOW_S)

    def _not_held(self, asking: Sequence[_Standing], reason: str) -> None:
        for standing in asking:
            self._line.not_held(standing.order.id, reason)

    def _confirm(self, asking: Sequence[_Standing], proof: HaltProof) -> None:
        """But for what was released, or ordered anew, while the machine was asked."""
        for standing in asking:
            if self._standing.get(standing.order.id) is standing:
                standing.confirmed = True
                self._line.confirmed(standing.order.id, proof)

    async def _take_back(self, device: Device) -> None:
        budget_s = self._config.halt_budget_s
        if isinstance(device, Haltable) and not self._asked_back:
            try:
                async with asyncio.timeout(budget_s) as self._withdrawing:
                    await device.withdraw()
            except TimeoutError:
                if self._standing:
                    return  # given up for an order: that goes first, and with its release this is due again
                raise DeviceError(f"{self._config.address()} did not answer within {budget_s:g} s") from None
            finally:
                self._withdrawing = None
            self._asked_back = True
        if isinstance(device, Owing) and device.owes:
            return  # looked at again in the next turn
        self._withdraw = self._asked_back = False
        self._line.withdrawn(self._name)


def _nothing() -> None:
    """What is not prompt is told in its turn."""


@cache
def _can_halt(kind: type[Device]) -> bool:
    """Asked once a kind: a look through a protocol's members is some of the time a halt takes."""
    return issubclass(kind, Haltable)
