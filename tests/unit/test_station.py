"""The life of one device, on a virtual clock."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from gateway.model import HaltOrder, Quality, TagSet
from gateway.station.grid import Grid
from gateway.station.station import BACK_OFF, CONNECT_S, Station
from gateway.testing import FakeConfig, FakeDevice, FakeMachine, RecordingLine, VirtualWorld

pytestmark = pytest.mark.looptime(start=1000)

ORDER = HaltOrder("m:r", "m", "r", "too light", 1)


def made(machine: FakeMachine, line: RecordingLine, **more: object) -> Station:
    config = FakeConfig(machine=machine, **{"period": 1.0, "timeout": 0.5, "halt_budget": 0.5, **more})
    return Station("m", config, TagSet("m", config.tags()), line, VirtualWorld(), itertools.count(1).__next__)


@asynccontextmanager
async def living(station: Station) -> AsyncIterator[None]:
    task = asyncio.create_task(station.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_polls_keep_to_the_grid() -> None:
    """The first poll is at once, the others each one period after the other, numbered without a hole."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    async with living(made(machine, line)):
        await asyncio.sleep(10)

    first, *gaps = [round((b.mono_ns - a.mono_ns) / 1e9, 6) for a, b in itertools.pairwise(line.scans)]
    assert line.scans[0].mono_ns == 1000 * 10**9
    assert 0 < first <= 1
    assert set(gaps) == {1.0}
    assert [scan.seq for scan in line.scans] == list(range(1, len(line.scans) + 1))


async def test_devices_of_a_line_are_not_polled_at_once() -> None:
    """A hundred that start together, or come back together, are polled all over the period."""
    lines = [RecordingLine() for _ in range(100)]
    stations = [made(FakeMachine({"x": 1.0}), line) for line in lines]
    for number, station in enumerate(stations):
        station._world.rng.seed(number)
    async with AsyncExitStack() as stack:
        for station in stations:
            await stack.enter_async_context(living(station))
        await asyncio.sleep(5)

    phases = sorted(line.scans[-1].mono_ns % 10**9 for line in lines)
    tenths = [sum(tenth * 10**8 <= phase < (tenth + 1) * 10**8 for phase in phases) for tenth in range(10)]
    assert max(tenths) <= 25


def test_a_device_that_is_back_is_polled_in_its_own_slots() -> None:
    """At once, and then where it was polled before it went."""
    grid = Grid(1.0)
    grid.begin(100.0, 0.25)
    grid.done(100.1)
    assert grid.slot == 100.75
    grid.missed(101.8)
    grid.back(104.0)
    assert grid.slot == 103.75
    grid.done(104.1)
    assert (grid.slot, grid.overruns) == (104.75, 0)


async def test_a_halt_goes_before_the_next_poll() -> None:
    """An order given between two polls is carried out at once, not at the next slot."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(2.5)
        at = asyncio.get_running_loop().time()
        station.halt(ORDER)
        await asyncio.sleep(0.01)

    assert [when for when, _ in machine.halts] == [at]
    assert ("confirmed", "m:r") in line.events


async def test_a_poll_in_flight_does_not_delay_a_halt() -> None:
    """A device that does not answer its poll hears of the halt at once: the poll is cancelled."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    station = made(machine, line, timeout=10.0, period=20.0)
    machine.answers = False
    async with living(station):
        await asyncio.sleep(3)
        machine.answers = True
        at = asyncio.get_running_loop().time()
        station.halt(ORDER)
        await asyncio.sleep(0.01)

    assert [when for when, _ in machine.halts] == [at]


async def test_the_wake_up_is_spent_and_the_order_stays() -> None:
    """With the link down an ordered halt is tried at the shortest back-off, never in a busy loop."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    machine.link = False
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(40)
        station.halt(ORDER)
        before = len(line.scans)
        await asyncio.sleep(10)
        tries = line.scans[before:]
        machine.link = True
        back_at = asyncio.get_running_loop().time()
        await asyncio.sleep(BACK_OFF.shortest_s + 0.01)

    assert len(tries) < 15
    assert machine.halts
    assert machine.halts[0][0] - back_at <= BACK_OFF.shortest_s


async def test_a_lying_controller_is_tried_again_and_never_confirmed() -> None:
    """Three tries within two seconds, then one a second, and no confirmation."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    machine.obeys = False
    station = made(machine, line, period=0.25)
    async with living(station):
        await asyncio.sleep(1)
        at = asyncio.get_running_loop().time()
        station.halt(ORDER)
        await asyncio.sleep(2)
        within_two = len(machine.halts)
        await asyncio.sleep(10)

    assert within_two >= 3
    assert 9 <= len(machine.halts) - within_two <= 11
    assert all(when >= at for when, _ in machine.halts)
    assert ("confirmed", "m:r") not in line.events


