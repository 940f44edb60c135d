"""Modbus against pymodbus, an independent implementation; both drivers against the simulated devices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from serial_peers import PtyLine

from gateway.drivers.balance.kind import BalanceConfig
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.errors import DeviceError
from gateway.model import HaltOrder, Quality
from simulators.balance import Balance as ScaleSim
from simulators.device import Device
from simulators.plant import Plant
from simulators.reservoir import Reservoir
from simulators.viscometer import Viscometer

ORDER = HaltOrder(id="oven:rule", device="oven", rule="rule", text="", requested_ns=1)
MEMORY = [
    SimData(0, values=[1.5, -2.25], datatype=DataType.FLOAT32),
    SimData(4, values=[65535, 12], datatype=DataType.REGISTERS),
    SimData(6, values=-70000, datatype=DataType.INT32),
    SimData(8, values="LOT-42", datatype=DataType.STRING),
]
TAGS: dict[str, Any] = {
    "a": {"address": 0, "type": "f32"},
    "b": {"address": 2, "type": "f32"},
    "c": {"address": 4, "type": "i16"},
    "d": {"address": 5, "scale": 0.1},
    "e": {"address": 6, "type": "i32"},
    "f": {"address": 8, "type": "ascii", "length": 6},
}
EXPECTED = (1.5, -2.25, -1, 1.2, -70000, "LOT-42")
PLENTY = {"timeout": "5s", "halt_budget": "5s"}
"""On a busy machine; all of it takes milliseconds."""
HALT = {"write": {"register": 4, "value": 7}, "confirm": {"tag": "c", "equals": 7}, "confirm_same": "accepted"}


@pytest.fixture
async def server() -> AsyncIterator[ModbusTcpServer]:
    """The independent TCP server, on a free port."""
    server = ModbusTcpServer(SimDevice(1, MEMORY), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    yield server
    await server.shutdown()


def port(server: ModbusTcpServer) -> int:
    return int(server.transport.sockets[0].getsockname()[1])


async def test_reads_what_pymodbus_serves(server: ModbusTcpServer) -> None:
    """Every type comes over as the other implementation encodes it."""
    config = ModbusConfig.model_validate({"url": f"tcp://127.0.0.1:{port(server)}", "tags": TAGS})
    async with config.connect("oven") as device:
        reading = await device.poll()

    assert reading.faults == {}
    assert reading.values == EXPECTED


async def test_reads_what_pymodbus_reads(server: ModbusTcpServer) -> None:
    """Our decoding and pymodbus's client agree on the same registers."""
    config = ModbusConfig.model_validate({"url": f"tcp://127.0.0.1:{port(server)}", "tags": TAGS})
    client = AsyncModbusTcpClient("127.0.0.1", port=port(server), retries=0)
    await client.connect()
    try:
        registers = (await client.read_holding_registers(0, count=8, device_id=1)).registers
    finally:
        client.close()
    async with config.connect("oven") as device:
        values = (await device.poll()).values

    assert values[0] == client.convert_from_registers(registers[0:2], client.DATATYPE.FLOAT32)
    assert values[4] == client.convert_from_registers(registers[6:8], client.DATATYPE.INT32)


async def test_an_address_pymodbus_refuses(server: ModbusTcpServer) -> None:
    """An address outside its memory costs one tag."""
    tags = {**TAGS, "beyond": {"address": 30}}
    config = ModbusConfig.model_validate({"url": f"tcp://127.0.0.1:{port(server)}", "tags": tags, **PLENTY})
    async with config.connect("oven") as device:
        reading = await device.poll()

    assert list(reading.faults) == [6]
    assert reading.values == (*EXPECTED, None)


async def test_a_write_pymodbus_takes(server: ModbusTcpServer) -> None:
    """A halt's write and its echo are understood by the other implementation."""
    config = ModbusConfig.model_validate(
        {"url": f"tcp://127.0.0.1:{port(server)}", "tags": TAGS, "halt": HALT, **PLENTY}
    )
    async with config.connect("oven") as device:
        assert (await device.poll()).held is False
        proof = await device.halt(ORDER)
        assert (await device.poll()).held is True

    assert proof.wrote
    assert proof.state == "c (holding register 4) = 7"


async def test_the_wrong_unit_is_an_error(server: ModbusTcpServer) -> None:
    """A unit nobody is: an error or a timeout, never values."""
    config = ModbusConfig.model_validate({"url": f"tcp://127.0.0.1:{port(server)}", "tags": TAGS, "unit_id": 9})
    async with config.connect("oven") as device:
        with pytest.raises((DeviceError, TimeoutError)):
            async with asyncio.timeout(0.5):
                await device.poll()


