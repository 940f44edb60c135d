"""What the machine made in this batch: units, running time, trays.  Pure; all times come with the event.

Unit numbers count from the batch's start: the counter's first value is the baseline.  A counter that falls was reset
and counts from 0 again; one that fell to more than can have been made since was set back, and made nothing.  Running
time goes on while the machine's last known state was running: a lost link asks for a check too early rather than too
late.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.counting import SKEW, made, unsigned
from gateway.model import Json


class Production:
    """Counts for one sampling rule."""

    def __init__(self, batch: str | None, tray_size: int, *, counts: bool, tray_tag: bool) -> None:
        self.units: int | None = None
        """Made since the batch's start; None before the counter was seen."""
        self.produced_ns = 0
        self.running = False
        self.in_sight = not (counts or tray_tag)
        """What it made by now is known: not before its first word, and not while its link is lost."""
        self._batch = batch
        self._tray_size = tray_size
        self._counts = counts
        self._tray_tag = tray_tag
        self._counter: int | None = None
        self._counted_ns: int | None = None
        self._counted_wall_ns: int | None = None
        self._trays: list[tuple[str, int]] = []
        """(tray, its first unit), those that still matter."""
        self._good_unit = 0
        """The last unit a good check vouches for."""
        self._at_ns: int | None = None
        self._at_wall_ns: int | None = None

    # -- what the machine says --------------------------------------------------------------------

    def count(self, counter: int, now_ns: int, wall_ns: int) -> int:
        """The machine's own counter; returns how many units are new.  Below 0 it is none, and says nothing."""
        last, since_ns = self._counter, self._uncounted_ns(now_ns, wall_ns)
        counter = unsigned(counter, last or 0, since_ns)
        if counter < 0:
            return 0
        self._counter, self._counted_ns, self._counted_wall_ns = counter, now_ns, wall_ns
        if last is None or self.units is None:
            self.units = self.units or 0
            return 0
        new = made(counter, last, since_ns)
        self.units += new
        return new

    def _uncounted_ns(self, now_ns: int, wall_ns: int) -> int:
        """Since the last reading; over a restart by the wall clock."""
        if self._counted_ns is not None:
            return now_ns - self._counted_ns
        gone_ns = wall_ns - (self._counted_wall_ns or 0)
        return gone_ns if gone_ns > 0 else wall_ns  # a clock that was set back: it may have been any time

    def pass_time(self, now_ns: int, wall_ns: int, most_ns: int) -> None:
        """Up to now.  Time the gateway was down for counts by the wall clock, but no more than `most_ns` of it."""
        if self.running and self._at_ns is not None:
            self.produced_ns += now_ns - self._at_ns
        elif self.running and self._at_wall_ns is not None:
            self.produced_ns += min(max(0, wall_ns - self._at_wall_ns), most_ns)
        self._at_ns, self._at_wall_ns = now_ns, wall_ns

    def see_tray(self, tray: str, made: int) -> bool:
        """The tray in the machine now, `made` units after the last look; True if it is another one."""
        if not tray or (self._trays and self._trays[-1][0] == tray):
            return False
        self._trays.append((tray, self._first_unit(made) if self._trays else 1))
        return True

    def _first_unit(self, made: int) -> int:
        """Where the new tray began: where the last one was full, if it can have been by now, else as early as it can.

        Its name may come in another notification than the count, a little before or behind.
        """
        first, units = (self.units or 0) - made + 1, self.units or 0
        full = self._trays[-1][1] + self._tray_size
        return full if first - SKEW <= full <= units + 1 + SKEW else first

    # -- what it means ----------------------------------------------------------------------------

    def tray_of(self, unit_no: int | None) -> str | None:
        """The tray a unit lies in; of None, the tray that is in the machine."""
        if self._tray_tag:
            fitting = [tray for tray, first in self._trays if unit_no is None or first <= unit_no]
            return fitting[-1] if fitting else None
        unit = unit_no if unit_no is not None else self.units
        return self._computed(max(unit, 1)) if unit is not None and self._batch else None

    def suspects(self) -> tuple[str, ...]:
        """Trays with units that no good check vouches for, the one in the machine included."""
        last = max(self.units or 0, self._good_unit + 1)
        if not self._tray_tag:
            if self.units is None or not self._batch:
                return ()
            starts = range(self._good_unit - self._good_unit % self._tray_size + 1, last + 1, self._tray_size)
            return tuple(self._computed(unit) for unit in starts)
        return tuple(tray for tray, _ in self._unproven())

    def prove(self, unit_no: int | None, trays: Sequence[str] = ()) -> None:
        """A good check vouches for everything up to this unit; without a counter, for what came before these trays."""
        if unit_no is not None:
            self._good_unit = max(self._good_unit, unit_no if self.units is None else min(unit_no, self.units))
        if self._counts:
            self._trays = self._unproven()
            return
        sampled = [place for place, (tray, _) in enumerate(self._trays) if tray in trays]
        self._trays = self._trays[sampled[0] :] if sampled else self._trays

    def _unproven(self) -> list[tuple[str, int]]:
        """Trays from the one that the first unproven unit lies in; without a counter, all since the last proof."""
        if not self._counts:
            return self._trays
        passed = [place for place, (_, first) in enumerate(self._trays) if first <= self._good_unit + 1]
        return self._trays[passed[-1] :] if passed else list(self._trays)

    def _computed(self, unit_no: int) -> str:
        return f"{self._batch}-T{(unit_no - 1) // self._tray_size + 1:03}"

    # -- over a restart ---------------------------------------------------------------------------

    def dump(self) -> Json:
        return {
            "units": self.units,
            "counter": self._counter,
            "counted_wall_ns": self._counted_wall_ns,
            "produced_ns": self.produced_ns,
            "running": self.running,
            "in_sight": self.in_sight,
            "trays": [list(tray) for tray in self._trays],
            "good_unit": self._good_unit,
            "at_wall_ns": self._at_wall_ns,
        }

    def load(self, state: Json) -> None:
        self.units, self._counter = state["units"], state["counter"]
        self._counted_ns, self._counted_wall_ns = None, state.get("counted_wall_ns", state["at_wall_ns"])
        self.produced_ns, self.running = state["produced_ns"], state["running"]
        self.in_sight = state.get("in_sight", True)
        self._trays = [(tray, first) for tray, first in state["trays"]]
        self._good_unit = state["good_unit"]
        self._at_ns, self._at_wall_ns = None, state["at_wall_ns"]
