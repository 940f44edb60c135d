"""The gateway's own pauses: a second in which it read, judged and halted nothing is a record and an alarm.

A process that is stopped, a machine without processor time, a call that blocks: the loop's timer rings late, and by how
much is known exactly.  Machines with a watchdog hold meanwhile; a pause longer than the service's watchdog allows
ends in a restart, which is a record of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from gateway.batch.records import lasted
from gateway.journal import Journal
from gateway.line.alarms import Alarms
from gateway.line.sparing import Making, Sparing, Sum
from gateway.model import Priority

log = structlog.get_logger()

ALARM: Final = "gateway:stalled"
LONG_NS: Final = 1_000_000_000
"""From here on a pause is told."""


class Pauses:
    """Hears from the loop's timer how late it rang."""

    def __init__(self, alarms: Alarms, journal: Journal, making: Callable[[], Making]) -> None:
        self._alarms, self._journal = alarms, journal
        self._sparing = Sparing(making)

    def rang(self, mono_ns: int, late_ns: int) -> None:
        """Loop time now, and how long ago the timer was due."""
        self._tell(self._sparing.over())
        if late_ns >= LONG_NS:
            self._sparing.add(late_ns)
        self._tell(self._sparing.due(mono_ns))

    def farewell(self) -> None:
        """The gateway ends: what was kept for a sum is told."""
        self._tell(self._sparing.rest())

    def _tell(self, told: Sum | None) -> None:
        if told is None:
            return
        text = f"stood still for {lasted(told.ns)}" + (f" in {told.times} pauses" if told.times > 1 else "")
        body = {"lasted": str(told.ns), "times": told.times, "text": text}
        self._journal.note("gateway.stalled", body, batch=told.batch)
        told_all = f"the gateway {text}: nothing was read, judged or halted meanwhile; look at the machine it runs on"
        self._alarms.tell(ALARM, told_all, Priority.MEDIUM)
        log.warning("the gateway stood still", lasted_s=told.ns / 1e9, times=told.times)
