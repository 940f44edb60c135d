"""Is the device there?  The line is told of each turn once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from gateway.drivers.base import DriverConfig
from gateway.station.port import LinePort

log = structlog.get_logger()


@dataclass(frozen=True)
class BackOff:
    """How long a station waits before it connects again: twice as long each time, up to `longest_s`."""

    shortest_s: float = 0.25
    longest_s: float = 5.0

    def delay_s(self, failures: int, dice: float, *, urgent: bool) -> float:
        """With a `dice` from 0 to 1 nobody knocks in step with others; `urgent`: as soon as is decent."""
        delay = self.shortest_s if urgent else min(self.longest_s, self.shortest_s * 2 ** min(failures, 10))
        return delay * (0.5 + 0.5 * dice)


class Presence:
    """Of one device, as the line knows it."""

    def __init__(self, name: str, config: DriverConfig, line: LinePort) -> None:
        self.failures = 0
        """In a row."""
        self._name = name
        self._config = config
        self._line = line
        self._away = False
        self._announced = False
        """The line was told of this connection."""
        self._identity: Mapping[str, str] = {}

    @property
    def there(self) -> bool:
        return self._announced and not self._away

    def connected(self, identity: Mapping[str, str]) -> None:
        """Bridges take connections for a dead device: after two failures only an answer counts."""
        self._identity = identity
        self._announced = False
        if self.failures <= 1:
            self._announce()

    def answered(self) -> None:
        self.failures = 0
        if not self._announced:
            self._announce()

    def lost(self, reason: str) -> None:
        if self._away:
            return
        self._away = True
        log.warning("device lost", device=self._name, reason=reason, next="connecting again until it is back")
        self._line.lost(self._name, reason)

    def _announce(self) -> None:
        self._announced = True
        self._away = False
        log.info("device connected", device=self._name, address=self._config.address())
        self._line.connected(self._name, self._identity)
