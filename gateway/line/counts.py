"""What the machines say of their own counters: the newest good values, by their meaning."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from gateway.batch.counts import Counters
from gateway.config.reading import Settings
from gateway.model import Scan, Value


class Counts:
    """Counters, tray and position as configured in `gateway.counters`.

    A bad value is never a count: then it is unknown.
    """

    def __init__(self, settings: Settings) -> None:
        self._tags: dict[str, tuple[str, int]] = {}
        self._seen: dict[str, Value] = {}
        self._read_ns: dict[str, int] = {}
        """Role -> loop time of its last good reading."""
        self.since: dict[str, int] = {}
        """Role -> how long before that the one before was; not there for the first one of a run."""
        for role, name in settings.gateway.counters.items():
            device, tag = name.split("/", 1)
            self._tags[role] = (device, settings.tagsets[device].index[tag])
        self.devices = frozenset(device for device, _ in self._tags.values())

    @property
    def places(self) -> Mapping[str, tuple[str, int]]:
        """Role -> device, and the tag's position in its scans."""
        return self._tags

    def see(self, scan: Scan) -> None:
        """Take a scan's counters."""
        for role, (device, at) in self._tags.items():
            if device == scan.tagset.device:
                self._seen[role] = scan.values[at]
                if scan.values[at] is not None:
                    self._time(role, scan.mono_ns)

    def _time(self, role: str, mono_ns: int) -> None:
        if role in self._read_ns:
            self.since[role] = mono_ns - self._read_ns[role]
        self._read_ns[role] = mono_ns

    @property
    def counters(self) -> Counters:
        """None for what no machine says at this moment."""
        return Counters(
            units=self._integer("units"),
            rejects=self._integer("rejects"),
            labels=self._integer("labels"),
            labels_damaged=self._integer("labels_damaged"),
        )

    @property
    def tray(self) -> str | None:
        tray = self._seen.get("tray")
        return str(tray) if tray else None

    @property
    def position(self) -> int | None:
        return self._integer("position")

    def _integer(self, role: str) -> int | None:
        value = self._seen.get(role)
        return int(value) if isinstance(value, (int, float, Decimal)) else None
