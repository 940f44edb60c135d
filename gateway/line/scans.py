"""Scans of materials: by a reader's own word or a person's, compared with the order, recorded, and told when wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from gateway.batch import scans
from gateway.batch.lifecycle import Batch
from gateway.batch.scans import Code, Match
from gateway.batch.state import BatchState
from gateway.config.model import ScanPoint, Settings
from gateway.errors import Refused
from gateway.journal import Journal
from gateway.line.alarms import Alarms
from gateway.line.batch import Run
from gateway.model import Json, Priority, Scan, Severity, TagSet
from gateway.verdicts import Verdict
from gateway.world import World

PERSON: Final = "person"
WAITING: Final = (BatchState.PLANNED, BatchState.READY)


class _Point:
    """One configured place where materials are scanned."""

    def __init__(self, config: ScanPoint, tagset: TagSet) -> None:
        def at(name: str | None) -> int | None:
            return None if name is None else tagset.index[name.partition("/")[2]]

        self.config = config
        self.on, self.code = tagset.index[config.count.partition("/")[2]], tagset.index[config.code.partition("/")[2]]
        self.read, self.lot, self.expires = at(config.read), at(config.lot), at(config.expires)
        self.count: int | None = None
        self.last: Code | None = None
        self.last_ns = 0
        self.repeats = 0


class Scans:
    """Turns reads into scans of the batch."""

    def __init__(self, settings: Settings, run: Run, alarms: Alarms, journal: Journal, world: World) -> None:
        self._run, self._alarms, self._journal, self._world = run, alarms, journal, world
        self._points: dict[str, list[_Point]] = {}
        for config in settings.gateway.scans.values():
            device = config.count.partition("/")[0]
            self._points.setdefault(device, []).append(_Point(config, settings.tagsets[device]))

    @property
    def watched(self) -> bool:
        """Is there anything to watch for?"""
        return bool(self._points)

    # -- readers ---------------------------------------------------------------------------------

    def watch(self, scan: Scan) -> None:
        """A scan of a device came by; where its count went up, something was read."""
        for point in self._points.get(scan.tagset.device, ()):
            if self._went_up(point, scan) and not (point.read is not None and scan.values[point.read] is False):
                self._read(point, scan)

    def _went_up(self, point: _Point, scan: Scan) -> bool:
        """The first count seen is the baseline; one that fell began again at 0."""
        count = scan.values[point.on]
        if point.on in scan.faults or not isinstance(count, (int, float, Decimal)):
            return False
        last, point.count = point.count, int(count)
        return last is not None and point.count != last and point.count > 0

    def _read(self, point: _Point, scan: Scan) -> None:
        code = self._code(point, scan)
        again = point.last == code and scan.mono_ns - point.last_ns < point.config.again_s * 1e9
        point.last, point.last_ns = code, scan.mono_ns
        if again:  # held before the reader: one scan, counted on the next record
            point.repeats += 1
            return
        code, point.repeats = msgspec.structs.replace(code, repeats=point.repeats), 0
        self._note(self._compare(code, "gateway"), code, point.config.alarm)
        self._journal.commit()

    def _code(self, point: _Point, scan: Scan) -> Code:
        def text(position: int | None) -> str:
            value = None if position is None else scan.values[position]
            return "" if value is None else str(value)

        fault = scan.faults.get(point.code)
        unread = fault.reason if fault else "" if scan.values[point.code] else "no code"
        return Code(text(point.code), scan.tagset.device, text(point.lot), text(point.expires), unread)

    def _compare(self, code: Code, by: str) -> Match:
        """With the batch that runs; else with the one that waits and brings it, the newest first.

        One that is complete and still open takes what none of those brings.
        """
        batches = [batch for batch in self._run.batches.values() if batch.state in WAITING]
        batch = self._run.current
        now_ns = self._world.time_ns()
        if batch is None or (batch.state is BatchState.COMPLETE and not scans.lines(batch, code)):
            meant = next((one for one in reversed(batches) if scans.lines(one, code)), None)
            batch = meant or batch or (batches[-1] if batches else None)
        if batch is None:
            return scans.stray(code, f"{code.text!r} was scanned, but there is no batch it could be for", by, now_ns)
        return self._scanned(batch, code, by, now_ns)

    # -- people ----------------------------------------------------------------------------------

    def enter(self, number: str, text: str, person: str) -> Json:
        """A code that a person scanned or typed for a batch.  Refused: no_such_batch, wrong_state, bad_code."""
        batch = self._run.batches.get(number)
        if batch is None:
            known = ", ".join(self._run.batches) or "none"
            raise Refused("no_such_batch", f"there is no batch {number!r}; known: {known}")
        code = Code(text.strip(), PERSON)
        if not code.text or len(code.text) > scans.LONGEST or not code.text.isprintable():
            raise Refused("bad_code", f"a code is 1 to {scans.LONGEST} printable characters")
        match = self._scanned(batch, code, person, self._world.time_ns())
        self._note(match, code, Priority.HIGH)
        return {"batch": number, **match.draft.body}

    # -- both ------------------------------------------------------------------------------------

    def _scanned(self, batch: Batch, code: Code, by: str, now_ns: int) -> Match:
        today = datetime.fromtimestamp(now_ns / 1e9, tz=UTC).date()
        return scans.scanned(batch, code, by, today, now_ns)

    def _note(self, match: Match, code: Code, priority: Priority) -> None:
        self._journal.add((match.draft,))
        if not match.ok:
            name = f"scan:{code.reader}"
            wrong = Verdict(name, Severity.ALARM, code.reader, match.text, priority=priority, fleeting=True)
            self._alarms.take(wrong)
