"""A stack light and a relay on the outputs of one remote I/O module: two devices, one unit, one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config.reading import check
from gateway.drivers.base import Haltable, Sign
from gateway.drivers.lights.kind import LightsConfig
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.model import HaltOrder
from simulators.extras import Stand
from simulators.lights import Lights as Module
from simulators.plant import Plant

ORDER = HaltOrder(id="relay:hot", device="relay", rule="hot", text="too hot", requested_ns=1)
LAMPS: dict[str, Any] = {name: {"coil": at} for at, name in enumerate(("red", "amber", "blue", "green"))}
RELAY: dict[str, Any] = {
    "tags": {"held": {"table": "discrete", "address": 4}},
    "halt": {
        "write": {"coil": 4, "value": True},
        "confirm": {"tag": "held", "equals": True},
        "release": {"coil": 4, "value": False},
    },
}


@asynccontextmanager
async def module(folder: Path) -> AsyncIterator[Module]:
    """Five outputs, four of them lamps; each input follows its output.  It takes what it can get of connections."""
    device = Module(Stand("io1", Plant(1), "127.0.0.1", folder, {}))
    await device.start()

    async def move() -> None:
        while True:
            await asyncio.sleep(0.01)
            await device.step(0.01)

    moving = asyncio.create_task(move(), name="module")
    try:
        yield device
    finally:
        moving.cancel()
        await device.stop()


def both(url: str) -> tuple[LightsConfig, ModbusConfig]:
    common = {"url": url, "module": "io1", "timeout": "1s", "period": "50ms"}
    lights = LightsConfig.model_validate({**common, "lamps": LAMPS, "lamp_test": "0s", "watchdog": "module"})
    return lights, ModbusConfig.model_validate({**common, **RELAY})


@pytest.mark.parametrize("way", ["tcp", "serial"])
async def test_lamps_and_relay_share_a_module(tmp_path: Path, way: str) -> None:
    """Both are polled over one connection, the lamps burn, the relay is held and released, and no lamp goes with it."""
    async with module(tmp_path) as io1, AsyncExitStack() as stack:
        place = io1.addresses()[way]
        lights, relay = both(f"tcp://{place}" if way == "tcp" else f"serial://{place}?baudrate=19200")
        lamps = await stack.enter_async_context(lights.connect("stack"))
        held = await stack.enter_async_context(relay.connect("relay"))
        assert isinstance(held, Haltable)
        assert len(io1.links[0].talkers) == (way == "tcp")  # type: ignore[attr-defined]  # doors have them

        await lamps.show(frozenset({Sign.NORMAL}))
        await asyncio.gather(held.halt(ORDER), lamps.poll())
        await asyncio.sleep(0.1)
        burning = io1.truth()["burning"]
        told, seen = await asyncio.gather(lamps.poll(), held.poll())

        assert burning == ["green", "horn"]
        assert not told.faults
        assert told.values[3] == "steady"
        assert seen.values == (True,)
        await stack.aclose()
        await asyncio.sleep(0.1)
        assert io1.truth()["burning"] == ["horn"], "putting the lamps out leaves the relay alone"


def line(folder: Path, lamps: str, relay: str) -> list[str]:
    """What `linegate check` says to two devices at one address."""
    path = folder / "line.yaml"
    path.write_text(
        "gateway: {id: gw1, path: a/b/c/d/e}\ndevices:\n"
        f"  stack: {{driver: lights, url: 'tcp://192.0.2.20:502', lamps: {{red: {{coil: 0}}}}{lamps}}}\n"
        "  relay: {driver: modbus, url: 'tcp://192.0.2.20:502', tags: {held: {table: discrete, address: 4}}, "
        f"halt: {{write: {{coil: 4, value: true}}, confirm: {{tag: held, equals: true}}}}{relay}}}\n"
    )
    return [str(problem) for problem in check(path).problems if problem.level == "error"]


@pytest.mark.parametrize(
    ("lamps", "relay", "told"),
    [
        (", module: io1", ", module: io1", ""),
        ("", "", "unit 1 on tcp://192.0.2.20:502 is already device stack; where both are parts of one module, give"),
        (", module: io1", "", "is already device stack"),
        (", module: io1", ", module: io2", "is already device stack"),
        (", module: io1", ", module: io1, unit_id: 2", ""),
        (
            ", module: io1, heartbeat: {coil: 4}",
            ", module: io1",
            "coil 4 of module io1 is already written by device stack",
        ),
    ],
)
def test_the_check_tells_two_of_a_module_from_one_twice(tmp_path: Path, lamps: str, relay: str, told: str) -> None:
    """Who names the module means it; who writes what the other writes does not."""
    said = line(tmp_path, lamps, relay)

    assert len(said) == bool(told), said
    assert all(told in each for each in said)
