"""What a person wants of a device: once, between two polls, soon or never; on a virtual clock."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from test_station import ORDER, living, made
from test_station_show import WaitingConfig

from gateway.drivers.base import Device
from gateway.errors import DeviceError, NotDone, Refused
from gateway.model import Reading, TagSet
from gateway.station.errands import BEGINS_S, Errand
from gateway.station.station import Station
from gateway.testing import FakeMachine, RecordingLine, VirtualWorld

pytestmark = pytest.mark.looptime(start=1000)

BUDGET_S = 3.0


def tare() -> Errand:
    async def work(device: Device) -> Reading:
        return await device.tare()  # type: ignore[attr-defined,no-any-return]

    return Errand("tare", work, BUDGET_S)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_it_is_done_between_two_polls_and_answers_with_what_is_shown() -> None:
    """Not at the next slot but at once; polls go on afterwards, each on its slot."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(2.5)
        at, errand = now(), tare()
        station.send(errand)
        reading = await errand.shown()
        await asyncio.sleep(3)

    assert machine.tares == [(at, "tare")]
    assert reading.values == (0.0,)
    assert [scan.values[0] for scan in line.scans][-3:] == [0.0, 0.0, 0.0]
    assert line.events == [("connected", "m")]


async def test_a_poll_in_flight_is_seen_to_its_end() -> None:
    """It is no reason to lose a value: the errand comes after it."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    station = made(machine, line, timeout=2.0, period=2.0)
    async with living(station):
        await asyncio.sleep(1)
        machine.answers = False
        await asyncio.sleep(1.9)
        station.send(tare())
        await asyncio.sleep(0.5)

    assert not machine.tares


async def test_one_that_waits_for_news_is_called_away() -> None:
    """A device whose poll waits for changes is tared at once, and goes on waiting."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    config = WaitingConfig(machine=machine, pushes=True, period=30.0, timeout=5.0)
    station = Station("m", config, TagSet("m", config.tags()), line, VirtualWorld(), itertools.count(1).__next__)
    async with living(station):
        await asyncio.sleep(10)
        at, errand = now(), tare()
        station.send(errand)
        await errand.shown()
        await asyncio.sleep(35)

    assert machine.tares == [(at, "tare")]
    assert line.events == [("connected", "m")]
    assert [scan.values for scan in line.scans] == [(0.0,)]


async def test_while_it_is_away_it_is_refused() -> None:
    """Nothing waits for a device to come back: what is asked while it is away is asked again by the person."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    machine.link = False
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(20)
        with pytest.raises(Refused, match="m is not connected") as refusal:
            station.send(tare())
        machine.link = True
        await asyncio.sleep(20)

    assert refusal.value.code == "not_connected"
    assert not machine.tares


async def test_a_bridge_without_its_device_takes_no_errand() -> None:
    """Connections that never answer are no connection."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(2)
        machine.answers = False
        await asyncio.sleep(60)
        for _ in range(100):
            with pytest.raises(Refused, match="not connected"):
                station.send(tare())
            await asyncio.sleep(0.1)
        machine.answers = True
        await asyncio.sleep(30)

    assert not machine.tares


async def test_one_that_waited_when_the_link_was_lost_is_never_begun() -> None:
    """Back again, the balance is left as it is; who asked was told."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(2.2)
        machine.answers = False
        await asyncio.sleep(1.1)  # a poll hangs
        errand = tare()
        station.send(errand)
        machine.link = False
        with pytest.raises(NotDone, match="was not begun"):
            await errand.shown()
        machine.answers = machine.link = True
        await asyncio.sleep(30)

    assert [what for what, _ in line.events] == ["connected", "lost", "connected"]
    assert not machine.tares


async def test_one_that_nobody_waits_for_any_more_is_never_begun() -> None:
    """Its caller gave up while a slow poll was in the way."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    station = made(machine, line, timeout=4.0, period=4.0)
    async with living(station):
        await asyncio.sleep(3)
        machine.answers = False
        await asyncio.sleep(2)
        errand = tare()
        station.send(errand)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(errand.shown(), 0.5)
        machine.answers = True
        await asyncio.sleep(60)

    assert not machine.tares


