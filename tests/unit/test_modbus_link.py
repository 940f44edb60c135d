"""The Modbus connection on a virtual clock: late answers, rests, cancellation."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from gateway.drivers.modbus.link import ModbusLink
from gateway.drivers.wire import modbus as wire
from gateway.errors import DeviceError

QUESTION = wire.read(1, "holding", 10, 1)


def rtu(value: int) -> bytes:
    adu = bytes((1, 3, 2)) + value.to_bytes(2, "big")
    return adu + wire.crc16(adu)


class Wire(asyncio.Transport):
    """Remembers what was sent, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[float, bytes]] = []

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 1

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append((asyncio.get_running_loop().time(), bytes(data)))


def linked(framing: wire.Framing, **given: float) -> tuple[ModbusLink, Wire]:
    link, line = ModbusLink("oven (serial:///dev/x unit 1)", framing, **given), Wire()
    link.connection_made(line)
    return link, line


@pytest.mark.looptime
async def test_a_new_rtu_line_is_listened_to_first() -> None:
    """The first question waits until nobody's late answer can be taken for ours."""
    link, line = linked(wire.RtuFraming(), late_s=0.2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(0.05, link.data_received, rtu(666))
    loop.call_later(0.3, link.data_received, rtu(7))

    assert await link.call(QUESTION) == rtu(7)
    assert line.sent[0][0] - began == pytest.approx(0.2)


@pytest.mark.looptime
async def test_after_a_cancelled_call_the_late_answer_is_let_by() -> None:
    """The next question goes out as soon as the late answer came, and is not answered by it."""
    link, line = linked(wire.RtuFraming(), late_s=0.2)
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await link.call(QUESTION)
    cancelled = loop.time()
    loop.call_later(0.04, link.data_received, rtu(666))
    loop.call_later(0.09, link.data_received, rtu(7))

    assert await link.call(QUESTION) == rtu(7)
    assert line.sent[1][0] - cancelled == pytest.approx(0.04)


@pytest.mark.looptime
async def test_an_answer_that_never_comes_costs_the_late_time() -> None:
    """Where no late answer comes, the line is free again `late` after the abandoned question was sent."""
    link, line = linked(wire.RtuFraming(), late_s=0.5)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.6):
            await link.call(QUESTION)
    asyncio.get_running_loop().call_later(0.6, link.data_received, rtu(7))

    assert await link.call(QUESTION) == rtu(7)
    assert line.sent[1][0] - line.sent[0][0] == pytest.approx(0.5)


@pytest.mark.looptime
async def test_the_line_rests_between_frames() -> None:
    """Between an answer and the next question the line is silent for the gap."""
    link, line = linked(wire.RtuFraming(), gap_s=0.004)
    loop = asyncio.get_running_loop()
    for at in (0.1, 0.2):
        loop.call_later(at, link.data_received, rtu(7))
    await link.call(QUESTION)
    answered = loop.time()
    await link.call(QUESTION)

    assert line.sent[1][0] - answered == pytest.approx(0.004)


@pytest.mark.looptime
async def test_a_damaged_rtu_answer_does_not_end_the_line() -> None:
    """A wrong CRC fails its own call, naming the device; the next one is right."""
    link, _ = linked(wire.RtuFraming())
    loop = asyncio.get_running_loop()
    loop.call_later(0.1, link.data_received, rtu(7)[:-1] + b"\0")
    with pytest.raises(DeviceError, match=r"oven .* CRC wrong"):
        await link.call(QUESTION)
    loop.call_later(0.1, link.data_received, rtu(8))

    assert await link.call(QUESTION) == rtu(8)


@pytest.mark.looptime
async def test_a_wrong_tcp_answer_ends_the_line() -> None:
    """A stream out of step cannot be trusted again: every later call fails until it is connected anew."""
    link, _ = linked(wire.TcpFraming())
    asyncio.get_running_loop().call_later(0.1, link.data_received, b"HTTP/1.1 400")

    for _ in range(2):
        with pytest.raises(DeviceError, match="not Modbus TCP"):
            await link.call(QUESTION)


