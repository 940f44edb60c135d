"""Tasks that must not die, and the proof of life."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.supervise import PAUSE_S, TELL_S, Supervisor, notify

pytestmark = pytest.mark.looptime(start=1000)


@asynccontextmanager
async def running(work: object) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)  # type: ignore[arg-type]
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_bug_costs_a_second_and_is_told() -> None:
    """The task is started again, the failure counted and said with its text; the others never notice."""
    supervisor, told, runs, ticks = Supervisor(), list[tuple[str, str]](), list[float](), list[int]()
    supervisor.on_failure = lambda name, text: told.append((name, text))

    async def buggy() -> None:
        runs.append(asyncio.get_running_loop().time())
        if len(runs) < 3:
            raise ZeroDivisionError("oh")
        await asyncio.Event().wait()

    async def steady() -> None:
        while True:
            ticks.append(1)
            await asyncio.sleep(0.1)

    async with running(supervisor.keep("buggy", buggy)), running(supervisor.keep("steady", steady)):
        await asyncio.sleep(5)

    assert [after - before for before, after in itertools.pairwise(runs)] == [PAUSE_S, PAUSE_S]
    assert supervisor.failures == {"buggy": 2}
    assert told == [("buggy", "ZeroDivisionError: oh")]
    assert len(ticks) >= 50


async def test_the_same_bug_is_told_once_a_minute_and_another_at_once() -> None:
    """A ledger is no place for a flood: every failure is counted, one a minute is told."""
    supervisor, told = Supervisor(), list[str]()
    supervisor.on_failure = lambda _, text: told.append(text)
    runs = 0

    async def buggy() -> None:
        nonlocal runs
        runs += 1
        raise (KeyError if runs == 5 else ValueError)("oh")

    async with running(supervisor.keep("buggy", buggy)):
        await asyncio.sleep(TELL_S * 2 + 0.5)

    assert supervisor.failures["buggy"] > 100
    assert told == ["ValueError: oh", "KeyError: 'oh'", "ValueError: oh", *told[3:]]
    assert len(told) <= 5


async def test_what_tells_may_be_what_fails() -> None:
    """A bug in the alarm itself does not end the task, nor its neighbours."""
    supervisor, runs = Supervisor(), list[int]()

    def tell(name: str, text: str) -> None:
        raise RuntimeError(f"{name}: {text}")

    supervisor.on_failure = tell

    async def buggy() -> None:
        runs.append(1)
        raise ValueError

    async with running(supervisor.keep("buggy", buggy)):
        await asyncio.sleep(3.5)

    assert len(runs) == 4


async def test_the_end_is_the_end() -> None:
    """Cancelled is cancelled: nothing is started again."""
    supervisor, runs = Supervisor(), list[int]()

    async def work() -> None:
        runs.append(1)
        await asyncio.Event().wait()

    async with running(supervisor.keep("work", work)):
        await asyncio.sleep(1)
    await asyncio.sleep(5)

    assert runs == [1]
    assert supervisor.failures == {}


# -- systemd --------------------------------------------------------------------------------------------


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A notify socket, as systemd gives one; watched with a limit of 9 s."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "notify"))
        door.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "9000000")
        yield door


def heard(door: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(door.recv(100).decode())
        except BlockingIOError:
            return messages


async def test_pings_only_while_every_loop_moves(systemd: socket.socket) -> None:
    """One stuck loop among many and the pings stop; it moves again and they come back."""
    counts = {"line": 0, "store": 0, "station filler": 0}
    stuck: set[str] = set()

    def progress() -> dict[str, int]:
        for name in set(counts) - stuck:
            counts[name] += 1
        return dict(counts)

    async with running(Supervisor().watchdog(progress)):
        await asyncio.sleep(9.5)
        assert heard(systemd) == ["READY=1", *["WATCHDOG=1"] * 4]
        stuck.add("store")
        await asyncio.sleep(18)
        assert heard(systemd) == []
        stuck.clear()
        await asyncio.sleep(3)
        assert heard(systemd) == ["WATCHDOG=1"]


async def test_who_may_wait_is_given_its_time(systemd: socket.socket) -> None:
    """A station backing off for half a minute is alive; one that stands still for longer is not."""
    async with running(Supervisor().watchdog(lambda: {"station": 7}, {"station": 30.0})):
        await asyncio.sleep(15.5)
        assert heard(systemd).count("WATCHDOG=1") == 6
        await asyncio.sleep(15)
        assert heard(systemd).count("WATCHDOG=1") == 5
        await asyncio.sleep(30)
        assert heard(systemd) == []


@pytest.mark.parametrize("limit", [None, "", "0", "often"])
async def test_not_watched_is_not_pinged(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Without a watchdog, or with an odd word for its limit, readiness is said and nothing else."""
    monkeypatch.delenv("WATCHDOG_USEC")
    if limit is not None:
        monkeypatch.setenv("WATCHDOG_USEC", limit)
    async with running(Supervisor().watchdog(dict)):
        await asyncio.sleep(60)

    assert heard(systemd) == ["READY=1"]


def test_systemd_out_of_reach_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that is not there, or that nobody empties, costs nothing but a line in the log."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "full"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "full"))
        for _ in range(2000):
            notify("WATCHDOG=1")
