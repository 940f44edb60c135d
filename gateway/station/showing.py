"""What a device is to show of the line, where it shows anything."""

from __future__ import annotations

from gateway.drivers.base import Device, Pattern, Showing
from gateway.station.attention import Attention


class Display:
    """Of one device.  Only the newest pattern counts; the same one is not written twice."""

    def __init__(self, timeout_s: float, attention: Attention) -> None:
        self._timeout_s = timeout_s
        self._attention = attention
        self._pattern: Pattern | None = None
        self._shown: Pattern | None = None

    def set(self, pattern: Pattern) -> bool:
        """True: it is a new one."""
        changed = pattern != self._pattern
        self._pattern = pattern
        return changed

    def forget(self) -> None:
        """The device is back: whatever it shows, it is shown again."""
        self._shown = None

    async def show(self, device: Device) -> None:
        """Where it is not shown yet.  Interrupted by a halt it is shown after that."""
        pattern = self._pattern
        if pattern == self._shown:
            return
        if pattern is not None and isinstance(device, Showing):
            await self._attention.within(self._timeout_s, device.show(pattern))
        self._shown = pattern
