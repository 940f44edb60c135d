"""CSV and Parquet files as rows in the order of time: streamed, so that a file of any size takes the same memory.

What has no place in time (a time that cannot be read, goes backward or comes twice; a line with too many cells) is
skipped, counted, and the first reason of each kind is kept to be told.  An empty cell is bad quality, never a number.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from math import isfinite
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.drivers.replay.times import NoZoneError, Times
from gateway.model import NO_FAULTS, Fault, Quality, Value

_EMPTY: Final = Fault(Quality.BAD, "empty cell")
NO_CELL: Final = Fault(Quality.BAD, "the line ends before this cell")
_TRUE: Final = frozenset(("true", "1", "yes", "on", "t"))
_FALSE: Final = frozenset(("false", "0", "no", "off", "f"))
_BATCH: Final = 1024
"""Rows of a Parquet file decoded at once."""
_TEXTS: Final = {str}
_STAMPS: Final = 200_000
"""Times remembered as they were written."""
_UNITS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Row(msgspec.Struct, frozen=True):
    """One moment of the file."""

    time_ns: int
    values: tuple[Value, ...]
    faults: Mapping[int, Fault]
    skipped: int
    """Rows left out up to here."""


class Column(msgspec.Struct, frozen=True):
    """A column that is a tag."""

    name: str
    kind: str


class Reader(msgspec.Struct, frozen=True):
    """How a file is read."""

    path: Path
    columns: tuple[Column, ...]
    time: str
    time_format: str = "iso"
    timezone: str | None = None
    delimiter: str = ","
    decimal_comma: bool = False
    parquet: bool = False
    any_order: bool = False
    """Rows stand in any order of time, also several of one time: whoever reads them sorts them."""


class FileError(Exception):
    """The file cannot be read at all; the text says why and what to do."""


class Rows:
    """The rows of one open file.  `skipped` and `reasons` grow as it is read."""

    def __init__(self, reader: Reader, source: Iterator[tuple[str, Any, Sequence[Any]]]) -> None:
        self._source = source
        self._times = Times(reader.time_format, reader.timezone)
        self._converts = tuple(converter(column.kind) for column in reader.columns)
        self._any_order = reader.any_order
        self._plain = not reader.decimal_comma and all(column.kind == "text" for column in reader.columns)
        self._stamps: dict[str, int] = {}
        """Of rows in any order, which bring the same times again and again."""
        self._comma = reader.decimal_comma
        self._last_ns: int | None = None
        self.ended = False
        self.skipped = 0
        self.reasons: dict[str, str] = {}
        """Kind -> the first of it, with its place."""

    def take(self, most: int) -> list[Row]:
        """What so many lines of the file bring, in the order of time; nothing more once it has `ended`.  FileError."""
        try:
            lines = list(itertools.islice(self._source, most))
        except OSError as error:
            raise FileError(f"cannot be read on: {error.strerror or error}") from None
        self.ended = len(lines) < most
        rows = (self._row(place, stamp, cells) for place, stamp, cells in lines)
        return [row for row in rows if row is not None]

    def _row(self, place: str, stamp: Any, cells: Sequence[Any]) -> Row | None:
        if isinstance(stamp, _Broken):
            self._skip("line", f"{place}: {stamp.why}", stamp.lines)
            return None
        try:
            time_ns = self._times.naive_ns(stamp.ns) if isinstance(stamp, _Naive) else self._time(stamp)
        except NoZoneError as error:
            raise FileError(f"{place}: {error}") from None
        except ValueError as error:
            self._skip("time", f"{place}: {error}")
            return None
        if self._last_ns is not None and time_ns <= self._last_ns and not self._any_order:
            back_s = (self._last_ns - time_ns) / 1e9
            how = f"goes {back_s:g} s backward" if back_s else "comes twice"
            self._skip("backward" if back_s else "twice", f"{place}: its time {how}")
            return None
        self._last_ns = time_ns
        values, faults = self._values(cells)
        return Row(time_ns, values, faults, self.skipped)

    def _time(self, stamp: Any) -> int:
        if stamp is None or stamp == "":
            raise ValueError("has no time")
        if isinstance(stamp, _Exact):
            return int(stamp.ns)
        if not self._any_order or not isinstance(stamp, str):
            return self._times.ns(stamp)
        found = self._stamps.get(stamp)
        if found is None:
            if len(self._stamps) >= _STAMPS:
                self._stamps.clear()
            found = self._stamps[stamp] = self._times.ns(stamp)
        return found

    def _skip(self, kind: str, reason: str, lines: int = 1) -> None:
        self.skipped += lines
        self.reasons.setdefault(kind, reason)

    def _values(self, cells: Sequence[Any]) -> tuple[tuple[Value, ...], Mapping[int, Fault]]:
        if self._plain and {*map(type, cells)} == _TEXTS and "" not in cells:
            return tuple(cells), NO_FAULTS
        values: list[Value] = []
        faults: dict[int, Fault] = {}
        for at, (cell, convert) in enumerate(zip(cells, self._converts, strict=True)):
            value: Value = None
            if cell is _MISSING or cell is None or cell == "":
                faults[at] = NO_CELL if cell is _MISSING else _EMPTY
            else:
                plain = cell.replace(",", ".") if self._comma and isinstance(cell, str) else cell
                value = convert(plain)
                if value is None:
                    faults[at] = Fault(Quality.BAD, f"the file has {str(cell)[:40]!r}")
            values.append(value)
        return tuple(values), faults or NO_FAULTS


class _Naive(msgspec.Struct, frozen=True):
    """Nanoseconds on somebody's own clock."""

    ns: int