async def test_a_controller_that_takes_its_whole_budget_to_say_no_keeps_its_link() -> None:
    """Its NotHeld at the end of the budget comes before the station's time-out: no reconnect, no bad scans."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    machine.obeys, machine.thinks_s = False, 0.5
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(1.5)
        station.halt(ORDER)
        await asyncio.sleep(5)

    assert line.events.count(("connected", "m")) == 1
    assert not [scan for scan in line.scans if scan.faults]
    assert ("not held", "m:r") in line.events


async def test_a_standing_order_is_asserted_again_before_any_other_write() -> None:
    """After a reconnect the first thing written is the halt, before the heartbeat."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    station = made(machine, line, beat=0.5)
    async with living(station):
        await asyncio.sleep(2)
        station.halt(ORDER)
        await asyncio.sleep(1)
        machine.link = False
        await asyncio.sleep(5)
        machine.held = False
        machine.writes.clear()
        machine.link = True
        await asyncio.sleep(2)

    assert machine.writes[0] == "halt"


async def test_a_release_withdraws_our_output_and_starts_nothing() -> None:
    """Releasing the last order takes our hold output back; the machine is still held."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(1)
        station.halt(ORDER)
        await asyncio.sleep(1)
        station.release("m:r")
        await asyncio.sleep(1)

    assert machine.withdrawn == 1
    assert machine.held


async def test_a_withdrawal_that_the_device_owes_is_told_when_it_is_done() -> None:
    """A device that spares its memory puts it off and pays by itself: until then the line hears nothing of it."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    owing: dict[str, bool] = {"owes": True}
    station = made(machine, line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeDevice, "owes", property(lambda _: owing["owes"]), raising=False)
        async with living(station):
            await asyncio.sleep(1)
            station.take_back()
            await asyncio.sleep(5)
            assert (machine.withdrawn, line.withdrawals) == (1, [])
            owing["owes"] = False
            await asyncio.sleep(1)

    assert (machine.withdrawn, line.withdrawals) == (1, ["m"])


async def test_a_lost_device_gives_a_bad_scan_for_each_slot() -> None:
    """While a device is away its rules see bad values at its own pace, and the loss is told once."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    station = made(machine, line)
    async with living(station):
        await asyncio.sleep(2.5)
        machine.link = False
        await asyncio.sleep(20)

    bad = [scan for scan in line.scans if scan.faults]
    assert 18 <= len(bad) <= 21
    assert all(scan.values == (None,) and scan.faults[0].quality is Quality.BAD for scan in bad)
    assert line.events.count(("lost", "m")) == 1


async def test_back_off_is_capped_and_never_gives_up() -> None:
    """After an hour without a link the device is back within the longest back-off."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    machine.link = False
    station = made(machine, line, period=60.0)
    async with living(station):
        await asyncio.sleep(3600)
        machine.link = True
        await asyncio.sleep(BACK_OFF.longest_s + 0.1)

    assert machine.connects == 1


async def test_a_bridge_that_connects_for_a_dead_device_is_not_told_again_and_again() -> None:
    """Connections that never answer are one loss, not one each few seconds; the first answer brings it back."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    async with living(made(machine, line)):
        await asyncio.sleep(5)
        machine.answers = False
        await asyncio.sleep(3600)
        told = [what for what, _ in line.events]
        machine.answers = True
        await asyncio.sleep(CONNECT_S + BACK_OFF.longest_s)

    assert told in (["connected", "lost"], ["connected", "lost", "connected", "lost"])
    assert [what for what, _ in line.events] == [*told, "connected"]
    assert machine.connects > 100


async def test_the_heartbeat_is_withheld_on_demand() -> None:
    """After a failed halt the controller must notice that we are in trouble: no beat goes out."""
    machine, line = FakeMachine({"x": 1.0}), RecordingLine()
    station = made(machine, line, beat=0.5)
    async with living(station):
        await asyncio.sleep(3)
        beats = len(machine.beats)
        station.withhold_beat = True
        await asyncio.sleep(3)

    assert beats >= 5
    assert len(machine.beats) == beats
