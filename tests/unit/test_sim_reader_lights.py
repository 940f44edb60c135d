"""The simulated reader and stack light: what they send and show, and their bad manners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from simulators.device import Device
from simulators.extras import Stand
from simulators.labelling import Print
from simulators.lights import WATCHDOG, Lights
from simulators.modbus import ModbusError, answer
from simulators.plant import Plant
from simulators.reader import HEARTBEAT_S, Reader

UID = "1A4FF0100000022000000250"
PATIENCE_S = 5.0
"""However slow the machine is."""


def stand(tmp_path: Path, name: str, *others: str) -> Stand:
    beside = {other: Device() for other in others}
    return Stand(name=name, plant=Plant(seed=1), host="127.0.0.1", folder=tmp_path, devices=beside)


class Ear:
    """Somebody who listens."""

    def __init__(self) -> None:
        self.reader: asyncio.StreamReader

    async def hear(self, least: int = 0) -> bytes:
        """So many bytes, however late they come, and what comes with them or soon after."""
        async with asyncio.timeout(PATIENCE_S):
            heard = await self.reader.readexactly(least)
        await asyncio.sleep(0.02)
        while True:
            try:
                async with asyncio.timeout(0.02):
                    heard += await self.reader.read(65536)
            except TimeoutError:
                return heard


@asynccontextmanager
async def listening(reader: Reader) -> AsyncIterator[Ear]:
    await reader.start()
    ear = Ear()
    host, port = reader.addresses()["tcp"].split(":")
    deaf = reader.truth()["listeners"]
    ear.reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(PATIENCE_S):
        while reader.truth()["listeners"] == deaf:  # noqa: ASYNC110  # a simulator sets no event
            await asyncio.sleep(0.001)
    try:
        yield ear
    finally:
        writer.close()
        await reader.stop()


async def test_it_reads_what_is_applied(tmp_path: Path) -> None:
    """Each applied label is one line with its UID; nothing moves, nothing is said."""
    reader = Reader(stand(tmp_path, "reader", "labeller"))
    labelling = reader._plant.labelling
    labelling.load(Print("B-1", UID, 80.0, "W"))
    async with listening(reader) as ear:
        await reader.step(0.02)
        assert await ear.hear() == b""
        labelling.applied += 2
        await reader.step(0.02)
        lines = (await ear.hear(2 * len(UID))).split(b"\r\n")

    assert [line.split(b";")[0] for line in lines] == [b"\x02" + UID.encode()] * 2 + [b""]
    assert reader.truth()["sent"] == 2


@pytest.mark.parametrize(
    ("fault", "args", "expected"),
    [
        ("no_read", {}, b"\x02NOREAD;F;0\x03\r\n"),
        ("grade_drop", {"grade": "C"}, b"\x02X-1;C;0\x03\r\n"),
        ("duplicate", {}, 2 * b"\x02X-1;A;0\x03\r\n"),
        ("garbage", {}, b"\xfe\xc3\x80\x02X-1;A;0\x03\r\n"),
        ("half_line", {}, b"\x02X-1;"),
    ],
)
async def test_its_bad_manners(tmp_path: Path, fault: str, args: dict[str, Any], expected: bytes) -> None:
    """Each fault does to the line what it says."""
    reader = Reader(stand(tmp_path, "reader"))
    await reader.force("angle", 0)
    async with listening(reader) as ear:
        await reader.fault(fault, dict(args))
        await reader.force("code", "X-1")
        assert await ear.hear(len(expected)) == expected


async def test_a_burst_a_torn_line_and_the_heartbeat(tmp_path: Path) -> None:
    """Many reads in one piece; a line in two pieces; ALIVE when nothing else was said."""
    reader = Reader(stand(tmp_path, "reader"))
    await reader.force("angle", 0)
    async with listening(reader) as ear:
        await reader.fault("burst", {"count": 20})
        assert (await ear.hear(20 * len(b"\x02BURST;A;0\x03\r\n"))).count(b"\x03\r\n") == 20
        await reader.fault("torn", {})
        await reader.force("code", "X-1")
        first = await ear.hear(1)
        await reader.step(0.4)
        assert first + await ear.hear(1) == b"\x02X-1;A;0\x03\r\n"
        await reader.heal("all")
        await reader.step(HEARTBEAT_S)
        assert await ear.hear(1) == b"\x02ALIVE\x03\r\n"
        await reader.fault("no_heartbeat", {})
        await reader.step(2 * HEARTBEAT_S)
        assert await ear.hear() == b""


def write(lights: Lights, coil: int, on: bool) -> bytes:
    return answer(bytes((5, 0, coil, 0xFF if on else 0, 0)), lights)


async def test_lamps_follow_their_coils(tmp_path: Path) -> None:
    """What is written burns at once, the current monitors say so a moment later, and the truth says since when."""
    lights = Lights(stand(tmp_path, "lights"))
    write(lights, 0, on=True)
    assert lights.burning == {"red"}
    assert list(lights.read_bits(2, 0, 1)) == [False]
    await lights.step(0.05)
    assert list(lights.read_bits(2, 0, 1)) == [True]
    assert lights.truth()["since_ns"]["red"] > 0
    assert [(each["lamp"], each["on"]) for each in lights.truth()["changes"]] == [("red", True)]


async def test_lamps_with_bad_manners(tmp_path: Path) -> None:
    """Burnt out, shorted, refusing, missing: each as it says, and over when healed."""
    lights = Lights(stand(tmp_path, "lights"))
    write(lights, 1, on=True)
    await lights.fault("broken", {"lamp": "amber"})
    await lights.fault("stuck", {"lamp": "green"})
    assert lights.burning == {"green"}
    await lights.heal("all")
    assert lights.burning == {"amber"}
    await lights.fault("refuses", {})
    assert write(lights, 0, on=True) == bytes((0x85, 4))
    await lights.heal("all")
    await lights.fault("no_coil", {"lamp": "blue"})
    assert write(lights, 2, on=True) == bytes((0x85, 2))
    assert write(lights, 3, on=True)[0] == 5
    with pytest.raises(ValueError, match="no lamp 'pink'"):
        await lights.fault("broken", {"lamp": "pink"})


async def test_the_module_s_watchdog(tmp_path: Path) -> None:
    """Armed, it drops the lamps when nobody asks; not armed, it holds them for ever, as such modules do."""
    lights = Lights(stand(tmp_path, "lights"))
    write(lights, 0, on=True)
    await lights.step(3600)
    assert lights.burning == {"red"}
    lights.write(WATCHDOG, [1000])
    lights.heard()
    await lights.step(0.9)
    assert lights.burning == {"red"}
    await lights.step(0.2)
    assert not lights.burning
    assert lights.truth()["tripped"] == 1
    with pytest.raises(ModbusError):
        lights.write(7, [1])
