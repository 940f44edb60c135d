"""The evidence store: drafts are sealed on the loop and committed by the writer thread.

    submit() -> sealed at once (index, previous hash, canonical bytes) -> queue -> one transaction for all that
    waits -> `committed` of each, then the listeners, on the loop

Order is by index and never by clock.  Nothing is shed: on a full disk the queue waits in memory, the ballast is freed
and the same transaction is tried again.  After an I/O error nothing more is stored: `failure` is set, for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import apsw
import msgspec

from gateway.errors import StoreError, VerifyError
from gateway.ledger.bundle import Bundle
from gateway.ledger.canonical import canonical
from gateway.ledger.merkle import Tree, leaf_hash
from gateway.ledger.note import checkpoint
from gateway.model import Draft, Json, Lane, Record
from gateway.store import exporting
from gateway.store.commits import Commits, Group
from gateway.store.evidence_file import Damaged, EvidenceFile
from gateway.store.folder import Lock, write_whole
from gateway.store.opening import TIP, Opened, Quarantine, open_ledger
from gateway.store.writer import Turn, Writer
from gateway.world import World

T = TypeVar("T")
READ_ROWS: Final = 500
"""Rows in one job of the writer thread: a few milliseconds at most, so that a commit never waits long."""
CURSOR_S: Final = 0.5
_CURSOR: Final = "cursor"
"""Kind of the state rows that hold the sinks' cursors."""


class Sealed(msgspec.Struct, frozen=True):
    """Drafts with their place in the ledger.  `committed` is done once they are durable.

    It raises StoreError where they never will be.  Nothing urgent ever waits for it.
    """

    records: tuple[Record, ...]
    committed: asyncio.Future[None]


class Cursors(msgspec.Struct, frozen=True):
    """How far a sink is.  -1: nothing yet."""

    handed: dict[Lane, int] = {}
    """Lane -> highest index handed over; a lane that is not named: -1."""
    acknowledged: int = -1
    """Highest index the consumer itself says it has committed, with all below."""


