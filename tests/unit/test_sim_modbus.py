"""Golden bytes of the two Modbus devices, and the manners of a server."""

from __future__ import annotations

import asyncio
import math
import struct
from pathlib import Path

import pytest

from simulators.modbus import RtuTalker, TcpTalker, answer, crc16
from simulators.plant import Plant
from simulators.reservoir import CELSIUS, FAHRENHEIT, OPEN, Reservoir
from simulators.viscometer import Viscometer, parameter_words


@pytest.fixture
async def plant() -> Plant:
    return Plant(1, oil_cel=62.0)


@pytest.fixture
async def reservoir(plant: Plant, tmp_path: Path) -> Reservoir:
    return Reservoir(plant, "127.0.0.1", 0, tmp_path / "reservoir.tty")


@pytest.fixture
async def viscometer(plant: Plant) -> Viscometer:
    return Viscometer(plant, "127.0.0.1", 0)


def _rtu(bank: Reservoir | Viscometer, frame: bytes) -> bytes:
    said: list[bytes] = []
    RtuTalker(1, bank, said.append, lambda: 0.0).feed(frame)
    return b"".join(said)


def _float(words: bytes) -> float:
    """Low word first."""
    return float(struct.unpack(">f", words[2:4] + words[0:2])[0])


async def test_watlow_setpoint_golden_frame(reservoir: Reservoir) -> None:
    """The maker's own frame sets 75.0, low word first: 0000 4296; on the wire that is degF."""
    frame = bytes.fromhex("01 10 08 70 00 02 04 00 00 42 96 23 85")
    assert frame[-2:] == crc16(frame[:-2])
    assert _rtu(reservoir, frame)[:6] == bytes.fromhex("01 10 08 70 00 02")
    assert reservoir.values()["setpoint"] == pytest.approx((75.0 - 32.0) / 1.8)
    assert reservoir.read(2160, 2) == [0x0000, 0x4296]


async def test_watlow_speaks_fahrenheit_until_told(reservoir: Reservoir) -> None:
    """62 Cel reads 143.6 on the wire; after 2490 is set to 15 it reads 62."""
    assert reservoir.read(2490, 1) == [FAHRENHEIT]
    assert _float(answer(struct.pack(">BHH", 3, 360, 2), reservoir)[2:]) == pytest.approx(143.6, abs=1e-4)
    reservoir.write(2490, [CELSIUS])
    assert _float(answer(struct.pack(">BHH", 3, 360, 2), reservoir)[2:]) == pytest.approx(62.0)


async def test_watlow_registers(reservoir: Reservoir) -> None:
    """Error status, control mode, powers and active setpoint stand where the manual has them."""
    assert reservoir.read(362, 1) == [61]
    assert reservoir.read(1880, 1) == [10]
    assert reservoir.read(1882, 1) == [10]
    assert len(reservoir.read(1904, 6)) == 6
    assert reservoir.read(2172, 2) == reservoir.read(2160, 2)


@pytest.mark.parametrize(
    ("request_pdu", "reply"),
    [
        (struct.pack(">BHH", 3, 100, 1), bytes((0x83, 2))),
        (struct.pack(">BHH", 3, 366, 4), bytes((0x83, 2))),
        (struct.pack(">BHH", 4, 360, 2), bytes((0x84, 1))),
        (struct.pack(">BHH", 1, 0, 1), bytes((0x81, 1))),
        (struct.pack(">BHH", 3, 360, 0), bytes((0x83, 3))),
        (struct.pack(">BHH", 3, 360, 126), bytes((0x83, 3))),
        (struct.pack(">BHH", 6, 360, 1), bytes((0x86, 2))),
        (struct.pack(">BHH", 6, 1880, 99), bytes((0x86, 3))),
        (struct.pack(">BHHBHH", 16, 2160, 2, 4, 0, 0x43FA), bytes((0x90, 3))),
        (struct.pack(">BHHB", 16, 2160, 2, 4), bytes((0x90, 3))),
    ],
)
async def test_watlow_exceptions(reservoir: Reservoir, request_pdu: bytes, reply: bytes) -> None:
    """No such register is 02, wrong function 01, a setpoint the reservoir cannot take (500 degF) 03."""
    assert answer(request_pdu, reservoir) == reply


async def test_sensor_break_holds_the_value_and_says_open(reservoir: Reservoir, plant: Plant) -> None:
    """The temperature stands while the oil cools, and only the status word tells."""
    await reservoir.fault("sensor_break", {})
    plant.step(1000.0)
    assert plant.oil.temperature_cel < 45
    assert reservoir.values()["temperature"] == 62.0
    assert reservoir.read(362, 1) == [OPEN]
    await reservoir.heal("sensor_break")
    assert reservoir.values()["temperature"] < 45