class _Exact(msgspec.Struct, frozen=True):
    """Nanoseconds since 1970, UTC."""

    ns: int


class _Broken(msgspec.Struct, frozen=True):
    """A line that cannot be taken apart; an open quote may have swallowed more of them."""

    why: str
    lines: int = 1


_MISSING: Final = object()


@contextmanager
def open_rows(reader: Reader) -> Iterator[Rows]:
    """The rows of the file, from its beginning.  FileError where it is not there, or has not these columns."""
    opened = _parquet if reader.parquet else _csv
    try:
        with opened(reader) as source:
            yield Rows(reader, source)
    except OSError as error:
        raise FileError(error.strerror or str(error)) from None


def _is_file(reader: Reader) -> None:
    """FileError: a folder; or a pipe or device, which may never end."""
    if not stat.S_ISREG(reader.path.stat().st_mode):
        raise FileError("is not a file; name one with rows in it")


def look(reader: Reader) -> str | None:
    """What stands in the way of reading the file; None where its head is right."""
    try:
        with open_rows(reader) as rows:
            rows.take(1)
    except FileError as error:
        return str(error)
    return None


@contextmanager
def _csv(reader: Reader) -> Iterator[Iterator[tuple[str, Any, Sequence[Any]]]]:
    _is_file(reader)
    with reader.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = csv.reader(file, delimiter=reader.delimiter)
        try:
            head = next(lines, [])
        except csv.Error as error:
            raise FileError(f"line 1: {error}") from None
        yield _csv_rows(lines, _positions(reader, [cell.strip() for cell in head]), len(head))


def _csv_rows(lines: Any, positions: Sequence[int], width: int) -> Iterator[tuple[str, Any, Sequence[Any]]]:
    """(place, time, cells) of each line that is not blank."""
    at, *tags = positions
    while True:
        before = lines.line_num
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"line {before + 1}", _Broken(str(error), lines.line_num - before), ()
            continue
        if not cells:
            continue
        place = f"line {before + 1}"
        if len(cells) > width and any(cell.strip() for cell in cells[width:]):
            yield place, _Broken(f"has {len(cells)} cells, the first line has {width}", lines.line_num - before), ()
            continue
        stamp = cells[at].strip() if at < len(cells) else ""
        yield place, stamp, [cells[tag].strip() if tag < len(cells) else _MISSING for tag in tags]


