"""Memory: 200 devices x 50 tags, a third of them failing in turn: the gateway's resident memory is flat.

The real process, watched from outside.  `LINEGATE_MEMORY_S=120 pytest tests/chaos/test_memory_flat.py -m chaos -s`
for a shorter one (ten minutes otherwise).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from process_kit import Process, written

from simulators.cable import TcpProxy
from simulators.link import Gate, TcpDoor
from simulators.modbus import TcpTalker

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

SECONDS: Final = float(os.environ.get("LINEGATE_MEMORY_S", "600"))
DEVICES, TAGS = 200, 50
FAULTS: Final = ("net_cut", "net_blackhole", "net_refuse", "net_half_open", "net_unreachable", "net_close")
EVERY_S: Final = 2.0
SPARE: Final = 60
"""Descriptors beside one a device: stores, sinks, console, the loop, connections that are being closed."""
GROWTH_MIB: Final = 6.0
"""Ten minutes of the allocator's own noise."""


class _Bank:
    """Fifty registers that move."""

    functions = frozenset({3})
    turn = 0

    def read(self, address: int, count: int) -> Sequence[int]:
        self.turn = (self.turn + 1) % 1000
        return [self.turn + at for at in range(count)]

    def write(self, address: int, words: Sequence[int]) -> None:
        raise NotImplementedError


def _line(folder: Path, ports: Sequence[int]) -> Path:
    tags = {f"v{at}": {"address": at} for at in range(TAGS)}
    devices: dict[str, Any] = {
        f"d{number}": {
            "driver": "modbus",
            "url": f"tcp://127.0.0.1:{ports[number % 3]}",
            "unit_id": 1 + number // 3,
            "period": "1s",
            "timeout": "500ms",
            "tags": tags,
        }
        for number in range(DEVICES)
    }
    rules = {
        f"high-{name}": {"kind": "limit", "input": f"{name}/v0", "limits": {"unit": "1", "high": 60000}}
        for name in devices
    }
    path = written(folder, rules=rules)
    whole = json.loads(path.read_text())
    whole["devices"] = devices
    path.write_text(json.dumps(whole))
    return path


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares, MiB an hour."""
    mean_t = sum(t for t, _ in points) / len(points)
    mean_m = sum(m for _, m in points) / len(points)
    above = sum((t - mean_t) * (m - mean_m) for t, m in points)
    return 3600 * above / sum((t - mean_t) ** 2 for t, _ in points)


async def test_memory_is_flat_while_a_third_fails_in_turn(tmp_path: Path) -> None:
    """After the first third of the time the resident memory grows no more; nor do the descriptors."""
    bank, gate = _Bank(), Gate()
    loop = asyncio.get_running_loop()
    doors, proxies = [], []
    for _ in range(3):
        door = TcpDoor("127.0.0.1", 0, lambda send: _Units(bank, send), gate)
        await door.open()
        proxy = TcpProxy("127.0.0.1", 0, lambda door=door: (door.host, door.port))  # type: ignore[misc]
        await proxy.open()
        doors.append(door)
        proxies.append(proxy)
    process = await asyncio.to_thread(Process, _line(tmp_path / "line", [proxy.port for proxy in proxies]))
    points: list[tuple[float, float, int]] = []
    try:
        await asyncio.to_thread(process.up)
        began, turn = loop.time(), 0
        while loop.time() < began + SECONDS:
            third, fault = proxies[turn % 3], FAULTS[(turn // 3) % len(FAULTS)]
            await third.stand(fault, {})
            for _ in range(3):
                await asyncio.sleep(EVERY_S)
                pid = process.process.pid
                points.append((loop.time() - began, _resident_mib(pid), _descriptors(pid)))
            await third.lift(fault)
            await asyncio.sleep(EVERY_S)
            turn += 1
        assert process.process.poll() is None
    finally:
        process.kill()
        for proxy in proxies:
            await proxy.close()
        for door in doors:
            await door.cut()
        await asyncio.sleep(0.1)
    settled = [(t, mib) for t, mib, _ in points if t > SECONDS / 3]
    growth = _slope(settled) * (settled[-1][0] - settled[0][0]) / 3600
    most = max(fds for _, _, fds in points)
    print(  # noqa: T201  # a promise prints its figure
        f"\nmemory: {DEVICES} x {TAGS}, {turn} failures of a third in {SECONDS:g} s: {settled[0][1]:.1f} -> "
        f"{settled[-1][1]:.1f} MiB, slope {_slope(settled):+.1f} MiB/h ({growth:+.2f} MiB in all), "
        f"at most {most} descriptors"
    )
    assert growth <= GROWTH_MIB
    assert most <= DEVICES + SPARE


class _Units:
    """Whoever is asked answers: one bank behind every unit."""

    def __init__(self, bank: _Bank, send: Any) -> None:
        self._bank, self._send = bank, send
        self._talkers: dict[int, TcpTalker] = {}

    def feed(self, data: bytes) -> None:
        if len(data) < 7:
            return
        talker = self._talkers.setdefault(data[6], TcpTalker(data[6], self._bank, self._send))
        talker.feed(data)


def test_a_leak_would_be_seen() -> None:
    """Negative control: a megabyte a minute is a slope of sixty an hour and fails."""
    points = [(float(at), 100 + at / 60) for at in range(0, 600, 5)]
    assert _slope(points) == pytest.approx(60)
    assert _slope(points) * 600 / 3600 > GROWTH_MIB
