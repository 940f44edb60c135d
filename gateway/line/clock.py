"""The wall clock: its steps are records, and one that was set back while nobody looked shuts a gate.

`ClockWatch` sees steps against the monotonic clock.  Over a restart there is none to see them against: there the clock
is held against the newest record.  How far it was set back is known from below only, so no batch starts before it is
past that record, unless a person answers for it (gate `clock`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from gateway.batch.records import lasted, moment
from gateway.journal import Journal
from gateway.line.alarms import Alarms
from gateway.line.sparing import Making, Sparing, Sum
from gateway.model import Json, Priority
from gateway.world import World

log = structlog.get_logger()

ALARM: Final = "gateway:clock"
ROW: Final = "clock"
"""Kind of the state row that outlives a restart; its one key is `until`."""
OPEN_BATCH: Final = ("running", "complete")

STEP_NS: Final = 1_000_000_000
"""A wall clock that moved this much against the monotonic one was stepped: that is a record (BARS R11)."""


class ClockWatch:
    """Order is by index and never by clock; a step is a record all the same."""

    def __init__(self, making: Callable[[], Making] = lambda: (None, None)) -> None:
        self._offset: int | None = None
        self.sparing = Sparing(making)

    def step(self, mono_ns: int, wall_ns: int) -> Sum | None:
        """How far it was stepped, and how often, where that is to be told now."""
        if left := self.sparing.over():
            return left
        offset = wall_ns - mono_ns
        if self._offset is None:
            self._offset = offset
        by = offset - self._offset
        if abs(by) > STEP_NS:
            self._offset = offset
            self.sparing.add(by)
        return self.sparing.due(mono_ns)


class WallClock:
    """Says what became of the wall clock: to the record, to people, and to the gate."""

    def __init__(self, alarms: Alarms, journal: Journal, world: World, making: Callable[[], Making]) -> None:
        self.until_ns = 0
        """Before this time, that of the newest record of an earlier run, the clock is not believed; 0: it is."""
        self._alarms, self._journal, self._world = alarms, journal, world
        self._watch = ClockWatch(making)

    def begin(self, newest_ns: int, rows: Mapping[str, Json], batches: Mapping[str, Json]) -> None:
        """At the start, before any other record is stamped.

        `newest_ns`: Unix time of the newest record, 0 where there is none.  `rows`, `batches`: the state rows of
        these kinds.
        """
        now_ns = self._world.time_ns()
        self.until_ns = max(int(rows.get("until", 0)), newest_ns)
        if newest_ns - now_ns > STEP_NS:
            running = (number for number, row in batches.items() if row["state"] in OPEN_BATCH)
            self._was_set_back(now_ns - newest_ns, next(running, None))
        elif now_ns >= self.until_ns or "until" not in rows:
            self.until_ns = 0
        if rows and not self.until_ns:
            self._journal.keep(ROW, "until", None)

    def _was_set_back(self, by_ns: int, batch: str | None) -> None:
        text = f"set back while the gateway was down, by {lasted(-by_ns)} or more"
        self._note(Sum(by_ns), batch, down=True, text=text)
        self._journal.keep(ROW, "until", str(self.until_ns))
        log.error("the wall clock was set back while the gateway was down", least_s=-by_ns / 1e9, next="look at it")

    def show(self) -> None:
        """Once the alarms and the batch of the last run are known."""
        text = (
            "the wall clock was set back while the gateway was down: it is not past the newest record, of "
            f"{moment(self.until_ns)}; set it right, or open the gate `clock` for a batch"
        )
        self._alarms.stand(ALARM, text if self.until_ns else "")

    def tick(self, mono_ns: int, wall_ns: int) -> None:
        """A moment went by."""
        if self.until_ns and wall_ns >= self.until_ns:
            self.believe()
        self._tell(self._watch.step(mono_ns, wall_ns))

    def farewell(self) -> None:
        """The gateway ends: what was kept for a sum is told."""
        self._tell(self._watch.sparing.rest())

    def _tell(self, step: Sum | None) -> None:
        if step is None:
            return
        self._note(step, step.batch, text=f"stepped by {lasted(step.ns)}")
        text = f"the wall clock was stepped by {lasted(step.ns)}; records keep their order by index, times do not"
        self._alarms.tell(ALARM, text, Priority.MEDIUM)
        log.warning("the wall clock was stepped", step_s=step.ns / 1e9, times=step.times)

    def believe(self) -> None:
        """It is past the newest record, or a person answered for it: its times count from now on."""
        if self.until_ns:
            self.until_ns = 0
            self._journal.keep(ROW, "until", None)
            self._alarms.stand(ALARM, "")

    def _note(self, step: Sum, batch: str | None, **more: Json) -> None:
        body = {"step": str(step.ns), "clock": self._world.clock(), "times": step.times, **more}
        self._journal.note("clock.stepped", body, batch=batch)
