"""While a device is away its rules see that: a bad scan for each slot of the grid."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.station.grid import Grid
from gateway.station.stamping import Stamp

AWAY: Final = "not connected"
"""Why nothing is known of a device that is away."""
KEEP_MISSED_S: Final = 10.0
"""Of the bad scans of a device that is away, one in so long is kept as telemetry; rules see every one."""


class Absence:
    """Of one device: begins where there is no connection, ends where there is one."""

    def __init__(self, name: str, grid: Grid, stamp: Stamp) -> None:
        self._name = name
        self._grid = grid
        self._stamp = stamp
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._report(), name=f"missing {self._name}")

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _report(self) -> None:
        loop = asyncio.get_running_loop()
        kept: float | None = None
        while True:
            await asyncio.sleep(max(0.0, self._grid.slot + self._grid.period_s - loop.time()))
            now = loop.time()
            self._grid.missed(now)
            keep = kept is None or now - kept >= KEEP_MISSED_S
            kept = now if keep else kept
            self._stamp.missing(AWAY, keep=keep)