async def test_rtu_on_a_pty_with_pymodbus(tmp_path: Path) -> None:
    """RTU frames over two joined ptys are understood both ways."""
    ours, theirs = PtyLine(lambda data: theirs.send(data) or [], tmp_path / "a"), None
    theirs = PtyLine(lambda data: ours.send(data) or [], tmp_path / "b")
    await ours.heal()
    await theirs.heal()
    server = ModbusSerialServer(SimDevice(1, MEMORY), framer=FramerType.RTU, port=str(tmp_path / "b"), baudrate=115200)
    await server.serve_forever(background=True)
    url = f"serial://{tmp_path / 'a'}?baudrate=115200"
    config = ModbusConfig.model_validate({"url": url, "tags": TAGS, "halt": HALT, **PLENTY})
    try:
        async with config.connect("oven") as device:
            async with asyncio.timeout(20):
                assert (await device.poll()).values == EXPECTED
                assert (await device.halt(ORDER)).wrote
            await ours.cut()
            with pytest.raises(DeviceError, match="oven"):
                async with asyncio.timeout(20):
                    await device.poll()
    finally:
        await server.shutdown()
        await ours.cut()
        await theirs.cut()


async def test_two_on_one_port(tmp_path: Path) -> None:
    """A port that another has open is refused by name, not shared by accident."""
    line = PtyLine(lambda _: [], tmp_path / "port")
    await line.heal()
    config = BalanceConfig.model_validate({"url": f"serial://{line.path}", "timeout": "2s"})
    other = ModbusConfig.model_validate({"url": f"serial://{line.path}", "tags": TAGS})
    try:
        async with other.connect("oven"):
            with pytest.raises(DeviceError, match=f"scale .*{line.path}"):
                async with config.connect("scale"):
                    pass
    finally:
        await line.cut()


@asynccontextmanager
async def started(device: Device) -> AsyncIterator[dict[str, str]]:
    """A simulated device on its real links; its addresses."""
    await device.start()
    try:
        yield device.addresses()
    finally:
        await device.stop()


@pytest.mark.parametrize("link", ["tcp", "serial"])
async def test_the_simulated_reservoir(link: str, tmp_path: Path) -> None:
    """The Watlow profile reads the oil in Cel from a wire in degF, on TCP and RTU; a broken sensor is bad."""
    reservoir = Reservoir(Plant(seed=7), "127.0.0.1", 0, tmp_path / "reservoir")
    async with started(reservoir) as addresses:
        where = addresses[link].removeprefix("tcp://").removeprefix("serial://")
        url = f"{link}://{where}" + ("?baudrate=115200" if link == "serial" else "")
        config = ModbusConfig.model_validate({"url": url, "profile": "watlow-ez-zone-pm"})
        names = [spec.name for spec in config.tags()]
        async with config.connect("reservoir") as device:
            async with asyncio.timeout(5):
                reading = await device.poll()
            truth = reservoir.values()
            await reservoir.fault("sensor_break", {})
            async with asyncio.timeout(5):
                broken = await device.poll()

    assert reading.faults == {}
    assert reading.values == pytest.approx(tuple(truth[name] for name in names), abs=1e-3)
    assert broken.values[0] is None
    assert broken.faults[0].reason == "sensor_status is 65 (open)"
    assert broken.values[1] is not None


async def test_the_simulated_viscometer() -> None:
    """The Rheonics profile: numbers, uncertain while not stable, bad on a broken sensor."""
    viscometer = Viscometer(Plant(seed=7), "127.0.0.1", 0)
    async with started(viscometer) as addresses:
        url = f"tcp://{addresses['tcp'].removeprefix('tcp://')}"
        config = ModbusConfig.model_validate({"url": url, "profile": "rheonics-srv"})
        async with config.connect("viscometer") as device:
            good = await device.poll()
            truth = viscometer.values()
            await viscometer.fault("unstable", {})
            unstable = await device.poll()
            await viscometer.fault("sensor_break", {})
            broken = await device.poll()

    assert good.values == pytest.approx(
        tuple(truth[name] for name in ("viscosity", "density", "temperature")), rel=1e-5
    )
    assert {fault.quality for fault in unstable.faults.values()} == {Quality.UNCERTAIN}
    assert None not in unstable.values
    assert broken.values == (None, None, None)
    assert "hardware error" in broken.faults[0].reason


@pytest.mark.parametrize("link", ["tcp", "serial"])
async def test_the_simulated_balance(link: str, tmp_path: Path) -> None:
    """MT-SICS from an independent interpreter: identity and a weight in grams, to the digit, with its line."""
    balance = ScaleSim(Plant(seed=7), "127.0.0.1", 0, tmp_path / "balance")
    async with started(balance) as addresses:
        where = addresses[link].removeprefix("tcp://").removeprefix("serial://")
        config = BalanceConfig.model_validate({"url": f"{link}://{where}", "timeout": "5s"})
        async with config.connect("balance") as device:
            async with asyncio.timeout(5):
                reading = await device.poll()

    assert device.identity["serial"]
    assert isinstance(reading.values[0], Decimal)
    assert reading.raw is not None
    assert str(reading.values[0]).encode() in reading.raw
