"""The console's HTTP API, as somebody on this machine meets it: a real server on a free port, a small line behind."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from line_kit import LINE, Kit, order

from gateway.client import Client
from gateway.commands.commands import COMMANDS
from gateway.console.api import LARGEST_BODY
from gateway.console.server import listen, serve, write_token
from gateway.console.sessions import AGE_S, IDLE_S, Sessions
from gateway.errors import LinegateError, Refused
from gateway.model import Principal
from gateway.people import People
from gateway.testing import VirtualWorld

PASSWORD = "correct horse"


class Console:
    """A running console and a way to ask it."""

    def __init__(self, kit: Kit, url: str, token: str, client: httpx.AsyncClient) -> None:
        self.kit, self.url, self.token, self.client = kit, url, token, client

    async def __call__(self, method: str, path: str, *, token: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token if token is None else token}", **more.pop("headers", {})}
        return await self.client.request(method, self.url + path, headers=headers, **more)

    async def command(self, name: str, who: str = "", password: str = PASSWORD, **arguments: Any) -> httpx.Response:
        headers = {"X-Linegate-Person": who, "X-Linegate-Password": password} if who else {}
        return await self("POST", f"/api/v1/command/{name}", json=arguments, headers=headers)


@asynccontextmanager
async def console(folder: Path, people: People | None = None, line: str = LINE) -> AsyncIterator[Console]:
    kit = Kit(folder, line=line).start()
    if people is not None:
        kit.desk.people = people
    try:
        with listen("127.0.0.1", 0) as door:
            async with served(kit, door) as (url, token), httpx.AsyncClient(timeout=20) as client:
                yield Console(kit, url, token, client)
    finally:
        await kit.kill()


@asynccontextmanager
async def served(kit: Kit, door: socket.socket) -> AsyncIterator[tuple[str, str]]:
    """The server is up: its address and token, as the token file has them."""
    token_file = kit.folder / "console.token"
    serving = asyncio.create_task(serve(kit.desk, door, token_file, kit.world))
    while not token_file.exists():  # noqa: ASYNC110  # as the command line waits for it
        await asyncio.sleep(0.005)
    url, token = token_file.read_text().split()
    try:
        yield url, token
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert not token_file.exists()


async def add(kit: Kit, name: str, *roles: str) -> None:
    await kit.desk.people.add(name, name.title(), roles, PASSWORD)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code: every refusal is a JSON document of one shape."""
    document = answer.json()
    assert document["ok"] is False
    assert document["message"]
    return answer.status_code, document["code"]


# -- the door -------------------------------------------------------------------------------------------


async def test_only_with_the_token(tmp_path: Path) -> None:
    """Without it, with a wrong one or half of it: every path is closed, also those that are not there."""
    async with console(tmp_path) as ask:
        for token in ("-", "x", ask.token[:-1], ask.token + "x", ask.token.lower()):
            for path in ("/api/v1/status", "/api/v1/board", "/api/v1/openapi.json", "/nowhere"):
                assert refusal(await ask("GET", path, token=token)) == (401, "bad_token")
        answer = await ask("GET", "/api/v1/status")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert stat.S_IMODE((tmp_path / "console.token").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8377", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]:1", "localhost.evil"]
)
async def test_another_name_for_this_machine_is_refused(tmp_path: Path, host: str) -> None:
    """A page whose name was rebound to 127.0.0.1 asks by its own name, and even with the token gets nothing."""
    async with console(tmp_path) as ask:
        assert refusal(await ask("GET", "/api/v1/status", headers={"Host": host})) == (403, "bad_host")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8377", "[::1]"])
async def test_its_own_names_are_fine(tmp_path: Path, host: str) -> None:
    """With and without a port."""
    async with console(tmp_path) as ask:
        assert (await ask("GET", "/api/v1/status", headers={"Host": host})).status_code == 200


