"""telemetry.db: batches of scans, bounded; the oldest whole batches go first.  Plain SQL, one thread at a time.

A position is an integer: the boot's ordinal in the upper bits, the scan's seq in the lower 40.  Positions grow for
ever, across boots and reconnects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.ledger.merkle import leaf_hash
from gateway.model import Scan, TagSet, TagSpec
from gateway.store.scans import decode, encode
from gateway.store.spans import Span, Spans
from gateway.store.sqlite import PAGE_BYTES, Database

BOOT_BITS: Final = 40
_SCHEMA: Final = """
CREATE TABLE boot(ordinal INTEGER PRIMARY KEY AUTOINCREMENT, boot_id TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE tagset(number INTEGER PRIMARY KEY, device TEXT NOT NULL, specs TEXT NOT NULL,
  UNIQUE(device, specs)) STRICT;
CREATE TABLE batch(first INTEGER PRIMARY KEY, last INTEGER NOT NULL, scans INTEGER NOT NULL, vals INTEGER NOT NULL,
  first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, hash BLOB NOT NULL, blob BLOB NOT NULL) STRICT;
CREATE INDEX batch_time ON batch(last_ns, first_ns);
CREATE TABLE confirmed(sink TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  PRIMARY KEY(sink, first)) STRICT, WITHOUT ROWID;
CREATE TABLE shed(id INTEGER PRIMARY KEY AUTOINCREMENT, document BLOB NOT NULL) STRICT;
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version=1;
"""


class Batch(msgspec.Struct, frozen=True):
    """What is known of a stored batch without opening it."""

    first: int
    last: int
    """Positions, both included."""
    scans: int
    values: int
    first_ns: int
    last_ns: int
    hash: bytes


class Shed(msgspec.Struct, frozen=True):
    """Telemetry that is no longer there."""

    first: int
    last: int
    """Positions, both included; everything that was stored between them is gone."""
    scans: int
    values: int
    """-1 where it is not known: the whole file was lost."""
    first_ns: int
    last_ns: int
    reason: str
    """full: the cap was reached; no room: the disk was; damaged: the batch or the file could not be read."""
    owed: dict[str, int] = {}
    """Sink -> positions of the range it had not confirmed.  Empty: everybody had it, plain expiry."""
    id: int = 0


class TelemetryFile:
    """The open file.  Every method may raise apsw.Error."""

    def __init__(
        self, path: Path, boot_id: str, *, max_bytes: int, vfs: str | None = None, ordinal: int | None = None
    ) -> None:
        self.db = Database(path, synchronous="normal", vfs=vfs, max_bytes=max_bytes)
        self._max_bytes = max_bytes
        self._numbers: dict[TagSet, int] = {}
        self._tagsets: dict[int, TagSet] = {}
        self._execute = self.db.connection.execute
        if not int(self.db.connection.pragma("user_version")):
            with self.db.transaction() as connection:
                connection.execute(_SCHEMA)
        self._execute("INSERT OR IGNORE INTO boot(ordinal, boot_id) VALUES(?, ?)", (ordinal, boot_id))
        self.ordinal = int(self._execute("SELECT ordinal FROM boot WHERE boot_id = ?", (boot_id,)).get)
        self.base = self.ordinal << BOOT_BITS
        self.newest = -1
        """Newest position stored; -1 for none."""

    # -- writing

    def store(self, scans: Sequence[Scan]) -> Batch:
        """One batch of scans of this boot, in order of seq."""
        blob = encode(scans, self._number)
        times = [scan.time_ns for scan in scans]
        batch = Batch(
            self.base + scans[0].seq,
            self.base + scans[-1].seq,
            len(scans),
            sum(len(scan.values) for scan in scans),
            min(times),
            max(times),
            leaf_hash(blob),
        )
        self._execute("INSERT INTO batch VALUES(?, ?, ?, ?, ?, ?, ?, ?)", (*msgspec.structs.astuple(batch), blob))
        self.newest = batch.last
        return batch

    def _number(self, tagset: TagSet) -> int:
        number = self._numbers.get(tagset)
        if number is None:
            specs = msgspec.json.encode(tagset.specs).decode()
            self._execute("INSERT OR IGNORE INTO tagset(device, specs) VALUES(?, ?)", (tagset.device, specs))
            sql = "SELECT number FROM tagset WHERE device = ? AND specs = ?"
            number = int(self._execute(sql, (tagset.device, specs)).get)
            self._numbers[tagset] = number
            self._tagsets[number] = tagset
        return number

    def forget_tagsets(self) -> None:
        """After a rollback: what was numbered in it is not numbered."""
        self._numbers.clear()

    def over_cap(self) -> bool:
        """True where the next batch might not fit."""
        return self.db.used_bytes() > self._max_bytes - max(self._max_bytes // 64, 16 * PAGE_BYTES)

    def shed(self, sinks: Iterable[str]) -> Shed | None:
        """Remove the oldest whole batches, a thirty-second of the cap, and note it.  None where there are none."""
        room, gone = self._max_bytes // 32, list[Batch]()
        sql = "SELECT first, last, scans, vals, first_ns, last_ns, hash, length(blob) FROM batch ORDER BY first"
        for *columns, size in self._execute(sql):
            gone.append(Batch(*columns))
            room -= size
            if room <= 0:
                break
        if not gone:
            return None
        with self.db.transaction():
            self._execute("DELETE FROM batch WHERE first <= ?", (gone[-1].first,))
            return self.note_shed(shed_of(gone, "full"), sinks)

    def note_shed(self, shed: Shed, sinks: Iterable[str]) -> Shed:
        """Remember it, and to whom it was owed, until the ledger has a record of it."""
        has: dict[str, Spans] = {sink: Spans() for sink in sinks}
        for sink, first, last in self.confirmed():
            has.setdefault(sink, Spans()).add(first, last)
        shed = msgspec.structs.replace(shed, owed=owed(has, [(shed.first, shed.last)]))
        self._execute("INSERT INTO shed(document) VALUES(?)", (msgspec.json.encode(shed),))
        return msgspec.structs.replace(shed, id=self.db.connection.last_insert_rowid())

    def forget_shed(self, number: int) -> None:
        self._execute("DELETE FROM shed WHERE id = ?", (number,))

    def sheds(self) -> list[Shed]:
        """Those the ledger may not know of."""
        rows = self._execute("SELECT id, document FROM shed ORDER BY id")
        return [msgspec.structs.replace(msgspec.json.decode(doc, type=Shed), id=number) for number, doc in rows]

    def drop(self, batch: Batch, reason: str, sinks: Iterable[str]) -> Shed:
        """Remove one batch."""
        with self.db.transaction():
            self._execute("DELETE FROM batch WHERE first = ?", (batch.first,))
            return self.note_shed(shed_of([batch], reason), sinks)

    def put_confirmed(self, sink: str, spans: Iterable[Span]) -> None:
        self._execute("DELETE FROM confirmed WHERE sink = ?", (sink,))
        self.db.connection.executemany("INSERT INTO confirmed VALUES(?, ?, ?)", ((sink, *span) for span in spans))

    def forget_sink(self, sink: str) -> None:
        self._execute("DELETE FROM confirmed WHERE sink = ?", (sink,))

    def put_rooted(self, position: int) -> None:
        self._execute("INSERT OR REPLACE INTO meta VALUES('rooted', ?)", (position,))

    # -- reading

    def confirmed(self) -> list[tuple[str, int, int]]:
        return list(self._execute("SELECT sink, first, last FROM confirmed ORDER BY sink, first"))

    def stored(self) -> list[Span]:
        """First and last position of each boot that has batches."""
        spans = []
        for (ordinal,) in list(self._execute("SELECT ordinal FROM boot ORDER BY ordinal")):
            low, high = ordinal << BOOT_BITS, (ordinal + 1) << BOOT_BITS
            sql = "SELECT (SELECT min(first) FROM batch WHERE first >= ?1 AND first < ?2),"
            sql += " (SELECT last FROM batch WHERE first < ?2 AND first >= ?1 ORDER BY first DESC LIMIT 1)"
            first, last = next(iter(self._execute(sql, (low, high))))
            if first is not None:
                spans.append((int(first), int(last)))
        return spans

    def unrooted(self) -> list[Batch]:
        """Batches no telemetry root covers yet."""
        found = self._execute("SELECT value FROM meta WHERE key = 'rooted'").get
        return self._batches("first > ?", (-1 if found is None else found,))

    def hashes(self, first: int, last: int) -> list[bytes]:
        """Batch hashes of a root's range, in order."""
        sql = "SELECT hash FROM batch WHERE first >= ? AND last <= ? ORDER BY first"
        return [digest for (digest,) in self._execute(sql, (first, last))]

    def blobs(self, first: int, last: int) -> Iterator[tuple[Batch, bytes]]:
        """Batches that overlap a closed range of positions, in order."""
        at = self._execute("SELECT max(first) FROM batch WHERE first <= ?", (first,)).get
        sql = "SELECT first, last, scans, vals, first_ns, last_ns, hash, blob FROM batch"
        sql += " WHERE first >= ? AND last >= ? AND first <= ? ORDER BY first"
        for *columns, blob in self._execute(sql, (first if at is None else at, first, last)):
            yield Batch(*columns), blob

    def overlapping(self, start_ns: int, end_ns: int, after: int, limit: int) -> list[tuple[Batch, bytes]]:
        """Batches with scans in a closed range of wall time, after a position, in order."""
        sql = "SELECT first, last, scans, vals, first_ns, last_ns, hash, blob FROM batch"
        sql += " WHERE first > ? AND last_ns >= ? AND first_ns <= ? ORDER BY first LIMIT ?"
        rows = self._execute(sql, (after, start_ns, end_ns, limit))
        return [(Batch(*columns), blob) for *columns, blob in rows]

    def _batches(self, where: str, values: tuple[int, ...]) -> list[Batch]:
        sql = "SELECT first, last, scans, vals, first_ns, last_ns, hash FROM batch"
        return [Batch(*row) for row in self._execute(f"{sql} WHERE {where} ORDER BY first", values)]

    def scans(self, batch: Batch, blob: bytes) -> list[Scan]:
        """Open a batch.  Raises ValueError where it is not what was stored."""
        if leaf_hash(blob) != batch.hash:
            raise ValueError("telemetry batch is not what was stored")
        found = decode(blob, self._tagset)
        boot = self._boot(batch.first >> BOOT_BITS)
        return [msgspec.structs.replace(scan, boot=boot) for scan in found] if boot else found

    def _boot(self, ordinal: int) -> str:
        """Id of an earlier boot, which its scans name; empty for this one."""
        if ordinal == self.ordinal:
            return ""
        return str(self._execute("SELECT boot_id FROM boot WHERE ordinal = ?", (ordinal,)).get or "")

    def _tagset(self, number: int) -> TagSet:
        tagset = self._tagsets.get(number)
        if tagset is None:
            rows = list(self._execute("SELECT device, specs FROM tagset WHERE number = ?", (number,)))
            if not rows:
                raise ValueError(f"telemetry batch of an unknown tag set {number}")
            specs = msgspec.json.decode(rows[0][1], type=list[TagSpec])
            tagset = self._tagsets[number] = TagSet(rows[0][0], specs)
        return tagset


def shed_of(batches: Sequence[Batch], reason: str) -> Shed:
    """The gap these batches leave."""
    return Shed(
        batches[0].first,
        batches[-1].last,
        sum(batch.scans for batch in batches),
        sum(batch.values for batch in batches),
        min(batch.first_ns for batch in batches),
        max(batch.last_ns for batch in batches),
        reason,
    )


def owed(has: Mapping[str, Spans], gone: Sequence[Span]) -> dict[str, int]:
    """Sink -> positions of what is gone that it had not confirmed."""
    counts = {sink: sum(count(spans.missing(*span)) for span in gone) for sink, spans in has.items()}
    return {sink: number for sink, number in counts.items() if number}


def count(spans: Iterable[Span]) -> int:
    """Positions in disjoint closed ranges."""
    return sum(last - first + 1 for first, last in spans)
