"""evidence.db: records, state and checkpoints.  Plain SQL, one thread at a time; no loop, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import apsw
import msgspec

from gateway.errors import VerifyError
from gateway.ledger.merkle import Tree, leaf_hash
from gateway.ledger.note import Checkpoint, Verifier, parse_checkpoint
from gateway.model import Json, Lane, Record
from gateway.store.sqlite import Database

_SCHEMA: Final = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE record(idx INTEGER PRIMARY KEY, lane INTEGER NOT NULL, kind TEXT NOT NULL, batch TEXT,
  time_ns INTEGER NOT NULL, hash BLOB NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE INDEX record_lane ON record(lane, idx);
CREATE INDEX record_batch ON record(batch, idx) WHERE batch IS NOT NULL;
CREATE TABLE state(kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, mark BLOB NOT NULL,
  PRIMARY KEY(kind, key)) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, frontier BLOB NOT NULL, note TEXT NOT NULL) STRICT;
PRAGMA user_version=1;
"""
_COLUMNS: Final = "idx, kind, batch, time_ns, lane, hash, payload"
_WHOLE_BYTES: Final = 256 * 2**20
"""Files up to this size are examined whole at start (some two seconds)."""
_TAIL_RECORDS: Final = 200_000
"""Of larger ones, so many records."""

_LANES: Final = frozenset(Lane)

StateRow = tuple[str, str, bytes | None]
"""Kind, key, JSON; None deletes."""


class Damaged(Exception):  # noqa: N818  # never leaves the store
    """The file does not hold what was written.  `first` is the first record that cannot be vouched for."""

    def __init__(self, reason: str, first: int) -> None:
        super().__init__(reason)
        self.first = first


class _Head(msgspec.Struct):
    ledger: str
    index: int
    prev: str
    time: str
    kind: str
    batch: str | None


_HEAD: Final = msgspec.json.Decoder(_Head)


def mark(kind: str, key: str, value: bytes) -> bytes:
    """A checksum over a state row: SQLite has none of its own."""
    return sha256(b"\0".join((kind.encode(), key.encode(), value))).digest()[:8]