async def test_one_whose_turn_does_not_come_lapses() -> None:
    """A machine that thinks long over a halt keeps nobody waiting for more than a poll and a little."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    machine.thinks_s = 10.0
    station = made(machine, line, halt_budget=20.0)
    async with living(station):
        await asyncio.sleep(2.2)
        errand, at = tare(), now()
        station.halt(ORDER)
        station.send(errand)
        with pytest.raises(NotDone, match="was not begun within"):
            await errand.shown()
        waited_s = now() - at
        await asyncio.sleep(60)

    assert waited_s == pytest.approx(0.5 + BEGINS_S)
    assert ("confirmed", "m:r") in line.events
    assert not machine.tares


async def test_a_refusal_of_the_balance_keeps_its_link() -> None:
    """NotDone is an answer: no reconnect, no bad scan."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    machine.rests = False
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(2.5)
        errand = tare()
        station.send(errand)
        with pytest.raises(NotDone, match="does not rest"):
            await errand.shown()
        await asyncio.sleep(3)

    assert line.events == [("connected", "m")]
    assert not [scan for scan in line.scans if scan.faults]


async def test_one_that_is_not_answered_costs_the_link_and_is_said_to_be_unknown() -> None:
    """Whether it was carried out cannot be known; it is not tried again."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    machine.settles_in_s = 60
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(2.5)
        errand = tare()
        station.send(errand)
        with pytest.raises(NotDone, match="whether it was carried out is not known"):
            await errand.shown()
        await asyncio.sleep(60)

    assert len(machine.tares) == 1
    assert [what for what, _ in line.events] == ["connected", "lost", "connected"]


async def test_a_halt_does_not_wait_for_it() -> None:
    """A halt ordered while the balance settles is written at once; of the tare nobody knows."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    machine.settles_in_s = 2.0
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(2.5)
        errand = tare()
        station.send(errand)
        await asyncio.sleep(0.5)
        at = now()
        station.halt(ORDER)
        with pytest.raises(NotDone, match="more urgent"):
            await errand.shown()
        await asyncio.sleep(5)

    assert [when for when, _ in machine.halts] == [at]
    assert len(machine.tares) == 1


async def test_one_at_a_time() -> None:
    """A second one is refused until the first is done."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    machine.settles_in_s = 2.0
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(2.5)
        first, second = tare(), tare()
        station.send(first)
        await asyncio.sleep(0.5)
        with pytest.raises(Refused, match="under way") as refusal:
            station.send(second)
        await first.shown()
        station.send(second)
        await second.shown()

    assert refusal.value.code == "busy"
    assert len(machine.tares) == 2


async def test_one_that_was_begun_is_seen_to_its_end_by_whoever_wants_to_know() -> None:
    """Its caller is gone; what the balance shows in the end is known all the same."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    machine.settles_in_s = 2.0
    station = made(machine, line)
    ends: list[Any] = []
    async with living(station):
        await asyncio.sleep(2.5)
        errand = tare()
        errand.done.add_done_callback(lambda done: ends.append(done.result().values))
        station.send(errand)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(errand.shown(), 0.5)
        await asyncio.sleep(3)

    assert ends == [(0.0,)]


async def test_the_gateway_stops_over_it() -> None:
    """Whoever waits is told; nothing waits for ever."""
    machine, line = FakeMachine({"x": 1.5}), RecordingLine()
    machine.settles_in_s = 2.0
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(2.5)
        errand = tare()
        station.send(errand)
        await asyncio.sleep(0.5)

    with pytest.raises(DeviceError, match="the gateway stopped"):
        await errand.shown()
