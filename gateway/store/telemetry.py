"""The telemetry store: scans go in, are committed some times a second, and stay until the cap pushes them out.

Positions: `position(scan)` is an integer that grows for ever, across boots: the boot's ordinal << 40, plus `scan.seq`.

How a forwarder uses it.  Live scans go to the sink at once; the same scans are stored here.  What the sink has taken
is said by `confirm(sink, [(first, last)])`, for live scans as for stored ones.  `pending(sink)` lists what it has not
confirmed; after an outage or a crash the forwarder walks these ranges with `read` and confirms what it delivered:

    for first, last in telemetry.pending("influx"):
        page = await telemetry.read(first, last, 500)
        await sink.deliver(page.scans)                       # may be empty: nothing is stored there (any more)
        telemetry.confirm("influx", [(first, page.upto)])

Ranges are closed, in order and disjoint.  They may name positions that were never stored (lost in a crash) or were
shed meanwhile: `read` brings what there is, and `upto` says how far its answer is complete.  Confirmations are stored
within half a second; a crash before that only sends something twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from gateway.ledger.merkle import Tree, root_of
from gateway.model import Scan, Value
from gateway.store.plot import Downsampler
from gateway.store.spans import Span, Spans
from gateway.store.telemetry_file import BOOT_BITS, Batch, Shed, TelemetryFile, count, owed
from gateway.store.telemetry_writer import Stored, TelemetryWriter
from gateway.store.writer import Turn, Writer
from gateway.world import World

FLUSH_S: Final = 0.25
CAP_BYTES: Final = 2**30
SERIES_BATCHES: Final = 32
"""Batches opened in one job of the writer thread."""

ShedListener = Callable[[Shed], "asyncio.Future[None] | None"]


class Page(msgspec.Struct, frozen=True):
    """A part of a range of positions."""

    scans: tuple[Scan, ...]
    positions: tuple[int, ...]
    """One for each scan."""
    upto: int
    """The answer is complete up to this position, included; the range's end where nothing is left."""


class TelemetryRoot(NamedTuple):
    """Merkle root over stored batches, for a ledger record."""

    root: str
    """Hex; leaves are SHA-256(0x00 || compressed batch), in order of position."""
    batches: int
    first: int
    last: int
    """Positions of the first and the last scan covered."""