@contextmanager
def _parquet(reader: Reader) -> Iterator[Iterator[tuple[str, Any, Sequence[Any]]]]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415  # only who replays Parquet needs it
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        raise FileError(
            "Parquet files need pyarrow: pip install 'linegate[parquet]', or save the file as CSV"
        ) from None
    _is_file(reader)
    try:
        with pq.ParquetFile(reader.path) as file:
            names = file.schema_arrow.names
            positions = _positions(reader, names)
            yield _parquet_rows(file, names, positions)
    except pa.ArrowException as error:
        raise FileError(f"is not a Parquet file that can be read: {error}") from None


def _parquet_rows(
    file: Any, names: Sequence[str], positions: Sequence[int]
) -> Iterator[tuple[str, Any, Sequence[Any]]]:
    wanted = [names[at] for at in positions]
    row = 0
    for batch in _batches(file, list(dict.fromkeys(wanted))):
        stamps = _stamps(batch.column(wanted[0]))
        cells = [batch.column(name).to_pylist() for name in wanted[1:]]
        for at, stamp in enumerate(stamps):
            row += 1
            yield f"row {row}", stamp, [column[at] for column in cells]


def _batches(file: Any, wanted: list[str]) -> Iterator[Any]:
    import pyarrow as pa  # noqa: PLC0415

    try:
        yield from file.iter_batches(batch_size=_BATCH, columns=wanted)
    except pa.ArrowException as error:
        raise FileError(f"is damaged: {error}") from None


def _stamps(column: Any) -> list[Any]:
    """A column of times: counts become exact, without a zone naive; texts and numbers stay what they are."""
    import pyarrow as pa  # noqa: PLC0415

    if not pa.types.is_timestamp(column.type):
        return list(column.to_pylist())
    factor = _UNITS[column.type.unit]
    kind = _Naive if column.type.tz is None else _Exact
    return [None if count is None else kind(count * factor) for count in column.cast(pa.int64()).to_pylist()]


def _positions(reader: Reader, head: Sequence[str]) -> list[int]:
    """Where the time and the columns stand.  FileError names the missing ones, and the nearest."""
    if not any(head):
        raise FileError("is empty; its first line must name the columns")
    twice = {name for name in head if head.count(name) > 1}
    missing: list[str] = []
    for name in (reader.time, *(column.name for column in reader.columns)):
        if name in twice:
            missing.append(f"two columns are called {name!r}")
        elif name not in head:
            near = difflib.get_close_matches(name, head, n=1, cutoff=0.5)
            instead = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, head[:12]))}"
            missing.append(f"no column is called {name!r}; {instead}")
    if missing:
        raise FileError("; ".join(missing))
    return [head.index(name) for name in (reader.time, *(column.name for column in reader.columns))]


def converter(kind: str) -> Callable[[Any], Value]:
    """What reads a cell as number, decimal, bool or text; it gives None for what is none."""
    return {"number": _number, "decimal": _decimal, "bool": _bool, "text": _text}[kind]


def _number(cell: Any) -> Value:
    if isinstance(cell, bool):
        return int(cell)
    if isinstance(cell, int):
        return cell
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    if isinstance(cell, str) and not _as_written(cell):
        return None
    return value if isfinite(value) else None


def _as_written(cell: str) -> bool:
    """Python takes 1_000 and digits of other scripts for numbers; no logger writes so, and a lot number may."""
    return cell.isascii() and "_" not in cell


def _decimal(cell: Any) -> Value:
    if isinstance(cell, str) and not _as_written(cell):
        return None
    try:
        value = Decimal(str(cell))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _bool(cell: Any) -> Value:
    word = str(cell).lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _text(cell: Any) -> Value:
    return str(cell)