class EvidenceFile:
    """The open file.  Every method may raise apsw.Error."""

    def __init__(self, path: Path, vfs: str | None = None, *, synchronous: str = "full") -> None:
        self.db = Database(path, synchronous=synchronous, vfs=vfs)
        self.tree = Tree()
        self.last_hash = bytes(32)

    @property
    def fresh(self) -> bool:
        return int(self.db.connection.pragma("user_version")) == 0

    def begin(self, meta: Mapping[str, str], state: Sequence[StateRow]) -> None:
        """Make a new ledger of an empty file."""
        with self.db.transaction() as connection:
            connection.execute(_SCHEMA)
            connection.executemany("INSERT INTO meta VALUES(?, ?)", meta.items())
            self._put_state(connection, state)

    def meta(self) -> dict[str, str]:
        return dict(self.db.connection.execute("SELECT key, value FROM meta"))

    def commit(self, records: Sequence[Record], state: Sequence[StateRow]) -> None:
        """Append records and change state, in one transaction; durable on return."""
        with self.db.transaction() as connection:
            connection.executemany(
                "INSERT INTO record VALUES(?, ?, ?, ?, ?, ?, ?)",
                ((r.index, int(r.lane), r.kind, r.batch, r.time_ns, r.hash, r.payload) for r in records),
            )
            self._put_state(connection, state)
        for record in records:
            self.tree.append(record.hash)
            self.last_hash = record.hash

    @staticmethod
    def _put_state(connection: apsw.Connection, rows: Sequence[StateRow]) -> None:
        for kind, key, value in rows:
            if value is None:
                connection.execute("DELETE FROM state WHERE kind = ? AND key = ?", (kind, key))
            else:
                row = (kind, key, value, mark(kind, key, value))
                connection.execute("INSERT OR REPLACE INTO state VALUES(?, ?, ?, ?)", row)

    def state(self) -> Iterator[tuple[str, str, bytes]]:
        """State rows whose checksum holds."""
        for kind, key, value, seen in self.db.connection.execute("SELECT kind, key, value, mark FROM state"):
            if seen == mark(kind, key, value):
                yield kind, key, value

    def load_state(self, kind: str) -> dict[str, Json]:
        rows = self.db.connection.execute("SELECT key, value FROM state WHERE kind = ?", (kind,))
        return {key: msgspec.json.decode(value) for key, value in rows}

    def add_checkpoint(self, note: str) -> None:
        """Keep a signed checkpoint of the tree as it stands."""
        with self.db.transaction() as connection:
            row = (self.tree.size, self.tree.dump(), note)
            connection.execute("INSERT OR REPLACE INTO checkpoint VALUES(?, ?, ?)", row)

    def newest_checkpoint(self) -> str:
        found = self.db.connection.execute("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1").get
        return str(found) if found else ""

    def newest_sizes(self) -> tuple[int | None, int | None]:
        """Of the newest checkpoint and of the one before it; None where there is none."""
        rows = self.db.connection.execute("SELECT size FROM checkpoint ORDER BY size DESC LIMIT 2")
        newest, before, *_ = (*(int(size) for (size,) in rows), None, None)
        return newest, before

    def checkpoints(self, after: int, upto: int) -> list[tuple[int, str]]:
        """Size and note of those with after < size <= upto, smallest first."""
        sql = "SELECT size, note FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size"
        return list(self.db.connection.execute(sql, (after, upto)))

    def covering(self, size: int) -> int | None:
        """The smallest checkpointed size that covers so many records."""
        found = self.db.connection.execute("SELECT min(size) FROM checkpoint WHERE size >= ?", (size,)).get
        return None if found is None else int(found)

    def frontier_at(self, size: int) -> Tree:
        """The tree of the first `size` records."""
        sql = "SELECT frontier FROM checkpoint WHERE size <= ? ORDER BY size DESC LIMIT 1"
        found = self.db.connection.execute(sql, (size,)).get
        tree = Tree.load(found) if found else Tree()
        for (digest,) in self.db.connection.execute(
            "SELECT hash FROM record WHERE idx >= ? AND idx < ? ORDER BY idx", (tree.size, size)
        ):
            tree.append(digest)
        return tree

    def span(self, batch: str) -> tuple[int, int] | None:
        """First and last record of a batch."""
        sql = "SELECT min(idx), max(idx) FROM record WHERE batch = ?"
        first, last = next(iter(self.db.connection.execute(sql, (batch,))))
        return None if first is None else (int(first), int(last))

    def read(
        self, after: int, limit: int, lanes: Collection[Lane] | None = None, batch: str | None = None
    ) -> list[Record]:
        """Records with index > after, in order.  Raises Damaged where one is not what was written."""
        where, values = ["idx > ?"], [after]
        if lanes is not None:
            # One lane: by its index.  Several: in order of the table, which needs no sorting.
            column = "lane" if len(lanes) == 1 else "+lane"
            where.append(f"{column} IN ({','.join(str(int(lane)) for lane in lanes)})")
        rows = self.db.connection.execute(
            f"SELECT {_COLUMNS} FROM record WHERE {' AND '.join(where)}"  # noqa: S608  # integers of ours
            f"{'' if batch is None else ' AND batch = ?'} ORDER BY idx LIMIT ?",
            (*values, *(() if batch is None else (batch,)), limit),
        )
        return [_record(*row) for row in rows]

    def examine(self, verifier: Verifier, tip: Checkpoint | None, *, whole: bool = False) -> None:
        """Check the file against itself, its signed checkpoints and the last one kept beside it.

        Leaves `tree` and `last_hash` as of the newest record.  Raises Damaged or apsw.Error.
        """
        whole = whole or self.db.used_bytes() <= _WHOLE_BYTES
        if whole and (said := self.db.connection.execute("PRAGMA integrity_check(1)").get) != "ok":
            raise Damaged(f"integrity check: {said}", 0)
        signed = [seen for seen in (_read_note(verifier, self.newest_checkpoint()), tip) if seen is not None]
        self._hold_state()
        self._replay(verifier, 0 if whole else self.count() - _TAIL_RECORDS, signed)
        for seen in signed:
            if seen.size > self.tree.size:
                raise Damaged(f"{seen.size} records were signed, {self.tree.size} are here", self.tree.size)
            if self.frontier_at(seen.size).root() != seen.root:
                raise Damaged(f"the records below {seen.size} are not those that were signed", 0)

    def count(self) -> int:
        found = self.db.connection.execute("SELECT max(idx) FROM record").get
        return 0 if found is None else int(found) + 1

    def _hold_state(self) -> None:
        for kind, key, value, seen in self.db.connection.execute("SELECT kind, key, value, mark FROM state"):
            if seen != mark(kind, key, value):
                raise Damaged(f"state {kind} {key} is not what was written", self.count())

    def _replay(self, verifier: Verifier, start: int, signed: Sequence[Checkpoint]) -> None:
        ledger, roots = self.meta().get("ledger_id", ""), {seen.size: seen.root for seen in signed}
        self.tree = self._frontier_below(start, verifier) if start > 0 else Tree()
        digest: bytes | None = None if self.tree.size else bytes(32)
        sql = "SELECT size, frontier FROM checkpoint WHERE size > ? ORDER BY size"
        frontiers = iter(self.db.connection.execute(sql, (self.tree.size,)))
        size, frontier = next(frontiers, (-1, b""))
        sql = f"SELECT {_COLUMNS} FROM record WHERE idx >= ? ORDER BY idx"  # noqa: S608  # names of ours
        for row in self.db.connection.execute(sql, (self.tree.size,)):
            record = _record(*row)
            self._hold_record(record, ledger, digest)
            digest = record.hash
            self.tree.append(digest)
            if self.tree.size == size:
                if self.tree.dump() != frontier or self.tree.root() != roots.get(size, self.tree.root()):
                    raise Damaged(f"the records below {size} are not those that were signed", 0)
                size, frontier = next(frontiers, (-1, b""))
        self.last_hash = digest or self._newest_hash()

    def _frontier_below(self, start: int, verifier: Verifier) -> Tree:
        sql = "SELECT frontier, note FROM checkpoint WHERE size <= ? ORDER BY size DESC LIMIT 1"
        for frontier, note in self.db.connection.execute(sql, (start,)):
            tree, said = Tree.load(frontier), _read_note(verifier, note)
            if said is None or said.root != tree.root():
                raise Damaged(f"checkpoint at size {tree.size} does not hold", 0)
            return tree
        return Tree()

    def _newest_hash(self) -> bytes:
        found = self.db.connection.execute("SELECT hash FROM record ORDER BY idx DESC LIMIT 1").get
        return bytes(found) if found else bytes(32)

    def newest_ns(self) -> int:
        """Time of the newest record, Unix ns; 0 for none."""
        found = self.db.connection.execute("SELECT time_ns FROM record ORDER BY idx DESC LIMIT 1").get
        return int(found) if found else 0

    def _hold_record(self, record: Record, ledger: str, prev: bytes | None) -> None:
        at = self.tree.size
        try:
            head = _HEAD.decode(record.payload)
        except msgspec.DecodeError as error:
            raise Damaged(f"record {at} is not a record: {error}", at) from None
        said = (head.ledger, head.index, head.kind, head.batch, head.time)
        if said != (ledger, at, record.kind, record.batch, str(record.time_ns)) or record.index != at:
            raise Damaged(f"record {at} is missing or stands in another's place", at)
        if prev is not None and head.prev != prev.hex():
            raise Damaged(f"record {at} does not follow the one before it", at)


def _record(  # a row
    index: int, kind: str, batch: str | None, time_ns: int, lane: int, digest: bytes, payload: bytes
) -> Record:
    if leaf_hash(payload) != digest or lane not in _LANES:
        raise Damaged(f"record {index} is not what was written", index)
    return Record(index, kind, batch, time_ns, Lane(lane), digest, payload)


def _read_note(verifier: Verifier, note: str) -> Checkpoint | None:
    try:
        return parse_checkpoint(verifier.verify(note)) if note else None
    except VerifyError as error:
        raise Damaged(f"a signed checkpoint does not verify: {error}", 0) from None
