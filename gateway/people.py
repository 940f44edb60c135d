"""Who may do what: names, roles, qualifications, hashed passwords.

Passwords are hashed by argon2id, one at a time, in one thread that runs at low priority and outside Python's lock:
a login never delays a reading (a hash takes some 0.04 s and 19 MiB).  Nothing here decides which role a command
needs: commands do.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import hmac
import os
import re
import threading
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec
import structlog
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from gateway.attempts import Attempts
from gateway.errors import Refused
from gateway.model import Json
from gateway.people_file import PeopleFile, Row
from gateway.world import World

log = structlog.get_logger()

ROLES: Final = ("operator", "technician", "supervisor", "qa", "maintenance", "mes", "admin")
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{1,31}")
_RESERVED: Final = frozenset({"gateway"})
_SHORTEST: Final = 8
_LONGEST: Final = 256
_WELL_KNOWN: Final = frozenset({"password", "changeme", "linegate", "12345678", "123456789", "qwertyuiop", "letmein1"})
_WAITING: Final = 16
"""Logins that may wait for the one hash at work; the next is told to come back."""

# argon2id at the least cost that OWASP's password storage cheat sheet takes; RFC 9106's second recommended one (64 MiB,
# three passes) took three quarters of the gateway's processor time on a day with many signatures.  A hash says its own
# cost: older ones go on to work.
_TIME, _MEMORY_KIB, _LANES = 2, 19456, 1
_NOBODY: Final = f"$argon2id$v=19$m={_MEMORY_KIB},t={_TIME},p={_LANES}${'A' * 22}${'A' * 43}"
"""What an unknown name's password is compared with: the same work, never a match."""

T = TypeVar("T")


class Hasher(Protocol):
    def hash(self, password: str | bytes) -> str: ...
    def verify(self, password: str | bytes, hash: str | bytes) -> bool: ...  # noqa: A002  # pwdlib's own word


class Person(msgspec.Struct, frozen=True):
    """One who may do things, without the secret."""

    name: str
    full_name: str
    roles: frozenset[str]
    qualified_until: dt.date | None = None
    """Last day (UTC) on which they may sign; None: no expiry."""
    disabled: bool = False


PERSON: Final = "person"
"""Kind of the state rows that say whom the gateway knows, beside the people file."""


def rights(person: Person) -> Json:
    """What a person may do, for the state row: a file that was edited behind our back says something else."""
    until = person.qualified_until
    return {"roles": sorted(person.roles), "until": str(until) if until else None, "disabled": person.disabled}


