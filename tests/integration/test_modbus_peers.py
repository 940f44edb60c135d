"""Modbus against what others wrote: libmodbus and npm modbus-serial as servers, mbpoll as a client of our simulators.

None is skipped: a peer that is missing is a failure (`scripts/servers` installs them).
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from serial_peers import PtyLine
from typer.testing import CliRunner

from gateway.cli.terminal import app
from gateway.demo.ports import free_port
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.errors import DeviceError
from gateway.model import HaltOrder
from simulators.plant import Plant
from simulators.reservoir import Reservoir
from simulators.viscometer import Viscometer

TESTS = Path(__file__).parents[1]
ORDER = HaltOrder(id="pump:rule", device="pump", rule="rule", text="", requested_ns=1)
ORDERS = [(word, byte) for word in ("big", "little") for byte in ("big", "little")]
PLENTY = {"timeout": "5s", "halt_budget": "5s"}
HALT = {
    "write": {"coil": 5, "value": True},
    "confirm": {"tag": "state", "equals": 11},
    "release": {"coil": 5, "value": False},
}


@asynccontextmanager
async def peer(*command: str) -> AsyncIterator[str]:
    """A server of others in its own process; what it said when it was ready."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=TESTS / "peers")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            said = (await process.stdout.readline()).decode().split()
        assert said[:1] == ["ready"], f"{command[0]} did not start"
        yield said[1] if len(said) > 1 else ""
    finally:
        process.kill()
        await process.wait()


def libmodbus(*given: str) -> Any:
    return peer(sys.executable, str(TESTS / "libmodbus_peer.py"), *given)


TAGS: dict[str, Any] = {
    **{
        f"f{at}_{word}_{byte}": {"address": 2 * at, "type": "f32", "word_order": word, "byte_order": byte}
        for at in range(4)
        for word, byte in ORDERS
    },
    "scaled": {"address": 10, "scale": 0.1},
    "minus": {"address": 11, "type": "i16"},
    "input": {"address": 3, "table": "input"},
    "flag": {"address": 7, "table": "discrete"},
    "state": {"address": 20},
    "beyond": {"address": 400},
}


def check(names: list[str], values: tuple[Any, ...], faults: Any) -> None:
    """What libmodbus wrote is what we read: each float in exactly one order, each order once."""
    read = dict(zip(names, values, strict=True))
    right = [
        [order for order in ORDERS if read[f"f{at}_{order[0]}_{order[1]}"] == pytest.approx(86.4)] for at in range(4)
    ]

    assert sorted(order for orders in right for order in orders) == sorted(ORDERS)
    assert all(len(orders) == 1 for orders in right)
    assert (read["scaled"], read["minus"], read["input"], read["flag"]) == (86.4, -1, 1234, True)
    assert read["beyond"] is None
    assert "exception 02" in faults[names.index("beyond")].reason


async def read_and_halt(config: ModbusConfig) -> None:
    async with asyncio.timeout(20), config.connect("pump") as device:
        reading = await device.poll()
        proof = await device.halt(ORDER)
        held = (await device.poll()).held
        await device.withdraw()

    check([spec.name for spec in config.tags()], reading.values, reading.faults)
    assert reading.held is False
    assert proof.wrote
    assert held is True


async def test_libmodbus_over_tcp() -> None:
    """Four float orders, scaled, signed and input registers, a bit, a refused address, a halt and its proof."""
    port = str(free_port())
    async with libmodbus("tcp", port):
        url = f"tcp://127.0.0.1:{port}"
        await read_and_halt(ModbusConfig.model_validate({"url": url, "tags": TAGS, "halt": HALT, **PLENTY}))


async def test_libmodbus_over_rtu_two_units_on_one_line(tmp_path: Path) -> None:
    """Two processes of libmodbus are units 1 and 2 of one line; unit 3 is not there and costs them nothing."""
    ends: list[PtyLine] = []
    for number in range(3):  # what one says, all others hear: RS-485
        line = PtyLine(lambda _: [], tmp_path / f"end{number}")
        ends.append(line)
    for line in ends:
        line._hear = lambda data, line=line: [other.send(data) for other in ends if other is not line] and []  # type: ignore[misc, assignment]  # the loop's own line
        await line.heal()
    given: dict[str, Any] = {"url": f"serial://{ends[0].path}?baudrate=115200", "tags": TAGS, "timeout": "10s"}
    given |= {"late": "1s", "min_gap": "5ms", "halt_budget": "5s"}
    async with AsyncExitStack() as stack:
        for unit in (1, 2):
            await stack.enter_async_context(libmodbus("rtu", str(ends[unit].path), "115200", str(unit)))
        configs = [ModbusConfig.model_validate({**given, "unit_id": unit, "halt": HALT}) for unit in (1, 2)]
        absent = ModbusConfig.model_validate({**given, "unit_id": 3})
        async with absent.connect("nobody") as nobody:
            missing = asyncio.create_task(nobody.poll())
            await asyncio.gather(*(read_and_halt(config) for config in configs))
            with pytest.raises(DeviceError, match="nobody"):
                await missing
    for line in ends:
        await line.cut()


