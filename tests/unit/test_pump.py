"""Pumps: what is read, what is believed, and what a halt takes for proof."""

from __future__ import annotations

import asyncio
import socket
import termios
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import serial
import uvloop
import yaml
from machine_peers import PumpPeer
from pydantic import ValidationError
from serial_peers import TcpLine

from gateway.drivers.base import Haltable
from gateway.drivers.pump.kind import Pump, PumpConfig
from gateway.drivers.pump.link import PumpLink
from gateway.errors import DeviceError, NotHeld
from gateway.model import HaltOrder, Quality

ORDER = HaltOrder(id="pump:rule", device="pump", rule="rule", text="too light", requested_ns=1)


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[PumpPeer]:
    peer = PumpPeer("tcp", tmp_path / "port")
    await peer.heal()
    yield peer
    await peer.cut()


class Wire(asyncio.Transport):
    """Two wires to a pump for a virtual clock: it hears at once and answers in the next turn."""

    def __init__(self, peer: PumpPeer, link: PumpLink) -> None:
        super().__init__()
        self._peer, self._link = peer, link
        self.said: list[tuple[str, float]] = []
        """What was said to the pump, and when."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said.append((bytes(data).decode().strip(), self._link.loop.time()))
        for answer in self._peer.hear(bytes(data)):
            self._link.loop.call_soon(self._link.data_received, answer)


def wired(folder: Path) -> tuple[PumpPeer, Pump, PumpLink, Wire]:
    """An open pump without a network."""
    peer, link = PumpPeer("tcp", folder / "port"), PumpLink("pump", 3)
    wire = Wire(peer, link)
    link.connection_made(wire)
    return peer, Pump(peer.config(url="tcp://h:1", halt_budget="2s"), link, {}), link, wire


def test_example_loads() -> None:
    """Every device of the shipped example validates, and can be held."""
    text = (Path(__file__).parents[2] / "config" / "examples" / "pump.yaml").read_text(encoding="utf-8")
    given = yaml.safe_load(text)["devices"]
    pumps = [PumpConfig.model_validate(each) for each in given.values() if each["driver"] == "pump"]

    assert pumps
    assert all(pump.haltable() for pump in pumps)


@pytest.mark.parametrize(
    "given", [{"url": "rtu+tcp://h:1"}, {"url": "tcp://h:1", "number": 0}, {"url": "tcp://h:1", "number": "#"}]
)
def test_refusals(given: dict[str, Any]) -> None:
    """A url or number that cannot be is refused; `#` cannot be read back."""
    with pytest.raises(ValidationError):
        PumpConfig.model_validate(given)


def test_revolutions_only_where_they_were_counted() -> None:
    """Without pulses_per_revolution there is no such tag: the manuals contradict each other."""
    without, counted = (
        PumpConfig.model_validate({"url": "tcp://h:1", **more}) for more in ({}, {"pulses_per_revolution": 800})
    )

    assert "revolutions" not in {spec.name for spec in without.tags()}
    assert "revolutions" in {spec.name for spec in counted.tags()}


async def test_identity(peer: PumpPeer) -> None:
    """Model, head and tube are the pump's own word at connect."""
    async with peer.config().connect("pump") as device:
        assert device.identity == {"maker": "Watson-Marlow", "model": "520Du", "head": "520R", "tube": "9.6MM"}


async def test_polling_says_nothing_but_questions(peer: PumpPeer) -> None:
    """A poll is one question; nothing that has an effect is ever said without a halt."""
    async with peer.config().connect("pump") as device:
        for _ in range(3):
            await device.poll()
        await device.withdraw()

    assert set(peer.asked) == {"3RS"}


async def test_echo_is_no_answer(peer: PumpPeer) -> None:
    """A two-wire adapter that gives back what we say is passed over, in polls and in halts."""
    peer.echoes = True
    async with peer.config().connect("pump") as device:
        assert (await device.poll()).faults == {}
        assert (await device.halt(ORDER)).wrote

    assert peer.held


async def test_another_pump_answered(peer: PumpPeer) -> None:
    """A status with another number is bad, names both, and is no proof of standing."""
    async with peer.config().connect("pump") as device:
        peer.before = lambda command: (
            b"520Du 15.84 520R 9.6MM 220.0 CW P/N 4 123 0 !\r"
            if command == "3RS"
            else b"0\r"
            if "ZY" in command
            else None
        )
        reading = await device.poll()
        with pytest.raises(NotHeld, match="pump 4 answered what pump 3 was asked"):
            await device.halt(ORDER)

    assert reading.values == (None,) * 9
    assert {fault.quality for fault in reading.faults.values()} == {Quality.BAD}
    assert "pump 4 answered" in reading.faults[0].reason


