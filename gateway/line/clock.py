"""Steps of the wall clock, seen against the monotonic one.  Pure."""

from __future__ import annotations

from typing import Final

import msgspec

STEP_NS: Final = 1_000_000_000
"""A wall clock that moved this much against the monotonic one was stepped: that is a record (BARS R11)."""
TOLD: Final = 3
AGAIN_NS: Final = 600_000_000_000
"""So many are told one by one; of a clock that steps on and on, the sum each ten minutes."""


class Step(msgspec.Struct, frozen=True):
    """How far the wall clock was stepped, and how often."""

    ns: int
    times: int = 1


class ClockWatch:
    """Order is by index and never by clock; a step is a record all the same."""

    def __init__(self) -> None:
        self._offset: int | None = None
        self._untold = Step(0, 0)
        self._told_ns = 0
        self._tells = 0

    def step(self, mono_ns: int, wall_ns: int) -> Step | None:
        """What is to be told of the wall clock now."""
        offset = wall_ns - mono_ns
        if self._offset is None:
            self._offset = offset
        by = offset - self._offset
        if abs(by) > STEP_NS:
            self._offset = offset
            self._untold = Step(self._untold.ns + by, self._untold.times + 1)
        return self._tell(mono_ns) if self._untold.times else None

    def _tell(self, mono_ns: int) -> Step | None:
        if mono_ns - self._told_ns >= AGAIN_NS:
            self._tells = 0
        if self._tells >= TOLD:
            return None
        told, self._untold = self._untold, Step(0, 0)
        self._tells, self._told_ns = self._tells + 1, mono_ns
        return told
