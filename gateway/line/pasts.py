"""What released latches leave behind: their version, whether their machine moved since, what is owed to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.halts import Released
from gateway.journal import Journal
from gateway.model import Json

ROW: Final = "released"
"""Kind of the state rows; their keys are halt ids."""


class Pasts:
    """One for each latch that was ever released; a state row each, so a restart knows them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._of: dict[str, Released] = {}

    def restore(self, rows: Mapping[str, Json]) -> None:
        """What earlier runs left behind."""
        self._of = {key: msgspec.convert(row, Released) for key, row in rows.items()}

    def released(self, halt_id: str, device: str, version: int) -> None:
        """A person released it; the machine has not heard of it yet."""
        self._keep(halt_id, Released(device, version, owed=True))

    def next_version(self, halt_id: str) -> int:
        """Of a latch that is made now: above that of any before it."""
        past = self._of.get(halt_id)
        return past.version + 1 if past else 1

    def versions(self) -> dict[str, int]:
        """Halt id -> the version that was released."""
        return {halt_id: past.version for halt_id, past in self._of.items()}

    def may_stand(self, device: str) -> bool:
        """Released and not seen moving yet: that it stands is no news."""
        return any(past.device == device and not past.moved for past in self._of.values())

    def moved(self, device: str) -> None:
        """The machine was seen moving."""
        for halt_id, past in self._of.items():
            if past.device == device and not past.moved:
                self._keep(halt_id, msgspec.structs.replace(past, moved=True))

    def owed(self) -> set[str]:
        """Machines that were not told of their release yet."""
        return {past.device for past in self._of.values() if past.owed}

    def withdrawn(self, device: str) -> None:
        """The machine was told: nothing is owed to it any more."""
        for halt_id, past in self._of.items():
            if past.device == device and past.owed:
                self._keep(halt_id, msgspec.structs.replace(past, owed=False))

    def _keep(self, halt_id: str, past: Released) -> None:
        self._of[halt_id] = past
        self._journal.keep(ROW, halt_id, msgspec.to_builtins(past))
