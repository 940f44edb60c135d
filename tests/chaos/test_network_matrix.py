"""BARS R17: every transport x every fault of the cable: seen in time, back in time, nothing left behind.

`pytest tests/chaos/test_network_matrix.py -m chaos -s` prints the table and the figures.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from matrix_kit import DEVICES, PERIOD_S, SINKS, Hall, Link

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

BREAKING: Final[Mapping[str, Mapping[str, Any]]] = {
    "net_cut": {},
    "net_close": {},
    "net_refuse": {},
    "net_unreachable": {},
    "net_blackhole": {},
    "net_half_open": {},
    "net_cut_after": {"bytes": 1},
}
"""Nothing comes through while they stand (half-open: through the connections there were)."""
WEARING: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "latency 50 ms": ("net_latency", {"seconds": 0.05}),
    "latency 500 ms": ("net_latency", {"seconds": 0.25}),
    "jitter": ("net_latency", {"seconds": 0.01, "jitter": 0.3}),
    "drip": ("net_drip", {"bytes": 1, "every": 0.002}),
    "bit flips": ("net_corrupt", {"rate": 0.005, "way": "from_device"}),
    "10 % loss": ("net_loss", {"share": 0.1}),
    "bandwidth": ("net_bandwidth", {"bytes_per_s": 2000}),
}
"""Something comes through: what must not happen is silence.  500 ms are the round trip."""
SLACK_S: Final = 1.0
"""Two cores shared by sixteen cells, simulators and servers in them."""
BACK_S: Final = 10.0
STANDS_S: Final = 4.0
AT_ONCE: Final = 16
RECONNECTS: Final = 500
SIDE_BY_SIDE: Final = 10
POOL: Final = min(32, (os.cpu_count() or 1) + 4)
"""Threads of the loop's own pool, which grows to its size as serial ports are opened."""


def say(what: object) -> None:
    """The figure, seen with -s, and in the report of a failure."""
    print(what, flush=True)  # noqa: T201  # a promise prints its figure


@dataclass(frozen=True)
class Cell:
    """One square of the matrix."""

    transport: str
    fault: str
    seen_s: float
    """Breaking: until trouble was told.  Wearing: the longest silence while it stood."""
    back_s: float
    limit_s: float

    @property
    def held(self) -> bool:
        return self.seen_s <= self.limit_s and self.back_s <= BACK_S

    def __str__(self) -> str:
        mark = "" if self.held else "  <-- NOT HELD"
        return f"{self.transport:15} {self.fault:16} {self.seen_s:7.2f} s {self.back_s:7.2f} s{mark}"


async def _good(link: Link, after: float, within_s: float) -> float:
    """The loop time of the first good value after then; inf: none in time."""
    loop = asyncio.get_running_loop()
    while loop.time() < after + within_s:
        later = [when for when in link.witness.good[-2000:] if when > after]
        if later:
            return later[0]
        await asyncio.sleep(0.02)
    return float("inf")


async def _breaking(hall: Hall, transport: str, fault: str) -> Cell:
    loop = asyncio.get_running_loop()
    async with hall.link(transport) as link:
        assert await _good(link, loop.time(), 20) < float("inf"), f"{transport} never came up"
        began = loop.time()
        await link.proxy.stand(fault, BREAKING[fault])
        seen = await _trouble(link, began, link.timeout_s + PERIOD_S + 5 * SLACK_S)
        await asyncio.sleep(max(0.0, began + STANDS_S - loop.time()))
        healed = loop.time()
        await link.proxy.lift(fault)
        back = await _good(link, healed, 2 * BACK_S)
        return Cell(transport, fault, seen - began, back - healed, link.timeout_s + PERIOD_S + SLACK_S)


async def _trouble(link: Link, after: float, within_s: float) -> float:
    loop = asyncio.get_running_loop()
    while loop.time() < after + within_s:
        later = [when for when in link.witness.bad[-2000:] if when > after]
        if later:
            return later[0]
        await asyncio.sleep(0.02)
    return float("inf")


async def _wearing(hall: Hall, transport: str, name: str) -> Cell:
    fault, args = WEARING[name]
    loop = asyncio.get_running_loop()
    async with hall.link(transport) as link:
        assert await _good(link, loop.time(), 20) < float("inf"), f"{transport} never came up"
        began = loop.time()
        await link.proxy.stand(fault, args)
        await asyncio.sleep(STANDS_S + link.timeout_s)
        healed = loop.time()
        told = sorted(when for when in (*link.witness.good, *link.witness.bad) if began < when <= healed)
        silence = max(b - a for a, b in zip([began, *told], [*told, healed], strict=True))
        await link.proxy.lift(fault)
        back = await _good(link, healed, 2 * BACK_S)
        return Cell(transport, name, silence, back - healed, link.timeout_s + PERIOD_S + SLACK_S)


