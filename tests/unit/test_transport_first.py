"""What must be on the wire before anybody else has a turn: a halt."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
import uvloop

from gateway.drivers.transport import Stream


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one connection; ours, and the machine's."""
    ours, machine = socket.socketpair()
    for end in (ours, machine):
        end.setblocking(False)
    yield ours, machine
    machine.close()
    ours.close()


async def opened(ours: socket.socket) -> Stream:
    stream = Stream("machine")
    await stream.loop.create_connection(lambda: stream, sock=ours)
    return stream


def heard(machine: socket.socket) -> bytes:
    try:
        return machine.recv(1 << 20)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_it_is_at_the_machine_at_once(ends: tuple[socket.socket, socket.socket], loop: object) -> None:
    """Not after those who are ready had their turn, as what is written in the usual way on uvloop."""

    async def scene() -> None:
        stream = await opened(ends[0])
        stream.write_first(b"halt")
        assert heard(ends[1]) == b"halt"
        await stream.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        runner.run(scene())


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_nothing_is_lost_where_the_wire_is_full(ends: tuple[socket.socket, socket.socket], loop: object) -> None:
    """What the kernel does not take waits, in its order; what waits already goes before it."""

    async def scene() -> None:
        stream = await opened(ends[0])
        stream.transport.write(b"a" * 3_000_000)
        stream.write_first(b"halt")
        stream.write_first(b"b" * 1_000_000)
        got = b""
        while len(got) < 4_000_004:
            got += heard(ends[1])
            await asyncio.sleep(0)
        assert got == b"a" * 3_000_000 + b"halt" + b"b" * 1_000_000
        stream.write_first(b"c" * 3_000_000)
        got = b""
        while len(got) < 3_000_000:
            got += heard(ends[1])
            await asyncio.sleep(0)
        assert got == b"c" * 3_000_000
        await stream.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        runner.run(scene())


def test_nothing_goes_to_a_closed_line(ends: tuple[socket.socket, socket.socket]) -> None:
    """The number of its socket may be another one's by then."""

    async def scene() -> None:
        stream = await opened(ends[0])
        stream.transport.abort()
        stream.write_first(b"halt")
        await asyncio.sleep(0)
        assert heard(ends[1]) == b""

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())
