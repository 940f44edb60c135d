"""A server that goes away again and again: our subscription is back each time, with one session at most."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asyncua.server.internal_session import InternalSession

from gateway.demo.ports import free_port
from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.model import Scan, TagSet
from gateway.station.presence import BackOff
from gateway.station.station import Station
from gateway.testing import RecordingLine
from gateway.world import World
from tests.opcua_peer import URI, Peer, Remote, kill
from tests.opcua_peer import peer as running_peer

TAGS = {"speed": {"node": "f:Filler.Status.MachSpeed"}, "units": {"node": "f:Filler.Admin.ProdProcessedCount"}}


class Doorkeeper:
    """Counts the sessions that are open at the server at once, from outside: made and not closed."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.most = 0
        self.made = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        create, close = InternalSession.create_session, InternalSession.close_session

        async def created(session: Any, *words: Any, **more: Any) -> Any:
            self.open.add(id(session))
            self.made += 1
            self.most = max(self.most, len(self.open))
            return await create(session, *words, **more)

        async def closed(session: Any, *words: Any, **more: Any) -> Any:
            self.open.discard(id(session))
            return await close(session, *words, **more)

        monkeypatch.setattr(InternalSession, "create_session", created)
        monkeypatch.setattr(InternalSession, "close_session", closed)


@asynccontextmanager
async def running(port: int, line: RecordingLine) -> AsyncIterator[Station]:
    """The station of one device at this port; its back-off is short: this is about sessions, not about waiting."""
    config = OpcUaConfig.model_validate(
        {
            "driver": "opcua",
            "url": f"opc.tcp://127.0.0.1:{port}",
            "namespace": {"f": URI},
            "period": "50ms",
            "tags": TAGS,
            "security": {"policy": "None", "mode": "None", "waiver": "loopback"},
        }
    )
    numbers = iter(range(1, 1 << 40))
    tagset, back_off = TagSet("filler", config.tags()), BackOff(0.05, 0.2)
    made = Station("filler", config, tagset, line, World(1), lambda: next(numbers), back_off)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait({task})


def start(port: int) -> Remote:
    remote = Remote(Peer(port))
    remote.thread.start()
    asyncio.run_coroutine_threadsafe(remote.peer.start(), remote.loop).result(60)
    return remote


async def seen(line: RecordingLine, value: float, within_s: float) -> None:
    """Until a good scan shows it."""

    def shows(scan: Scan) -> bool:
        return scan.values[0] == value and not scan.faults

    found = asyncio.Event()
    line.on_scan = lambda scan: found.set() if shows(scan) else None
    async with asyncio.timeout(within_s):
        await found.wait()


@pytest.fixture
def doorkeeper(monkeypatch: pytest.MonkeyPatch) -> Doorkeeper:
    keeper = Doorkeeper()
    keeper.watch(monkeypatch)
    return keeper


@pytest.fixture(scope="module")
def machine() -> Iterator[Remote]:
    with running_peer() as remote:
        yield remote


async def test_a_server_restarted_five_times(machine: Remote, doorkeeper: Doorkeeper) -> None:
    """All sessions are lost each time; new values come, and never is more than one session open."""
    line = RecordingLine()
    server = machine.peer.server.bserver
    async with running(machine.port, line):
        await seen(line, 60.0, 30)
        for number in range(5):
            await machine.run(server.stop())
            doorkeeper.open.clear()
            await asyncio.sleep(0.2)
            await machine.run(server.start())
            await machine.put("Status.MachSpeed", 100.0 + number)
            await seen(line, 100.0 + number, 30)

    assert doorkeeper.made >= 6
    assert doorkeeper.most == 1


@pytest.mark.chaos
@pytest.mark.timeout(1800)
async def test_a_server_restarted_a_hundred_times(doorkeeper: Doorkeeper) -> None:
    """The promise: a server killed and started 100 times, whole, sees at most one open session each time."""
    port, line, slowest = free_port(), RecordingLine(), 0.0
    remote = await asyncio.to_thread(start, port)
    try:
        async with running(port, line):
            await seen(line, 60.0, 60)
            for number in range(100):
                await asyncio.to_thread(kill, remote)
                remote.loop.close()
                doorkeeper.open.clear()  # what a dead server had is gone with it
                remote = await asyncio.to_thread(start, port)
                began = time.monotonic()
                await remote.put("Status.MachSpeed", 100.0 + number)
                await seen(line, 100.0 + number, 60)
                slowest = max(slowest, time.monotonic() - began)
    finally:
        await asyncio.to_thread(kill, remote)
        remote.loop.close()
    sys.stdout.write(
        f"\n100 restarts: {doorkeeper.most} session open at most, {doorkeeper.made} made in all, "
        f"new values at most {slowest:.1f} s after each start\n"
    )
    assert doorkeeper.most == 1


async def test_a_link_cut_at_every_moment(machine: Remote, doorkeeper: Doorkeeper) -> None:
    """Cut while connecting, subscribing and reading: one connection at a time, and it comes back."""
    line = RecordingLine()
    await machine.put("Status.MachSpeed", 60.0)
    cut = _Cutter(machine.port)
    await cut.open()
    async with running(cut.port, line):
        await seen(line, 60.0, 30)
        for allowed in (200, 800, 2000, 4000):
            cut.after, made = allowed, cut.made
            await cut.break_all()
            async with asyncio.timeout(30):
                while cut.made < made + 2:  # noqa: ASYNC110  # it came again, and that one was cut, too
                    await asyncio.sleep(0.02)
        cut.after = None
        await machine.put("Status.MachSpeed", 7.0)
        await seen(line, 7.0, 30)
    await cut.close()

    assert cut.made >= 9
    assert cut.most == 1


class _Cutter:
    """A way to the server that breaks after so many bytes of answers; counts the connections that are open at once."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = free_port()
        self.after: int | None = None
        self.made = self.most = self._now = 0
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self.break_all()

    async def break_all(self) -> None:
        for task in list(self._open):
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.made, self._now = self.made + 1, self._now + 1
        self.most = max(self.most, self._now)
        try:
            await self._pass(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            self._now -= 1
            writer.transport.abort()
            self._open.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both ways, until one of them ends."""
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        ways = {asyncio.create_task(_pump(reader, back)), asyncio.create_task(self._answers(there, writer))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            writer.transport.abort()
            back.transport.abort()
            await asyncio.wait(ways)

    async def _answers(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        left = self.after
        try:
            while (left is None or left > 0) and (data := await source.read(65536)):
                sink.write(data[:left])
                left = None if left is None else left - len(data)
        except ConnectionError:
            return


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
    except ConnectionError:
        return
