"""What may come again and again is told sparingly: the first few one by one, then the sum each ten minutes."""

from __future__ import annotations

from typing import Final

import msgspec

TOLD: Final = 3
AGAIN_NS: Final = 600_000_000_000


class Sum(msgspec.Struct, frozen=True):
    """How much in all, in nanoseconds, and how often."""

    ns: int
    times: int = 1


class Sparing:
    """Keeps what was not told yet."""

    def __init__(self) -> None:
        self._untold = Sum(0, 0)
        self._told_ns = 0
        self._tells = 0

    def add(self, ns: int) -> None:
        """It happened once more."""
        self._untold = Sum(self._untold.ns + ns, self._untold.times + 1)

    def due(self, mono_ns: int) -> Sum | None:
        """What is to be told now; None: nothing."""
        if not self._untold.times:
            return None
        if mono_ns - self._told_ns >= AGAIN_NS:
            self._tells = 0
        if self._tells >= TOLD:
            return None
        told, self._untold = self._untold, Sum(0, 0)
        self._tells, self._told_ns = self._tells + 1, mono_ns
        return told