async def test_wrong_number_is_said_at_connect(peer: PumpPeer) -> None:
    """Nobody with that number on the line: the error says what to look at."""
    with pytest.raises(DeviceError, match=r"mixer_7 .*does not answer as pump 5 within 0\.5 s.*number"):
        async with peer.config(number=5, timeout="500ms").connect("mixer_7"):
            pass


async def test_garbage_at_connect_is_shown(peer: PumpPeer) -> None:
    """What came instead of an answer stands in the error, with the likely cause."""
    peer.before = lambda _: b"\xc5\xd2\x85\r"
    with pytest.raises(DeviceError, match=r"baud rate.*What came was unreadable.*xc5"):
        async with peer.config(timeout="500ms").connect("pump"):
            pass


async def test_noise_costs_one_question(peer: PumpPeer) -> None:
    """Noise before an answer: asked again, and the answer that still came does not answer the next poll."""
    async with peer.config().connect("pump") as device:
        noise = [b"\xff\xfe\r" + peer.status.encode() + b"\r"]
        peer.before = lambda command: noise.pop() if noise and command == "3RS" else None
        peer.speed = 55.0
        first = await device.poll()
        peer.speed = 66.0
        second = await device.poll()

    assert (first.values[1], second.values[1]) == (55.0, 66.0)


async def test_garbage_is_a_bad_reading(peer: PumpPeer) -> None:
    """A pump that answers nonsense is bad with its bytes, never a number."""
    async with peer.config().connect("pump") as device:
        peer.before = lambda command: b"520Du 15.84 520R 9.6MM 2x0.0 CW P/N 3 1 1 !\r" if command == "3RS" else None
        reading = await device.poll()

    assert set(reading.values) == {None}
    assert "2x0.0" in reading.faults[0].reason
    assert reading.held is None


async def test_a_pump_that_stands_is_not_written_to(peer: PumpPeer) -> None:
    """Run flag 0 and a tacho that stands: held already."""
    peer.running = False
    async with peer.config().connect("pump") as device:
        proof = await device.halt(ORDER)

    assert not proof.wrote
    assert peer.writes == []


async def test_stopped_with_a_running_tacho_is_not_held(peer: PumpPeer) -> None:
    """The run flag says stopped and the tacho goes on: never held, and the text says why."""
    peer.running, peer.turns = False, True
    async with peer.config().connect("pump") as device:
        with pytest.raises(NotHeld, match=r"says stopped at .*but its tacho went on"):
            await device.halt(ORDER)
        await device.poll()
        assert (await device.poll()).held is False

    assert peer.writes == ["3ST"]


async def test_apply_then_revert_is_not_held(peer: PumpPeer) -> None:
    """A pump that stops for a moment and goes on was never held."""

    def revert(command: str) -> None:
        if command == "3ZY":  # the moment between two words
            peer.running = True

    async with peer.config().connect("pump") as device:
        peer.before = revert
        with pytest.raises(NotHeld, match="running"):
            await device.halt(ORDER)

    assert not peer.held


async def test_a_silent_pump_is_told_to_stop_all_the_same(peer: PumpPeer) -> None:
    """It hears and does not answer: stop is said, and nothing is believed."""
    async with peer.config().connect("pump") as device:
        await peer.mute()
        with pytest.raises(NotHeld, match=r"ST sent, but after 1 s: no answer"):
            await device.halt(ORDER)

    assert peer.writes == ["3ST"]


