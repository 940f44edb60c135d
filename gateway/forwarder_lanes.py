"""What one sink still has to be given: records by lane, and scans, live and stored.  No I/O but the stores'."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import structlog

from gateway.model import Lane, Record, Scan, Watermark

log = structlog.get_logger()

RESEND_S: Final = 2.0
"""An acknowledgement that moves nothing, and none that does for so long: the MES says that this is all it has."""
RECORD_LANES: Final = (Lane.ALARMS, Lane.EVIDENCE)

Span = tuple[int, int]
"""First and last position of stored scans, both included."""


class Cursor(Protocol):
    """How far a sink is; -1 is nothing yet."""

    @property
    def handed(self) -> Mapping[Lane, int]: ...
    @property
    def acknowledged(self) -> int: ...


class EvidenceStore(Protocol):
    """What a forwarder needs of gateway.store.evidence."""

    ledger_id: str

    @property
    def committed(self) -> int:
        """Newest committed index; -1 for none."""
        ...

    async def read(self, after: int, limit: int, *, lanes: Collection[Lane] | None = None) -> Sequence[Record]: ...
    async def cursor(self, sink: str) -> Cursor: ...
    def advance(
        self, sink: str, *, handed: Mapping[Lane, int] | None = ..., acknowledged: int | None = ...
    ) -> None: ...
    def listen(self, listener: Callable[[int], None]) -> Callable[[], None]: ...


class Page(Protocol):
    """A part of a range."""

    @property
    def scans(self) -> Sequence[Scan]: ...
    @property
    def positions(self) -> Sequence[int]: ...
    @property
    def upto(self) -> int: ...


class TelemetryStore(Protocol):
    """What a forwarder needs of gateway.store.telemetry; positions grow for ever, across boots."""

    base: int
    """Position of this boot's seq 0."""

    def pending(self, sink: str) -> Sequence[Span]: ...
    async def read(self, first: int, last: int, limit: int) -> Page: ...
    def confirm(self, sink: str, ranges: Sequence[Span]) -> None: ...


class RecordLanes:
    """Positions of a sink in the ledger.

    Where the consumer acknowledges, its watermark is the position each connection starts from; elsewhere it is what
    was handed over.
    """

    def __init__(self, sink: str, store: EvidenceStore, *, acknowledges: bool) -> None:
        self._sink = sink
        self._store = store
        self._acknowledges = acknowledges
        self._epoch = 0
        self._asked_s: float | None = None
        self.acknowledged = -1
        self.late_from: float | None = None
        """Loop time since when handed records wait for the consumer's word; None: none do."""
        self._at: dict[Lane, int] = dict.fromkeys(RECORD_LANES, -1)

    async def start(self) -> None:
        """A connection begins: from what is certain, the watermark or what was handed over."""
        cursor = await self._store.cursor(self._sink)
        self.acknowledged = cursor.acknowledged
        self.late_from = None
        if self._acknowledges:
            self._rewind()
        else:
            self._at = {lane: cursor.handed.get(lane, -1) for lane in RECORD_LANES}

    def _rewind(self) -> None:
        self._epoch += 1
        self._asked_s = None
        self._at = dict.fromkeys(RECORD_LANES, self.acknowledged)

    def has(self, lane: Lane) -> bool:
        return self._store.committed > self._at[lane]

    @property
    def unhanded(self) -> int:
        """Records not handed over yet; what other lanes brought meanwhile counts too."""
        return self._store.committed - min(self._at.values())

    @property
    def unacknowledged(self) -> int:
        return max(self._at.values()) - self.acknowledged if self._acknowledges else 0

    async def next(self, lane: Lane, limit: int) -> tuple[Sequence[Record], Callable[[float], None]]:
        """The next records of a lane, and what to call (with the loop's time) once they are settled.  StoreError."""
        newest, epoch = self._store.committed, self._epoch
        records = await self._store.read(self._at[lane], limit, lanes=(lane,))
        upto = records[-1].index if len(records) >= limit else max([newest, *(record.index for record in records)])

        def settled(now_s: float) -> None:
            if epoch == self._epoch:
                self._settle(lane, upto, bool(records), now_s)

        return records, settled

    def _settle(self, lane: Lane, upto: int, some: bool, now_s: float) -> None:
        self._at[lane] = upto
        if not some:
            return
        if not self._acknowledges:
            self._store.advance(self._sink, handed={lane: upto})
        elif self.late_from is None and self.unacknowledged > 0:
            self.late_from = now_s

    def acknowledge(self, mark: Watermark, now_s: float) -> None:
        """The consumer's word.  With less than it said before, it gets the rest again at once."""
        if mark.ledger_id != self._store.ledger_id:
            log.warning("an acknowledgement of another ledger was ignored", sink=self._sink, ledger=mark.ledger_id)
            return
        if mark.committed_upto > self._store.committed:
            log.error(
                "the consumer has committed more than this ledger holds: records were lost here",
                sink=self._sink,
                consumer=mark.committed_upto,
                ledger=self._store.committed,
            )
        upto = max(-1, min(mark.committed_upto, self._store.committed))
        if upto > self.acknowledged:
            self._advance(upto, now_s)
        elif upto < self.acknowledged:
            self.acknowledged = upto
            self._store.advance(self._sink, acknowledged=upto)
            self._rewind()
        elif self.unacknowledged and self._asked_s is None:
            self._asked_s = now_s

    def send_again(self, now_s: float) -> bool:
        """Has the consumer said that it has no more than that, and nothing else since?  Then from there again."""
        if self._asked_s is None or now_s - self._asked_s < RESEND_S:
            return False
        self._rewind()
        return True

    def _advance(self, upto: int, now_s: float) -> None:
        self.acknowledged = upto
        self._asked_s = None
        self._at = {lane: max(at, upto) for lane, at in self._at.items()}
        self.late_from = now_s if self.unacknowledged > 0 else None
        self._store.advance(self._sink, acknowledged=upto)