class People:
    """The people of one line.  Every change is on disk before it holds."""

    def __init__(self, file: PeopleFile, world: World, *, attempts: int = 5, hasher: Hasher | None = None) -> None:
        self._file = file
        self._world = world
        self._hasher = hasher or Argon2Hasher(_TIME, _MEMORY_KIB, _LANES)
        self._attempts = Attempts(attempts)
        self._first_token: bytes | None = None
        self._waiting = 0
        self._changing = asyncio.Lock()
        self._worker = ThreadPoolExecutor(1, "people", initializer=_step_back)
        rows, notes = file.read(str(world.time_ns()))
        self._rows = {row.name: row for row in rows}
        self.notes: tuple[str, ...] = tuple(notes)
        """What had to be done to the file at start: for the record and an alarm."""
        for note in notes:
            log.warning("people file", what=note)

    @classmethod
    def open(cls, path: Path, world: World, *, attempts: int = 5, hasher: Hasher | None = None) -> People:
        """Always succeeds: a damaged file is put aside and said in `notes`."""
        return cls(PeopleFile(path), world, attempts=attempts, hasher=hasher)

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Person]:
        return (_public(row) for row in self._rows.values())

    def get(self, name: str) -> Person | None:
        row = self._rows.get(name)
        return _public(row) if row else None

    # -- who is it ---------------------------------------------------------------------------------

    async def authenticate(self, name: str, password: str) -> Person:
        """The person who proved it.  Refused `bad_login`, `too_many_attempts`, `busy`.

        An unknown name, a wrong password and a disabled person cost the same and are told the same.
        """
        name = name.strip().lower()[:_LONGEST]
        self._attempts.begin(name, asyncio.get_running_loop().time())
        known = self._rows.get(name)
        hashed = known.password if known else _NOBODY
        secret = _normal(password[: _LONGEST + 1])
        right = await self._work(lambda: self._verify(secret, hashed))
        row = self._rows.get(name)  # disabled meanwhile, or another password?
        if not right or row is None or row.disabled or row.password != hashed:
            raise Refused("bad_login", "name or password is wrong, or the person is disabled")
        self._attempts.clear(name)
        return _public(row)

    def may_sign(self, name: str) -> None:
        """Refused `not_qualified` if the person is unknown, disabled or the qualification ran out."""
        person = self.get(name)
        if person is None or person.disabled:
            raise Refused("not_qualified", f"{name} is not known here")
        self.still_qualified(name)

    def still_qualified(self, name: str) -> None:
        """Refused `not_qualified` if the qualification of somebody who is known here ran out."""
        person = self.get(name)
        if person is not None and self.is_over(person):
            text = f"the qualification of {name} ended on {person.qualified_until}; have it renewed before signing"
            raise Refused("not_qualified", text, qualified_until=str(person.qualified_until))

    def is_over(self, person: Person) -> bool:
        """Was the last day of the qualification before today (UTC)?"""
        return person.qualified_until is not None and person.qualified_until < self._today()

    # -- who is there ------------------------------------------------------------------------------

    def first_run_token(self) -> str | None:
        """A token that lets one add the first admin; None when there are people, or it was handed out already.

        It lives in this process only: after a restart without people there is another.
        """
        if self._rows or self._first_token is not None:
            return None
        token = self._world.token()
        self._first_token = hashlib.sha256(token.encode()).digest()
        return token

    async def add_first(
        self,
        token: str,
        name: str,
        full_name: str,
        password: str,
        *,
        roles: Iterable[str] = (),
        qualified_until: dt.date | str | None = None,
    ) -> Person:
        """The first person, always an admin.  Refused `bad_token`, `too_many_attempts` and those of `add`."""
        self._attempts.begin("first run", asyncio.get_running_loop().time())
        given = hashlib.sha256(token.encode()).digest()
        if self._rows or self._first_token is None or not hmac.compare_digest(given, self._first_token):
            raise Refused("bad_token", "the first-run token is wrong or was used; the gateway prints it at first run")
        person = await self.add(name, full_name, {*roles, "admin"}, password, qualified_until, only_first=True)
        self._first_token = None
        return person

    async def add(
        self,
        name: str,
        full_name: str,
        roles: Iterable[str],
        password: str,
        qualified_until: dt.date | str | None = None,
        *,
        only_first: bool = False,
    ) -> Person:
        """A new person.  Refused `bad_name`, `name_taken`, `unknown_role`, `weak_password`, `bad_date`, `busy`."""
        _check_name(name, full_name)
        row = Row(name, full_name.strip(), _roles(roles), "", _date(qualified_until))
        _check_password(name, password)
        hashed = await self._hash(password)

        def change(rows: dict[str, Row]) -> Row:
            if name in rows or (only_first and rows):
                raise Refused("name_taken", f"there is a person {name} already; people are changed, never replaced")
            return msgspec.structs.replace(row, password=hashed)

        _, added = await self._change(change)
        return _public(added)

    async def change(
        self,
        name: str,
        *,
        full_name: str | None = None,
        roles: Iterable[str] | None = None,
        password: str | None = None,
        qualified_until: dt.date | str | None = "",
        disabled: bool | None = None,
    ) -> tuple[Person, Person]:
        """Change what is given; `qualified_until=None` takes the expiry away.  As it was until then, and as it is.

        Refused as `add`, and `unknown_person`, `nothing_new`, `last_admin`.
        """
        new: dict[str, object] = {}
        if full_name is not None:
            _check_name(name, full_name)
            new["full_name"] = full_name.strip()
        if roles is not None:
            new["roles"] = _roles(roles)
        if qualified_until != "":
            new["qualified_until"] = _date(qualified_until)
        if disabled is not None:
            new["disabled"] = disabled
        if password is not None:
            _check_password(name, password)
            new["password"] = await self._hash(password)

        def change(rows: dict[str, Row]) -> Row:
            if name not in rows:
                raise Refused("unknown_person", f"there is no person {name}")
            if (row := msgspec.structs.replace(rows[name], **new)) == rows[name]:
                raise Refused("nothing_new", f"{name} is so already; nothing was changed")
            return row

        before, after = await self._change(change)
        return _public(before[name]), _public(after)

    # -- how ---------------------------------------------------------------------------------------

    async def _change(self, change: Callable[[dict[str, Row]], Row]) -> tuple[dict[str, Row], Row]:
        """One change at a time: on disk first, then in force.  All as they were, and the one as it is.

        Refused `not_stored`: nothing has changed.
        """
        async with self._changing:
            row = change(self._rows)
            rows = {**self._rows, row.name: row}
            if self._admins(self._rows) and not self._admins(rows):
                raise Refused("last_admin", f"{row.name} is the last admin; make another first")
            try:
                await self._in_worker(lambda: self._file.write(tuple(rows.values())))
            except OSError as error:
                raise Refused("not_stored", f"the people file cannot be written: {error.strerror}") from error
            before, self._rows = self._rows, rows
            return before, row

    @staticmethod
    def _admins(rows: dict[str, Row]) -> int:
        return sum("admin" in row.roles and not row.disabled for row in rows.values())

    async def _hash(self, password: str) -> str:
        return await self._work(lambda: self._hasher.hash(_normal(password)))

    def _verify(self, password: str, hashed: str) -> bool:
        with contextlib.suppress(UnknownHashError):
            return self._hasher.verify(password, hashed)
        return False

    async def _work(self, job: Callable[[], T]) -> T:
        """In the worker, where few may wait.  Refused `busy`."""
        if self._waiting >= _WAITING:
            raise Refused("busy", "too many people are logging in at once; try again in some seconds")
        self._waiting += 1
        try:
            return await self._in_worker(job)
        finally:
            self._waiting -= 1

    def _in_worker(self, job: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._worker, job)

    def _today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self._world.time_ns() / 1e9, dt.UTC).date()


