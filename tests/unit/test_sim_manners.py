"""The bad manners of the simulated Modbus devices, frame by frame."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulators.modbus import RtuTalker, TcpTalker, crc16
from simulators.plant import Plant
from simulators.reservoir import Reservoir
from simulators.viscometer import GENERAL_ERROR, HARDWARE, STARTING_UP, Viscometer

pytestmark = pytest.mark.looptime

READ_PV = bytes.fromhex("03 0168 0002")
"""Two registers from 360: the process value."""


class _Tcp:
    """Asks a device over MBAP; keeps what came back, and when."""

    def __init__(self, device: Any, unit: int = 1) -> None:
        self.came: list[tuple[float, bytes]] = []
        self._talker = TcpTalker(unit, device, self._take, device)

    def _take(self, frame: bytes) -> None:
        self.came.append((asyncio.get_running_loop().time(), frame))

    def ask(self, pdu: bytes, transaction: int = 1) -> bytes:
        """The whole frame that came at once; empty: none did."""
        before = len(self.came)
        self._talker.feed(struct.pack(">HHHB", transaction, 0, len(pdu) + 1, 1) + pdu)
        return self.came[-1][1] if len(self.came) > before else b""


@pytest.fixture
async def reservoir(tmp_path: Path) -> Reservoir:
    return Reservoir(Plant(3, oil_cel=50.0), "127.0.0.1", 0, tmp_path / "tty")


@pytest.fixture
async def viscometer() -> Viscometer:
    return Viscometer(Plant(3), "127.0.0.1", 0)


async def test_busy_answers_06(reservoir: Reservoir) -> None:
    """Exception 06 to every request, or to a share of them; healed, it answers."""
    line = _Tcp(reservoir)
    await reservoir.fault("busy", {})
    assert line.ask(READ_PV)[7:] == b"\x83\x06"
    await reservoir.fault("busy", {"share": 0.5})
    answers = [line.ask(READ_PV)[7] for _ in range(200)]
    assert 60 < answers.count(0x83) < 140
    await reservoir.heal("busy")
    assert line.ask(READ_PV)[7] == 3


async def test_failure_answers_04(reservoir: Reservoir) -> None:
    """Exception 04 to everything."""
    await reservoir.fault("failure", {})
    assert _Tcp(reservoir).ask(READ_PV)[7:] == b"\x83\x04"


async def test_a_hole_answers_02_to_whoever_touches_it(reservoir: Reservoir) -> None:
    """A block across the hole is refused whole, one beside it is not."""
    line = _Tcp(reservoir)
    await reservoir.fault("hole", {"address": 362})
    assert line.ask(bytes.fromhex("03 0168 0004"))[7:] == b"\x83\x02"
    assert line.ask(READ_PV)[7] == 3


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("wrong_unit", lambda frame: frame[6] == 2),
        ("wrong_function", lambda frame: frame[7] == 4),
        ("short_frames", lambda frame: len(frame) == 6),
    ],
)
async def test_answers_that_are_not_right(reservoir: Reservoir, fault: str, seen: Callable[[bytes], bool]) -> None:
    """In another unit's name, with another function, or only half of it."""
    line = _Tcp(reservoir)
    await reservoir.fault(fault, {})
    assert seen(line.ask(READ_PV))
    await reservoir.heal(fault)
    assert not seen(line.ask(READ_PV))


async def test_rtu_has_the_same_manners_with_a_right_crc(reservoir: Reservoir) -> None:
    """The wrong unit signs its answer with a CRC that fits."""
    came: list[bytes] = []
    talker = RtuTalker(1, reservoir, came.append, asyncio.get_running_loop().time, reservoir)
    await reservoir.fault("wrong_unit", {})
    request = b"\x01" + READ_PV
    talker.feed(request + crc16(request))
    assert came[0][0] == 2
    assert crc16(came[0][:-2]) == came[0][-2:]


async def test_slow_and_late_answers(reservoir: Reservoir) -> None:
    """Slow: every answer after a while.  Late: one in so many, after everybody stopped waiting."""
    line = _Tcp(reservoir)
    await reservoir.fault("slow", {"seconds": 0.4})
    assert line.ask(READ_PV) == b""
    await asyncio.sleep(0.5)
    assert [when for when, _ in line.came] == [0.4]
    await reservoir.heal("all")
    await reservoir.fault("late_answer", {"every": 3, "seconds": 2})
    answers = [line.ask(READ_PV, number) for number in range(6)]
    assert [bool(answer) for answer in answers] == [True, True, False, True, True, False]
    await asyncio.sleep(3)
    assert len(line.came) == 7
    assert line.came[-1][1][:2] == b"\x00\x05"


async def test_degrees_flip_and_the_register_says_so(reservoir: Reservoir) -> None:
    """The same temperature reads 122 and then 50; the unit register changes with it."""
    line = _Tcp(reservoir)

    def shown() -> tuple[float, int]:
        low, high = struct.unpack(">HH", line.ask(READ_PV)[9:13])
        value = struct.unpack(">f", struct.pack(">HH", high, low))[0]
        return round(value), int.from_bytes(line.ask(bytes.fromhex("03 09BA 0001"))[9:11], "big")

    assert shown() == (122, 30)
    await reservoir.fault("degrees_flipped", {})
    assert shown() == (50, 15)
    await reservoir.heal("degrees_flipped")
    assert shown() == (122, 30)


async def test_memory_wear_is_counted_and_ends(reservoir: Reservoir) -> None:
    """Each register written costs; worn out, a write is refused and changes nothing."""
    line = _Tcp(reservoir)
    write = bytes.fromhex("10 0870 0002 04 0000 4316")  # 2160: 150 degF, low word first
    assert line.ask(write)[7] == 16
    assert reservoir.truth()["nvm_writes"] == 2
    setpoint = reservoir.values()["setpoint"]
    await reservoir.fault("worn_out", {})
    assert line.ask(bytes.fromhex("10 0870 0002 04 0000 42C8"))[7:] == b"\x90\x04"
    assert (reservoir.truth()["nvm_writes"], reservoir.values()["setpoint"]) == (2, setpoint)


@pytest.mark.parametrize(
    ("fault", "status"),
    [("sensor_break", GENERAL_ERROR | HARDWARE), ("starting_up", STARTING_UP), ("nan", 0)],
)
async def test_the_viscometer_has_nan_for_three_reasons(viscometer: Viscometer, fault: str, status: int) -> None:
    """NaN with a status that says why, or, at its worst, with one that says all is well."""
    line = _Tcp(viscometer)
    await viscometer.fault(fault, {})
    answer = line.ask(bytes.fromhex("04 0028 0004"))
    assert math.isnan(struct.unpack(">f", answer[9:13])[0])
    assert int.from_bytes(answer[15:17], "big") == status
    await viscometer.heal("all")
    assert not math.isnan(struct.unpack(">f", line.ask(bytes.fromhex("04 0028 0004"))[9:13])[0])


async def test_every_fault_has_a_sentence(reservoir: Reservoir, viscometer: Viscometer) -> None:
    """What the catalogue prints has words for each."""
    for device in (reservoir, viscometer):
        for name, fault in device.known_faults().items():
            assert getattr(fault, "sentence", "").endswith("."), f"{device.name}: {name}"