class ScanLanes:
    """Live scans in a small buffer, and the stored ones behind them.

    What the buffer cannot take, and what comes while the sink is away, is simply never confirmed, so the store lists
    it as pending.  History is what is pending before the oldest scan in the buffer.
    """

    def __init__(self, sink: str, store: TelemetryStore, limit: int) -> None:
        self._sink = sink
        self._store = store
        self._limit = limit
        self._live: deque[tuple[int, Scan]] = deque()
        """(first seq that this scan's confirmation covers, scan)."""
        self._seen = 0
        self._unbroken = False
        self._open = False
        self._page: deque[tuple[int, Scan]] = deque()
        self._page_from = 0
        self._page_upto = 0

    def start(self) -> None:
        """The sink is there: what comes from now on is live."""
        self.stop()
        self._open = True

    def stop(self) -> None:
        """The sink is away: the store keeps what comes."""
        self._open = self._unbroken = False
        self._live.clear()
        self._page.clear()

    def offer(self, scan: Scan) -> bool:
        """Take a live scan if there is room; the store has it in any case."""
        first = self._seen + 1 if self._unbroken else scan.seq  # numbers between were never stored: ranges melt
        self._seen = scan.seq
        self._unbroken = self._open and len(self._live) < self._limit
        if self._unbroken:
            self._live.append((first, scan))
        return self._unbroken

    @property
    def live(self) -> int:
        return len(self._live)

    def next_live(self, limit: int) -> tuple[list[Scan], Callable[[], None]]:
        """The oldest live scans, and what to call once they are settled."""
        taken = [self._live.popleft() for _ in range(min(limit, len(self._live)))]
        base = self._store.base

        def settled() -> None:
            self._store.confirm(self._sink, _melted([(base + first, base + scan.seq) for first, scan in taken]))

        return [scan for _, scan in taken], settled

    def holes(self) -> list[Span]:
        """Stored, not confirmed, and before all that is live."""
        floor = self._store.base + (self._live[0][0] if self._live else self._seen + 1)
        return [(first, min(last, floor - 1)) for first, last in self._store.pending(self._sink) if first < floor]

    async def next_history(self, limit: int) -> tuple[list[Scan], Callable[[], None]] | None:
        """The oldest stored scans of the oldest hole, and what to call once they are settled.  StoreError.

        None: there are none, all is delivered.
        """
        if not self._page:
            holes = self.holes()
            if not holes:
                return None
            first, last = holes[0]
            page = await self._store.read(first, last, limit)
            self._page.extend(zip(page.positions, page.scans, strict=True))
            self._page_from, self._page_upto = first, page.upto
        taken = [self._page.popleft() for _ in range(min(limit, len(self._page)))]
        first, upto = self._page_from, taken[-1][0] if self._page else self._page_upto
        self._page_from = upto + 1

        def settled() -> None:
            self._store.confirm(self._sink, [(first, upto)])

        return [scan for _, scan in taken], settled


def _melted(spans: Sequence[Span]) -> list[Span]:
    """Neighbours as one; the spans are in order."""
    melted = [spans[0]]
    for first, last in spans[1:]:
        if first == melted[-1][1] + 1:
            melted[-1] = (melted[-1][0], last)
        else:
            melted.append((first, last))
    return melted