@pytest.mark.parametrize("step", range(1, 6))
async def test_cut_in_the_middle_of_a_halt(peer: PumpPeer, step: int) -> None:
    """The link breaks at any of a halt's five commands: a DeviceError, never a proof."""
    left = step

    def fall(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            assert isinstance(peer.line, TcpLine)
            peer.line.transports[-1].abort()

    async with peer.config().connect("pump") as device:
        peer.before = fall
        with pytest.raises(DeviceError):
            await device.halt(ORDER)

    assert left == 0


async def test_a_dose_between_two_polls_is_no_standing(peer: PumpPeer) -> None:
    """Stopped in both polls, with more pulses in the second: it turned meanwhile, so it did not stand."""
    peer.running = False
    async with peer.config().connect("pump") as device:
        assert (await device.poll()).held is True
        peer.pulses += 5000
        assert (await device.poll()).held is False
        assert (await device.poll()).held is True
        peer.pulses = 0  # cleared by somebody: no turn
        assert (await device.poll()).held is True


async def test_a_dose_before_a_halt_is_no_leaving_of_it(peer: PumpPeer) -> None:
    """Stopped in the last poll, it dosed once more before it was held: the next poll counts from the proof on."""
    peer.running = False
    async with peer.config().connect("pump") as device:
        assert (await device.poll()).held is True
        peer.pulses += 5000
        await device.halt(ORDER)
        assert (await device.poll()).held is True
        peer.pulses += 5000
        assert (await device.poll()).held is False


async def test_late_answers_after_many_timeouts(peer: PumpPeer) -> None:
    """However many answers were kept back, the next reading is the pump of now."""
    async with peer.config().connect("pump") as device:
        assert isinstance(device, Haltable)
        await peer.mute()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await device.poll()
        peer.speed = 11.0
        poll = asyncio.create_task(device.poll())
        await asyncio.sleep(0.03)
        await peer.unmute()

        assert (await poll).values[1] == 11.0
        peer.speed = 12.0
        assert (await device.poll()).values[1] == 12.0


@pytest.mark.looptime
async def test_commands_keep_their_distance(tmp_path: Path) -> None:
    """At least 10 ms lie between two commands, and between an answer and the next one."""
    _, device, _, wire = wired(tmp_path)
    await device.halt(ORDER)

    gaps = [after - before for (_, before), (_, after) in pairwise(wire.said)]
    assert len(gaps) > 3
    assert min(gaps) >= 0.01 - 1e-6


async def test_a_port_that_refuses_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses parity or speed with an error of its own kind: a DeviceError, not the end of the gateway."""

    def refuse(*_: object, **__: object) -> None:
        raise termios.error(22, "Invalid argument")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(DeviceError, match=r"mixer_7 .*does not take its settings.*Invalid argument"):
        async with PumpConfig(url=f"serial://{tmp_path}/port").connect("mixer_7"):
            pass


@pytest.mark.looptime
async def test_nothing_is_said_into_an_answer(tmp_path: Path) -> None:
    """A halt cuts into a poll whose answer is still coming: on two wires it waits for the end of it."""
    peer, device, link, wire = wired(tmp_path)
    peer.before = lambda _: b""
    poll = asyncio.create_task(device.poll())
    await asyncio.sleep(0.02)
    poll.cancel()
    dribble = asyncio.create_task(dribbled(peer, link))
    await asyncio.sleep(0.005)
    peer.before = lambda _: None
    await device.halt(ORDER)

    assert wire.said[0][0] == "3RS"
    assert wire.said[1][1] - await dribble >= 0.01 - 1e-6
    assert peer.held


async def dribbled(peer: PumpPeer, link: PumpLink) -> float:
    """A status at the speed of a slow line, byte by byte; when it ended."""
    for byte in peer.status.encode():
        await asyncio.sleep(0.001)
        link.data_received(bytes((byte,)))
    return link.loop.time()


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_what_came_while_the_machine_stood_still_is_an_answer_too(
    monkeypatch: pytest.MonkeyPatch, loop: Callable[[], Any]
) -> None:
    """The end of the rest and more of an answer are found in the same turn: it is heard, and rested after, first."""
    monkeypatch.setattr("gateway.drivers.pump.link.LEAST_GAP_S", 0.3)
    monkeypatch.setattr("gateway.drivers.pump.link._LONGEST_ANSWER_S", 5.0)

    async def scene() -> None:
        (ours, pump), (bell, button) = socket.socketpair(), socket.socketpair()
        link = PumpLink("pump", 3)
        await link.loop.create_connection(lambda: link, sock=ours)

        def stand_still() -> None:
            link.loop.remove_reader(bell)
            pump.send(b"520Du 15.84")
            time.sleep(0.3)

        link.loop.add_reader(bell, stand_still)
        link.data_received(b"1")
        stop = asyncio.create_task(link.stop())
        await asyncio.sleep(0.01)
        button.send(b"!")
        await stop
        await asyncio.sleep(0.01)

        assert link._said_at - link._heard_at >= 0.3
        await link.aclose()
        for each in (pump, bell, button):
            each.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scene())
