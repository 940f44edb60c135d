"""A machine that says it stands still, and goes on counting: one of the two is not true.

The word that proves a halt may be wired to the wrong place and always say "stands": then a halt of that machine is
believed without anything being asked of it.  A counter of the same machine knows better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.model import Scan, Value

LATE_NS: Final = 10_000_000_000
"""So long after it came to rest a machine may count what was on its way."""
RISES: Final = 3
"""So often a counter rises after that until it is told: once may be somebody's hand."""
COUNTED: Final = ("units", "rejects", "labels", "labels_damaged")
"""Roles that only a machine that moves makes more of."""


class Contradictions:
    """Counters held against the word of their machines."""

    def __init__(self, places: Mapping[str, tuple[str, int]]) -> None:
        """`places`: role -> device, and the counter's position in its scans."""
        self._at: dict[str, list[int]] = {}
        for role, (device, at) in places.items():
            if role in COUNTED:
                self._at.setdefault(device, []).append(at)
        self._since: dict[str, int] = {}
        """Device -> loop time since when it says that it stands."""
        self._last: dict[str, Value] = {}
        self._rises: dict[str, int] = {}

    def see(self, scan: Scan) -> str:
        """The counter that has risen too often while its machine says that it stands; empty where all is well."""
        device = scan.tagset.device
        counters = self._at.get(device)
        if counters is None or scan.held is None:
            return ""
        names = scan.tagset.names
        rose = [names[at] for at in counters if self._rose(names[at], scan.values[at])]
        if not scan.held:
            self._since.pop(device, None)
            for at in counters:
                self._rises.pop(names[at], None)
            return ""
        if scan.mono_ns - self._since.setdefault(device, scan.mono_ns) < LATE_NS:
            return ""
        return next((name for name in rose if self._told(name)), "")

    def _rose(self, name: str, value: Value) -> bool:
        last, self._last[name] = self._last.get(name), value
        return isinstance(last, (int, float)) and isinstance(value, (int, float)) and value > last

    def _told(self, name: str) -> bool:
        """At the third rise, and at every third from there on."""
        self._rises[name] = self._rises.get(name, 0) + 1
        return self._rises[name] % RISES == 0