async def test_a_console_on_all_addresses_knows_addresses_and_no_names(tmp_path: Path) -> None:
    """Where a waiver opened it to the plant: an address is fine, a name could have been rebound."""
    line = LINE.replace("devices:\n", "  console: {host: 0.0.0.0, waiver: own network}\ndevices:\n", 1)
    async with console(tmp_path, line=line) as ask:
        assert (await ask("GET", "/api/v1/status", headers={"Host": "10.1.2.3:8377"})).status_code == 200
        assert refusal(await ask("GET", "/api/v1/status", headers={"Host": "plant.example"})) == (403, "bad_host")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 8377), "http://127.0.0.1:8377"),
        (("0.0.0.0", 8377), "http://127.0.0.1:8377"),
        (("::1", 8377), "http://[::1]:8377"),
        (("::", 8377), "http://[::1]:8377"),
    ],
)
def test_the_token_file_says_where_to_go(tmp_path: Path, address: tuple[str, int], url: str) -> None:
    """Also where all addresses are listened on: to the one that is here."""
    write_token(tmp_path / "console.token", address, "T")

    assert (tmp_path / "console.token").read_text() == f"{url} T\n"


def test_a_port_in_use_is_named() -> None:
    """With what to do next."""
    with listen("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
        with pytest.raises(LinegateError, match=f"port {port} on 127.0.0.1 cannot be opened"):
            listen("127.0.0.1", port)


# -- what is sent ---------------------------------------------------------------------------------------


async def test_every_error_is_a_document(tmp_path: Path) -> None:
    """No such path, no such method, no such command, bad JSON in every way: one shape, and the console lives on."""
    async with console(tmp_path) as ask:
        assert refusal(await ask("GET", "/nowhere")) == (404, "not_found")
        assert refusal(await ask("DELETE", "/api/v1/status")) == (405, "bad_request")
        assert refusal(await ask.command("fire.torpedo")) == (404, "unknown_command")
        assert refusal(await ask("GET", "/api/v1/batches/B1/report")) == (409, "no_such_batch")
        assert refusal(await ask("POST", "/api/v1/login")) == (401, "bad_login")
        for body in (b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b"nul", b'{"a": }'):
            answer = await ask("POST", "/api/v1/command/status", content=body)
            assert refusal(answer) == (422, "bad_arguments"), body
        assert (await ask("POST", "/api/v1/command/status", content=b"")).status_code == 200


async def test_a_bug_of_ours_is_a_document_too(tmp_path: Path) -> None:
    """It costs one answer, and the next question is answered."""
    async with console(tmp_path) as ask:
        ask.kit.line.latest["of no device"] = None  # type: ignore[assignment]  # as a bug of ours might leave it
        assert refusal(await ask("GET", "/api/v1/status")) == (500, "failed")
        del ask.kit.line.latest["of no device"]
        assert (await ask("GET", "/api/v1/status")).status_code == 200


async def test_a_body_too_large_is_refused_before_it_is_kept(tmp_path: Path) -> None:
    """A megabyte is plenty: more is refused while it still comes in, with or without a length given before."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b" " * (LARGEST_BODY // 4)

    async with console(tmp_path) as ask:
        with suppress(httpx.TransportError):  # the server may hang up on who goes on sending
            assert refusal(await ask("POST", "/api/v1/command/status", content=endless())) == (413, "too_large")
        with suppress(httpx.TransportError):
            answer = await ask("POST", "/api/v1/command/status", content=b" " * (LARGEST_BODY + 1))
            assert refusal(answer) == (413, "too_large")
        within = await ask("POST", "/api/v1/command/status", content=b" " * (LARGEST_BODY - 2) + b"{}")
        assert within.status_code == 200


async def test_every_command_has_its_path(tmp_path: Path) -> None:
    """With the token alone: what needs a role or a password is refused as the table of commands says."""
    async with console(tmp_path) as ask:
        for name, command in COMMANDS.items():
            expected = (401, "password_needed") if command.signed else (422, "bad_arguments")
            expected = (403, "not_allowed") if command.roles else expected
            assert refusal(await ask.command(name, odd=1)) == expected


# -- people ---------------------------------------------------------------------------------------------


async def logged_in(ask: Console, name: str) -> dict[str, str]:
    """The header of a session of theirs."""
    who = {"X-Linegate-Person": name, "X-Linegate-Password": PASSWORD}
    return {"X-Linegate-Session": (await ask("POST", "/api/v1/login", headers=who)).json()["session"]}


async def test_a_session_acts_and_does_not_sign(tmp_path: Path) -> None:
    """Log in once for the floor's work; a signature needs the password in that very request."""
    async with console(tmp_path) as ask:
        await add(ask.kit, "sue", "supervisor")
        session = await logged_in(ask, "sue")
        answer = await ask("POST", "/api/v1/command/batch.order", json={"order": order()}, headers=session)
        assert answer.json()["result"]["batch"] == "B1"

        arguments = {"batch": "B1", "reason": "a mistake"}
        answer = await ask("POST", "/api/v1/command/batch.abort", json=arguments, headers=session)
        assert refusal(answer) == (401, "password_needed")
        assert (await ask.command("batch.abort", "sue", **arguments)).status_code == 200
        assert ask.kit.records("batch.aborted")[-1]["by"] == "sue"


async def test_a_wrong_password_is_refused_and_limited(tmp_path: Path) -> None:
    """The sixth try within a minute is not even looked at; another person is not hindered."""
    async with console(tmp_path) as ask:
        await add(ask.kit, "sue", "supervisor")
        await add(ask.kit, "tom", "technician")
        for _ in range(5):
            assert refusal(await ask.command("status", "sue", "wrong horse")) == (401, "bad_login")
        answer = await ask.command("status", "sue", PASSWORD)
        assert refusal(answer) == (429, "too_many_attempts")
        assert answer.json()["retry_after_s"] > 0
        assert refusal(await ask.command("status", "sue", PASSWORD)) == (429, "too_many_attempts")
        assert (await ask.command("status", "tom")).status_code == 200
        assert refusal(await ask.command("status", "nobody", PASSWORD)) == (401, "bad_login")
        alarms = (await ask("GET", "/api/v1/board")).json()["alarms"]
        assert "5 attempts for 'sue'" in alarms["gateway:logins"]["text"]
        assert alarms["gateway:logins"]["occurrence"] == 1, "said once until somebody acknowledged it"


async def test_who_is_changed_logs_in_again(tmp_path: Path) -> None:
    """Roles, a password, the end: what was opened before is over at once; others' sessions go on."""
    async with console(tmp_path) as ask:
        await add(ask.kit, "anna", "admin")
        await add(ask.kit, "olga", "operator")
        opened = {name: await logged_in(ask, name) for name in ("anna", "olga")}

        async def start(name: str) -> tuple[int, str]:
            return refusal(await ask("POST", "/api/v1/command/batch.start", json={"batch": "B1"}, headers=opened[name]))

        assert await start("olga") == (409, "no_such_batch")
        change = {"name": "olga", "roles": ["qa"], "reason": "new work"}
        who = {"X-Linegate-Person": "anna", "X-Linegate-Password": PASSWORD}
        changed = await ask("POST", "/api/v1/command/people.change", json=change, headers=who)
        assert changed.json()["result"]["before"] == {"roles": ["operator"]}
        assert await start("olga") == (401, "bad_login")
        assert refusal(await ask.command("batch.start", "olga", batch="B1")) == (403, "not_allowed")
        assert await start("anna") == (403, "not_allowed")


@pytest.mark.parametrize("by", ["password", "session"])
async def test_who_is_disabled_before_the_last_byte_is_nobody(tmp_path: Path, by: str) -> None:
    """A request that was begun in time and is finished afterwards: who may is asked at the end."""
    async with console(tmp_path) as ask:
        await add(ask.kit, "anna", "admin")
        await add(ask.kit, "eve", "admin", "operator")
        password = {"X-Linegate-Person": "eve", "X-Linegate-Password": PASSWORD}
        begun = password if by == "password" else await logged_in(ask, "eve")
        mallory = b'{"name": "mallory", "full_name": "Mallory", "roles": ["qa"], "password": "a horse!"}'
        start = ("batch.start", b'{"batch": "B1"}')
        what, said = ("people.add", mallory) if by == "password" else start

        async def slowly() -> AsyncIterator[bytes]:
            yield said[:5]
            await ask("GET", "/api/v1/status")  # and the server has what came before
            await ask.kit.desk.staff.change("anna", "eve", "she left", disabled=True)
            yield said[5:]

        answer = await ask("POST", f"/api/v1/command/{what}", content=slowly(), headers=begun)
        assert refusal(answer) == (401, "bad_login")
        assert ask.kit.people.get("mallory") is None


@pytest.mark.parametrize("password", ["пароль и ещё", "naïve café", "nai\u0308ve 馬"])
async def test_a_password_in_any_script_opens_what_it_was_set_for(tmp_path: Path, password: str) -> None:
    """Whoever set it by the command line logs in by it: a last admin would be locked out."""
    async with console(tmp_path) as ask:
        await add(ask.kit, "anna", "admin")
        old, new = (Client(tmp_path / "console.token", person="anna", password=each) for each in (PASSWORD, password))
        with ThreadPoolExecutor(1) as beside:
            await asyncio.wrap_future(beside.submit(old.command, "people.password", signed=True, password=password))
            await asyncio.wrap_future(beside.submit(new.login))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_a_password_is_understood_from_either_kind_of_caller(tmp_path: Path, encoding: str) -> None:
    """A browser sends Latin-1 in its headers, everybody else UTF-8."""
    async with console(tmp_path) as ask:
        await ask.kit.desk.people.add("anna", "Anna", ["admin"], "naïve café")
        who = {b"X-Linegate-Person": b"anna", b"X-Linegate-Password": "naïve café".encode(encoding)}
        sent = {b"Authorization": f"Bearer {ask.token}".encode(), **who}
        assert (await ask.client.post(ask.url + "/api/v1/login", headers=sent)).status_code == 200


async def test_an_unknown_session_is_refused(tmp_path: Path) -> None:
    """Also one of an earlier run: sessions live in memory only."""
    async with console(tmp_path) as ask:
        answer = await ask("POST", "/api/v1/command/status", headers={"X-Linegate-Session": "yesterday's"})
        assert refusal(answer) == (401, "bad_login")


@pytest.mark.looptime(start=1000)
async def test_sessions_end_by_idle_time_and_by_age() -> None:
    """A quarter of an hour without a word, or a shift and a half of work; a stepped clock changes nothing."""
    world = VirtualWorld()
    sessions, sue = Sessions(world), Principal("sue", frozenset({"supervisor"}), "http")
    token = sessions.open(sue)
    await asyncio.sleep(IDLE_S)
    world.offset_ns += 10**18
    assert sessions.person(token) == sue
    await asyncio.sleep(IDLE_S + 1)
    with pytest.raises(Refused):
        sessions.person(token)
    with pytest.raises(Refused):
        sessions.person(token)

    token, began = sessions.open(sue), asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() - began <= AGE_S:
        assert sessions.person(token) == sue
        await asyncio.sleep(600)
    with pytest.raises(Refused):
        sessions.person(token)


@pytest.mark.looptime(start=1000)
async def test_sessions_that_ended_are_forgotten() -> None:
    """Nobody fills the memory by logging in and going away."""
    sessions, sue = Sessions(VirtualWorld()), Principal("sue", frozenset(), "http")
    for _ in range(100):
        sessions.open(sue)
        await asyncio.sleep(60)

    assert len(sessions._open) <= IDLE_S / 60 + 2


async def test_four_logins_at_once_leave_the_loop_alone(tmp_path: Path) -> None:
    """Real password hashes: meanwhile the line's loop is late by far less than one of them takes."""
    people = People.open(tmp_path / "people.json", VirtualWorld())
    async with console(tmp_path, people) as ask:
        for name in ("ann", "bob", "cyd", "dan"):
            await add(ask.kit, name, "operator")
        late: list[float] = []
        loop = asyncio.get_running_loop()

        async def beat() -> None:
            while True:
                due = loop.time() + 0.005
                await asyncio.sleep(0.005)
                late.append(loop.time() - due)

        async def login(name: str) -> httpx.Response:
            headers = {"X-Linegate-Person": name, "X-Linegate-Password": PASSWORD}
            return await ask("POST", "/api/v1/login", headers=headers)

        beating = asyncio.create_task(beat())
        began, answers = loop.time(), []
        while loop.time() - began < 0.5:
            answers += await asyncio.gather(*map(login, ("ann", "bob", "cyd", "dan")))
        took_s = loop.time() - began
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)

        assert {answer.status_code for answer in answers} == {200}
        hash_s = took_s / len(answers)
        seen = f"{len(answers)} logins, {hash_s * 1e3:.0f} ms each; beats late by {_spread(sorted(late))}"
        assert sorted(late)[len(late) // 2] < hash_s / 3, f"on the loop, a hash makes most beats late by it: {seen}"
    people.close()


def _spread(late: list[float]) -> str:
    return ", ".join(f"p{share * 100:g} {late[int((len(late) - 1) * share)] * 1e3:.1f} ms" for share in (0.5, 0.99, 1))


# -- the server itself ----------------------------------------------------------------------------------


async def test_the_console_can_be_started_again_on_the_same_door(tmp_path: Path) -> None:
    """After a bug its supervisor does so: the port is the same, the token is a new one."""
    kit, seen = Kit(tmp_path).start(), []
    with listen("127.0.0.1", 0) as door:
        for _ in range(2):
            async with served(kit, door) as (url, token), httpx.AsyncClient() as client:
                answer = await client.get(url + "/api/v1/status", headers={"Authorization": f"Bearer {token}"})
            seen.append((url, token, answer.status_code))
    await kit.kill()

    assert [status for *_, status in seen] == [200, 200]
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] != seen[1][1]


