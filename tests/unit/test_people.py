"""People: who they are, how they prove it, and a file that survives."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pwdlib.hashers.argon2 import Argon2Hasher

from gateway.attempts import Attempts
from gateway.errors import Refused
from gateway.people import ROLES, People, Person
from gateway.people_file import Row
from gateway.world import World

GOOD = "correct horse"
DAY = dt.date(2026, 11, 22)


class Day(World):
    """A world that stands still on one day."""

    def time_ns(self) -> int:
        return int(dt.datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=dt.UTC).timestamp()) * 10**9


class Reverse:
    """A hash that costs nothing, and counts how many ran at once."""

    def __init__(self) -> None:
        self.calls = 0
        self.now = self.most = 0
        self.gate = threading.Event()
        self.gate.set()

    def hash(self, password: str | bytes) -> str:
        assert isinstance(password, str)
        return "$reverse$" + password[::-1]

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        self.gate.wait(5)
        self.now -= 1
        return self.hash(password) == hash


@pytest.fixture
def hasher() -> Reverse:
    return Reverse()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "people.json"


@pytest.fixture
def people(file: Path, hasher: Reverse) -> Iterator[People]:
    opened = People.open(file, Day(), hasher=hasher)
    yield opened
    opened.close()


async def refused(code: str, awaitable: object) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaitable  # type: ignore[misc]
    assert caught.value.code == code
    return caught.value


async def test_a_person_proves_it_by_password(people: People) -> None:
    """Name and password give the person, roles included, and never the hash."""
    await people.add("ana", "Ana Alva", ["technician", "qa"], GOOD)

    person = await people.authenticate(" Ana ", GOOD)

    assert person.full_name == "Ana Alva"
    assert person.roles == {"technician", "qa"}
    assert "$reverse$" not in repr(person)


async def test_wrong_unknown_and_disabled_are_told_the_same(people: People, hasher: Reverse) -> None:
    """Who is guessing learns nothing: the same words after the same work."""
    await people.add("root2", "The Admin", ["admin"], GOOD)
    await people.add("ana", "Ana Alva", ["operator"], GOOD)
    await people.change("ana", disabled=True)

    texts = {
        str(await refused("bad_login", people.authenticate(name, password)))
        for name, password in (("root2", "wrong horse"), ("nobody", GOOD), ("ana", GOOD))
    }

    assert len(texts) == 1
    assert hasher.calls == 3


def slow_disk(people: People, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """A file that is written only once the second one is set; the first one says that it waits."""
    waits, goes = threading.Event(), threading.Event()
    write = people._file.write

    def slow(rows: tuple[Row, ...]) -> None:
        waits.set()
        goes.wait(5)
        write(rows)

    monkeypatch.setattr(people._file, "write", slow)
    return waits, goes


async def test_an_old_password_is_over_with_the_change(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for whoever gave it while the new one was being written."""
    await people.add("ana", "Ana Alva", ["operator"], GOOD)
    waits, goes = slow_disk(people, monkeypatch)
    changing = asyncio.create_task(people.change("ana", password="battery staple"))
    await asyncio.to_thread(waits.wait, 5)
    late = asyncio.create_task(people.authenticate("ana", GOOD))
    await asyncio.sleep(0)
    goes.set()
    await refused("bad_login", late)
    await changing
    assert await people.authenticate("ana", "battery staple")


async def test_a_change_says_what_it_was_when_it_was_made(people: People) -> None:
    """While a password is hashed somebody else may change the same person: that is not told as this change."""
    await people.add("ana", "Ana Alva", ["operator"], GOOD)
    both = (people.change("ana", roles=["qa"], password="battery staple"), people.change("ana", full_name="Ana Berg"))
    slow, quick = await asyncio.gather(*both)
    assert [(each.full_name, each.roles) for each in quick] == [("Ana Alva", {"operator"}), ("Ana Berg", {"operator"})]
    assert [(each.full_name, each.roles) for each in slow] == [("Ana Berg", {"operator"}), ("Ana Berg", {"qa"})]


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"full_name": " Ana Alva "},
        {"roles": ["qa", "operator", "qa"]},
        {"qualified_until": "20270331"},
        {"qualified_until": ""},
        {"disabled": False},
    ],
)
async def test_a_change_of_nothing_is_refused(people: People, file: Path, same: dict[str, Any]) -> None:
    """However it is written: it would be a record without a change."""
    await people.add("ana", "Ana Alva", ["operator", "qa"], GOOD, "2027-03-31")
    before = file.stat().st_mtime_ns
    await refused("nothing_new", people.change("ana", **same))
    assert file.stat().st_mtime_ns == before


