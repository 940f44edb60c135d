"""Reads evidence.db where no gateway runs: nothing is written, nothing repaired."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import msgspec

from gateway.errors import StoreError
from gateway.model import Json, Lane

FILE = "evidence.db"


def recorded_ns(folder: Path) -> tuple[int, int]:
    """Unix ns of the first and the newest record of any kind; (0, 0) where there is none.  StoreError in words."""
    sql = (
        "SELECT time_ns FROM record WHERE idx IN (SELECT min(idx) FROM record UNION SELECT max(idx) FROM record) "
        "ORDER BY idx"
    )
    with _asked(folder) as connection:
        times = [int(time_ns) for (time_ns,) in connection.execute(sql)]
    return (times[0], times[-1]) if times else (0, 0)


def alarm_records(folder: Path) -> Iterator[tuple[str, int, Json]]:
    """(kind, Unix ns, body) of every record `alarm.*`, oldest first.  Raises StoreError in words."""
    sql = "SELECT kind, time_ns, payload FROM record WHERE lane = ? AND kind LIKE 'alarm.%' ORDER BY idx"
    with _asked(folder) as connection:
        for kind, time_ns, payload in connection.execute(sql, (int(Lane.ALARMS),)):
            yield str(kind), int(time_ns), msgspec.json.decode(payload)["body"]


@contextmanager
def _asked(folder: Path) -> Iterator[apsw.Connection]:
    """The store, to be read only."""
    path = folder / FILE
    if not path.is_file():
        raise StoreError(f"there is no evidence store in {folder}; name the gateway's state folder with --state")
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)  # the log left by a kill is read too
        try:
            connection.pragma("query_only", 1)
            yield connection
        finally:
            connection.close()
    except apsw.BusyError as error:
        raise StoreError(f"{path} is in use by a gateway that does not answer ({error}); ask again") from error
    except (apsw.Error, msgspec.DecodeError, KeyError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
