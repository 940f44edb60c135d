"""How we open SQLite: apsw's own library, WAL, one connection a file, log written back only when we say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw

from gateway.errors import StoreError

_FIXED: Final = (3, 51, 3)
"""Earlier libraries may corrupt a WAL database when two connections reset the log at once."""

PAGE_BYTES: Final = 4096
WAL_PAGES: Final = 2000
"""Pages in the log before it is written back: 8 MiB."""


def assert_version() -> None:
    """Raises StoreError where the bundled SQLite has the WAL-reset bug."""
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < _FIXED:
        raise StoreError(f"SQLite {apsw.sqlite_lib_version()} may corrupt a WAL: 3.51.3 or newer is needed")


class Database:
    """One file and its only connection, for one thread at a time; the exclusive lock keeps other processes out.

    `synchronous` is FULL where an answered commit must survive a power cut.  Every method may raise apsw.Error.
    """

    def __init__(self, path: Path, *, synchronous: str, vfs: str | None = None, max_bytes: int | None = None) -> None:
        assert_version()
        self.connection = apsw.Connection(str(path), vfs=vfs)
        self._log_pages = 0
        try:
            self._configure(synchronous, max_bytes)
        except apsw.Error:
            self.connection.close(force=True)
            raise

    def _configure(self, synchronous: str, max_bytes: int | None) -> None:
        # Exclusive before WAL: the index of the log then lives in our memory, no -shm file is made.
        for name, value in (
            ("locking_mode", "exclusive"),
            ("journal_mode", "wal"),
            ("synchronous", synchronous),
            ("temp_store", "memory"),
            ("cell_size_check", 1),
        ):
            self.connection.pragma(name, value)
        if max_bytes is not None:
            self.connection.pragma("max_page_count", max(64, max_bytes // PAGE_BYTES))
        # Replaces SQLite's automatic checkpoint, which swallows its errors: a failed fsync must be seen.
        self.connection.set_wal_hook(self._grown)

    def _grown(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """BEGIN IMMEDIATE and COMMIT, or ROLLBACK and the error: `with connection:` of apsw masks FullError."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def tidy(self, pages: int = WAL_PAGES) -> None:
        """Write the log back into the file once it has grown to so many pages."""
        if self._log_pages >= pages:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._log_pages = 0

    def used_bytes(self) -> int:
        """Pages in use, without the free ones."""
        return PAGE_BYTES * (int(self.connection.pragma("page_count")) - int(self.connection.pragma("freelist_count")))

    def close(self) -> None:
        """The log is written back and removed."""
        self.connection.close()

    def abandon(self) -> None:
        """Close and change nothing: what is in the log stays there."""
        with suppress(apsw.ConnectionClosedError):
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self.connection.close(force=True)
