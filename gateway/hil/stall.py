"""How much of its processor time the judge itself was denied: a starved judge may not blame the line.

Two witnesses.  The kernel's own count of time that a hypervisor gave to others (`steal` in /proc/stat, proc(5)), and a
thread that sleeps 20 ms and looks how late it woke.  A share of 0.2 leaves four fifths of the machine.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

STARVED_SHARE: Final = 0.15
"""Stolen share of all processor time from which on times are not believed."""
FROZEN_S: Final = 0.25
"""A freeze as long as this one is a good part of what a device is given to answer."""
_TICK_S: Final = 0.02
_STAT: Final = Path("/proc/stat")


@dataclass(frozen=True)
class Stall:
    """What was denied between two moments."""

    share: float
    """0 to 1: of all processor time, what was given to other machines."""
    longest_s: float
    """The longest freeze."""

    @property
    def starved(self) -> bool:
        return self.share >= STARVED_SHARE or self.longest_s >= FROZEN_S

    def __str__(self) -> str:
        return f"{self.share:.0%} of the processor's time was taken away, longest freeze {self.longest_s:.2f} s"


class StallWatch:
    """From `start` on, or from `with`; `stall` at any time, the longest freeze until `close`."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._ended = threading.Event()
        self._longest_s = 0.0
        self._before = (0, 0)
        self._thread = threading.Thread(target=self._tick, name="stall watch", daemon=True)

    def start(self) -> Self:
        self._before = _stolen(self._stat)
        self._thread.start()
        return self

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def stall(self) -> Stall:
        stolen, whole = _stolen(self._stat)
        spent = whole - self._before[1]
        return Stall((stolen - self._before[0]) / spent if spent > 0 else 0.0, self._longest_s)

    def _tick(self) -> None:
        before_s = time.monotonic()
        while not self._ended.wait(_TICK_S):
            now_s = time.monotonic()
            self._longest_s = max(self._longest_s, now_s - before_s - _TICK_S)
            before_s = now_s


def wait_until_back(at_most_s: float, *, calm_s: float = 3.0) -> bool:
    """Until nothing was denied for `calm_s`; False if `at_most_s` went by first."""
    end_s = time.monotonic() + at_most_s
    while time.monotonic() < end_s:
        with StallWatch() as watch:
            time.sleep(calm_s)
            if not watch.stall.starved:
                return True
    return False


def _stolen(stat: Path) -> tuple[int, int]:
    """Ticks given to others, and all ticks; zeros where the kernel does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = [int(word) for word in stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
        return ticks[7], sum(ticks)
    return 0, 0
