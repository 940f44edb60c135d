"""The file of people: written whole, fsynced, renamed, and kept twice.  A damaged one is put aside, never fatal."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from pathlib import Path
from typing import Final

import msgspec

_MODE: Final = 0o600


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One person as stored."""

    name: str
    full_name: str
    roles: tuple[str, ...]
    password: str
    """PHC string: algorithm, cost, salt and hash."""
    qualified_until: dt.date | None = None
    disabled: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    people: tuple[Row, ...]


class PeopleFile:
    """`people.json` and `people.json.copy`, the same bytes; the copy is read where the first is damaged or gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._copy = path.with_name(path.name + ".copy")

    def read(self, stamp: str) -> tuple[tuple[Row, ...], list[str]]:
        """The people, and what had to be done to get at them; `stamp` names a file that is put aside."""
        notes: list[str] = []
        rows: tuple[Row, ...] | None = None
        for path in (self.path, self._copy):
            if rows is None:
                rows = self._one(path, stamp, notes)
                if rows is not None and path is self._copy:
                    notes.append(f"{self.path.name} was damaged or gone; {len(rows)} people came from its copy")
        if rows is not None and notes:
            with contextlib.suppress(OSError):  # a full disk now: the next change writes both
                self.write(rows)
        return rows or (), notes

    def write(self, rows: tuple[Row, ...]) -> None:
        """Durable when it returns.  OSError if it cannot be; then the old files stand, both of them."""
        data = msgspec.json.format(msgspec.json.encode(_File(1, rows)), indent=1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        drafts = [(_draft(path, data), path) for path in (self._copy, self.path)]
        for draft, path in drafts:
            draft.replace(path)
        _sync(self.path.parent)

    def _one(self, path: Path, stamp: str, notes: list[str]) -> tuple[Row, ...] | None:
        try:
            data = path.read_bytes()
            mode = path.stat().st_mode & 0o777
        except FileNotFoundError:
            return None
        except OSError as error:
            notes.append(f"{path.name} cannot be read: {error.strerror}")
            return None
        if mode & 0o077:  # written anew, and closed, by read()
            notes.append(f"{path.name} was open to others (mode {mode:o}); have the passwords changed")
        try:
            return msgspec.json.decode(data, type=_File).people
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            notes.append(f"{path.name} is damaged ({error}); {_put_aside(path, stamp)}")
            return None


def _put_aside(path: Path, stamp: str) -> str:
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    try:
        path.rename(aside)
    except OSError as error:
        return f"and cannot be put aside: {error.strerror}"
    return f"put aside as {aside.name}"


def _draft(path: Path, data: bytes) -> Path:
    draft = path.with_name(path.name + ".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
    try:
        os.fchmod(handle, _MODE)
        written = 0
        while written < len(data):
            written += os.write(handle, data[written:])
        os.fsync(handle)
    finally:
        os.close(handle)
    return draft


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