async def test_real_hashes_hold(file: Path) -> None:
    """Argon2id as shipped: right is right, wrong is wrong, an unknown name is no crash, the file has no password."""
    people = People.open(file, World())
    await people.add("ana", "Ana Alva", ["operator"], GOOD)

    assert (await people.authenticate("ana", GOOD)).name == "ana"
    await refused("bad_login", people.authenticate("ana", "wrong horse"))
    await refused("bad_login", people.authenticate("bob", GOOD))
    text = file.read_text()
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in text
    assert GOOD not in text
    people.close()


async def test_a_hash_of_another_cost_still_holds(file: Path) -> None:
    """A people file of an earlier version, hashed at a higher cost, lets its people in."""
    older = People.open(file, World(), hasher=Argon2Hasher(3, 65536, 1))
    await older.add("ana", "Ana Alva", ["operator"], GOOD)
    older.close()
    people = People.open(file, World())

    assert (await people.authenticate("ana", GOOD)).name == "ana"
    people.close()


async def test_hashing_leaves_the_loop_alone(file: Path) -> None:
    """While a real hash works, a heartbeat on the loop keeps its time: it is late by far less than the hash takes."""
    people = People.open(file, World())
    await people.add("ana", "Ana Alva", ["operator"], GOOD)
    loop = asyncio.get_running_loop()
    late: list[float] = []

    async def heartbeat() -> None:
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            late.append(loop.time() - due)

    beating = asyncio.create_task(heartbeat())
    began, hashes = loop.time(), 0
    while loop.time() - began < 0.3:
        await people.authenticate("ana", GOOD)
        hashes += 1
    took = loop.time() - began
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    people.close()

    assert len(late) > took / 0.005 / 4, "the loop was starved"
    assert sorted(late)[len(late) // 2] < took / hashes / 3, "on the loop, a hash makes each beat late by most of it"


async def test_one_hash_at_a_time_and_few_may_wait(people: People, hasher: Reverse) -> None:
    """Four logins at once are hashed one after the other; far too many are told to come back."""
    hasher.gate.clear()
    logins = [asyncio.create_task(people.authenticate(f"name{number}", GOOD)) for number in range(20)]
    await asyncio.sleep(0.01)
    hasher.gate.set()
    results = await asyncio.gather(*logins, return_exceptions=True)
    codes = [result.code for result in results if isinstance(result, Refused)]

    assert hasher.most == 1
    assert sorted(codes) == ["bad_login"] * 16 + ["busy"] * 4


async def test_a_name_has_five_attempts_a_minute(people: People, hasher: Reverse) -> None:
    """The sixth attempt is refused before any work, by name, and says when to come back; others are not hindered."""
    await people.add("ana", "Ana Alva", ["operator"], GOOD)
    await people.add("bob", "Bob Brandt", ["operator"], GOOD)
    for _ in range(5):
        await refused("bad_login", people.authenticate("ana", "wrong horse"))

    refusal = await refused("too_many_attempts", people.authenticate("ana", GOOD))

    assert refusal.facts["retry_after_s"] in range(1, 62)
    assert hasher.calls == 5
    assert await people.authenticate("bob", GOOD)


async def test_parallel_guesses_count_too(people: People, hasher: Reverse) -> None:
    """Guesses sent all at once are no way round the limit."""
    guesses = [people.authenticate("ana", f"guess {number} x") for number in range(12)]
    results = await asyncio.gather(*guesses, return_exceptions=True)
    codes = [result.code for result in results if isinstance(result, Refused)]

    assert codes.count("too_many_attempts") == 7
    assert hasher.calls == 5


def test_attempts_are_forgotten_after_a_minute() -> None:
    """The window slides, a success clears it, and old names do not fill the memory."""
    attempts = Attempts(2)
    attempts.begin("ana", 0.0)
    attempts.begin("ana", 30.0)
    with pytest.raises(Refused):
        attempts.begin("ana", 59.0)
    attempts.begin("ana", 60.0)
    attempts.clear("ana")
    attempts.begin("ana", 61.0)
    for number in range(5000):
        attempts.begin(f"name{number}", 1000.0 + number)

    assert len(attempts._by_name) < 1200


async def test_expired_people_may_look_but_not_sign(people: People) -> None:
    """A qualification lasts to the end of its day; then its owner logs in, and signs nothing."""
    await people.add("ana", "Ana Alva", ["operator"], GOOD, DAY)
    people.may_sign("ana")

    await people.change("ana", qualified_until=DAY - dt.timedelta(days=1))

    assert await people.authenticate("ana", GOOD)
    with pytest.raises(Refused, match="ended on 2026-11-21") as caught:
        people.may_sign("ana")
    assert caught.value.code == "not_qualified"
    await people.change("ana", qualified_until=None)
    people.may_sign("ana")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"name": "Ana"}, "bad_name"),
        ({"name": "gateway"}, "bad_name"),
        ({"name": "a/b"}, "bad_name"),
        ({"name": "ana\n"}, "bad_name"),
        ({"full_name": "  "}, "bad_name"),
        ({"roles": ["boss"]}, "unknown_role"),
        ({"roles": []}, "unknown_role"),
        ({"password": "short"}, "weak_password"),
        ({"password": "changeme"}, "weak_password"),
        ({"password": "anaanaana", "name": "anaanaana"}, "weak_password"),
        ({"password": "x" * 300}, "weak_password"),
        ({"password": f"{GOOD} "}, "weak_password"),
        ({"password": f"\u3000{GOOD}"}, "weak_password"),
        ({"password": "correct\nhorse"}, "weak_password"),
        ({"qualified_until": "soon"}, "bad_date"),
    ],
)
async def test_bad_people_are_refused(people: People, file: Path, changed: dict[str, object], code: str) -> None:
    """What cannot stand in the file is refused with a code, and nothing is written."""
    facts: dict[str, object] = {"name": "ana", "full_name": "Ana Alva", "roles": ["qa"], "password": GOOD} | changed

    await refused(code, people.add(**facts))  # type: ignore[arg-type]

    assert not file.exists()