async def test_frozen_holds_everything_and_says_nothing(reservoir: Reservoir, plant: Plant) -> None:
    """Frozen: all values stand, status good."""
    await reservoir.fault("frozen", {})
    plant.oil.element_ok = False
    plant.step(1000.0)
    assert reservoir.values()["temperature"] == 62.0
    assert reservoir.read(362, 1) == [61]


async def test_rheonics_golden_frames(viscometer: Viscometer) -> None:
    """The maker's own requests; 22.17 degC answers 41 B1 5C 29, high word first."""
    await viscometer.force("temperature", 22.17)
    reply = _rtu(viscometer, bytes.fromhex("01 04 00 38 00 02 F0 06"))
    assert reply == bytes.fromhex("01 04 04 41 B1 5C 29 47 41")
    status = _rtu(viscometer, bytes.fromhex("01 04 00 2B 00 01 41 C2"))
    assert status[:5] == bytes.fromhex("01 04 02 00 00")


async def test_rheonics_int16_saturates() -> None:
    """Times 100 in sixteen bits ends at 327.67: useless for distillate."""
    assert parameter_words(62.0, 0)[2] == 6200
    assert parameter_words(430.0, 0)[2] == 32767


async def test_rheonics_critical_error_is_nan(viscometer: Viscometer) -> None:
    """A sensor break makes all values NaN and sets bits 0 and 2 of each status word and of the device error."""
    await viscometer.fault("sensor_break", {})
    words = viscometer.read(40, 4)
    assert math.isnan(struct.unpack(">f", struct.pack(">HH", *words[:2]))[0])
    assert words[3] == 0b101
    assert viscometer.read(514, 1) == [0b101]
    await viscometer.heal("all")
    assert viscometer.read(43, 1) == [0]


async def test_rheonics_not_stable_keeps_its_value(viscometer: Viscometer) -> None:
    """Bit 8 says not stable; the value is a number all the same."""
    await viscometer.fault("unstable", {})
    assert viscometer.read(43, 1) == [256]
    assert viscometer.values()["viscosity"] == pytest.approx(430.0)


@pytest.mark.parametrize(
    ("request_pdu", "reply"),
    [
        (struct.pack(">BHH", 4, 39, 1), bytes((0x84, 2))),
        (struct.pack(">BHH", 4, 150, 3), bytes((0x84, 2))),
        (struct.pack(">BHH", 3, 40, 2), bytes((0x83, 1))),
        (struct.pack(">BHH", 6, 40, 2), bytes((0x86, 1))),
    ],
)
async def test_rheonics_exceptions(viscometer: Viscometer, request_pdu: bytes, reply: bytes) -> None:
    """Input registers only, and only those of the map."""
    assert answer(request_pdu, viscometer) == reply


async def test_rtu_drops_what_does_not_check(viscometer: Viscometer) -> None:
    """A bad CRC, another unit's frame and noise get no answer; a frame in two pieces does."""
    good = bytes.fromhex("01 04 00 38 00 02 F0 06")
    assert _rtu(viscometer, good[:-1] + b"\x00") == b""
    other = b"\x02" + good[1:-2]
    assert _rtu(viscometer, other + crc16(other)) == b""
    assert _rtu(viscometer, b"\xff" * 300) == b""
    said: list[bytes] = []
    talker = RtuTalker(1, viscometer, said.append, lambda: 0.0)
    talker.feed(good[:3])
    talker.feed(good[3:])
    assert len(said) == 1


async def test_rtu_forgets_half_a_frame_after_a_pause(viscometer: Viscometer) -> None:
    """Half a frame, a pause, a whole frame: the whole one is answered."""
    good = bytes.fromhex("01 04 00 38 00 02 F0 06")
    now = [0.0]
    said: list[bytes] = []
    talker = RtuTalker(1, viscometer, said.append, lambda: now[0])
    talker.feed(good[:5])
    now[0] = 1.0
    talker.feed(good)
    assert len(said) == 1


async def test_tcp_framing(viscometer: Viscometer) -> None:
    """Two requests in one packet, each with its transaction; another unit is not answered."""
    said: list[bytes] = []
    talker = TcpTalker(1, viscometer, said.append)
    pdu = struct.pack(">BHH", 4, 514, 1)
    talker.feed(struct.pack(">HHHB", 7, 0, 6, 1) + pdu + struct.pack(">HHHB", 8, 0, 6, 9) + pdu)
    assert said == [struct.pack(">HHHB", 7, 0, 5, 1) + bytes.fromhex("04 02 00 00")]


async def test_a_pty_can_be_cut_and_comes_back(reservoir: Reservoir) -> None:
    """Cutting the line takes the path away; healing gives the same path again."""
    await reservoir.start()
    path = Path(reservoir.addresses()["serial"])
    assert path.is_symlink()
    await reservoir.fault("cut", {})
    assert not path.is_symlink()
    await reservoir.heal("cut")
    assert path.exists()
    await reservoir.stop()
    await asyncio.sleep(0)
