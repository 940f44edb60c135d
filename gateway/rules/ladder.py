"""Limits with a deadband and delays, as a ladder a value goes up and down.  Pure: values and times in, a level out.

Up at once it is beyond a limit for `on_ns`; down once it asked for less for `off_ns`, where "less" is inside the
limit by the deadband (FACTS §6).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from gateway.model import Severity
from gateway.rules.inputs import Bounds, Number

OPEN: Final = sys.float_info.max
"""An end without a limit: an infinity is outside of it, and so is looked at."""


class Level(msgspec.Struct, frozen=True):
    """One limit, or none."""

    severity: Severity = Severity.NORMAL
    limit: Number = 0.0
    clear: Number = 0.0
    """Where it clears: the limit less the deadband."""
    above: bool = False


CALM: Final = Level()


class Ladder:
    """Where a value stands among its limits.  All times monotonic ns."""

    __slots__ = ("_levels", "_off_ns", "_on_ns", "_over", "_under_ns", "_wanted", "at")

    def __init__(self, levels: tuple[Level, ...], on_ns: int, off_ns: int) -> None:
        self.at = CALM
        self._levels = levels
        self._on_ns = on_ns
        self._off_ns = off_ns
        self._wanted = CALM
        self._over: dict[Severity, int] = {}
        """Since when the value asked for at least this severity, without a break."""
        self._under_ns: int | None = None
        """Since when the value asked for less than the level that stands."""

    @property
    def at_rest(self) -> bool:
        """On the ground, and nothing asks for more."""
        return self.at is CALM and not self._over

    def take(self, value: Number, now_ns: int) -> None:
        """A good value."""
        self._wanted = self._want(value)
        for level in self._levels:
            if self._wanted.severity >= level.severity:
                self._over.setdefault(level.severity, now_ns)
            else:
                self._over.pop(level.severity, None)
        if self._wanted.severity < self.at.severity:
            self._fall(now_ns)
            return
        self._under_ns = None
        if self._wanted.severity > self.at.severity:
            self.rise(now_ns)
        else:
            self.at = self._wanted

    def rise(self, now_ns: int) -> None:
        """The severest level that was asked for long enough.  Also by time alone: the last good value still asks."""
        for level in self._levels:
            fits = level.above is self._wanted.above and self.at.severity < level.severity <= self._wanted.severity
            if fits and now_ns - self._over.get(level.severity, now_ns) >= self._on_ns:
                self.at = level
                return

    def rises_ns(self, now_ns: int) -> int | None:
        """When time alone next leads further up, at `now_ns` or later; None if it does not."""
        if self._wanted.severity <= self.at.severity:
            return None
        due = [
            self._over[level.severity] + self._on_ns
            for level in self._levels
            if level.above is self._wanted.above
            and self.at.severity < level.severity <= self._wanted.severity
            and level.severity in self._over
        ]
        return min((at for at in due if at >= now_ns), default=None)

    def interrupt(self) -> None:
        """A bad value: it proves no way down."""
        self._under_ns = None

    def stand_at(self, severity: int, *, above: bool) -> bool:
        """Put back where it stood before a restart; False if there is no such limit any more."""
        for level in self._levels:
            if level.severity == severity and level.above is above:
                self.at = self._wanted = level
                return True
        return False

    def _fall(self, now_ns: int) -> None:
        if self._under_ns is None:
            self._under_ns = now_ns
        if now_ns - self._under_ns >= self._off_ns:
            self.at, self._under_ns = self._wanted, None

    def _want(self, value: Number) -> Level:
        """The severest limit the value is beyond; a level it is already at holds until its clearing edge."""
        at = self.at
        for level in self._levels:
            held = at is not CALM and at.above is level.above and at.severity >= level.severity
            edge = level.clear if held else level.limit
            if value > edge if level.above else value < edge:
                return level
        return CALM


def levels(within: Bounds, deadband: Number, severe: Severity) -> tuple[Level, ...]:
    """The limits there are, severest first; `severe` is what leaving low..high means."""
    ends = (
        (severe, within.high, True),
        (severe, within.low, False),
        (Severity.WARNING, within.warn_high, True),
        (Severity.WARNING, within.warn_low, False),
    )
    return tuple(
        Level(severity, limit, _inwards(limit, deadband, above=above), above)
        for severity, limit, above in ends
        if limit is not None
    )


def calm_range(steps: Sequence[Level]) -> tuple[Number, Number]:
    """Where a value asks for nothing."""
    lows = [level.limit for level in steps if not level.above]
    highs = [level.limit for level in steps if level.above]
    return max(lows, default=-OPEN), min(highs, default=OPEN)


def _inwards(limit: Number, deadband: Number, *, above: bool) -> Number:
    """In decimals: 60.1 - 0.1 is 60 and not a little less."""
    width = Decimal(str(deadband))
    moved = Decimal(str(limit)) + (-width if above else width)
    return moved if isinstance(limit, Decimal) else float(moved)
