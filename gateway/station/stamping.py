"""From what a device says to what the line takes: numbered, and stamped with both clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.model import Reading, Scan, TagSet
from gateway.station.port import LinePort
from gateway.world import World


class Stamp:
    """Of one device."""

    def __init__(self, tagset: TagSet, line: LinePort, world: World, next_seq: Callable[[], int]) -> None:
        self._tagset = tagset
        self._line = line
        self._world = world
        self._next_seq = next_seq

    def taken(self, reading: Reading) -> None:
        scan = Scan(
            self._tagset,
            self._next_seq(),
            self._world.time_ns(),
            _mono_ns(),
            reading.values,
            reading.faults,
            reading.source_ns,
            reading.raw,
            reading.held,
            changed=reading.changed,
            server_ns=reading.server_ns,
        )
        self._line.take(scan)

    def missing(self, reason: str, *, keep: bool) -> None:
        """A slot that brought nothing.  One that is not kept has no number: the numbers have no holes."""
        faults = self._tagset.all_bad(reason)
        seq = self._next_seq() if keep else 0
        values = (None,) * len(self._tagset.tags)
        self._line.take(Scan(self._tagset, seq, self._world.time_ns(), _mono_ns(), values, faults), keep=keep)


def _mono_ns() -> int:
    return int(asyncio.get_running_loop().time() * 1e9)
