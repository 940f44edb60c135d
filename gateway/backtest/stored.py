"""A telemetry store as telemetry, read and never written: a closed one in its place, a running gateway's from a copy.

Time runs as the gateway's own monotonic clock did, beginning at the wall time of each start: a clock that was stepped
meanwhile moves nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from gateway.backtest.table import NOT_THERE
from gateway.backtest.terms import Notes, Scale, Tagsets, Wish, scale, stamp
from gateway.errors import LinegateError
from gateway.ledger.merkle import leaf_hash
from gateway.model import NO_FAULTS, Fault, Scan, TagSet, TagSpec, Value
from gateway.store.scans import decode
from gateway.store.telemetry_file import BOOT_BITS

FILE: Final = "telemetry.db"
COPIES: Final = 5
_SALTS: Final = 32
"""Bytes at the head of SQLite's log; others once it began anew."""
_SHOWN: Final = 6


class Stored:
    """The batches of one telemetry.db."""

    def __init__(self, path: Path, tagsets: Tagsets, wish: Wish, notes: Notes, derived: frozenset[str]) -> None:
        """`derived`: virtual devices of the line, which are computed anew.  LinegateError: no such store."""
        self._path = path / FILE if path.is_dir() else path
        self._wish, self._notes = wish, notes
        if not self._path.is_file():
            raise LinegateError(f"{path}: holds no {FILE}; name a state folder, a {FILE}, a CSV or a Parquet file")
        with self._open() as database:
            fits = [self._fit(row, tagsets, derived) for row in database.execute("SELECT * FROM tagset").fetchall()]
            boots: list[Any] = database.execute("SELECT ordinal, boot_id FROM boot").fetchall()
            where, bounds = self._bounds()
            self.values = int(database.execute(f"SELECT coalesce(sum(vals), 0) FROM batch {where}", bounds).get)  # noqa: S608  # our own words
        self._boots: dict[int, str] = dict(boots)
        self._fits = {number: fit for number, fit in fits if fit is not None}
        tags: dict[str, set[str]] = {}
        for fit in self._fits.values():
            tags.setdefault(fit.tagset.device, set()).update(fit.brings)
        if not tags:
            raise LinegateError(f"{self._path}: has no device of this line")
        self.tags: Mapping[str, frozenset[str]] = {device: frozenset(names) for device, names in tags.items()}

    def _fit(self, row: tuple[Any, ...], tagsets: Tagsets, derived: frozenset[str]) -> tuple[int, Fit | None]:
        number, device, document = row
        if device not in tagsets:
            if device not in derived:
                self._notes.say(f"{self._path.name}: no device of this line, passed over: {device}")
            return number, None
        try:
            specs = msgspec.json.decode(document, type=list[TagSpec])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LinegateError(f"{self._path}: the tags of {device} cannot be read: {error}") from None
        return number, fit(tagsets[device], specs, self._notes)

    def _bounds(self) -> tuple[str, tuple[int, ...]]:
        since, until = self._wish.since_ns, self._wish.until_ns
        terms = [("last_ns >= ?", since), ("first_ns <= ?", until)]
        given = [(term, value) for term, value in terms if value is not None]
        where = f"WHERE {' AND '.join(term for term, _ in given)}" if given else ""
        return where, tuple(value for _, value in given)

    def scans(self) -> Iterator[Scan]:
        """Of the devices this line has, as they were stored.  LinegateError: the file cannot be read on."""
        where, bounds = self._bounds()
        sources = {number: fit.source for number, fit in self._fits.items()}
        boot, offset_ns, last_ns, starts = -1, 0, 0, 0
        with self._open() as database:
            sql = f"SELECT first, hash, blob FROM batch {where} ORDER BY first"  # noqa: S608  # our own words
            try:
                for first, digest, blob in database.execute(sql, bounds):
                    for number, scan in self._decoded(first, digest, blob, sources):
                        if first >> BOOT_BITS != boot:
                            boot, starts = first >> BOOT_BITS, starts + 1
                            offset_ns = self._offset(scan, last_ns)
                        last_ns = scan.mono_ns + offset_ns
                        found = self._fits.get(number)
                        if found is not None:
                            yield found.scan(scan, last_ns, self._boots.get(boot, ""))
            except apsw.Error as error:
                raise LinegateError(f"{self._path}: cannot be read on: {error}") from None
        if starts > 1:
            again = "once" if starts == 2 else f"{starts - 1} times"
            self._notes.say(
                f"{self._path.name}: the gateway started {again} anew; the time it was down is a gap of all devices"
            )

    def _offset(self, scan: Scan, last_ns: int) -> int:
        """From the boot's monotonic time to that of the replay, which never goes back."""
        offset_ns = scan.time_ns - scan.mono_ns
        if scan.time_ns > last_ns:
            return offset_ns
        back_s = (last_ns - scan.time_ns) / 1e9
        self._notes.say(
            f"{self._path.name}: the start at {stamp(scan.time_ns)} lies {back_s:.3g} s before what was stored earlier "
            "(its clock was set back): it is replayed right after that"
        )
        return last_ns + 1 - scan.mono_ns

    def _decoded(
        self, first: int, digest: bytes, blob: bytes, sources: Mapping[int, TagSet]
    ) -> Iterator[tuple[int, Scan]]:
        """Scans with the number of their tag set."""
        numbers: dict[TagSet, int] = {}

        def tagset(number: int) -> TagSet:
            found = sources.get(number, _NOBODY)
            numbers[found] = number if found is not _NOBODY else -1
            return found

        try:
            if leaf_hash(blob) != digest:
                raise ValueError("it is not what was stored")
            scans = decode(blob, tagset)
        except ValueError as error:
            self._notes.say(f"{self._path.name}: the batch at position {first} is damaged and left out: {error}")
            return
        yield from ((numbers[scan.tagset], scan) for scan in scans)

    @contextmanager
    def _open(self) -> Iterator[apsw.Connection]:
        with opened(self._path, _PROBE, "telemetry") as connection:
            yield connection