async def test_a_console_that_failed_hears_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token file goes; who knocks before the next one is there is answered by that one, and by its token alone."""

    async def bug(server: uvicorn.Server, counter: int) -> bool:
        raise RuntimeError("a bug")

    kit = Kit(tmp_path).start()
    with listen("127.0.0.1", 0) as door:
        async with served(kit, door) as (url, token), httpx.AsyncClient(timeout=20) as client:
            headers = {"Authorization": f"Bearer {token}"}
            assert (await client.get(url + "/api/v1/status", headers=headers)).status_code == 200
            with monkeypatch.context() as patch:
                patch.setattr(uvicorn.Server, "on_tick", bug)
                async with asyncio.timeout(20):
                    while (tmp_path / "console.token").exists():  # noqa: ASYNC110  # the server sets no event
                        await asyncio.sleep(0.005)
        async with httpx.AsyncClient(timeout=20) as client:
            asking = asyncio.create_task(client.get(url + "/api/v1/status", headers=headers))
            async with served(kit, door):
                answer = await asking
    await kit.kill()

    assert refusal(answer) == (401, "bad_token")


async def test_many_at_once_are_all_answered(tmp_path: Path) -> None:
    """A page with many tiles: each gets its answer."""
    async with console(tmp_path) as ask:
        answers = await asyncio.gather(*(ask("GET", "/api/v1/board") for _ in range(50)))

    assert {answer.status_code for answer in answers} == {200}
    assert all(json.loads(a.content) == json.loads(b.content) for a, b in itertools.pairwise(answers))
