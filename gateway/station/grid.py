"""When a device is polled: slots one period apart that never shift, whether it is there or not."""

from __future__ import annotations


class Grid:
    """Of one device.  All times are the loop's, in seconds."""

    __slots__ = ("_shift_s", "overruns", "period_s", "slot")

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._shift_s = 0.0
        self.slot = 0.0
        """The next one, or the one that is polled now."""
        self.overruns = 0
        """Slots that polls ran over."""

    def begin(self, now: float, share: float) -> None:
        """The first slot is now, the others `share` (0 to 1) of a period off: not all devices are polled at once."""
        self.slot = now
        self._shift_s = share * self.period_s

    def back(self, now: float) -> None:
        """The device is there (again): polled at once, and then in its own slots."""
        if now > self.slot:
            self.slot += int((now - self.slot) / self.period_s) * self.period_s

    def done(self, now: float) -> None:
        """On to the next slot.  Those that a slow poll ran over are counted: its value came, late but good.

        Rules hear of them by time alone (the line's ticks): a bad scan for each would make an overload worse.
        """
        missed = max(0, int((now - self.slot) / self.period_s))
        self.slot += (missed + 1) * self.period_s - self._shift_s
        self._shift_s = 0.0
        self.overruns += missed

    def missed(self, now: float) -> None:
        """A slot without a device; where the machine slept over several, the newest."""
        self.slot += self.period_s
        self.back(now)
