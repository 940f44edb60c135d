"""The queue before the evidence file: group commit, full disks, failed disks.

Methods named `_do...` run on the writer thread, all others on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import apsw
import msgspec
import structlog

from gateway.errors import StoreError
from gateway.model import Record
from gateway.store.evidence_file import EvidenceFile, StateRow
from gateway.store.folder import drop_ballast, fill_ballast, write_whole
from gateway.store.writer import Turn, Writer

log = structlog.get_logger()

GROUP_S: Final = 0.010
GROUP_ROWS: Final = 256
RETRY_S: Final = 0.5
RESTOCK_S: Final = 5.0
NOT_RECORDING: Final = "disk full: nothing is being recorded"
SUSPECT: Final = "evidence.suspect"
"""Its presence asks the next start to examine the whole file."""


class Group(msgspec.Struct):
    """What one submit brought."""

    records: tuple[Record, ...]
    state: list[StateRow]
    committed: asyncio.Future[None]

    def fail(self, error: StoreError) -> None:
        if not self.committed.done():
            self.committed.set_exception(error)
            self.committed.exception()  # seen: nobody has to wait for it


class Commits:
    """Groups on their way into the file, in order."""

    def __init__(self, file: EvidenceFile, folder: Path, writer: Writer) -> None:
        self._file, self._folder, self._writer, self._loop = file, folder, writer, writer.loop
        self.committed = file.tree.size - 1
        """Newest committed index; -1 for none."""
        self.degraded = ""
        self.failure: asyncio.Future[StoreError] = self._loop.create_future()
        self.listeners: list[Callable[[int], None]] = []
        self.watchers: list[Callable[[str], None]] = []
        self._pending: deque[Group] = deque()
        self._rows = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def put(self, group: Group, *, urgent: bool) -> None:
        """Queue it: committed with all others of the next 10 ms, or 256 rows, or at once."""
        if self.failure.done():
            group.fail(self.failure.result())
            return
        self._pending.append(group)
        self._rows += len(group.records) + len(group.state)
        if urgent or self._rows >= GROUP_ROWS:
            self.flush()
        else:
            self._call("flush", GROUP_S, self.flush)

    def flush(self) -> None:
        """Commit what waits, now.  With a full disk: at the next try."""
        self._rows = 0
        if (timer := self._timers.pop("flush", None)) is not None:
            timer.cancel()
        if "retry" not in self._timers:
            self._writer.post(self.do_commit)

    def stop(self) -> None:
        """No more timers; what still waits is lost and says so."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._fail_pending(StoreError("the evidence store was closed before this was stored"))

    # -- on the writer thread

    def do_commit(self) -> None:
        """Everything that waits, in one transaction."""
        groups = list(self._pending)
        if not groups or self.failure.done():
            return
        try:
            self._do_write(groups)
        except apsw.FullError:
            self._writer.tell(self._wait_for_room)
        except (apsw.Error, OSError) as error:
            self.do_fail(error)
        else:
            for _ in groups:
                self._pending.popleft()
            self._writer.tell(partial(self._done, groups))

    def _do_write(self, groups: Sequence[Group]) -> None:
        records = [record for group in groups for record in group.records]
        state = [row for group in groups for row in group.state]
        for remedy in (self._do_write_back, self._do_drop_ballast):
            try:
                self._file.commit(records, state)
                break
            except apsw.FullError:
                remedy()
        else:
            self._file.commit(records, state)
        with contextlib.suppress(apsw.FullError):  # then the log grows, and it is tried again after the next commit
            self._file.db.tidy()

    def _do_write_back(self) -> None:
        """The log starts again at its beginning once it was written back: no growth needed."""
        with contextlib.suppress(apsw.FullError):
            self._file.db.tidy(0)

    def _do_drop_ballast(self) -> None:
        if drop_ballast(self._folder):
            self._writer.tell(partial(self._set_degraded, "disk full: recording into the ballast"))

    def do_fail(self, error: Exception) -> None:
        """Nothing more is stored; the next start examines the whole file."""
        with contextlib.suppress(OSError):
            write_whole(self._folder / SUSPECT, str(error).encode())
        self._writer.tell(partial(self.give_up, StoreError(f"evidence cannot be stored: {error}")))

    def _do_restock(self) -> None:
        with contextlib.suppress(OSError):
            if fill_ballast(self._folder):
                self._writer.tell(self._restocked)
                return
        self._writer.tell(self._restock_later)

    # -- on the loop

    def _done(self, groups: Sequence[Group]) -> None:
        for group in groups:
            if group.records:
                self.committed = group.records[-1].index
            if not group.committed.done():
                group.committed.set_result(None)
        if self.degraded:
            self._restock_later()
        for listener in list(self.listeners):
            listener(self.committed)

    def _wait_for_room(self) -> None:
        self._set_degraded(NOT_RECORDING)
        self._call("retry", RETRY_S, self.flush)

    def _restock_later(self) -> None:
        self._call("restock", RESTOCK_S, lambda: self._writer.post(self._do_restock, Turn.READ))

    def _restocked(self) -> None:
        if self._pending and "retry" in self._timers:
            self._restock_later()
        else:
            self._set_degraded("")

    def _set_degraded(self, reason: str) -> None:
        if reason == self.degraded:
            return
        self.degraded = reason
        log.warning("evidence store", state=reason or "room again", waiting=len(self._pending))
        for watcher in list(self.watchers):
            watcher(reason)

    def give_up(self, error: StoreError) -> None:
        """Stop for good; everything that waits has failed."""
        if self.failure.done():
            return
        log.error("evidence store failed", reason=str(error))
        self.failure.set_result(error)
        self._fail_pending(error)

    def _fail_pending(self, error: StoreError) -> None:
        while self._pending:
            self._pending.popleft().fail(error)

    def _call(self, name: str, delay_s: float, job: Callable[[], None]) -> None:
        """One timer a name."""
        if name not in self._timers:
            self._timers[name] = self._loop.call_later(delay_s, self._ring, name, job)

    def _ring(self, name: str, job: Callable[[], None]) -> None:
        self._timers.pop(name, None)
        job()