@pytest.mark.looptime
async def test_cancelled_in_the_same_turn_as_the_answer() -> None:
    """A call cancelled when its answer is already there leaves nothing open."""
    link, _ = linked(wire.TcpFraming())
    call = asyncio.create_task(link.call(QUESTION))
    await asyncio.sleep(0.1)
    link.data_received(bytes((0, 1, 0, 0, 0, 5, 1, 3, 2, 0, 7)))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    asyncio.get_running_loop().call_later(0.1, link.data_received, bytes((0, 2, 0, 0, 0, 5, 1, 3, 2, 0, 8)))

    assert (await link.call(QUESTION))[-1] == 8


@pytest.mark.looptime
async def test_a_lost_line_wakes_the_caller() -> None:
    """Who waits is told at once when the line goes down, and so is who asks later."""
    link, _ = linked(wire.TcpFraming())
    asyncio.get_running_loop().call_later(0.1, link.connection_lost, OSError("hung up"))

    with pytest.raises(DeviceError, match=r"connection lost \(hung up\)"):
        await link.call(QUESTION)
    with pytest.raises(DeviceError, match="connection lost"):
        await link.call(QUESTION)


@pytest.mark.looptime
async def test_what_was_asked_at_once_is_answered_before_anything_else() -> None:
    """It needs a line that is free; the next question waits for its answer, whoever takes that."""
    link, line = linked(wire.TcpFraming())
    loop = asyncio.get_running_loop()
    ahead = link.ask_now(QUESTION)
    assert ahead is not None
    assert link.ask_now(QUESTION) is None
    assert len(line.sent) == 1
    later = asyncio.create_task(link.call(QUESTION))
    loop.call_later(0.1, link.data_received, bytes((0, 1, 0, 0, 0, 5, 1, 3, 2, 0, 7)))
    loop.call_later(0.2, link.data_received, bytes((0, 2, 0, 0, 0, 5, 1, 3, 2, 0, 8)))

    assert (await ahead)[-1] == 7
    assert (await later)[-1] == 8
    assert link.ask_now(QUESTION) is not None


@pytest.mark.looptime
async def test_an_answer_nobody_waits_for_leaves_the_line_free() -> None:
    """The request went out and its machine was lost, or answered, before anybody took the answer."""
    link, line = linked(wire.TcpFraming())
    assert link.ask_now(QUESTION) is not None
    link.data_received(bytes((0, 1, 0, 0, 0, 5, 1, 3, 2, 0, 7)))
    await asyncio.sleep(0)
    assert link.ask_now(QUESTION) is not None
    link.connection_lost(OSError("hung up"))
    await asyncio.sleep(0)

    assert link.ask_now(QUESTION) is None
    assert len(line.sent) == 2


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_what_came_while_the_machine_stood_still_is_late_all_the_same(loop: Callable[[], Any]) -> None:
    """The end of the wait and the late answer are found in the same turn: it is heard before the next question."""

    async def scene() -> None:
        (ours, oven), (bell, button) = socket.socketpair(), socket.socketpair()
        link = ModbusLink("oven", wire.RtuFraming(), late_s=0.3)
        await link.loop.create_connection(lambda: link, sock=ours)

        def stand_still() -> None:
            link.loop.remove_reader(bell)
            oven.send(rtu(666))
            time.sleep(0.3)

        link.loop.add_reader(bell, stand_still)
        call = asyncio.create_task(link.call(QUESTION))
        await asyncio.sleep(0.01)
        button.send(b"!")
        oven.setblocking(False)
        await link.loop.sock_recv(oven, 100)
        oven.send(rtu(7))

        assert await call == rtu(7)
        await link.aclose()
        for each in (oven, bell, button):
            each.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scene())