async def test_link_matrix(tmp_path: Path) -> None:
    """Every transport x every fault: trouble is told within the timeout, values are back within 10 s of healing."""
    transports = (*DEVICES, *SINKS)
    turn = asyncio.Semaphore(AT_ONCE)

    async def cell(transport: str, fault: str) -> Cell:
        async with turn:
            done = await (_breaking if fault in BREAKING else _wearing)(hall, transport, fault)
            say(done)
            return done

    async with Hall(tmp_path).open(transports) as hall:
        wanted = [(transport, fault) for transport in transports for fault in (*BREAKING, *WEARING)]
        cells = await asyncio.gather(*(cell(*each) for each in wanted))
    say("\ntransport       fault               seen     back")
    for each in sorted(cells, key=lambda each: (each.transport, each.fault)):
        say(each)
    missed = [each for each in cells if not each.held]
    worst_seen = max(each.seen_s - each.limit_s for each in cells)
    worst_back = max(each.back_s for each in cells)
    say(
        f"R17: {len(cells) - len(missed)} of {len(cells)} cells held; slowest return {worst_back:.1f} s of {BACK_S:g}; "
        f"nearest to its time limit {-worst_seen:.1f} s"
    )
    assert not missed


async def test_a_link_nobody_watches_is_found_out(tmp_path: Path) -> None:
    """Negative control: to a witness who hears nothing a black hole is never told, and the matrix would say so."""
    async with Hall(tmp_path).open(("modbus tcp",)) as hall, hall.link("modbus tcp") as link:
        loop = asyncio.get_running_loop()
        await _good(link, loop.time(), 20)
        link.witness.bad.clear()
        link.witness.lost = lambda *_: None  # type: ignore[method-assign]  # deaf on purpose
        link.witness.take = lambda *_, **__: None  # type: ignore[method-assign]
        await link.proxy.stand("net_blackhole", {})
        assert await _trouble(link, loop.time(), link.timeout_s + PERIOD_S + SLACK_S) == float("inf")


def _holdings() -> tuple[int, int, int, float]:
    """File descriptors, tasks, threads, resident MiB."""
    gc.collect()
    fds = sum(1 for _ in Path("/proc/self/fd").iterdir())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return fds, len(asyncio.all_tasks()), threading.active_count(), pages * 4096 / 2**20


async def _reconnect(hall: Hall, transport: str, times: int) -> int:
    """Cut and come back so often; how often it did."""
    loop = asyncio.get_running_loop()
    done = 0
    async with hall.link(transport) as link:
        assert await _good(link, loop.time(), 30) < float("inf")
        for _ in range(times):
            await link.proxy.stand("net_cut", {})
            await asyncio.sleep(0.02)
            cut = loop.time()
            await link.proxy.lift("net_cut")
            assert await _good(link, cut, 2 * BACK_S) < float("inf"), f"{transport} did not come back"
            done += 1
    return done


@pytest.mark.parametrize("transport", [*DEVICES, *SINKS])
async def test_no_leak_over_500_reconnects(tmp_path: Path, transport: str) -> None:
    """After 500 reconnects there are as many descriptors, tasks and threads as before, and hardly more memory."""
    async with Hall(tmp_path).open((transport,)) as hall:
        await asyncio.gather(*(_reconnect(hall, transport, 3) for _ in range(SIDE_BY_SIDE)))
        await hall.forget()
        await asyncio.sleep(0.5)
        before = _holdings()
        rounds = RECONNECTS // SIDE_BY_SIDE
        done = sum(await asyncio.gather(*(_reconnect(hall, transport, rounds) for _ in range(SIDE_BY_SIDE))))
        await hall.forget()
        await asyncio.sleep(0.5)
        after = _holdings()
    say(
        f"\nR17 leak, {transport}: {done} reconnects; descriptors {before[0]} -> {after[0]}, tasks {before[1]} -> "
        f"{after[1]}, threads {before[2]} -> {after[2]}, resident {before[3]:.1f} -> {after[3]:.1f} MiB"
    )
    assert done == RECONNECTS
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1]
    assert after[2] <= max(before[2], POOL + 1)
    assert after[3] <= before[3] + 8


@pytest.mark.parametrize("transport", [*DEVICES[:2], "balance tcp", *SINKS])
async def test_back_off_is_jittered_and_bounded(tmp_path: Path, transport: str) -> None:
    """While nobody answers, the tries come further apart, never more than 30 s, and never in step."""
    async with Hall(tmp_path).open((transport,)) as hall:

        async def tries() -> list[float]:
            loop, seen = asyncio.get_running_loop(), []
            async with hall.link(transport) as link:
                await _good(link, loop.time(), 20)
                await link.proxy.stand("net_cut", {})
                known, end = link.dials(), loop.time() + 40
                while loop.time() < end:
                    if link.dials() > known:
                        known = link.dials()
                        seen.append(loop.time())
                    await asyncio.sleep(0.01)
            return [b - a for a, b in itertools.pairwise(seen)]

        gaps = await asyncio.gather(*(tries() for _ in range(4)))
    every = [gap for each in gaps for gap in each]
    spread = max(each[-1] for each in gaps) - min(each[-1] for each in gaps)
    say(
        f"\nR17 back-off, {transport}: {len(every)} tries in 4 x 40 s, longest pause {max(every):.1f} s, "
        f"spread {spread:.2f} s"
    )
    assert max(every) <= 30
    assert spread > 0.05
    assert max(every) > 4 * min(every)
