"""What may come again and again is told sparingly: the first few one by one, then the sum each ten minutes.

What is left is told when the batch it happened in is complete: it belongs to that one, and to its findings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

TOLD: Final = 3
AGAIN_NS: Final = 600_000_000_000

Making = tuple[str | None, str | None]
"""The open batch, and the one that is being made: it changes when one is complete."""


class Sum(msgspec.Struct, frozen=True):
    """How much in all, in nanoseconds, how often, and in which batch."""

    ns: int
    times: int = 1
    batch: str | None = None


class Sparing:
    """Keeps what was not told yet."""

    def __init__(self, making: Callable[[], Making] = lambda: (None, None)) -> None:
        self._making = making
        self._during: Making = (None, None)
        self._untold = Sum(0, 0)
        self._told_ns = 0
        self._tells = 0

    def add(self, ns: int) -> None:
        """It happened once more."""
        if not self._untold.times:
            self._during = self._making()
        self._untold = Sum(self._untold.ns + ns, self._untold.times + 1, self._during[0])

    def due(self, mono_ns: int) -> Sum | None:
        """What is to be told now; None: nothing."""
        if not self._untold.times:
            return None
        if mono_ns - self._told_ns >= AGAIN_NS:
            self._tells = 0
        if self._tells >= TOLD:
            return None
        self._tells, self._told_ns = self._tells + 1, mono_ns
        return self.rest()

    def over(self) -> Sum | None:
        """What was not told yet of a batch that was complete meanwhile; None: nothing."""
        return None if self._making() == self._during else self.rest()

    def rest(self) -> Sum | None:
        """What was not told yet, at the end; None: nothing."""
        told, self._untold = self._untold, Sum(0, 0)
        return told if told.times else None
