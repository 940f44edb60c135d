"""Tare and zero through a station, of the simulated balance over TCP: with a good cable, and with none."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_balance_manners import DIALECTS, LOAD_G, near, scale
from test_balance_manners import config as reaching

from gateway.errors import NotDone, Refused
from gateway.model import TagSet
from gateway.station.errands import Errand
from gateway.station.station import Station
from gateway.testing import RecordingLine
from gateway.world import World
from simulators.balance import Balance
from simulators.cable import TcpProxy

Attended = tuple[Station, RecordingLine, TcpProxy]
WITHIN_S = 20.0
"""On a busy machine; all of it takes a second."""


@asynccontextmanager
async def attended(sim: Balance, dialect: str, **changes: Any) -> AsyncIterator[Attended]:
    """The balance behind a cable, in the care of a station."""
    host, port = sim.addresses()["tcp"].rsplit(":", 1)
    cable = TcpProxy("127.0.0.1", 0, lambda: (host, int(port)))
    await cable.open()
    config = reaching(sim, dialect, **{"url": f"tcp://127.0.0.1:{cable.port}", "period": "200ms", **changes})
    line = RecordingLine()
    next_seq = itertools.count(1).__next__
    station = Station("scale", config, TagSet("scale", config.tags()), line, World(1), next_seq)
    task = asyncio.create_task(station.run())
    try:
        await until(lambda: ("connected", "scale") in line.events)
        yield station, line, cable
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await cable.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110  # of a simulator and a station: nobody tells
            await asyncio.sleep(0.01)


def at_rest(line: RecordingLine) -> bool:
    """A draught goes over the simulated pan now and then."""
    return not line.scans[-1].faults


async def _ask(what: str, device: Any) -> Any:
    return await getattr(device, what)()


def order(station: Station, what: str) -> Errand:
    errand = Errand(what, partial(_ask, what), station.config.tare_within_s)
    station.send(errand)
    return errand


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_it_shows_the_tare_and_goes_on_being_polled(dialect: str, tmp_path: Path) -> None:
    """What the balance says of it is what the next scans say, and the link was never given up."""
    async with scale(tmp_path, dialect) as sim, attended(sim, dialect, timeout="2s") as (station, line, _):
        reading = await order(station, "tare").shown()
        seen = len(line.scans)
        await until(lambda: len(line.scans) > seen + 1 and at_rest(line))

        assert near(reading.values[0], 0.0)
        assert near(line.scans[-1].values[0], 0.0)
        assert sim.tare_g == pytest.approx(LOAD_G, abs=0.002)
        assert line.events == [("connected", "scale")]


async def test_what_was_asked_of_a_dead_link_is_not_done_when_it_is_back(tmp_path: Path) -> None:
    """The cable is out and nobody noticed yet: the poll before it fails, and the tare is never sent."""
    async with scale(tmp_path, "mt-sics") as sim, attended(sim, "mt-sics", timeout="1s") as (station, line, cable):
        await cable.stand("net_blackhole", {})
        await asyncio.sleep(0.3)  # longer than a period: a poll is under way
        with pytest.raises(NotDone, match="was not begun"):
            await order(station, "tare").shown()
        with pytest.raises(Refused, match="not connected"):
            order(station, "tare")
        await cable.lift("net_blackhole")
        seen = len(line.scans)
        await until(lambda: len(line.scans) > seen + 3 and at_rest(line))

        assert [what for what, _ in line.events] == ["connected", "lost", "connected"]
        assert sim.tare_g == 0.0
        assert near(line.scans[-1].values[0], LOAD_G)


async def test_a_cable_pulled_over_it_leaves_the_balance_as_it_was(tmp_path: Path) -> None:
    """The pan swings, so nothing was sent yet: back again and at rest, it is not tared; the error cannot know."""
    async with scale(tmp_path, "mt-sics") as sim, attended(sim, "mt-sics", timeout="1s") as (station, line, cable):
        await sim.fault("unstable", {})
        await asyncio.sleep(0.3)
        errand = order(station, "tare")
        await until(lambda: errand.begun)
        await asyncio.sleep(0.3)
        await cable.stand("net_cut", {})
        with pytest.raises(NotDone, match="whether it was carried out is not known"):
            await errand.shown()
        await cable.lift("net_cut")
        await until(lambda: line.events[-1] == ("connected", "scale"))
        await sim.heal("unstable")
        await asyncio.sleep(1.0)
        await until(lambda: at_rest(line))

        assert sim.tare_g == 0.0
        assert near(line.scans[-1].values[0], LOAD_G)


async def test_a_balance_that_will_not_keeps_its_link(tmp_path: Path) -> None:
    """A load that cannot be zeroed: refused by the balance in its own words, polled on."""
    async with scale(tmp_path, "mt-sics") as sim:
        sim.pan.place(50.0, 0.0)
        sim.pan.step(5.0)
        async with attended(sim, "mt-sics", timeout="1s", tare_budget="1s") as (station, line, _):
            with pytest.raises(NotDone, match="scale"):
                await order(station, "zero").shown()
            seen = len(line.scans)
            await until(lambda: len(line.scans) > seen + 1 and at_rest(line))

            assert line.events == [("connected", "scale")]
            assert near(line.scans[-1].values[0], 50.0)
