"""Registers that wear: how often they were written in a day, and how often they may be.

Writing EEPROM or flash wears it (Eurotherm 3216: 100,000 writes of a set point).  What this driver writes there is
counted for as long as the process lives, across reconnects.  A halt is counted and never refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final
from weakref import WeakKeyDictionary

import structlog

from gateway.errors import DeviceError

log = structlog.get_logger()

DAY_S: Final = 86400.0
NVM_WRITES: Final = 100_000
"""What an EEPROM endures at least, where the maker does not say."""
_YEARS: Final = 10
"""How long a memory is to last where no budget is given."""


def budget_a_day(endures: int) -> int:
    """Writes a day that let the memory live ten years; at least one."""
    return max(1, endures // (365 * _YEARS))


class Wear:
    """The writes of one register in the last 24 hours."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.most = most
        self.told = False
        """Its refusal was said already: it is not said again until a write was possible."""
        self.owed = False
        """A write was refused and is to be made up for as soon as the budget allows; until the device took it."""
        self._clock = clock
        self._written: deque[float] = deque()

    @property
    def count(self) -> int:
        """Writes of the last 24 hours."""
        while self._written and self._written[0] <= self._clock() - DAY_S:
            self._written.popleft()
        return len(self._written)

    @property
    def spent(self) -> bool:
        return self.count >= self.most

    @property
    def free_in_s(self) -> float:
        """Until the next write is within the budget."""
        over = self.count - self.most
        return max(0.0, self._written[over] + DAY_S - self._clock()) if over >= 0 else 0.0

    def wrote(self, where: str, text: str) -> None:
        """Count one write, that is about to be sent."""
        self._written.append(self._clock())
        self.told = False
        if self.count > self.most:
            log.warning("register worn", device=where, register=text, writes=self.count, budget=self.most)

    def refusal(self, where: str, text: str) -> DeviceError:
        hours = self.free_in_s / 3600
        return DeviceError(
            f"{where}: {text} is not written: {self.count} writes in 24 h, its budget is {self.most} (its memory "
            f"wears); written in {hours:.1f} h, or raise nvm_writes_per_day"
        )


_WORN: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Wear]]] = WeakKeyDictionary()


def wear_of(key: Hashable, most: int) -> Wear:
    """The count of one register of one device, kept while the process lives."""
    loop = asyncio.get_running_loop()
    wear = _WORN.setdefault(loop, {}).setdefault(key, Wear(most, loop.time))
    wear.most = most
    return wear