class Telemetry:
    """Made and used on the loop's thread; files are touched by the shared writer thread only."""

    def __init__(self, writer: Writer, thread: TelemetryWriter, file: TelemetryFile) -> None:
        self._writer, self._thread, self._loop = writer, thread, writer.loop
        self.base = file.base
        """Position of this boot's seq 0."""
        self.quarantined = thread.quarantined
        """Why the file was set aside at start and its new name, or why there is no file; empty when all is well."""
        self.fresh = file.ordinal == 1
        """No earlier boot stored here: the first start of all, or the file is gone."""
        self.degraded = ""
        """Why scans wait in memory instead of the file; empty when all is well."""
        self._stored: dict[int, Span] = {first >> BOOT_BITS: (first, last) for first, last in file.stored()}
        self._confirmed: dict[str, Spans] = {}
        for sink, first, last in file.confirmed():
            self._confirmed.setdefault(sink, Spans()).add(first, last)
        self._moved: set[str] = set()
        self._group: list[Scan] = []
        self._timer: asyncio.TimerHandle | None = None
        self._unrooted: list[Batch] = file.unrooted()
        self._rooted: int | None = None
        self._sheds: list[Shed] = file.sheds()
        self._shed_listener: ShedListener | None = None
        self.shed_scans = 0
        """Scans shed since start, expiry included."""
        thread.tell = self._heard

    @classmethod
    def open(
        cls, folder: Path, *, writer: Writer, world: World, max_bytes: int = CAP_BYTES, vfs: str | None = None
    ) -> Telemetry:
        """Open or create; a damaged file is set aside and a new one begun, see `quarantined`.  Always succeeds.

        `writer` is `evidence.writer`.
        """
        thread = TelemetryWriter(folder, world.boot_id, max_bytes, writer, vfs)
        return cls(writer, thread, thread.open())

    # -- in

    def put(self, scan: Scan) -> None:
        """Store a scan of this boot; committed within a quarter of a second.  Never blocks, never fails."""
        self._group.append(scan)
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self._flush)

    def position(self, scan: Scan) -> int:
        """Of a scan of this boot."""
        return self.base + scan.seq

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._group:
            group, self._group = self._group, []
            group.sort(key=_seq)
            self._extend(self.base + group[0].seq, self.base + group[-1].seq)
            self._thread.backlog.append(group)
        if self._moved:
            self._thread.moved.append({sink: list(self._confirmed[sink]) for sink in self._moved})
            self._moved.clear()
        rooted, self._rooted = self._rooted, None
        self._writer.post(partial(self._thread.do_store, rooted), Turn.TELEMETRY)

    def _extend(self, first: int, last: int) -> None:
        ordinal = first >> BOOT_BITS
        old = self._stored.get(ordinal, (first, last))
        self._stored[ordinal] = (min(old[0], first), max(old[1], last))

    # -- out

    async def read(self, first: int, last: int, limit: int) -> Page:
        """Scans with first <= position <= last, in order, about `limit` of them; also those not committed yet.

        A whole batch is returned once it is opened, so a page may hold some more than `limit`.  Raises StoreError.
        """
        if self._group:
            self._flush()
        return await self._writer.run(partial(self._do_read, first, last, limit))

    def _do_read(self, first: int, last: int, limit: int) -> Page:
        self._thread.do_store(None)
        scans: list[Scan] = []
        positions: list[int] = []
        for batch, found in self._thread.do_scans(first, last):
            base = batch.first >> BOOT_BITS << BOOT_BITS
            for scan in found:
                if first <= base + scan.seq <= last:
                    scans.append(scan)
                    positions.append(base + scan.seq)
            if len(scans) >= limit:
                return Page(tuple(scans), tuple(positions), min(last, batch.last))
        return Page(tuple(scans), tuple(positions), last)

    async def series(self, tag: str, start_ns: int, end_ns: int, max_points: int) -> list[tuple[int, Value]]:
        """`device/tag` over a closed range of wall time, for plots: (time_ns, value), at most about `max_points`.

        Of many numbers in one slot the smallest and the largest stay.  A None stands where a value turned bad or is
        missing, so that no line is drawn over it.  Raises StoreError.
        """
        if self._group:
            self._flush()
        points = Downsampler(tag, start_ns, end_ns, max_points)
        after: int | None = -1
        while after is not None:
            after = await self._writer.run(partial(self._do_series, points, after))
        return points.result()

    def _do_series(self, points: Downsampler, after: int) -> int | None:
        self._thread.do_store(None)
        batches = self._thread.do_overlapping(points.start_ns, points.end_ns, after, SERIES_BATCHES)
        for _, scans in batches:
            points.take(scans)
        return batches[-1][0].first if batches else None

    # -- who has what

    def attend(self, sinks: Collection[str]) -> None:
        """These sinks there are; what others had confirmed is forgotten.  A new one is owed all that is stored."""
        self._thread.sinks = tuple(sinks)
        for gone in self._confirmed.keys() - set(sinks):
            del self._confirmed[gone]
            self._moved.discard(gone)
            self._writer.post(partial(self._thread.do_forget_sink, gone), Turn.TELEMETRY)
        for sink in sinks:
            self._confirmed.setdefault(sink, Spans())

    def pending(self, sink: str) -> list[Span]:
        """Closed ranges this sink has not confirmed, oldest first, up to the newest scan that was put."""
        if self._group:
            seqs = [scan.seq for scan in self._group]
            self._extend(self.base + min(seqs), self.base + max(seqs))
        confirmed = self._confirmed.setdefault(sink, Spans())
        return [gap for ordinal in sorted(self._stored) for gap in confirmed.missing(*self._stored[ordinal])]

    def confirm(self, sink: str, ranges: Iterable[Span]) -> None:
        """The sink has these closed ranges of positions.  Stored within half a second, many in one row."""
        confirmed = self._confirmed.setdefault(sink, Spans())
        for first, last in ranges:
            confirmed.add(first, last)
        self._moved.add(sink)
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self._flush)

    # -- what is lost, what is proved

    def on_shed(self, listener: ShedListener) -> None:
        """Call `listener(shed)` for all that is shed while some sink had not confirmed it; now for earlier ones.

        It returns the future of its ledger record (`Sealed.committed`): only then is the shedding forgotten here,
        so that a crash between the two loses no gap record.
        """
        self._shed_listener = listener
        waiting, self._sheds = self._sheds, []
        for shed in waiting:
            self._tell_shed(shed)

    def _tell_shed(self, shed: Shed) -> None:
        if self._shed_listener is None:
            self._sheds.append(shed)
            return
        recorded = self._shed_listener(shed) if shed.owed else None
        if recorded is None:
            self._forget_shed(shed.id)
        else:
            recorded.add_done_callback(partial(self._shed_recorded, shed.id))

    def _shed_recorded(self, number: int, recorded: asyncio.Future[None]) -> None:
        if not recorded.cancelled() and recorded.exception() is None:
            self._forget_shed(number)

    def _forget_shed(self, number: int) -> None:
        self._writer.post(partial(self._thread.do_forget_shed, number), Turn.TELEMETRY)

    def root_since_last(self) -> TelemetryRoot | None:
        """Root over the batches stored since the last call (also of an earlier boot's rest); None where none were."""
        if not self._unrooted:
            return None
        batches, self._unrooted = self._unrooted, []
        tree = Tree(batch.hash for batch in batches)
        self._rooted = batches[-1].last
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self._flush)
        return TelemetryRoot(tree.root().hex(), len(batches), batches[0].first, batches[-1].last)

    async def root_again(self, first: int, last: int) -> str:
        """The root of what is stored between two positions, hex: to hold against a ledger record."""
        return (await self._writer.run(lambda: root_of(self._thread.file.hashes(first, last)))).hex()

    def _heard(self, stored: Stored) -> None:
        """News of the writer thread, on the loop."""
        self._unrooted += stored.batches
        self.degraded = stored.degraded
        for shed in stored.shed:
            gone = [
                (max(first, shed.first), min(last, shed.last))
                for first, last in self._stored.values()
                if first <= shed.last and last >= shed.first
            ]
            scans = count(gone) if shed.scans < 0 else shed.scans  # of a whole file: seqs are contiguous
            self.shed_scans += scans
            told = msgspec.structs.replace(shed, scans=scans, owed=owed(self._confirmed, gone))
            self._drop(shed)
            self._tell_shed(told)

    def _drop(self, shed: Shed) -> None:
        """The oldest went: the ranges begin after it; a hole in the middle stays in them, see `read`."""
        for ordinal, (first, last) in list(self._stored.items()):
            if first >= shed.first and last <= shed.last:
                del self._stored[ordinal]
            elif shed.first <= first <= shed.last:
                self._stored[ordinal] = (shed.last + 1, last)
        self._unrooted = [batch for batch in self._unrooted if not shed.first <= batch.first <= shed.last]
        oldest = min((first for first, _ in self._stored.values()), default=shed.last + 1)
        for spans in self._confirmed.values():
            spans.forget_below(oldest)

    async def close(self) -> None:
        """Commit what waits and close the file.  Before `Evidence.close`."""
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
        self._thread.stop()
        await self._writer.run(self._thread.do_close, Turn.TELEMETRY)


def _seq(scan: Scan) -> int:
    return scan.seq
