"""The heartbeat, where the controller has a place for it: by its absence the machine notices that we are in trouble."""

from __future__ import annotations

import asyncio

from gateway.drivers.base import Beating, Device
from gateway.station.attention import EARLY_S, NEVER, Attention


class Heart:
    """Of one device; `beat_s` None: it has none."""

    def __init__(self, beat_s: float | None, timeout_s: float, attention: Attention) -> None:
        self._beat_s = beat_s
        self._timeout_s = timeout_s
        self._attention = attention
        self._next = 0.0
        self._count = 0

    @property
    def due_at(self) -> float:
        """Loop time."""
        return self._next if self._beat_s else NEVER

    def due_now(self) -> None:
        """The device is back: it has waited long enough."""
        self._next = 0.0

    async def beat(self, device: Device, *, silent: bool) -> None:
        """Where it is due.  Interrupted by a halt it comes after that, if it is not to be silent by then."""
        now = asyncio.get_running_loop().time()
        if not self._beat_s or self._next - now >= EARLY_S:
            return
        if not silent and isinstance(device, Beating):
            self._count = (self._count + 1) % 65536
            await self._attention.within(self._timeout_s, device.beat(self._count))
        self._next = max(self._next + self._beat_s, now + self._beat_s / 2)
