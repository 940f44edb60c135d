"""Lamps of the line: what alarms, halts, checks and batch come to, shown on every stack light there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from gateway.board import Board
from gateway.drivers.base import Pattern
from gateway.lamps import signs
from gateway.line.alarms import Alarms
from gateway.line.batch import Run
from gateway.line.halts import Holds
from gateway.model import Priority, Quality, Scan
from gateway.station.away import AWAY
from gateway.verdicts import CheckState

TOPICS: Final = frozenset({"alarms", "halts", "checks", "batch"})
"""Of the board: what the signs are made of."""


class ShowPort(Protocol):
    """What is needed of a station: synchronous, and it never waits."""

    def show(self, pattern: Pattern) -> None: ...


class Lamps:
    """Tells the lights what to show whenever it changes, and people when a lamp does not do it."""

    def __init__(
        self,
        board: Board,
        alarms: Alarms,
        holds: Holds,
        run: Run,
        stations: Mapping[str, ShowPort],
        commit: Callable[[], None],
    ) -> None:
        self.showing: Pattern = frozenset()
        self._board, self._alarms, self._holds, self._run = board, alarms, holds, run
        self._stations = stations
        self._commit = commit
        self._dark: dict[str, str] = {}
        if stations:
            board.listen(self._changed)

    def _changed(self, topic: str) -> None:
        if topic in TOPICS:
            self.show()

    def show(self) -> None:
        """What the line has to show now.  The stations know whether that is new."""
        self.showing = signs(
            self._alarms.standing.values(),
            self._holds.standing.values(),
            [CheckState(check["state"]) for check in (self._board.get("checks") or {}).values()],
            producing=self._run.producing is not None,
        )
        for station in self._stations.values():
            station.show(self.showing)

    def watch(self, scan: Scan) -> None:
        """A scan came by: of lights, it says which lamps do not follow."""
        device = scan.tagset.device
        if device not in self._stations:
            return
        reasons = [fault.reason for fault in scan.faults.values() if fault.quality is Quality.BAD]
        if set(reasons) == {AWAY}:
            return  # that is the link's alarm
        text = "; ".join(reasons)
        if self._dark.get(device) != text:  # the first time also where all is well: another run may have told of it
            self._dark[device] = text
            self._alarms.stand(f"lamp:{device}", text, subject=device, priority=Priority.MEDIUM)
            self._commit()
