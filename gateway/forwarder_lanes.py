"""What one sink still has to be given: records by lane, and scans, live and stored.  No I/O but the stores'."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import structlog

from gateway.model import Lane, Record, Scan, Watermark

log = structlog.get_logger()

RESEND_S: Final = 2.0
"""An acknowledgement that moves nothing, so long after a hand-over, is the MES saying: this is all I have."""
RECORD_LANES: Final = (Lane.ALARMS, Lane.EVIDENCE)

Range = tuple[str, int, int]
"""Boot id, first and last sequence number: scans, both ends included."""


class Cursor(Protocol):
    """How far a sink is; -1 is nothing yet."""

    @property
    def handed(self) -> Mapping[Lane, int]: ...
    @property
    def acknowledged(self) -> int: ...


class EvidenceStore(Protocol):
    """What a forwarder needs of gateway.store.evidence."""

    ledger_id: str
    committed: int
    """Newest committed index; -1 for none."""

    async def read(self, after: int, limit: int, *, lanes: Collection[Lane] | None = None) -> Sequence[Record]: ...
    def cursor(self, sink: str) -> Cursor: ...
    def advance(self, sink: str, *, handed: Mapping[Lane, int] = ..., acknowledged: int | None = ...) -> None: ...
    def listen(self, listener: Callable[[int], None]) -> Callable[[], None]: ...


class TelemetryStore(Protocol):
    """What a forwarder needs of gateway.store.telemetry."""

    def pending(self, sink: str) -> Sequence[Range]:
        """Stored and not confirmed by this sink, oldest first."""
        ...

    async def read(self, boot: str, first: int, last: int, limit: int) -> Sequence[Scan]:
        """Stored scans of a range, in order, at most `limit`; what was shed is left out."""
        ...

    def confirm(self, sink: str, ranges: Sequence[Range]) -> None: ...


class RecordLanes:
    """Positions of a sink in the ledger.

    Where the consumer acknowledges, its watermark is the position each connection starts from; elsewhere it is what
    was handed over.
    """

    def __init__(self, sink: str, store: EvidenceStore, *, acknowledges: bool) -> None:
        self._sink = sink
        self._store = store
        self._acknowledges = acknowledges
        self._at: dict[Lane, int] = {}
        self._epoch = 0
        self._handed_s = float("-inf")
        self.acknowledged = store.cursor(sink).acknowledged
        self.late_from: float | None = None
        """Loop time since when handed records wait for the consumer's word; None: none do."""
        self.rewind()

    def rewind(self) -> None:
        """Back to what is certain: the watermark, or what was handed over."""
        self._epoch += 1
        cursor = self._store.cursor(self._sink)
        for lane in RECORD_LANES:
            self._at[lane] = self.acknowledged if self._acknowledges else cursor.handed.get(lane, -1)

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
        self._handed_s = now_s
        if not self._acknowledges:
            self._store.advance(self._sink, handed={lane: upto})
        elif self.late_from is None and self.unacknowledged > 0:
            self.late_from = now_s

    def acknowledge(self, mark: Watermark, now_s: float) -> bool:
        """The consumer's word.  True: it has come back with less than it was given, and gets it again."""
        if mark.ledger_id != self._store.ledger_id:
            log.warning("an acknowledgement of another ledger was ignored", sink=self._sink, ledger=mark.ledger_id)
            return False
        if mark.committed_upto > self._store.committed:
            log.error(
                "the consumer has committed more than this ledger holds: records were lost here",
                sink=self._sink,
                consumer=mark.committed_upto,
                ledger=self._store.committed,
            )
        upto = min(mark.committed_upto, self._store.committed)
        if upto > self.acknowledged:
            self._advance(upto, now_s)
            return False
        if upto == self.acknowledged and (not self.unacknowledged or now_s - self._handed_s < RESEND_S):
            return False
        self.acknowledged = max(upto, -1)
        self.rewind()
        return True

    def _advance(self, upto: int, now_s: float) -> None:
        self.acknowledged = upto
        self._at = {lane: max(at, upto) for lane, at in self._at.items()}
        self.late_from = now_s if self.unacknowledged > 0 else None
        self._store.advance(self._sink, acknowledged=upto)


class ScanLanes:
    """Live scans in a small buffer; what it could not take, and what was stored before, as holes to be filled."""

    def __init__(self, sink: str, store: TelemetryStore, boot: str, limit: int) -> None:
        self._sink = sink
        self._store = store
        self._boot = boot
        self._limit = limit
        self._live: deque[Scan] = deque()
        self._holes: deque[Range] = deque()
        self._missing_from = 0
        self._seen = 0
        self._covered = 0
        self._open = False

    def start(self) -> None:
        """The sink is there: what the store has is history, what comes from now on is live."""
        self._live.clear()
        self._missing_from = 0
        self._holes = deque(self._store.pending(self._sink))
        self._covered = self._seen
        self._open = True

    def stop(self) -> None:
        """The sink is away: the store keeps what comes."""
        self._open = False
        self._live.clear()

    def offer(self, scan: Scan) -> bool:
        """Take a live scan if there is room; the store has it in any case."""
        self._seen = scan.seq
        if not self._open:
            return False
        if self._missing_from or len(self._live) >= self._limit:
            self._missing_from = self._missing_from or scan.seq
            return False
        self._live.append(scan)
        return True

    @property
    def live(self) -> int:
        return len(self._live)

    @property
    def holes(self) -> int:
        return len(self._holes)

    def next_live(self, limit: int) -> tuple[list[Scan], Callable[[], None]]:
        """The oldest live scans, and what to call once they are settled."""
        scans = [self._live.popleft() for _ in range(min(limit, len(self._live)))]
        first, self._covered = self._covered + 1, scans[-1].seq
        if self._missing_from and not self._live:
            self._holes.append((self._boot, self._missing_from, self._seen))
            self._missing_from, self._covered = 0, self._seen

        def settled() -> None:
            # from the last one on: numbers between were never stored, and ranges melt together
            self._store.confirm(self._sink, [(self._boot, first, scans[-1].seq)])

        return scans, settled

    async def next_history(self, limit: int) -> tuple[Sequence[Scan], Callable[[], None]]:
        """The oldest stored scans of the oldest hole, and what to call once they are settled.  StoreError."""
        boot, first, last = self._holes[0]
        scans = await self._store.read(boot, first, last, limit)
        upto = scans[-1].seq if len(scans) >= limit else last

        def settled() -> None:
            self._store.confirm(self._sink, [(boot, first, upto)])
            self._holes.popleft()
            if upto < last:
                self._holes.appendleft((boot, upto + 1, last))

        return scans, settled
