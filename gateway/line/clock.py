"""Steps of the wall clock, seen against the monotonic one.  Pure."""

from __future__ import annotations

from typing import Final

STEP_NS: Final = 1_000_000_000
"""A wall clock that moved this much against the monotonic one was stepped: that is a record (BARS R11)."""


class ClockWatch:
    """Order is by index and never by clock; a step is a record all the same."""

    def __init__(self) -> None:
        self._offset: int | None = None

    def step(self, mono_ns: int, wall_ns: int) -> int:
        """How far the wall clock was stepped since the last one; 0 where it was not.  Nanoseconds."""
        offset = wall_ns - mono_ns
        if self._offset is None:
            self._offset = offset
        step = offset - self._offset
        if abs(step) <= STEP_NS:
            return 0
        self._offset = offset
        return step
