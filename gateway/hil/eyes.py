"""What is seen of a line from outside: MQTT, as an MES hears it, each thing with the moment it came.

The moments are this computer's own monotonic clock, so a measured time never compares two clocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from paho.mqtt.client import Client, MQTTMessage

from gateway.demo.mes import Mes
from gateway.model import Json

Scan = dict[str, Any]
LONGEST_SCANS: Final = 200_000
"""Per device; some hours of a fast one."""


@dataclass(frozen=True)
class Mark:
    """A moment, and what had been seen by then."""

    s: float
    """Monotonic."""
    time_ns: int = 0
    index: int = -1
    """Of the newest record."""
    arrivals: int = 0
    scans: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)
    """device -> (scans that had come, newest number of each process)."""

    @property
    def mono_ns(self) -> int:
        return int(self.s * 1e9)


class Observer(Mes):
    """An MES that keeps every scan, and when everything came; its session outlives the broker."""

    def __init__(
        self,
        port: int,
        path: str,
        *,
        client_id: str = "observer",
        host: str = "127.0.0.1",
        prepare: Callable[[Client], None] = lambda _: None,
    ) -> None:
        self.by_device: dict[str, list[Scan]] = {}
        self.came_s: dict[int, float] = {}
        """record index -> when it first came."""
        self.changed_s: dict[str, float] = {}
        """state topic -> when its document last changed."""
        super().__init__(port, path, client_id=client_id, host=host, prepare=prepare)

    def _event(self, rest: str, record: dict[str, Any], message: MQTTMessage) -> None:
        self.came_s.setdefault(record["index"], time.monotonic())
        super()._event(rest, record, message)

    def _state(self, rest: str, document: Any, message: MQTTMessage) -> None:
        if self.state.get(rest) != document:
            self.changed_s[rest] = time.monotonic()
        super()._state(rest, document, message)

    def _telemetry(self, rest: str, document: Any, message: MQTTMessage) -> None:
        super()._telemetry(rest, document, message)
        kept = self.by_device.setdefault(rest, [])
        now_s = time.monotonic()
        if len(kept) < LONGEST_SCANS:
            kept.extend(
                {"boot": document.get("boot"), **scan, "came_s": now_s} for scan in document.get("scans", [document])
            )

    def mark(self, s: float, time_ns: int = 0) -> Mark:
        """Now."""
        scans = {device: (len(kept), _newest(kept)) for device, kept in list(self.by_device.items())}
        return Mark(s, time_ns, max(self.records, default=-1), len(self.arrivals), scans)

    def since(self, mark: Mark, device: str) -> list[Scan]:
        """Scans of a device that came since then and are newer than those there were: history does not count.

        By their numbers: the clock that stamps them may be stepped.
        """
        length, newest = mark.scans.get(device, (0, {}))
        later = self.by_device.get(device, [])[length:]
        return [scan for scan in later if int(scan["seq"]) > newest.get(str(scan["boot"]), -1)]

    def event_records(self, mark: Mark) -> list[dict[str, Json]]:
        """Records later than the mark, by index."""
        return [record for index, record in sorted(dict(self.records).items()) if index > mark.index]


def _newest(scans: list[Scan]) -> dict[str, int]:
    found: dict[str, int] = {}
    for scan in scans[-50:]:
        found[str(scan["boot"])] = max(int(scan["seq"]), found.get(str(scan["boot"]), -1))
    return found
