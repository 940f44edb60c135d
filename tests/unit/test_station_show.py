"""What a station shows on lights: after halts, before polls, and never twice; on a virtual clock."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from test_station import ORDER, living, made

from gateway.drivers.base import Pattern, Sign
from gateway.model import Reading, TagSet
from gateway.station.station import BACK_OFF, Station
from gateway.testing import FakeConfig, FakeDevice, FakeMachine, RecordingLine, VirtualWorld

pytestmark = pytest.mark.looptime(start=1000)

RED: Pattern = frozenset({Sign.HALT, Sign.ALARM})
GREEN: Pattern = frozenset({Sign.RUNNING, Sign.NORMAL})


async def test_a_new_pattern_is_shown_at_once() -> None:
    """Between two polls it does not wait for the next slot; the same one again is not written again."""
    machine = FakeMachine({"x": 1.0})
    station = made(machine, RecordingLine())
    async with living(station):
        await asyncio.sleep(2.5)
        at = asyncio.get_running_loop().time()
        station.show(RED)
        await asyncio.sleep(0.01)
        station.show(RED)
        await asyncio.sleep(3)

    assert machine.shown == [(at, RED)]


async def test_only_the_newest_is_shown() -> None:
    """Of several in one moment the last one counts."""
    machine = FakeMachine({"x": 1.0})
    station = made(machine, RecordingLine())
    async with living(station):
        await asyncio.sleep(2.5)
        for pattern in (GREEN, frozenset[Sign](), RED):
            station.show(pattern)
        await asyncio.sleep(1)

    assert [pattern for _, pattern in machine.shown] == [RED]


async def test_a_halt_goes_before_what_is_shown() -> None:
    """Ordered in the same moment, whichever was first: the halt is written first."""
    machine = FakeMachine({"x": 1.0})
    station = made(machine, RecordingLine())
    async with living(station):
        await asyncio.sleep(2.5)
        station.show(RED)
        station.halt(ORDER)
        await asyncio.sleep(0.01)

    assert machine.writes == ["halt", "show"]


async def test_lights_that_do_not_answer_never_delay_a_halt() -> None:
    """A pattern in flight is given up for a halt, and shown after it."""
    machine = FakeMachine({"x": 1.0})
    station = made(machine, RecordingLine(), timeout=10.0, period=20.0)
    async with living(station):
        await asyncio.sleep(3)
        machine.answers = False
        station.show(RED)
        await asyncio.sleep(1)
        machine.answers = True
        at = asyncio.get_running_loop().time()
        station.halt(ORDER)
        await asyncio.sleep(0.01)

    assert [when for when, _ in machine.halts] == [at]
    assert machine.writes == ["halt", "show"]


async def test_lights_that_are_back_show_the_newest() -> None:
    """What changed while the lights were away is shown once they are back, and what they showed before as well."""
    machine = FakeMachine({"x": 1.0})
    station = made(machine, RecordingLine())
    station.show(GREEN)
    async with living(station):
        await asyncio.sleep(2)
        machine.link = False
        await asyncio.sleep(3)
        station.show(RED)
        machine.link = True
        await asyncio.sleep(40)
        machine.link = False
        await asyncio.sleep(3)
        machine.link = True
        await asyncio.sleep(40)

    assert [pattern for _, pattern in machine.shown] == [GREEN, RED, RED]


async def test_lights_that_are_away_are_not_hammered() -> None:
    """Alarms that come and go do not make a station connect more often than its back-off says."""
    tries = []
    for restless in (False, True):
        machine, line = FakeMachine({"x": 1.0}), RecordingLine()
        station = made(machine, line)
        machine.link = False
        async with living(station):
            for second in range(300):
                if restless:
                    station.show(RED if second % 2 else GREEN)
                await asyncio.sleep(0.2)
        tries.append(machine.knocks)

    assert tries[0] == tries[1]


async def test_a_silent_lamp_is_a_lost_device() -> None:
    """Lights that do not take a pattern within their budget are lost, and connected again."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    station = made(machine, line, period=20.0)
    async with living(station):
        await asyncio.sleep(3)
        machine.answers = False
        station.show(RED)
        await asyncio.sleep(0.501)
        machine.answers = True
        await asyncio.sleep(3 * BACK_OFF.shortest_s)

    assert [what for what, _ in line.events] == ["connected", "lost", "connected"]
    assert [pattern for _, pattern in machine.shown] == [RED]


class Waiting(FakeDevice):
    """Its poll waits for news that never come, for a period."""

    async def poll(self) -> Reading:
        await asyncio.sleep(30)
        return await super().poll()


class WaitingConfig(FakeConfig):
    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[FakeDevice]:
        yield Waiting(self.machine)


async def test_one_that_waits_for_news_is_woken() -> None:
    """A device whose poll waits for changes is interrupted to show something, and goes on waiting."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    config = WaitingConfig(machine=machine, pushes=True, period=30.0, timeout=5.0)
    station = Station("m", config, TagSet("m", config.tags()), line, VirtualWorld(), itertools.count(1).__next__)
    async with living(station):
        await asyncio.sleep(10)
        at = asyncio.get_running_loop().time()
        station.show(RED)
        await asyncio.sleep(35)

    assert machine.shown == [(at, RED)]
    assert line.events == [("connected", "m")]
    assert [round(scan.mono_ns / 1e9 - at) for scan in line.scans] == [30]