async def test_a_name_is_never_given_twice(people: People) -> None:
    """Records name people: a name is taken for ever, also when two ask for it at once."""
    results = await asyncio.gather(
        *(people.add("ana", f"Ana {number}", ["qa"], GOOD) for number in range(2)), return_exceptions=True
    )

    assert sum(isinstance(result, Refused) and result.code == "name_taken" for result in results) == 1
    assert len(people) == 1


async def test_the_last_admin_stays(people: People) -> None:
    """Nobody can lock everybody out."""
    await people.add("ana", "Ana Alva", ["admin"], GOOD)

    await refused("last_admin", people.change("ana", disabled=True))
    await refused("last_admin", people.change("ana", roles=["qa"]))
    await people.add("bob", "Bob Brandt", ["admin"], GOOD)
    assert (await people.change("ana", disabled=True))[1].disabled


async def test_the_first_admin_comes_by_a_token_once(people: People) -> None:
    """The token is handed out once, works once, and only while there is nobody."""
    token = people.first_run_token()
    assert token is not None
    assert people.first_run_token() is None
    await refused("bad_token", people.add_first("guess", "ana", "Ana Alva", GOOD))

    first = await people.add_first(token, "ana", "Ana Alva", GOOD, roles=["qa"])

    assert first.roles == {"admin", "qa"}
    await refused("bad_token", people.add_first(token, "eve", "Eve", GOOD))
    assert people.first_run_token() is None


