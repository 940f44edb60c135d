"""The writer thread's half of the telemetry store: commits, sheds, and survives a sick file.

Methods named `do_...` and what they call run on the writer thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import apsw
import msgspec
import structlog

from gateway.errors import StoreError
from gateway.model import Scan
from gateway.store.folder import set_aside
from gateway.store.spans import Span
from gateway.store.telemetry_file import Batch, Shed, TelemetryFile
from gateway.store.writer import Turn, Writer

log = structlog.get_logger()

FILE: Final = "telemetry.db"
BATCH_SCANS: Final = 512
BATCH_VALUES: Final = 50_000
BACKLOG_VALUES: Final = 1_000_000
"""Values kept in memory while nothing can be written: some 30 MB."""
RETRY_S: Final = 2.0
MEMORY_BYTES: Final = 64 * 2**20
"""Cap of a store that has no file."""

_SICK: Final = (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, OSError)
"""The disk, not the file."""


class Stored(msgspec.Struct):
    """News for the loop."""

    batches: list[Batch] = []
    shed: list[Shed] = []
    degraded: str = ""


class TelemetryWriter:
    """Owns the file."""

    def __init__(self, folder: Path, boot_id: str, max_bytes: int, writer: Writer, vfs: str | None) -> None:
        self._folder, self._boot_id, self._max_bytes, self._vfs = folder, boot_id, max_bytes, vfs
        self._writer = writer
        self.backlog: deque[list[Scan]] = deque()
        """Groups the loop put in; removed once stored."""
        self.moved: deque[dict[str, list[Span]]] = deque()
        """Confirmations to store."""
        self.sinks: tuple[str, ...] = ()
        """To whom telemetry is owed."""
        self.tell: Callable[[Stored], None] = lambda _: None
        self.quarantined = ""
        self.file: TelemetryFile
        self._degraded = ""
        self._retry: asyncio.TimerHandle | None = None

    def open(self) -> TelemetryFile:
        """At start.  Where no file can be opened or made, scans are kept in memory until the next start."""
        try:
            self.file = self._open()
        except (apsw.Error, OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self.file = self._open_anew(error)
        return self.file

    def _open_anew(self, error: Exception) -> TelemetryFile:
        try:
            if not isinstance(error, _SICK):
                self._set_aside(str(error))
                return self._open()
        except (apsw.Error, OSError) as second:
            error = second
        self.quarantined = f"telemetry is kept in memory only: {error}"
        log.error("telemetry cannot be stored", folder=str(self._folder), reason=str(error))
        return TelemetryFile(Path(":memory:"), self._boot_id, max_bytes=min(self._max_bytes, MEMORY_BYTES))

    def _open(self) -> TelemetryFile:
        file = TelemetryFile(self._folder / FILE, self._boot_id, max_bytes=self._max_bytes, vfs=self._vfs)
        try:
            file.newest = max((last for _, last in file.stored()), default=-1)
            file.confirmed(), file.unrooted(), file.sheds()  # what the start needs
        except BaseException:  # boundary: whatever it was goes on, but no connection stays behind
            file.db.abandon()
            raise
        return file

    def _set_aside(self, reason: str) -> None:
        if self._vfs is not None:
            raise StoreError(f"telemetry damaged: {reason}")
        name = set_aside(self._folder / FILE).name
        self.quarantined = f"{reason}; kept as {name}"
        log.error("telemetry quarantined", reason=reason, file=name)

    # -- storing

    def do_store(self, rooted: int | None) -> None:
        """All that waits, a transaction a group.  Never raises for a sick file: then it waits."""
        news, before = Stored(), self._degraded
        try:
            while self.backlog or self.moved or rooted is not None:
                self._do_group(news, rooted)
                rooted = None
            self.file.db.tidy()
            self._degraded = ""
        except _SICK as error:
            self._do_wait(news, str(error))
        except apsw.ConstraintError as error:
            # Two scans with one seq: a bug of ours, and no reason to stop storing what follows.
            log.exception("telemetry refused", reason=str(error))
            news.shed.append(self._do_note(_shed_scans(self.backlog.popleft(), self.file.base, "damaged")))
        except apsw.Error as error:
            self._do_begin_again(news, str(error))
        news.degraded = self._degraded
        if news.batches or news.shed or news.degraded != before:
            self._writer.tell(partial(self.tell, news))

    def _do_group(self, news: Stored, rooted: int | None) -> None:
        while self.file.over_cap() and (shed := self.file.shed(self.sinks)) is not None:
            news.shed.append(shed)
        try:
            batches = self._do_transaction(rooted)
        except apsw.FullError:
            # Written back, the log starts again at its beginning; shed, the file has free pages: nothing must grow.
            self.file.db.tidy(0)
            if (shed := self.file.shed(self.sinks)) is not None:
                news.shed.append(shed)
            batches = self._do_transaction(rooted)
        news.batches += batches
        if batches:
            self.backlog.popleft()

    def _do_transaction(self, rooted: int | None) -> list[Batch]:
        group = self.backlog[0] if self.backlog else []
        moves = len(self.moved)
        try:
            with self.file.db.transaction():
                batches = [self.file.store(part) for part in _parts(group)]
                for move in list(self.moved)[:moves]:
                    for sink, spans in move.items():
                        self.file.put_confirmed(sink, spans)
                if rooted is not None:
                    self.file.put_rooted(rooted)
        except apsw.Error:
            self.file.forget_tagsets()
            raise
        for _ in range(moves):
            self.moved.popleft()
        return batches

    def _do_wait(self, news: Stored, reason: str) -> None:
        """Keep what there is room for in memory; the oldest goes first."""
        if not self._degraded:
            log.warning("telemetry waits in memory", reason=reason)
        self._degraded = reason
        # A copy, made in one step of the interpreter: the loop appends at any moment.
        values = sum(len(scan.values) for group in list(self.backlog) for scan in group)
        while values > BACKLOG_VALUES:
            shed = _shed_scans(self.backlog.popleft(), self.file.base, "no room")
            values -= shed.values
            news.shed.append(shed)
        self._writer.tell(self._retry_later)

    def _retry_later(self) -> None:
        """On the loop; one timer."""
        if self._retry is None:
            self._retry = self._writer.loop.call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._writer.post(partial(self.do_store, None), Turn.TELEMETRY)

    def _do_begin_again(self, news: Stored, reason: str) -> None:
        """The file is damaged: set it aside, and begin a new one in the same boot."""
        lost = self.file
        lost.db.abandon()
        self._set_aside(reason)
        self.file = TelemetryFile(self._folder / FILE, self._boot_id, max_bytes=self._max_bytes, ordinal=lost.ordinal)
        self.file.newest = lost.newest
        news.shed.append(self._do_note(Shed(0, lost.newest, -1, -1, 0, 0, "damaged")))
        self._writer.post(partial(self.do_store, None), Turn.TELEMETRY)

    def _do_note(self, shed: Shed) -> Shed:
        with contextlib.suppress(apsw.Error):
            return self.file.note_shed(shed, self.sinks)
        return shed

    def do_forget_shed(self, number: int) -> None:
        with contextlib.suppress(apsw.Error):  # told again at the next start: a record twice, not none
            self.file.forget_shed(number)

    def do_forget_sink(self, sink: str) -> None:
        with contextlib.suppress(apsw.Error):  # forgotten again at the next start
            self.file.forget_sink(sink)

    # -- reading

    def do_scans(self, first: int, last: int) -> Iterator[tuple[Batch, list[Scan]]]:
        """Opened batches that overlap a range.  Raises StoreError."""
        yield from self._do_opened(self.file.blobs(first, last))

    def do_overlapping(self, start_ns: int, end_ns: int, after: int, limit: int) -> list[tuple[Batch, list[Scan]]]:
        """Opened batches of a time range.  Raises StoreError."""
        return list(self._do_opened(self.file.overlapping(start_ns, end_ns, after, limit)))

    def _do_opened(
        self, found: Iterator[tuple[Batch, bytes]] | Sequence[tuple[Batch, bytes]]
    ) -> Iterator[tuple[Batch, list[Scan]]]:
        """A batch that cannot be opened is dropped, and says so as shed."""
        bad: list[Batch] = []
        try:
            for batch, blob in found:
                try:
                    yield batch, self.file.scans(batch, blob)
                except ValueError:
                    bad.append(batch)
                    yield batch, []
        except apsw.Error as error:
            raise StoreError(f"telemetry cannot be read: {error}") from error
        finally:
            self._do_drop(bad)

    def _do_drop(self, bad: Sequence[Batch]) -> None:
        news = Stored(degraded=self._degraded)
        for batch in bad:
            log.error("telemetry batch damaged", first=batch.first, scans=batch.scans)
            with contextlib.suppress(apsw.Error):
                news.shed.append(self.file.drop(batch, "damaged", self.sinks))
        if news.shed:
            self._writer.tell(partial(self.tell, news))

    def stop(self) -> None:
        """On the loop, before `do_close`."""
        if self._retry is not None:
            self._retry.cancel()

    def do_close(self) -> None:
        """Store what waits, close."""
        self.do_store(None)
        try:
            self.file.db.close()
        except apsw.Error:
            self.file.db.abandon()


def _parts(group: Sequence[Scan]) -> Iterator[Sequence[Scan]]:
    """Batches small enough to be opened in a few milliseconds."""
    start, values = 0, 0
    for at, scan in enumerate(group):
        values += len(scan.values)
        if at + 1 - start >= BATCH_SCANS or values >= BATCH_VALUES:
            yield group[start : at + 1]
            start, values = at + 1, 0
    if start < len(group):
        yield group[start:]


def _shed_scans(scans: Sequence[Scan], base: int, reason: str) -> Shed:
    times = [scan.time_ns for scan in scans]
    return Shed(
        base + scans[0].seq,
        base + scans[-1].seq,
        len(scans),
        sum(len(scan.values) for scan in scans),
        min(times),
        max(times),
        reason,
    )