_PROBE: Final = "SELECT first, hash, vals, first_ns, last_ns, blob FROM batch LIMIT 0"


@contextmanager
def opened(path: Path, probe: str, what: str) -> Iterator[apsw.Connection]:
    """A store, read only.  Where SQLite's log stands beside it (a gateway runs, or was killed): a copy of both."""
    log = path.with_name(f"{path.name}-wal")
    try:
        with tempfile.TemporaryDirectory(prefix="linegate-replay-") as folder:
            place, mode = path, "immutable=1"
            if log.exists() and log.stat().st_size:
                place, mode = _copied(path, log, Path(folder)), "mode=rw"
            flags = apsw.SQLITE_OPEN_URI | (
                apsw.SQLITE_OPEN_READONLY if mode == "immutable=1" else apsw.SQLITE_OPEN_READWRITE
            )
            connection = apsw.Connection(f"{place.absolute().as_uri()}?{mode}", flags=flags)
            try:
                connection.execute(probe).fetchall()
                yield connection
            finally:
                connection.close(force=True)
    except (apsw.Error, OSError) as error:
        raise LinegateError(f"{path}: is no {what} store that can be read: {error}") from None


def _copied(path: Path, log: Path, folder: Path) -> Path:
    """Both as they were at one moment: a log that was written back meanwhile is copied again."""
    for _ in range(COPIES):
        before = _state(path, log)
        copy = Path(shutil.copy(path, folder / path.name))
        if log.exists():
            shutil.copy(log, folder / log.name)
        if _state(path, log) == before:
            return copy
    raise LinegateError(f"{path}: changes too fast to be copied: stop the gateway, or copy its state folder, first")


def _state(path: Path, log: Path) -> tuple[int, int, bytes]:
    """Of the file itself, and which log it is; a log that only grew is still whole up to its last commit."""
    there = path.stat()
    head = b""
    if log.exists():
        with log.open("rb") as file:
            head = file.read(_SALTS)
    return there.st_mtime_ns, there.st_size, head


class Fit(msgspec.Struct, frozen=True):
    """How what was stored goes into the tags of the line."""

    source: TagSet
    tagset: TagSet
    picks: tuple[int | None, ...]
    """For each tag of the line, where it was stored; None: it was not."""
    scales: Mapping[int, Scale]
    """Position in the line's tag set -> how it converts, where the unit was another one."""
    missing: Mapping[int, Fault]
    same: bool
    """Stored just as the line has it."""

    @property
    def brings(self) -> set[str]:
        return {tag for tag, pick in zip(self.tagset.tags, self.picks, strict=True) if pick is not None}

    def scan(self, scan: Scan, now_ns: int, boot: str = "") -> Scan:
        """As the line would take it, at the replay's time."""
        if self.same:
            return Scan(self.tagset, scan.seq, scan.time_ns, now_ns, scan.values, scan.faults, boot=boot)
        values: list[Value] = [None if pick is None else scan.values[pick] for pick in self.picks]
        for position, each in self.scales.items():
            values[position] = each.of(values[position])
        if not scan.faults:
            return Scan(self.tagset, scan.seq, scan.time_ns, now_ns, tuple(values), self.missing, boot=boot)
        picked = ((at, scan.faults.get(pick)) for at, pick in enumerate(self.picks) if pick is not None)
        faults = {at: fault for at, fault in picked if fault is not None}
        return Scan(self.tagset, scan.seq, scan.time_ns, now_ns, tuple(values), {**self.missing, **faults}, boot=boot)


_NOBODY: Final = TagSet("nobody", ())


def fit(tagset: TagSet, specs: Sequence[TagSpec], notes: Notes) -> Fit:
    """Tags by their names; units converted where they can be, else the tag is not there."""
    at = {spec.name: position for position, spec in enumerate(specs)}
    picks: list[int | None] = []
    scales: dict[int, Scale] = {}
    for position, spec in enumerate(tagset.specs):
        pick = at.get(spec.name)
        stored = specs[pick] if pick is not None else None
        if stored is not None and stored.unit != spec.unit:
            try:
                scales[position] = scale(stored.unit, spec.unit)
            except ValueError as error:
                notes.say(f"{tagset.device}/{spec.name} was stored in {stored.unit}, the line has {spec.unit}: {error}")
                pick = None
        if stored is not None and (stored.kind == "text") is not (spec.kind == "text"):
            notes.say(f"{tagset.device}/{spec.name} was stored as {stored.kind}, the line has {spec.kind}: left out")
            pick = None
        picks.append(pick)
    missing = {position: NOT_THERE for position, pick in enumerate(picks) if pick is None}
    same = not scales and picks == list(range(len(specs)))
    source = TagSet(tagset.device, specs)
    return Fit(source, tagset, tuple(picks), scales, missing or NO_FAULTS, same)