async def test_a_refused_first_person_keeps_the_token(people: People) -> None:
    """A typo does not burn the token."""
    token = people.first_run_token() or ""
    await refused("weak_password", people.add_first(token, "ana", "Ana Alva", "short"))

    assert await people.add_first(token, "ana", "Ana Alva", GOOD)


async def test_people_survive_a_restart(people: People, file: Path, hasher: Reverse) -> None:
    """What was added is there after a restart, closed to others, with a copy beside it."""
    await people.add("ana", "Ana Alva", ROLES, GOOD, "2027-03-31")

    again = People.open(file, Day(), hasher=hasher)

    person = again.get("ana")
    assert person is not None
    assert person.roles == set(ROLES)
    assert person.qualified_until == dt.date(2027, 3, 31)
    assert again.notes == ()
    assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}
    assert again.first_run_token() is None


DAMAGES = {
    "empty": b"",
    "cut": b'{"v": 1, "people": [{"name": "ana", "full',
    "zeros": bytes(300),
    "latin": b'{"v": 1, "people": [], "x": "\xe9"}',
    "other": b'{"v": 1, "people": [{"name": 5}]}',
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_file_is_put_aside_and_its_copy_read(
    people: People, file: Path, hasher: Reverse, damage: bytes
) -> None:
    """Whatever the file holds, the people are there, the damage is kept and said, and the file is whole again."""
    await people.add("ana", "Ana Alva", ["qa"], GOOD)
    file.write_bytes(damage)

    again = People.open(file, Day(), hasher=hasher)

    assert again.get("ana") is not None
    assert "put aside as people.json.damaged-" in again.notes[0]
    assert "1 people came from its copy" in again.notes[1]
    assert next(file.parent.glob("*.damaged-*")).read_bytes() == damage
    assert json.loads(file.read_bytes())["people"][0]["name"] == "ana"


async def test_when_both_are_damaged_a_new_first_run_begins(people: People, file: Path, hasher: Reverse) -> None:
    """Never a crash: nobody is there, it is said, and the token of a first run lets an admin in."""
    await people.add("ana", "Ana Alva", ["qa"], GOOD)
    for path in (file, file.with_name("people.json.copy")):
        path.write_bytes(b"\0")

    again = People.open(file, Day(), hasher=hasher)

    assert len(again) == 0
    assert len(again.notes) == 2
    assert again.first_run_token()


async def test_an_open_file_is_closed_and_said(people: People, file: Path, hasher: Reverse) -> None:
    """Hashes that everybody could read are worth a note."""
    await people.add("ana", "Ana Alva", ["qa"], GOOD)
    file.chmod(0o644)

    again = People.open(file, Day(), hasher=hasher)

    assert "was open to others" in again.notes[0]
    assert file.stat().st_mode & 0o777 == 0o600


async def test_what_cannot_be_written_has_not_happened(people: People, file: Path) -> None:
    """A change holds only once it is on disk."""
    await people.add("ana", "Ana Alva", ["qa"], GOOD)
    (file.parent / "people.json.new").mkdir()

    await refused("not_stored", people.add("bob", "Bob Brandt", ["qa"], GOOD))

    assert people.get("bob") is None
    await refused("bad_login", people.authenticate("bob", GOOD))


@pytest.mark.parametrize("full", ["people.json.new", "people.json.copy.new"])
async def test_what_was_refused_is_not_there_after_a_restart(people: People, file: Path, full: str) -> None:
    """Of file and copy only one could be drafted: both stay as they were, for whichever the next start reads."""
    await people.add("ana", "Ana Alva", ["qa"], GOOD)
    before = file.read_bytes()
    (file.parent / full).mkdir()
    await refused("not_stored", people.change("ana", roles=["admin"]))

    assert people.get("ana") == Person("ana", "Ana Alva", frozenset({"qa"}))
    assert [file.read_bytes(), file.with_name("people.json.copy").read_bytes()] == [before, before]