async def test_npm_modbus_serial() -> None:
    """Units behind one shared TCP connection; a refused stretch costs its own tags; a refused unit is an error."""
    async with peer("node", "modbus-server.js") as port:
        tags: dict[str, Any] = {f"r{at}": {"address": at} for at in (3, 250, 998, 999, 1000, 1050, 1099, 1100)}
        tags |= {"low": {"address": 3, "table": "input", "type": "i16"}, "bit": {"address": 9, "table": "discrete"}}
        given: dict[str, Any] = {"url": f"tcp://127.0.0.1:{port}", "shared": True, "late": "5s", **PLENTY}
        halted = {**given, "tags": {"state": {"address": 500}}, "unit_id": 2}
        halted["halt"] = {"write": {"coil": 4, "value": True}, "confirm": {"tag": "state", "equals": 11}}
        async with (
            ModbusConfig.model_validate({**given, "tags": tags}).connect("one") as one,
            ModbusConfig.model_validate(halted).connect("two") as two,
            ModbusConfig.model_validate({**given, "tags": {"a": {"address": 3}}, "unit_id": 9}).connect("nine") as nine,
        ):
            reading, proof = await asyncio.gather(one.poll(), two.halt(ORDER))
            with pytest.raises(DeviceError, match=r"nine.*exception 11"):
                await nine.poll()

    assert reading.values == (21, 1750, 6986, 6993, None, None, None, 7700, -4, True)
    assert sorted(reading.faults) == [4, 5, 6]
    assert proof.wrote


def numbers(said: str) -> dict[int, str]:
    """`[360]: 	71.24` -> 360: 71.24."""
    return {int(at): value for at, value in re.findall(r"^\[(\d+)\]:\s+(\S+)", said, re.MULTILINE)}


async def mbpoll(*given: str) -> dict[int, str]:
    process = await asyncio.create_subprocess_exec(
        "mbpoll", "-1", "-0", "-q", "-o", "10", *given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, out.decode()
    return numbers(out.decode())


async def test_mbpoll_reads_our_simulated_reservoir(tmp_path: Path) -> None:
    """Another's client reads from our simulator what our driver reads: its oil, in degF, low word first, on TCP."""
    reservoir = Reservoir(Plant(seed=7), "127.0.0.1", 0, tmp_path / "reservoir")
    await reservoir.start()
    try:
        host, _, port = reservoir.addresses()["tcp"].removeprefix("tcp://").rpartition(":")
        read = await mbpoll("-m", "tcp", "-p", port, "-a", "1", "-t", "4:float", "-r", "360", host)
        swapped = await mbpoll("-m", "tcp", "-p", port, "-a", "1", "-B", "-t", "4:float", "-r", "360", host)
        status = await mbpoll("-m", "tcp", "-p", port, "-a", "1", "-t", "4", "-r", "362", host)
        truth = reservoir.values()["temperature"] * 1.8 + 32
    finally:
        await reservoir.stop()

    assert float(read[360]) == pytest.approx(truth, rel=1e-4)
    assert float(swapped[360]) != pytest.approx(truth, rel=1e-4)
    assert int(status[362]) == 61


async def test_mbpoll_reads_our_simulated_viscometer() -> None:
    """Input registers of the viscometer, high word first, by another's client."""
    viscometer = Viscometer(Plant(seed=7), "127.0.0.1", 0)
    await viscometer.start()
    try:
        host, _, port = viscometer.addresses()["tcp"].removeprefix("tcp://").rpartition(":")
        read = await mbpoll("-m", "tcp", "-p", port, "-a", "1", "-B", "-t", "3:float", "-r", "56", host)
        truth = viscometer.values()["temperature"]
    finally:
        await viscometer.stop()

    assert float(read[56]) == pytest.approx(truth, rel=1e-4)


async def test_probe_finds_a_known_value() -> None:
    """`linegate probe modbus` on libmodbus: each order of the float, the scaled number, the base, the units."""
    port = str(free_port())
    async with libmodbus("tcp", port):

        def ask(*given: str) -> str:
            return (
                CliRunner().invoke(app, ["probe", "modbus", f"tcp://127.0.0.1:{port}", "--timeout", "5", *given]).output
            )

        found = await asyncio.to_thread(ask, "--expect", "86.4", "--from", "0", "--to", "250")
        based = await asyncio.to_thread(ask, "--expect", "86.4", "--manual", "40011")
        raw = await asyncio.to_thread(ask, "--from", "10", "--to", "11")
        units = await asyncio.to_thread(ask, "--units", "1-3")

    assert re.findall(r"address: (\d+), type: (\w+)", found)[-1] == ("10", "u16")
    assert sorted(re.findall(r"address: (\d+), type: f32", found)) == ["0", "2", "4", "6"]
    assert "51 of 251 registers cannot be read there" in found
    assert "value: {address: 11, type: u16, scale: 0.1}" in based
    assert "base: 1" in based
    for text in ("864", "0360", "-1"):
        assert text in raw
    assert all(f"{unit} " in units for unit in (1, 2, 3))
