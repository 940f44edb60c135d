"""What a machine's counter means, for plans and for the batch alike.  Pure.

A counter that falls was reset and counts from 0 again; one that fell to more than can have been made since was set
back, and made nothing.
"""

from __future__ import annotations

from typing import Final

FASTEST: Final = 20
"""Units a second: no line makes more."""
SKEW: Final = 3
"""Units by which the counter may run ahead of or behind the tray's name (one publishing interval at 30 units/s)."""
_REGISTERS: Final = (16, 32, 64)
"""Bits."""
_S_NS: Final = 1_000_000_000


def made(counter: int, last: int, within_ns: int | None) -> int:
    """Units since the last reading, so many nanoseconds ago; None: nobody knows how many."""
    if counter >= last:
        return counter - last
    return counter if within_ns is None or _can_be_made(counter, within_ns) else 0


def unsigned(counter: int, last: int, within_ns: int | None) -> int:
    """A register read with a sign goes on below 0 where it is half full: what follows the last reading is meant."""
    if counter >= 0 or within_ns is None:
        return counter
    meant = (counter + 2**bits for bits in _REGISTERS)
    return next((each for each in meant if each >= last and _can_be_made(each - last, within_ns)), counter)


def _can_be_made(units: int, within_ns: int) -> bool:
    return units <= 1 + FASTEST * within_ns // _S_NS