class Evidence:
    """The ledger, the line's state and the sinks' cursors, in one file.  Made and used on the loop's thread."""

    def __init__(self, opened: Opened, folder: Path, lock: Lock, world: World, writer: Writer) -> None:
        self._file: EvidenceFile = opened.file
        self._signer = opened.signer
        self._folder, self._lock, self._world, self._loop = folder, lock, world, writer.loop
        self._commits = Commits(opened.file, folder, writer)
        self.writer = writer
        """The stores' one thread: `Telemetry.open` shares it."""
        self.ledger_id: str = opened.ledger_id
        self.size: int = opened.file.tree.size
        """Records sealed so far, committed or not: the next index."""
        self.quarantined: Quarantine | None = opened.quarantined
        """What a damaged file held and is now missing; the file itself is kept beside."""
        self.newest_ns: int = opened.file.newest_ns()
        """Time of the newest record when the store was opened, Unix ns; 0 for none."""
        self.began, self.beside = opened.began, opened.beside
        """A new ledger, where there was none; what is wrong with the checkpoint kept beside the file ('': nothing)."""
        self.context: dict[str, Json] = {"config": None, "rules": None, "recipe": None}
        """Stands in every record: config, rules (hashes), recipe (`id@version#hash` or None)."""
        self._prev = opened.file.last_hash
        self._checkpoint = opened.file.newest_checkpoint()
        rows = opened.file.load_state(_CURSOR)
        self._cursors = {sink: msgspec.convert(row, Cursors, strict=False) for sink, row in rows.items()}
        self._moved: dict[str, None] = {}
        self._moving: asyncio.TimerHandle | None = None
        self._clock = ("unknown", float("-inf"))
        if opened.failure is not None:
            self._commits.give_up(opened.failure)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        gateway_id: str,
        world: World,
        loop: asyncio.AbstractEventLoop,
        vfs: str | None = None,
        synchronous: str = "full",
    ) -> Evidence:
        """Open or create the store.  A damaged file is quarantined and a new ledger begun, see `quarantined`.

        Where no file can be written at all, `failure` is set from the start and nothing is recorded.
        `vfs` and `synchronous` are for power-cut tests.
        Raises StoreError where another gateway has the folder, or the key is readable by others.
        """
        lock = Lock(folder)
        try:
            opened = open_ledger(folder, gateway_id, world, vfs=vfs, synchronous=synchronous)
        except StoreError:
            lock.release()
            raise
        return cls(opened, folder, lock, world, Writer(loop))

    @property
    def committed(self) -> int:
        """Newest committed index; -1 for none."""
        return self._commits.committed

    @property
    def degraded(self) -> str:
        """Why recording waits or lives on the ballast (disk full); empty when all is well."""
        return self._commits.degraded

    @property
    def failure(self) -> asyncio.Future[StoreError]:
        """Done when nothing can be stored any more (I/O error, failed fsync): stop, and start again."""
        return self._commits.failure

    @property
    def key(self) -> str:
        """The public key as a vkey (C2SP): for the report, for auditors."""
        return str(self._signer.verifier)

    # -- writing

    def submit(
        self,
        drafts: Sequence[Draft],
        state: Mapping[tuple[str, str], Json | None] = {},
        *,
        urgent: bool = False,
    ) -> Sealed:
        """Give drafts their place and queue them with the changed state ((kind, key) -> JSON, None deletes).

        Never blocks, and never raises for a sick store: then `committed` has failed.  Raises ValueError for a body
        that has no canonical form; nothing was sealed then.
        """
        rows = [(*at, None if value is None else msgspec.json.encode(value)) for at, value in state.items()]
        sealed = Sealed(self._seal(drafts), self._loop.create_future())
        self._commits.put(Group(sealed.records, rows, sealed.committed), urgent=urgent)
        return sealed

    def _seal(self, drafts: Sequence[Draft]) -> tuple[Record, ...]:
        index, prev, sealed = self.size, self._prev, []
        context = {**self.context, "clock": self._clock_state()}
        for draft in drafts:
            now_ns = self._world.time_ns()
            payload = canonical(self._envelope(draft, index, prev, now_ns, context))
            prev = leaf_hash(payload)
            sealed.append(Record(index, draft.kind, draft.batch, now_ns, draft.lane, prev, payload))
            index += 1
        self.size, self._prev = index, prev
        return tuple(sealed)

    def _envelope(self, draft: Draft, index: int, prev: bytes, now_ns: int, context: Json) -> Json:
        return {
            "v": 1,
            "ledger": self.ledger_id,
            "index": index,
            "prev": prev.hex(),
            "time": str(now_ns),
            "boot": self._world.boot_id,
            "kind": draft.kind,
            "batch": draft.batch,
            "by": draft.by,
            "context": context,
            "body": dict(draft.body),
        }

    def _clock_state(self) -> str:
        """The kernel's word on the clock, asked once a second."""
        now_s = self._loop.time()
        if now_s - self._clock[1] >= 1:
            self._clock = (self._world.clock(), now_s)
        return self._clock[0]

    def listen(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener(newest committed index)` on the loop after each commit; returns the way to stop it."""
        self._commits.listeners.append(listener)
        return lambda: self._commits.listeners.remove(listener)

    def watch(self, watcher: Callable[[str], None]) -> Callable[[], None]:
        """Call `watcher(reason)` when `degraded` changes ('': recovered); returns the way to stop it."""
        self._commits.watchers.append(watcher)
        return lambda: self._commits.watchers.remove(watcher)

    # -- reading

    def load_state(self, kind: str) -> dict[str, Json]:
        """All rows of a kind, key -> JSON.  Blocks: only at start, before anything was submitted."""
        return self._file.load_state(kind)

    async def read(
        self, after: int, limit: int, *, lanes: Collection[Lane] | None = None, batch: str | None = None
    ) -> list[Record]:
        """Committed records with index > after, in order, at most `limit`.  Raises StoreError."""
        return await self._run(lambda: self._file.read(after, limit, lanes, batch))

    async def span(self, batch: str) -> tuple[int, int] | None:
        """First and last committed record of a batch; None for none.  Raises StoreError."""
        return await self._run(lambda: self._file.span(batch))

    async def _run(self, job: Callable[[], T], turn: Turn = Turn.READ) -> T:
        try:
            return await self.writer.run(job, turn)
        except (Damaged, VerifyError, apsw.Error) as error:
            if isinstance(error, Damaged | VerifyError | apsw.CorruptError | apsw.IOError):
                self._commits.do_fail(error)
            raise StoreError(f"evidence cannot be read: {error}") from error

    # -- checkpoints

    def checkpoint(self) -> str:
        """The newest signed checkpoint (C2SP note); '' before the first."""
        return self._checkpoint

    async def sign_checkpoint(self, reason: str) -> str:
        """Commit what waits, sign the tree as it then stands, store and return the note.  Raises StoreError.

        '' for an empty ledger.  The reason stands in the note: batch, halt, minute, shutdown.
        """
        note = await self._run(partial(self._do_sign, reason), Turn.COMMIT)
        self._checkpoint = note or self._checkpoint
        return note

    def _do_sign(self, reason: str) -> str:
        self._commits.do_commit()
        tree = self._file.tree
        if self.failure.done():
            raise self.failure.result()
        if not tree.size:
            return ""
        extra = (f"time {self._world.time_ns()}", f"reason {' '.join(reason.split()) or '-'}")
        note = self._signer.sign(checkpoint(self._signer.name, tree.size, tree.root(), extra))
        self._file.add_checkpoint(note)
        self._do_keep_tip(note)
        return note

    def _do_keep_tip(self, note: str) -> None:
        try:
            write_whole(self._folder / TIP, note.encode())
        except OSError as error:
            # The one before still stands: an older witness, not a wrong one.
            raise StoreError(f"the checkpoint file cannot be written: {error.strerror}") from error

    # -- cursors

    async def cursor(self, sink: str) -> Cursors:
        """Where a sink stands."""
        return self._cursors.get(sink, Cursors())

    def advance(self, sink: str, *, handed: Mapping[Lane, int] | None = None, acknowledged: int | None = None) -> None:
        """Move a sink's cursors; stored within half a second, many moves in one row.

        A crash before that only means that records are sent again.
        """
        old = self._cursors.get(sink, Cursors())
        self._cursors[sink] = Cursors(
            {**old.handed, **(handed or {})}, old.acknowledged if acknowledged is None else acknowledged
        )
        self._moved[sink] = None
        if self._moving is None:
            self._moving = self._loop.call_later(CURSOR_S, self._store_cursors)

    def _store_cursors(self) -> None:
        if self._moving is not None:
            self._moving.cancel()
            self._moving = None
        if self._moved:
            self.submit((), {(_CURSOR, sink): self._cursors[sink] for sink in self._moved})
            self._moved.clear()

    # -- the bundle

    async def export_bundle(self, batch: str, path: Path, extra: Mapping[str, bytes]) -> Path:
        """Write the batch's evidence bundle (a zip, whole or not at all), other records in its span included.

        Raises StoreError where the batch has no records or the file cannot be written.
        """
        await self._run(self._commits.do_commit, Turn.COMMIT)
        found = await self.span(batch)
        if found is None:
            raise StoreError(f"the ledger has no record of batch {batch}")
        first, last = found
        if await self._run(lambda: self._file.covering(last + 1)) is None:
            await self.sign_checkpoint(f"export {batch}")
        bundle = await self._gather(batch, first, last, extra)
        try:
            await self._loop.run_in_executor(None, exporting.write, path, bundle, self._signer)
        except OSError as error:
            raise StoreError(f"the bundle {path} cannot be written: {error.strerror}") from error
        return path

    async def _gather(self, batch: str, first: int, last: int, extra: Mapping[str, bytes]) -> Bundle:
        end = await self._run(lambda: self._file.covering(last + 1))
        assert end is not None
        before: Tree = await self._run(lambda: self._file.frontier_at(first))
        records: list[Record] = []
        while len(records) < end - first:
            records += await self.read(first - 1 + len(records), min(READ_ROWS, end - first - len(records)))
        return Bundle(
            gateway_id=self._signer.name.split("/")[1],
            ledger_id=self.ledger_id,
            batch=batch,
            before=before,
            payloads=[record.payload for record in records],
            hashes=[record.hash for record in records],
            checkpoints=await self._run(lambda: exporting.checkpoints(self._file, self._signer.verifier, first, end)),
            made_ns=self._world.time_ns(),
            extra=extra,
        )

    async def close(self) -> None:
        """Commit what waits, sign, close the file, end the thread, release the lock.  Close Telemetry first."""
        self._store_cursors()
        if not self.failure.done():
            await self._close_signed()
        self._commits.stop()
        await self.writer.run(self._do_close, Turn.LAST)
        await self.writer.close()
        self._lock.release()

    async def _close_signed(self) -> None:
        try:
            await self.sign_checkpoint("shutdown")
        except StoreError:
            await self.writer.run(self._commits.do_commit, Turn.COMMIT)

    def _do_close(self) -> None:
        try:
            self._file.db.close()
        except apsw.Error:
            self._file.db.abandon()
