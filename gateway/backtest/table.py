"""CSV and Parquet as telemetry: wide (a column for each `device/tag`) or long (time, device, tag, value, quality)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.backtest.terms import Notes, Scale, Tagsets, Wish, scale, stamp
from gateway.drivers.replay.rows import NO_CELL, Column, FileError, Reader, Row, converter, open_rows
from gateway.errors import LinegateError
from gateway.model import NO_FAULTS, Fault, Quality, Scan, TagSet, Value
from gateway.units import code_of

TIME: Final = "time"
LONG: Final = ("device", "tag", "value")
AT_ONCE: Final = 2048
NOT_THERE: Final = Fault(Quality.BAD, "not in the data")
NOT_YET: Final = Fault(Quality.BAD, "nothing in the data yet")
_EMPTY: Final = "empty cell"
_QUALITIES: Final = {"": Quality.GOOD, "good": Quality.GOOD, "uncertain": Quality.UNCERTAIN, "bad": Quality.BAD}
_MORE: Final = ("quality", "unit")
"""Columns that a long file may have, too."""
_NOTHING: Final[Mapping[str, Value]] = {}
_UNREAD: Final = "the file has"
_SHOWN: Final = 6
_LONG: Final = 40


def is_parquet(path: Path) -> bool:
    return path.suffix in (".parquet", ".pq")


def open_table(path: Path, tagsets: Tagsets, wish: Wish, notes: Notes) -> Wide | Long:
    """The file, by its head.  LinegateError: it cannot be read, or has nothing this line knows."""
    try:
        head, rows = _parquet_head(path) if is_parquet(path) else _csv_head(path)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise LinegateError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    reader = Reader(path, (), TIME, wish.time_format, wish.timezone, parquet=is_parquet(path))
    if set(LONG) <= set(head):
        return Long(reader, head, rows, tagsets, notes)
    return Wide(reader, head, rows, tagsets, notes)


def _csv_head(path: Path) -> tuple[list[str], int]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        head = [cell.strip() for cell in next(csv.reader(file), [])]
    with path.open("rb") as raw:
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: raw.read(2**20), b""))
    return head, max(1, lines - 1)


def _parquet_head(path: Path) -> tuple[list[str], int]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415  # only who replays Parquet needs it
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        raise LinegateError("Parquet files need pyarrow: pip install 'linegate[parquet]', or save as CSV") from None
    try:
        with pq.ParquetFile(path) as file:
            return list(file.schema_arrow.names), int(file.metadata.num_rows)
    except pa.ArrowException as error:
        raise LinegateError(f"{path}: is not a Parquet file that can be read: {error}") from None


def _rows(reader: Reader, notes: Notes) -> Iterator[Row]:
    """All rows; what is skipped is told.  LinegateError: the file cannot be read on."""
    try:
        with open_rows(reader) as rows:
            while not rows.ended:
                yield from rows.take(AT_ONCE)
            if rows.skipped:
                why = "; ".join(rows.reasons.values())
                notes.say(f"{reader.path.name}: {rows.skipped} line(s) skipped: {why}")
    except FileError as error:
        raise LinegateError(f"{reader.path}: {_by_option(str(error))}") from None


def _by_option(text: str) -> str:
    """The driver's advice, in the words of the command line."""
    return text.replace("write timezone: Europe/Berlin, or whose clock it was", "say whose clock it was: --timezone")


def _advice(head: Sequence[str]) -> str:
    """What is probably the matter with a first line of which nothing is known."""
    text = "".join(head)
    if "\0" in text:
        return ". It is not UTF-8: save it as such"
    if (len(head) == 1 and (";" in text or "\t" in text)) or text.startswith("sep="):
        return ". Columns are parted by commas, and numbers have a point: save it so"
    return ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:_LONG] for name in names[:_SHOWN]) + more