def _step_back() -> None:
    """On Linux a thread has its own niceness: the loop goes first."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _public(row: Row) -> Person:
    return Person(row.name, row.full_name, frozenset(row.roles), row.qualified_until, row.disabled)


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _check_name(name: str, full_name: str) -> None:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise Refused("bad_name", "a name is 2 to 32 of a-z, 0-9, dot, - and _, and starts with a letter")
    if not full_name.strip() or not full_name.isprintable():
        raise Refused("bad_name", "the full name is what signatures show; it cannot be blank")


def _check_password(name: str, password: str) -> None:
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise Refused("weak_password", f"a password has {_SHORTEST} to {_LONGEST} characters")
    if password != password.strip() or not password.isprintable():  # no HTTP header and no password file has it
        raise Refused("weak_password", "a password neither begins nor ends with a blank, and all of it can be seen")
    if password.lower() in {name, *_WELL_KNOWN} or len(set(password)) == 1:
        raise Refused("weak_password", "the password is one that everybody would try; choose another")


def _roles(roles: Iterable[str]) -> tuple[str, ...]:
    given = set(roles)
    unknown = sorted(given - set(ROLES))
    if unknown or not given:
        what = f"there is no role {unknown[0]!r}" if unknown else "a person needs a role"
        raise Refused("unknown_role", f"{what}; the roles are {', '.join(ROLES)}")
    return tuple(sorted(given))


def _date(day: dt.date | str | None) -> dt.date | None:
    if not isinstance(day, str):
        return day
    try:
        return dt.date.fromisoformat(day)
    except ValueError:
        raise Refused("bad_date", f"{day!r} is not a date like 2027-03-31") from None