class _Unread:
    """Cells that are no value of their tag's kind: each is bad, and they are told by tag."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int, str]] = {}

    def count(self, name: str, time_ns: int, reason: str) -> None:
        count, first_ns, first = self._found.get(name, (0, time_ns, reason))
        self._found[name] = count + 1, first_ns, first

    def tell(self, file: str, notes: Notes) -> None:
        for name, (count, first_ns, first) in self._found.items():
            notes.say(
                f"{file}: {count} value(s) of {name} cannot be read and are bad; the first: {stamp(first_ns)}, {first}"
            )


class _Device(msgspec.Struct, frozen=True):
    """Where the values of one device stand in a row."""

    tagset: TagSet
    pick: Callable[[Sequence[Value]], Any]
    columns: tuple[int, ...]
    """Of each of its tags; the one after the last for what the file has not."""
    missing: Mapping[int, Fault]


class Wide:
    """A row is a moment of every device with a column."""

    def __init__(self, reader: Reader, head: Sequence[str], rows: int, tagsets: Tagsets, notes: Notes) -> None:
        known = {name: tagset for tagset in tagsets.values() for name in tagset.names}
        names = [name for name in head if name in known]
        strange = [name for name in head if name not in known and name != TIME]
        if not names:
            there = ", ".join(repr(name[:_LONG]) for name in strange[:_SHOWN]) or "none"
            some = ", ".join(list(known)[:_SHOWN])
            text = f"{reader.path}: no column is a tag of this line, as {some}; there are {there}{_advice(head)}"
            raise LinegateError(text)
        if strange:
            notes.say(f"{reader.path.name}: no tag of this line, passed over: {_some(strange)}")
        kinds = {name: known[name].specs[known[name].names.index(name)].kind for name in names}
        self._reader = msgspec.structs.replace(reader, columns=tuple(Column(name, kinds[name]) for name in names))
        self._notes = notes
        self._devices = tuple(_device(tagset, names) for tagset in dict.fromkeys(known[name] for name in names))
        self.tags: Mapping[str, frozenset[str]] = {
            each.tagset.device: frozenset(
                tag for tag, column in zip(each.tagset.tags, each.columns, strict=True) if column < len(names)
            )
            for each in self._devices
        }
        self.values = rows * len(names)

    def scans(self) -> Iterator[Scan]:
        devices, alone = self._devices, len(self._devices) == 1
        unread, names = _Unread(), [column.name for column in self._reader.columns]
        for row in _rows(self._reader, self._notes):
            values = (*row.values, None)
            for at, fault in row.faults.items():
                if fault.reason.startswith(_UNREAD):
                    unread.count(names[at], row.time_ns, fault.reason)
            for device in devices:
                faults = device.missing
                if row.faults:
                    own = {at: row.faults[col] for at, col in enumerate(device.columns) if col in row.faults}
                    if own and not alone and _nothing(device, own):
                        continue  # a device that was not logged at this moment
                    faults = {**faults, **own} if own else faults
                yield Scan(device.tagset, 0, row.time_ns, row.time_ns, device.pick(values), faults)
        unread.tell(self._reader.path.name, self._notes)


def _nothing(device: _Device, faults: Mapping[int, Fault]) -> bool:
    there = len(device.columns) - len(device.missing)
    return len(faults) == there and all(fault.reason == _EMPTY for fault in faults.values())


def _device(tagset: TagSet, names: Sequence[str]) -> _Device:
    at = {name: position for position, name in enumerate(names)}
    columns = tuple(at.get(name, len(names)) for name in tagset.names)
    missing = {position: NOT_THERE for position, column in enumerate(columns) if column == len(names)}
    return _Device(tagset, _picker(columns), columns, missing or NO_FAULTS)


def _picker(columns: Sequence[int]) -> Callable[[Sequence[Value]], Any]:
    if len(columns) == 1:
        (only,) = columns
        return lambda values: (values[only],)
    return itemgetter(*columns)


Cell = tuple[int, str, int, Value, Fault | None]
"""One line of a long file: time, device, position, value, fault."""

_time_of = itemgetter(0)


class _Place(msgspec.Struct, frozen=True):
    """Where the values of one `device/tag` go."""

    device: str
    position: int
    convert: Callable[[Any], Value]
    scale: Scale | None = None
    wrong: Fault | None = None
    """Its values are in a unit that nothing is known of, or that does not convert."""


class Long:
    """A line is one value; lines of one device and time are one scan, in which other tags stand as they were.

    Historians write tag after tag: the lines are sorted by time, in memory.
    """

    def __init__(self, reader: Reader, head: Sequence[str], rows: int, tagsets: Tagsets, notes: Notes) -> None:
        more = [name for name in head if name.lower() in _MORE]
        names = (*LONG, *more)
        self._more = [name.lower() for name in more]
        if len(set(self._more)) < len(more):
            raise LinegateError(f"{reader.path}: only one column may be quality, and one unit; there are {more}")
        strange = [name for name in head if name not in names and name != TIME]
        if strange:
            notes.say(f"{reader.path.name}: columns passed over: {_some(strange)}")
        self._reader = msgspec.structs.replace(
            reader, columns=tuple(Column(name, "text") for name in names), any_order=True
        )
        self._notes = notes
        self._tagsets = tagsets
        self._cells: list[Cell] | None = None
        self.values = rows
        found: dict[str, set[str]] = {}
        for _, device, position, _, _ in self._read():
            found.setdefault(device, set()).add(tagsets[device].tags[position])
        if not found:
            raise LinegateError(f"{reader.path}: no line is of a tag of this line; see its columns device and tag")
        self.tags: Mapping[str, frozenset[str]] = {device: frozenset(tags) for device, tags in found.items()}

    def _read(self) -> list[Cell]:
        if self._cells is None:
            strange: dict[str, int] = {}
            places: dict[tuple[Value, Value, Value], _Place | None] = {}
            cells: list[Cell] = []
            unread = _Unread()
            for row in _rows(self._reader, self._notes):
                device, tag, text, *others = row.values
                more = dict(zip(self._more, others, strict=True)) if others else _NOTHING
                unit = more.get("unit")
                name = (device, tag, unit)
                place = places.get(name)
                if place is None:
                    place = places[name] = self._place(device, tag, unit) if name not in places else None
                    if place is None:
                        strange[f"{device}/{tag}"] = strange.get(f"{device}/{tag}", 0) + 1
                        continue
                torn = NO_CELL in row.faults.values() if row.faults else False
                value, fault = (None, NO_CELL) if torn else self._value(place, text, more.get("quality"))
                if fault is not None and fault.reason.startswith(_UNREAD):
                    unread.count(f"{device}/{tag}", row.time_ns, fault.reason)
                cells.append((row.time_ns, place.device, place.position, value, fault))
            if strange:
                told = ", ".join(f"{name[:_LONG]} ({count})" for name, count in list(strange.items())[:_SHOWN])
                self._notes.say(f"{self._reader.path.name}: no tag of this line, passed over: {told}")
            unread.tell(self._reader.path.name, self._notes)
            cells.sort(key=_time_of)  # stable: of one time, the file's own order
            self._cells = cells
        return self._cells

    def _place(self, device: Value, tag: Value, unit: Value) -> _Place | None:
        tagset = self._tagsets.get(str(device))
        position = None if tagset is None else tagset.index.get(str(tag))
        if tagset is None or position is None:
            return None
        spec = tagset.specs[position]
        place = _Place(tagset.device, position, converter(spec.kind))
        if not unit or spec.kind in ("text", "bool") or spec.unit in (unit, code_of(str(unit))):
            return place
        try:
            return msgspec.structs.replace(place, scale=scale(str(unit), spec.unit))
        except ValueError as error:
            self._notes.say(f"{self._reader.path.name}: {device}/{tag}, of which the line has {spec.unit}: {error}")
            return msgspec.structs.replace(place, wrong=Fault(Quality.BAD, f"in {unit}, the line has {spec.unit}"))

    def _value(self, place: _Place, text: Value, word: Value) -> tuple[Value, Fault | None]:
        quality = Quality.GOOD if word is None or word == "good" else _QUALITIES.get(str(word).lower())
        if quality is None:
            self._notes.say(f"{self._reader.path.name}: quality {word!r} is none of good, uncertain, bad: bad")
            quality = Quality.BAD
        if place.wrong is not None:
            return None, place.wrong
        value = None if text is None else place.convert(text)
        if place.scale is not None:
            value = place.scale.of(value)
        if value is None or quality is Quality.BAD:
            reason = (
                "bad in the data" if quality is Quality.BAD else f"{_UNREAD} {str(text)[:_LONG]!r}" if text else _EMPTY
            )
            return None, Fault(Quality.BAD, reason)
        return value, Fault(quality, "uncertain in the data") if quality is Quality.UNCERTAIN else None

    def scans(self) -> Iterator[Scan]:
        standing: dict[str, tuple[list[Value], dict[int, Fault]]] = {}
        twice = 0
        for time_ns, cells in groupby(self._read(), key=_time_of):
            touched: dict[str, set[int]] = {}
            for _, device, position, value, fault in cells:
                if device not in standing:
                    count = len(self._tagsets[device].tags)
                    standing[device] = ([None] * count, dict.fromkeys(range(count), NOT_YET))
                values, faults = standing[device]
                values[position] = value
                faults.pop(position, None)
                if fault is not None:
                    faults[position] = fault
                seen = touched.setdefault(device, set())
                twice += position in seen
                seen.add(position)
            for device, positions in touched.items():
                tagset, (values, faults) = self._tagsets[device], standing[device]
                changed = None if len(positions) == len(values) else frozenset(positions)
                kept = dict(faults) if faults else NO_FAULTS
                yield Scan(tagset, 0, time_ns, time_ns, tuple(values), kept, changed=changed)
        if twice:
            self._notes.say(
                f"{self._reader.path.name}: {twice} value(s) came twice for one moment; the last one counts"
            )
